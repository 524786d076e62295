"""How fast this machine reads a selection, and whether a training would wait for it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from mmearth.loaders.fetch.digests import Verify
from mmearth.loaders.selection import Selection


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured over one or more epochs."""

    samples: int
    """Read."""
    first_batch_s: float
    """From asking for the loader to its first batch; the index was there."""
    seconds: float
    """After the first batch."""
    cpu_seconds: float
    """Of this process in that time, all threads; worker processes are not in it."""
    samples_per_s: float
    """After the first batch."""
    bytes_per_s: float
    """Stored bytes, by the selection's mean sample."""
    first_epoch_per_s: float
    """Samples, of the first epoch alone, with its first batch."""
    later_per_s: float | None
    """Samples, of the epochs after it; None where the time was over before."""


def measure(
    chosen: Selection,
    batch_size: int,
    order: str,
    workers: int,
    seconds: float,
    verify: Verify = "all",
) -> Speed:
    """Read batches and drop them, epochs until the time is over.

    The first epoch hashes what it reads, later ones do not; a second run of the command reads from
    the page cache what fits into it.

    Args:
        chosen: What is read.
        batch_size: Samples in a batch.
        order: One of ORDERS.
        workers: Processes that read; 0: a thread.
        seconds: Least time after the first batch.
        verify: See `Selection.loader`.

    Raises:
        ConfigError: See `Selection.loader`; others as its iteration says.
    """
    loader = chosen.loader(batch_size, order, workers=workers, verify=verify)
    begin = time.perf_counter()
    batches = iter(loader)
    first = next(batches)
    first_s, n, n_first = time.perf_counter() - begin, 0, len(first["key"])
    of_first = None  # samples and seconds of what is left of the first epoch
    del first
    begin, cpu = time.perf_counter(), time.process_time()
    while (taken := time.perf_counter() - begin) < seconds or not n:
        batch = next(batches, None)
        if batch is None:
            of_first = of_first or (n, taken)
            batches = iter(loader)
        else:
            n += len(batch["key"])
    return Speed(
        n,
        first_s,
        taken,
        time.process_time() - cpu,
        n / taken,
        n / taken * chosen.nbytes / len(chosen),
        *_by_epoch((n_first, first_s), (n, taken), of_first),
    )


def _by_epoch(
    first: tuple[int, float], after: tuple[int, float], rest: tuple[int, float] | None
) -> tuple[float, float | None]:
    """Return samples a second in the first epoch and in those after it.

    Args:
        first: Samples of the first batch, and seconds.
        after: Of all that came after it.
        rest: Of what of that was the first epoch's; None: all.
    """
    n, seconds = rest or after
    later = None if n == after[0] else (after[0] - n) / (after[1] - seconds)
    return (first[0] + n) / (first[1] + seconds), later
