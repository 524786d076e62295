"""Threads that wait for servers, as many as hosts let through, and the few that read pixels."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import TypeVar

import rasterio

from mmearth.catalog.errors import MMEarthError, RefusedError, StorageError


class Threads(Enum):
    """What threads wait for, or do."""

    SPANS = "one request each"
    FILES = "all of a file, or a search"
    SCENES = "all of a scene"
    PIXELS = "what is computed"


_MANY = {Threads.SPANS: 64, Threads.FILES: 48, Threads.SCENES: 24}
_MANY[Threads.PIXELS] = (os.cpu_count() or 1) + 1
Key = TypeVar("Key")
Item = TypeVar("Item")
Value = TypeVar("Value")
_pools: dict[tuple[int, Threads], ThreadPoolExecutor] = {}
_lock = threading.Lock()


def at_once(
    keys: Iterable[Key], ask: Callable[[Key], Value], threads: Threads = Threads.FILES
) -> dict[Key, Value | MMEarthError]:
    """Return what many questions come to, asked at once: answers, or errors of ours.

    Args:
        keys: What is asked about; of one alone this thread asks.
        ask: Asks one question; it asks none in this way itself, unless of others of the threads.
        threads: Whose turn it is.
    """
    several = list(keys)
    if len(several) == 1:
        return {several[0]: _outcome(lambda: ask(several[0]))}
    asked = {key: _pool(threads).submit(ask, key) for key in several}
    return {key: _outcome(future.result) for key, future in asked.items()}


def read_at_once(
    items: Sequence[Item],
    key: Callable[[Item], Hashable],
    read: Callable[[list[Item]], Sequence[Value]],
) -> list[Value | MMEarthError]:
    """Return what items come to, in their order; some wait for hosts while others compute.

    Args:
        items: What is read.
        key: Items of one key are read together.
        read: Reads some, in their order; what it raises is what each of them comes to.

    Raises:
        RefusedError: A person must act, or the budget is spent.
        StorageError: The disk is full or refused.
    """
    groups: dict[Hashable, list[int]] = {}
    for i, item in enumerate(items):
        groups.setdefault(key(item), []).append(i)
    found = at_once(groups, lambda k: read([items[i] for i in groups[k]]), Threads.SCENES)
    outcomes: dict[int, Value | MMEarthError] = {}
    stop(found.values())
    for k, same in groups.items():
        told = found[k]
        several = [told] * len(same) if isinstance(told, MMEarthError) else told
        outcomes |= dict(zip(same, several, strict=True))
    return [outcomes[i] for i in range(len(items))]


def stop(outcomes: Iterable[object]) -> None:
    """Raise what ends the run.

    Raises:
        RefusedError: A person must act, or the budget is spent.
        StorageError: The disk is full or refused.
    """
    for outcome in outcomes:
        if isinstance(outcome, RefusedError | StorageError):
            raise outcome


def on_a_core(compute: Callable[[], Value]) -> Value:
    """Return what GDAL computes, in one of as few threads as there are cores, and one more.

    Who waits for hosts takes no core so, and what GDAL knows of a CRS it finds out in each thread.
    """
    return _pool(Threads.PIXELS).submit(compute).result()


def _outcome(tell: Callable[[], Value]) -> Value | MMEarthError:
    try:
        return tell()
    except MMEarthError as exc:
        return exc


def _pool(threads: Threads) -> ThreadPoolExecutor:
    """Return threads of this process."""
    with _lock:
        key = os.getpid(), threads
        if key not in _pools:
            for other in [each for each in _pools if each[0] != key[0]]:
                del _pools[other]  # a parent's, whose threads are not here
            begin = _with_gdal if threads is Threads.PIXELS else None
            _pools[key] = ThreadPoolExecutor(_MANY[threads], "mmearth-remote", begin)
        return _pools[key]


def _with_gdal() -> None:
    """Set GDAL up once for a thread, not for each call of it."""
    rasterio.Env().__enter__()
