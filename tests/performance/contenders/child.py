"""A process of its own for each contender: what one does to its process disturbs no other."""

from __future__ import annotations

import gc
import importlib
import itertools
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from mmearth.tests.performance.contenders.case import Batch, Case, Contender, Epochs
from mmearth.tests.performance.loader_samples import Samples

CONTENDERS = {
    "mmearth": ("mmearth_loader", "CONTENDER"),
    "mmearth thread": ("mmearth_loader", "THREAD"),
    "webdataset": ("stock_webdataset", "OWN_SHARDS"),
    "webdataset ours": ("stock_webdataset", "OUR_SHARDS"),
    "streaming": ("mosaicml_streaming", "CONTENDER"),
    "litdata": ("lightning_litdata", "CONTENDER"),
    "hdf5": ("lazy_hdf5", "RAW"),
    "hdf5 published": ("lazy_hdf5", "PUBLISHED"),
    "memory": ("arrays_in_memory", "CONTENDER"),
    "memory values": ("arrays_in_memory", "VALUES"),
}
COMPRESSED = {
    "mmearth zstd": ("mmearth_loader", "ZSTD"),
    "mmearth lz4": ("mmearth_loader", "LZ4"),
    "webdataset gz": ("stock_webdataset", "COMPRESSED"),
    "litdata zstd": ("lightning_litdata", "COMPRESSED"),
}
"""Name → module of this folder, and the Contender in it."""
LEAST_S = 0.5
"""A measurement repeats epochs until it has lasted so long."""
PATIENCE_S = 300.0
"""A contender that has not answered by then is ended."""
CHECKED = 96
"""Samples that are compared with the plain arrays, bit by bit, before anything is timed."""


class FailedError(AssertionError):
    """A contender's process failed, or did not answer."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One measurement."""

    tiles: int
    cpu: float
    """Seconds of the contender's own process; its workers' are not in it."""
    wall: float
    """Seconds by the clock."""
    first: float
    """Seconds to the first batch, opening included where it was opened."""
    opening_cpu: float = 0.0
    """Seconds of `cpu` until it was open; 0 where it was before."""
    opening_wall: float = 0.0
    """Seconds of `wall` until it was open."""


class Child:
    """A contender in its process."""

    def __init__(self, name: str, samples: Samples, folder: Path) -> None:
        self.name, self._folder = name, folder
        # Not daemonic: it may start workers. Spawned: it inherits nothing of another contender.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(name, samples, folder, theirs))
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def ask(self, step: str, *arguments: Any) -> Any:
        """Return what a step of `_Steps` returns.

        Raises:
            FailedError: It raised, its process died, or PATIENCE_S passed.
        """
        try:
            self._pipe.send((step, arguments))
            if not self._pipe.poll(PATIENCE_S):
                self._process.kill()
                raise FailedError(f"{self.name}: {step} took more than {PATIENCE_S:g} s")
            return self._pipe.recv()
        except (EOFError, OSError) as exc:
            said = _log(self._folder).read_text(errors="replace")[-2000:]
            raise FailedError(f"{self.name} failed in {step}: {said}") from exc


def _serve(name: str, samples: Samples, folder: Path, pipe: Connection) -> None:
    """Answer until the pipe is closed; what it says, its last error too, goes into its log."""
    import torch

    said = os.open(_log(folder), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, sys.stdout.fileno())
    os.dup2(said, sys.stderr.fileno())
    warnings.simplefilter("ignore")  # those of other people's packages
    torch.set_num_threads(1)  # as in a worker of torch's DataLoader: the same for everyone
    steps = _Steps(_contender(name), samples, folder)
    with suppress(EOFError):
        while True:
            step, arguments = pipe.recv()
            pipe.send(getattr(steps, step)(*arguments))


def _contender(name: str) -> Contender:
    """Return a contender; its libraries are imported."""
    module, attribute = (CONTENDERS | COMPRESSED)[name]
    found: Contender = getattr(
        importlib.import_module(f"mmearth.tests.performance.contenders.{module}"), attribute
    )
    return found


def _log(folder: Path) -> Path:
    return folder.with_suffix(".log")


class _Steps:
    """What a contender's process can be asked."""

    def __init__(self, contender: Contender, samples: Samples, folder: Path) -> None:
        self.contender, self.samples, self.folder = contender, samples, folder
        self.case: Case | None = None
        self.opened: Epochs | None = None
        self.epoch = 0

    def prepare(self) -> None:
        """Write the samples in the contender's own format."""
        self.folder.mkdir(parents=True)
        self.contender.prepare(self.samples, self.folder)

    def title(self) -> tuple[str, str]:
        """Return what to call the contender, and its note."""
        return self.contender.title, self.contender.note

    def takes_part(self, case: Case) -> bool:
        """Say whether the contender can read in this way."""
        return self.contender.cases(case)

    def check(self, case: Case) -> int:
        """Compare samples with the plain arrays; return how many."""
        self._open(case)
        source = dict(zip(self.samples.keys, self.samples.source.tolist(), strict=True))
        plain = {name: self.samples.array(name) for name in case.names}
        n = 0
        for batch in self._batches():
            for i, key in enumerate(batch["key"]):
                for name in case.names:
                    found, expected = batch[name][i].numpy(), plain[name][source[key]]
                    assert found.dtype == expected.dtype, (name, found.dtype, expected.dtype)
                    assert np.array_equal(found, expected), (key, name)
            n += len(batch["key"])
            if n >= CHECKED and not case.selected:
                break
        return n

    def measure(self, case: Case, fresh: bool) -> Timing:
        """Time epochs; with `fresh` one epoch, and opening it."""
        gc.collect()
        if fresh:
            self._close()
        cpu, wall = time.process_time(), time.perf_counter()
        self._open(case)
        opening_cpu, opening_wall = time.process_time() - cpu, time.perf_counter() - wall
        tiles, first = 0, 0.0
        while True:
            for batch in self._batches():
                first = first or time.perf_counter() - wall
                tiles += len(batch["key"])
            if fresh or time.perf_counter() - wall >= LEAST_S:
                break
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        return Timing(tiles, cpu, wall, first, opening_cpu, opening_wall)

    def close(self) -> None:
        """Let go of what is open, workers included."""
        self._close()

    def _open(self, case: Case) -> None:
        if self.opened is None or self.case != case:
            self._close()
            self.case, self.opened = case, self.contender.epochs(self.samples, self.folder, case)

    def _close(self) -> None:
        self.opened = self.case = None
        gc.collect()

    def _batches(self) -> Iterator[Batch]:
        assert self.opened is not None and self.case is not None
        self.epoch += 1
        most = self.contender.most_batches(self.case)
        return itertools.islice(self.opened(self.epoch), most)
