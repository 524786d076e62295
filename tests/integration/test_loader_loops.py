"""Loaders under other people's loops: persistent workers, forks, copies, one form of state."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader

import mmearth
from mmearth.catalog.errors import ConfigError, StorageError
from mmearth.loaders import ring
from mmearth.loaders.collate import Batch
from mmearth.loaders.selection import Selection
from mmearth.tests.range_server import serving

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # by torchdata
]
Keys = list[list[str]]


@pytest.fixture(scope="module")
def chosen(small_dataset: Path) -> Selection:
    return mmearth.open(small_dataset).select("biomass", modalities=["sentinel2", "month"])


def keys(batches: Any) -> Keys:
    return [batch["key"] for batch in batches]


def epochs(chosen: Selection, n: int, seed: int = 1) -> list[Keys]:
    loader = chosen.loader(2, seed=seed)
    return [keys(loader) for _ in range(n)]


def in_fork(do: Callable[[], object], timeout_s: float = 30) -> object:
    """Return what a function returns, or the error that it raises, in a forked child."""
    receive, send = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        try:
            send.send(do())
        except BaseException as exc:  # noqa: BLE001 - the parent is told of any
            send.send(exc)
        finally:
            os._exit(0)
    try:
        assert receive.poll(timeout_s), "the child waits for ever"
        return receive.recv()
    finally:
        if os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.1)
            if os.waitpid(child, os.WNOHANG) == (0, 0):
                os.kill(child, 9)
                os.waitpid(child, 0)


@pytest.mark.parametrize(("how", "n_workers"), [("fork", 2), ("spawn", 1)])
def test_persistent_workers_follow_set_epoch(chosen: Selection, how: str, n_workers: int) -> None:
    expected = epochs(chosen, 3)
    assert expected[0] != expected[1] != expected[2]
    stream = chosen.stream(2, seed=1)
    loader = DataLoader(
        stream,
        None,
        num_workers=n_workers,
        persistent_workers=True,
        multiprocessing_context=how,
    )
    for epoch in (0, 1, 2, 1):
        stream.set_epoch(epoch)
        assert keys(loader) == expected[epoch]
    stream.set_epoch(2, 1)
    assert keys(loader) == expected[2][1:]
    assert keys(loader) == expected[2]  # and then a whole one


def test_a_copied_stream_speaks_to_its_own_workers(chosen: Selection) -> None:
    expected = epochs(chosen, 3)
    first = chosen.stream(2, seed=1)
    for second in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        loader = DataLoader(second, None, num_workers=1, persistent_workers=True)
        assert keys(loader) == expected[0]
        first.set_epoch(2)
        second.set_epoch(1)
        assert keys(loader) == expected[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_used_loader_is_forked_pickled_and_copied(chosen: Selection, workers: int) -> None:
    expected = epochs(chosen, 3)
    loader = chosen.loader(2, seed=1, workers=workers)
    assert keys(loader) == expected[0]
    assert in_fork(lambda: keys(loader)) == expected[1]
    assert in_fork(lambda: keys(pickle.loads(pickle.dumps(loader)))) == expected[1]
    for other in (copy.deepcopy(loader), pickle.loads(pickle.dumps(loader)), copy.copy(loader)):
        assert keys(other) == expected[1]
    assert keys(loader) == expected[1]
    assert keys(loader) == expected[2]


def test_an_epoch_does_not_go_on_in_a_fork(chosen: Selection) -> None:
    loader = chosen.loader(1, seed=1)
    batches = iter(loader)
    next(batches)
    found = in_fork(lambda: keys(batches))
    assert isinstance(found, ConfigError) and "begin an epoch of its own" in str(found)
    assert len(keys(batches)) == len(loader) - 1
    half = iter(loader)
    next(half)
    assert in_fork(lambda: half.close() if isinstance(half, Iterator) else None) is None  # type: ignore[attr-defined]


def test_a_loader_in_a_fork_is_told_of_the_fork(small_dataset: Path, tmp_path: Path) -> None:
    with serving(small_dataset) as server:
        remote = mmearth.open(server.url, tmp_path / "cache")
        chosen = remote.select("soil_pH", modalities=["sentinel2"])
        assert len(keys(chosen.loader(4))) > 0
        for entry in (tmp_path / "cache").rglob("*"):
            if entry.is_file():
                entry.unlink()
        loader = DataLoader(chosen.stream(4), None, num_workers=1)
        with pytest.raises(Exception, match="before this process was forked") as raised:
            keys(loader)
        assert "was rebuilt" not in str(raised.value)


def test_a_state_is_one_for_loaders_and_streams(chosen: Selection) -> None:
    whole = keys(chosen.loader(1, seed=1))
    for stop in (0, 1, len(whole) - 1):
        loader, stream = chosen.loader(1, seed=1), chosen.stream(1, seed=1)
        assert keys(islice(loader, stop)) == keys(islice(stream, stop)) == whole[:stop]
        assert loader.state_dict() == stream.state_dict()
        for state in (loader.state_dict(), json.loads(json.dumps(stream.state_dict()))):
            for other in (chosen.loader(1, seed=1), chosen.stream(1, seed=1)):
                other.load_state_dict(state)
                assert keys(other) == whole[stop:]


def test_a_loaded_stream_goes_on_in_any_number_of_workers(chosen: Selection) -> None:
    whole = keys(chosen.loader(1, seed=1, epoch=1))
    loader = chosen.loader(1, seed=1, epoch=1)
    seen = keys(islice(loader, 2))
    for n_workers in (0, 1, 2):
        stream = chosen.stream(1, seed=1)
        stream.load_state_dict(loader.state_dict())
        assert seen + keys(DataLoader(stream, None, num_workers=n_workers)) == whole


def test_the_state_of_a_worker_is_refused_elsewhere(chosen: Selection) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    first: Any = StatefulDataLoader(chosen.stream(1, seed=1), None, num_workers=2)
    assert len(keys(islice(first, 3))) == 3
    text = json.dumps(first.state_dict(), default=str)
    assert '"n_workers": 2' in text
    state = {**chosen.loader(1, seed=1).state_dict(), "n_taken": 1, "n_workers": 2}
    for other in (chosen.loader(1, seed=1), chosen.stream(1, seed=1)):
        with pytest.raises(ConfigError, match="the state is of one of 2 workers of a DataLoader"):
            other.load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: None, "found a state without selection"),
        (lambda state: [], "found a state without selection"),
        (lambda state: {}, "found a state without selection"),
        (lambda state: {k: v for k, v in state.items() if k != "epoch"}, "a state without epoch"),
        (lambda state: {**state, "position": "x"}, "found position of the state 'x'"),
        (lambda state: {**state, "position": 1.5}, "found position of the state 1.5"),
        (lambda state: {**state, "epoch": -1}, "found epoch of the state -1"),
        (lambda state: {**state, "n_workers": 0}, "found n_workers of the state 0"),
        (lambda state: {**state, "seed": 9}, "the state is of a loader with seed 9"),
    ],
)
def test_what_is_no_state(chosen: Selection, change: Callable[[Any], Any], said: str) -> None:
    state = chosen.loader(1).state_dict()
    for other in (chosen.loader(1), chosen.stream(1)):
        with pytest.raises(ConfigError, match=said):
            other.load_state_dict(change(state))


def test_positions_and_epochs_that_are_none(chosen: Selection) -> None:
    for other in (chosen.loader(1), chosen.stream(1)):
        for wrong in (-1, 1.0, "0", None, 10**20):
            with pytest.raises(ConfigError, match="found epoch"):
                other.set_epoch(wrong)  # type: ignore[arg-type]
    stream = chosen.stream(1)
    stream.set_epoch(0, 10**6)
    with pytest.raises(ConfigError, match="found position 1000000; expected 0 to"):
        keys(stream)
    assert chosen.loader(np.int64(1)).state_dict() == chosen.loader(1).state_dict()
    assert json.dumps(chosen.loader(np.int64(2), seed=np.int64(3)).state_dict())


def test_no_room_in_shared_memory(
    chosen: Selection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, offset: int, nbytes: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ring.os, "posix_fallocate", full)
    with pytest.raises(StorageError, match=r"no room for a batch of .* MB in .*--shm-size"):
        keys(chosen.loader(2, workers=1))


def test_what_is_shown_is_a_few_lines(chosen: Selection, small_dataset: Path) -> None:
    loader, stream = chosen.loader(2), chosen.stream(2)
    batch = next(iter(loader))
    dataset = mmearth.open(small_dataset)
    for shown in (dataset, chosen, chosen.index, loader, stream, batch):
        assert len(repr(shown).splitlines()) <= 12 and len(repr(shown)) < 1000, shown
    assert repr(loader).startswith("<Loader of ") and "sentinel2, month): shuffled" in repr(loader)
    assert "tasks       biomass, soil_pH, species" in repr(dataset)
    assert "sentinel2            uint16 (2, 12, 128, 128)" in repr(batch)


def test_a_batch_is_a_dict_to_everybody(chosen: Selection) -> None:
    batch = next(iter(chosen.loader(2)))
    assert isinstance(batch, dict)
    moved = tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, batch)
    assert isinstance(moved, Batch) and list(moved) == list(batch)
    assert torch.equal(moved["mask"]["month"], batch["mask"]["month"])
    assert moved["sentinel2"].data_ptr() != batch["sentinel2"].data_ptr()
    fabric = pytest.importorskip("lightning_fabric").utilities.move_data_to_device
    assert torch.equal(fabric(batch, torch.device("cpu"))["target"], batch["target"])
