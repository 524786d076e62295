"""A pool of worker processes that ends with the process that made it, however that one ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

_LOOK_EVERY_S = 0.2
_STOPS = (signal.SIGINT, signal.SIGTERM)


def open_pool(n_workers: int) -> ProcessPoolExecutor:
    """Return a pool of processes.

    They are spawned, since GDAL and SQLite do not survive a fork and the driver has threads. They
    leave Ctrl-C and SIGTERM, which a terminal or a batch system sends to all processes of a job, to
    the driver. When the driver is killed they end too: a worker that went on would write into a
    directory that the next run believes to be its own.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(n_workers, context, _begin, (os.getpid(),))
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


def _begin(driver: int) -> None:
    threading.Thread(target=_end_with, args=(driver,), daemon=True).start()


def _end_with(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(_LOOK_EVERY_S)
    os._exit(1)
