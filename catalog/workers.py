"""A pool of worker processes that ends with the process that made it, however that one ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor

_LOOK_EVERY_S = 0.2


def open_pool(n_workers: int) -> ProcessPoolExecutor:
    """Return a pool of processes.

    They are spawned, since GDAL and SQLite do not survive a fork and the driver has threads. They
    leave Ctrl-C to the driver. When the driver is killed they end too: a worker that went on would
    write into a directory that the next run believes to be its own.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(n_workers, context, _begin, (os.getpid(),))


def _begin(driver: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(driver,), daemon=True).start()


def _end_with(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(_LOOK_EVERY_S)
    os._exit(1)
