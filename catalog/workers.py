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

_STOPS = (signal.SIGINT, signal.SIGTERM)


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
    with _stops_held() as held:
        for _ in range(n_workers):
            pool.submit(os.getpid)  # each starts a process while none is idle yet
    if held:
        pool.shutdown(wait=True)
        signal.raise_signal(held[0])
    return pool


@contextmanager
def _stops_held() -> Iterator[list[signal.Signals]]:
    """Hold Ctrl-C and SIGTERM back while processes start, and let those processes ignore them.

    A spawned process inherits which signals are blocked, from its first instruction on. An
    interrupt in the middle of starting would leave processes that nobody knows of.

    Yields:
        The signals that came meanwhile, for the caller to raise again.
    """
    held: list[signal.Signals] = []
    if threading.current_thread() is not threading.main_thread():
        yield held  # handlers run in the main thread alone
        return
    handlers = {
        stop: signal.signal(stop, lambda number, _: held.append(signal.Signals(number)))
        for stop in _STOPS
    }
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        yield held
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for stop, handler in handlers.items():
            signal.signal(stop, handler)


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
