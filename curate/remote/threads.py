"""Threads that wait for servers: as many questions at once as hosts let through."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mmearth.catalog.errors import MMEarthError

_THREADS = 64
Key = TypeVar("Key")
Value = TypeVar("Value")
_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()


def at_once(keys: Iterable[Key], ask: Callable[[Key], Value]) -> dict[Key, Value | MMEarthError]:
    """Return what many questions come to, asked at once: answers, or errors of ours.

    Args:
        keys: What is asked about.
        ask: Asks one question; it asks none in this way itself.
    """
    asked = {key: _pool().submit(ask, key) for key in keys}
    found: dict[Key, Value | MMEarthError] = {}
    for key, future in asked.items():
        try:
            found[key] = future.result()
        except MMEarthError as exc:
            found[key] = exc
    return found


def _pool() -> ThreadPoolExecutor:
    """Return the threads of this process."""
    with _lock:
        if os.getpid() not in _pools:
            _pools.clear()  # a parent's, whose threads are not here
            _pools[os.getpid()] = ThreadPoolExecutor(_THREADS, "mmearth-remote")
        return _pools[os.getpid()]
