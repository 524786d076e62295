"""Many tiles: the same loop on threads, processes or a Dask cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Any, TypeVar

from mmearth.catalog.errors import ConfigError, UnavailableError
from mmearth.catalog.workers import open_pool
from mmearth.curate.ledger import Record

EXECUTORS = ("processes", "threads")
"""What `--executor` takes; a Dask cluster comes by `--scheduler`."""
_JOBS_IN_FLIGHT = 4  # for each worker: enough that none waits for the driver

Item = TypeVar("Item")


def run(
    jobs: Iterable[Item],
    work: Callable[[Item], list[Record]],
    executor: Executor,
    n_workers: int,
    keep: Callable[[list[Record]], None],
    give_up: Callable[[], None] = lambda: None,
) -> None:
    """Visit every tile with a bounded number in flight.

    On an error or an interrupt no further visit begins; those in flight are awaited and kept.

    Args:
        jobs: The visits; drawn as they are needed, so that a long plan stays flat in memory.
        work: What a visit does; picklable where the executor crosses processes.
        executor: Any executor of `concurrent.futures`.
        n_workers: How many visits it makes at once.
        keep: Called in this thread with the records of each finished tile.
        give_up: Called before the last visits are awaited, so that they wait for nothing.

    Raises:
        RefusedError: The source wants a person to act.
        StorageError: The disk is full or refused.
    """
    queue = iter(jobs)
    done: set[Future[list[Record]]] = set()
    flying: set[Future[list[Record]]] = set()
    try:
        for job in islice(queue, n_workers * _JOBS_IN_FLIGHT):
            flying.add(executor.submit(work, job))
        while flying:
            done, flying = wait(flying, return_when=FIRST_COMPLETED)
            for job in islice(queue, len(done)):
                flying.add(executor.submit(work, job))
            while done:
                keep(done.pop().result())
    except BaseException:
        give_up()
        for records in _drain(done | flying):
            keep(records)
        raise


def _drain(flying: set[Future[list[Record]]]) -> Iterator[list[Record]]:
    """Cancel what has not begun, await what has, and yield what came of it."""
    begun = {future for future in flying if not future.cancel()}
    wait(begun)
    for future in begun:
        if not future.cancelled() and future.exception() is None:
            yield future.result()


@contextmanager
def open_executor(
    kind: str, n_workers: int, scheduler: str | None
) -> Iterator[tuple[Executor, int]]:
    """Yield the executor that the options ask for, with how many visits it makes at once.

    Args:
        kind: One of EXECUTORS.
        n_workers: Threads or processes.
        scheduler: Address of a Dask scheduler, `tcp://…`; takes the place of both.

    Raises:
        ConfigError: The scheduler does not answer, or Dask is not installed.
        UnavailableError: A worker died.
    """
    if scheduler is not None:
        with _dask(scheduler) as found:
            yield found
        return
    alone = kind == "threads" or n_workers == 1
    try:
        with ThreadPoolExecutor(n_workers) if alone else open_pool(n_workers) as pool:
            yield pool, n_workers
    except BrokenProcessPool as exc:
        raise UnavailableError(
            "a worker process died, out of memory perhaps; run the same command again, with fewer "
            "--workers if it repeats"
        ) from exc


@contextmanager
def _dask(scheduler: str) -> Iterator[tuple[Executor, int]]:
    try:
        from distributed import Client, KilledWorker
    except ImportError as exc:
        raise ConfigError("--scheduler needs Dask: pip install 'mmearth[dask]'") from exc
    try:
        connect: Any = Client  # distributed names no types
        client = connect(scheduler, timeout="10s", set_as_default=False)
    except (OSError, ValueError, TimeoutError) as exc:
        raise ConfigError(
            f"no Dask scheduler answers at {scheduler}; start one or drop --scheduler"
        ) from exc
    with client, _without_tracebacks():
        n_threads = sum(client.nthreads().values())
        if not n_threads:
            raise ConfigError(f"the Dask scheduler at {scheduler} has no workers; start some")
        _check_versions(client)
        try:
            yield client.get_executor(pure=False), n_threads
        except (KilledWorker, CancelledError) as exc:
            raise UnavailableError(
                f"the Dask cluster at {scheduler} lost its workers or was closed; run the same "
                "command again"
            ) from exc


def _check_versions(client: Any) -> None:
    """Refuse workers that have another mmearth, or none: those would wait for ever."""
    try:
        ours = version("mmearth")
    except PackageNotFoundError as exc:
        raise ConfigError("--scheduler needs mmearth to be installed: pip install it") from exc
    for worker, theirs in client.run(version, "mmearth", on_error="return").items():
        if theirs != ours:
            found = "no mmearth" if isinstance(theirs, Exception) else f"mmearth {theirs}"
            raise ConfigError(
                f"the Dask worker at {worker} has {found}, expected {ours} as here; install the "
                "same version on all machines and start the workers again"
            )


@contextmanager
def _without_tracebacks() -> Iterator[None]:
    """Keep Dask's client from logging, traceback and all, what is said in a sentence here."""
    logger = logging.getLogger("distributed.client")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
