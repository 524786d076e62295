"""Many tiles: the same loop on threads, processes or a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any

from mmearth.catalog.errors import ConfigError, UnavailableError
from mmearth.curate.collect import Job
from mmearth.curate.ledger import Record

EXECUTORS = ("processes", "threads")
"""What `--executor` takes; a Dask cluster comes by `--scheduler`."""
_JOBS_IN_FLIGHT = 4  # for each worker: enough that none waits for the driver

Work = Callable[[Job], list[Record]]


def run(
    jobs: Iterable[Job],
    work: Work,
    executor: Executor,
    n_workers: int,
    keep: Callable[[list[Record]], None],
) -> None:
    """Visit every tile with a bounded number in flight.

    On an error or an interrupt no further visit begins; those in flight are awaited and kept.

    Args:
        jobs: The visits; drawn as they are needed, so that a long plan stays flat in memory.
        work: What a visit does; picklable where the executor crosses processes.
        executor: Any executor of `concurrent.futures`.
        n_workers: How many visits it makes at once.
        keep: Called in this thread with the records of each finished tile.

    Raises:
        RefusedError: The source wants a person to act.
        StorageError: The disk is full or refused.
        UnavailableError: A worker process died.
    """
    queue = iter(jobs)
    flying = {executor.submit(work, job) for job in islice(queue, n_workers * _JOBS_IN_FLIGHT)}
    try:
        while flying:
            done, flying = wait(flying, return_when=FIRST_COMPLETED)
            flying |= {executor.submit(work, job) for job in islice(queue, len(done))}
            for future in done:
                keep(_result(future))
    except BaseException:
        for records in _drain(flying):
            keep(records)
        raise


def _result(future: Future[list[Record]]) -> list[Record]:
    try:
        return future.result()
    except BrokenProcessPool as exc:
        raise UnavailableError(
            "a worker process died, out of memory perhaps; run the same command again, with fewer "
            "--workers if it repeats"
        ) from exc


def _drain(flying: set[Future[list[Record]]]) -> Iterator[list[Record]]:
    """Cancel what has not begun, await what has, and yield what came of it."""
    begun = {future for future in flying if not future.cancel()}
    wait(begun)
    for future in begun:
        if not future.cancelled() and future.exception() is None:
            yield future.result()


@contextmanager
def open_executor(kind: str, n_workers: int, scheduler: str | None) -> Iterator[Executor]:
    """Yield the executor that the options ask for, and close it.

    Args:
        kind: One of EXECUTORS.
        n_workers: Threads or processes.
        scheduler: Address of a Dask scheduler, `tcp://…`; takes the place of both.

    Raises:
        ConfigError: The scheduler does not answer, or Dask is not installed.
    """
    if scheduler is not None:
        with _dask(scheduler) as executor:
            yield executor
        return
    pool: Executor
    if kind == "threads" or n_workers == 1:
        pool = ThreadPoolExecutor(n_workers)
    else:
        # spawn: GDAL and SQLite do not survive a fork, and the driver has threads.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(n_workers, context, _begin_worker, (os.getpid(),))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _dask(scheduler: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError as exc:
        raise ConfigError("--scheduler needs Dask: pip install 'mmearth[dask]'") from exc
    try:
        client: Any = Client(scheduler, timeout="10s", set_as_default=False)
    except (OSError, ValueError, TimeoutError) as exc:
        raise ConfigError(f"no Dask scheduler answers at {scheduler}; start one or drop --scheduler") from exc
    with client:
        yield client.get_executor(pure=False)


def _begin_worker(driver: int) -> None:
    """Leave Ctrl-C to the driver, and end when the driver has died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_watch, args=(driver,), daemon=True).start()


def _watch(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(0.5)
    os._exit(1)
