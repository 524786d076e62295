"""Blocks are used again by the next pool, and never while somebody still reads them."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest

from mmearth.loaders import pool
from mmearth.loaders.fetch import shards
from mmearth.loaders.pool import Block, Pool, allocate

SIZE = 4096


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pool, "_left", [])
    yield
    gc.collect()


def fill(given: Pool, value: int) -> Block:
    """Return a view of a block, as an array of a batch is one."""
    view: Block = np.ndarray((SIZE,), np.uint8, given.blocks[given.take()])
    view[:] = value
    return view


def test_the_next_pool_takes_what_one_left() -> None:
    before = Pool(SIZE)
    at = fill(before, 1).ctypes.data
    del before
    after = Pool(SIZE)
    assert fill(after, 2).ctypes.data == at
    assert pool._left == []


def test_not_while_it_is_read() -> None:
    before = Pool(SIZE)
    batch = fill(before, 1)
    del before
    after = Pool(SIZE)
    other = fill(after, 2)
    assert (batch == 1).all() and (other == 2).all()
    at = batch.ctypes.data
    del batch
    assert fill(Pool(SIZE), 3).ctypes.data == at


def test_of_another_size_it_stays_for_whom_it_fits() -> None:
    before = Pool(SIZE)
    at = fill(before, 1).ctypes.data
    del before
    assert len(allocate(2 * SIZE)) == 2 * SIZE
    assert fill(Pool(SIZE), 2).ctypes.data == at


def test_little_is_left_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_LEFT_BYTES", 2 * SIZE)
    before = Pool(SIZE)
    places = [view.ctypes.data for view in [fill(before, i) for i in range(3)]]
    del before
    assert [block.ctypes.data for block in pool._left] == places[1:]
    large = Pool(2 * SIZE)
    at = large.blocks[large.take()].ctypes.data
    del large
    assert [block.ctypes.data for block in pool._left] == [at]


def test_shared_memory_is_left_to_nobody() -> None:
    before = Pool(SIZE, lambda nbytes: np.zeros(nbytes, np.uint8))
    fill(before, 1)
    del before
    assert pool._left == []


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forks among threads
@pytest.mark.parametrize(("module", "name"), [(pool, "_leaving"), (shards, "_checking")])
def test_a_fork_inherits_no_lock_that_is_held(module: ModuleType, name: str) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with getattr(module, name):
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    child = os.fork()
    if child == 0:
        os._exit(0 if getattr(module, name).acquire(timeout=5) else 1)
    status = os.waitpid(child, 0)[1]
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0
