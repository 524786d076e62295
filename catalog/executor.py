"""Many jobs: the same loop on threads, processes or a Dask cluster."""

from __future__ import annotations

import logging
import os
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
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Any, TypeVar

from mmearth.catalog.errors import ConfigError, UnavailableError
from mmearth.catalog.workers import open_pool

Item = TypeVar("Item")
Found = TypeVar("Found")
Pool = tuple[Executor, int]
"""An executor, and how many jobs it does at once."""


@dataclass(frozen=True, slots=True)
class Workers:
    """Who does the work; nothing that is made depends on it."""

    n: int = 1
    """Processes or threads."""
    kind: str = "processes"
    """Or `threads`."""
    scheduler: str | None = None
    """Address of a Dask scheduler, `tcp://…`, whose workers take the place of both."""

    @classmethod
    def of(cls, n: int | None, kind: str | None, scheduler: str | None) -> Workers:
        """Return what the options of a command ask for; None: all cores, processes."""
        return cls(n or os.cpu_count() or 1, kind or "processes", scheduler)

    def open(self) -> AbstractContextManager[Pool]:
        """Yield the executor; see `open_executor`."""
        return open_executor(self.kind, self.n, self.scheduler)


def run(
    jobs: Iterable[Item],
    work: Callable[[Item], Found],
    executor: Executor,
    n_workers: int,
    keep: Callable[[Found], None],
    give_up: Callable[[], None] = lambda: None,
    ahead: int = 4,
) -> None:
    """Do every job with a bounded number in flight.

    On an error or an interrupt no further job begins; those in flight are awaited and kept.

    Args:
        jobs: Drawn as they are needed, so that a long list stays flat in memory.
        work: What is done with one; picklable where the executor crosses processes.
        executor: Any executor of `concurrent.futures`.
        n_workers: How many jobs it does at once.
        keep: Called in this thread with what came of each job, in the order in which they end.
        give_up: Called before the last jobs are awaited, so that they wait for nothing.
        ahead: Jobs in flight for each worker: enough that none waits for the driver.

    Raises:
        MMEarthError: What `work` or `keep` raised first.
    """
    queue = iter(jobs)
    done: set[Future[Found]] = set()
    flying: set[Future[Found]] = set()
    try:
        for job in islice(queue, n_workers * ahead):
            flying.add(executor.submit(work, job))
        while flying:
            done, flying = wait(flying, return_when=FIRST_COMPLETED)
            for job in islice(queue, len(done)):
                flying.add(executor.submit(work, job))
            while done:
                keep(done.pop().result())
    except BaseException:
        give_up()
        for found in _drain(done | flying):
            keep(found)
        raise


def _drain(flying: set[Future[Found]]) -> Iterator[Found]:
    """Cancel what has not begun, await what has, and yield what came of it."""
    begun = {future for future in flying if not future.cancel()}
    wait(begun)
    for future in begun:
        if not future.cancelled() and future.exception() is None:
            yield future.result()


@contextmanager
def open_executor(kind: str, n_workers: int, scheduler: str | None) -> Iterator[Pool]:
    """Yield the executor that the options ask for, with how many jobs it does at once.

    Args:
        kind: `processes` or `threads`.
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
def _dask(scheduler: str) -> Iterator[Pool]:
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
