"""How fast this machine reads a selection, and whether a training would wait for it."""

from __future__ import annotations

import time
from dataclasses import dataclass

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


def measure(chosen: Selection, batch_size: int, order: str, workers: int, seconds: float) -> Speed:
    """Read batches and drop them, whole epochs until the time is over.

    The first epoch hashes what it reads, later ones do not; a second run of the command reads from
    the page cache what fits into it.

    Args:
        chosen: What is read.
        batch_size: Samples in a batch.
        order: One of ORDERS.
        workers: Processes that read; 0: a thread.
        seconds: Least time after the first batch.

    Raises:
        ConfigError: See `Selection.loader`; others as its iteration says.
    """
    loader = chosen.loader(batch_size, order, workers=workers)
    begin = time.perf_counter()
    batches = iter(loader)
    first = next(batches)
    first_s, n = time.perf_counter() - begin, 0
    del first
    begin, cpu = time.perf_counter(), time.process_time()
    while (taken := time.perf_counter() - begin) < seconds or not n:
        batch = next(batches, None)
        if batch is None:
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
    )
