"""A pool of worker processes that ends with the process that made it, however that one ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from mmearth.catalog.stops import STOPS, stops_held


def open_pool(n_workers: int) -> ProcessPoolExecutor:
    """Return a pool of processes.

    They are not forked from the driver: GDAL and SQLite do not survive that, and it has threads.
    On Linux they are forked from a process that has done nothing but import what the driver had
    imported when it opened its first pool; elsewhere each begins anew. They leave Ctrl-C and
    SIGTERM, which a terminal or a batch system sends to all processes of a job, to the driver. When
    the driver is killed they end too: a worker that went on would write into a directory that the
    next run believes to be its own.
    """
    method = "forkserver" if sys.platform == "linux" else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload([name for name in sys.modules if name.startswith("mmearth.")])
    pool = ProcessPoolExecutor(n_workers, context, _begin, (dict(os.environ),))
    with stops_held() as carry_out, _stops_blocked():
        for _ in range(n_workers):
            pool.submit(os.getpid)  # each starts a process while none is idle yet
    try:
        carry_out()
    except BaseException:
        pool.shutdown(wait=True)
        raise
    return pool


@contextmanager
def _stops_blocked() -> Iterator[None]:
    """Let processes that start in the block ignore Ctrl-C and SIGTERM.

    They inherit which signals are blocked, from their first instruction on. Stops are to be held
    around it: one in the middle of starting would leave processes that nobody knows of.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(environment: dict[str, str]) -> None:
    """Begin a worker with the driver's environment of now, and watch the driver."""
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_end_with_driver, daemon=True).start()


def _end_with_driver() -> None:
    driver = multiprocessing.parent_process()
    assert driver is not None
    driver.join()
    os._exit(1)
