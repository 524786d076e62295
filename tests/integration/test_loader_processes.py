"""Loaders in several processes: our own workers, PyTorch's, torchdata's, Fabric's ranks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import mmearth
from mmearth.catalog.errors import IntegrityError, MMEarthError
from mmearth.loaders.collate import Batch
from mmearth.loaders.dataset import Dataset
from mmearth.loaders.orders.schedule import State
from mmearth.loaders.selection import Selection
from mmearth.tests.hand_index import copy_to_read

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # by torchdata
]


@pytest.fixture(scope="module")
def dataset(small_dataset: Path) -> Dataset:
    return mmearth.open(small_dataset)


@pytest.fixture(scope="module")
def chosen(dataset: Dataset) -> Selection:
    return dataset.select("biomass", modalities=["sentinel2", "temperature"])


def _same(found: list[Batch], expected: list[Batch]) -> None:
    assert [batch["key"] for batch in found] == [batch["key"] for batch in expected]
    for ours, theirs in zip(found, expected, strict=True):
        for name in ("sentinel2", "temperature", "target"):
            assert torch.equal(ours[name], theirs[name])
            assert torch.equal(ours["mask"][name], theirs["mask"][name])


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_give_what_a_thread_gives(chosen: Selection, workers: int) -> None:
    expected = list(chosen.loader(2, seed=1))
    loader = chosen.loader(2, seed=1, workers=workers)
    for _ in range(2):  # the second epoch uses the same processes
        loader.set_epoch(0)
        _same(list(loader), expected)


def test_workers_stop_and_go_on(chosen: Selection) -> None:
    whole = [batch["key"] for batch in chosen.loader(1, seed=1)]
    for stop in range(1, len(whole), 3):
        loader = chosen.loader(1, seed=1, workers=2)
        seen = [batch["key"] for batch in islice(loader, stop)]
        later = chosen.loader(1, seed=1, workers=1)
        later.load_state_dict(loader.state_dict())
        assert seen + [batch["key"] for batch in later] == whole


@pytest.mark.parametrize(("workers", "worlds"), [(0, (1, 2, 3)), (1, (1, 2)), (3, (2,))])
def test_any_stop_goes_on_with_other_workers_and_ranks(
    dataset: Dataset, workers: int, worlds: tuple[int, ...]
) -> None:
    few = dataset.select("soil_pH", modalities=["month"], limit=6)
    whole = [batch["key"] for batch in few.loader(2, seed=4)]
    assert len(whole) == 3
    for world in worlds:
        for stop in range(1, -(-len(whole) // world) + 1):
            state, seen = _stopped(few, workers, world, stop)
            others = (workers + 1) % 2, 1 + (world + stop) % 3
            assert sorted(seen + _rest(few, *others, state)) == sorted(whole)


def _stopped(
    chosen: Selection, workers: int, world: int, stop: int
) -> tuple[State, list[list[str]]]:
    """Return where all ranks of a job are after some steps, and the keys that counted."""
    seen, states = [], []
    for rank in range(world):
        loader = chosen.loader(2, seed=4, workers=workers, rank=rank, world=world)
        for batch in islice(loader, stop):
            seen += [batch["key"]] if batch["weight"].all() else []
        states.append(loader.state_dict())
    assert all(state == states[0] for state in states)
    return states[0], seen


def _rest(chosen: Selection, workers: int, world: int, state: State) -> list[list[str]]:
    """Return the keys that count of what a job with other workers and ranks still reads."""
    seen = []
    for rank in range(world):
        loader = chosen.loader(2, seed=4, workers=workers, rank=rank, world=world)
        loader.load_state_dict(state)
        seen += [batch["key"] for batch in loader if batch["weight"].all()]
    return seen


def test_a_killed_worker_is_one_sentence(chosen: Selection) -> None:
    others = _children()  # of earlier tests, on their way out
    loader = chosen.loader(1, seed=1, workers=1, prefetch=1)
    batches = iter(loader)
    next(batches)
    workers = _children() - others
    assert workers
    for child in workers:
        os.kill(child, signal.SIGKILL)
    with pytest.raises(MMEarthError, match="was killed by signal 9"):
        list(batches)
    assert not _children() & workers


def test_workers_end_with_their_parent(small_dataset: Path, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(  # with no guard against being imported: nothing runs it twice
        "import mmearth, os, sys, time\n"
        f"chosen = mmearth.open({str(small_dataset)!r}).select('soil_pH', modalities=['month'])\n"
        "batches = iter(chosen.loader(1, workers=2))\n"
        "next(batches)\n"
        "print(os.getpid(), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE) as job:
        assert job.stdout is not None
        job.stdout.readline()
        workers = _children(job.pid)
        assert len(workers) == 2
        job.kill()
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers):
        assert time.monotonic() < end, "workers outlive their parent"
        time.sleep(0.05)


def _children(parent: int | None = None) -> set[int]:
    parent = os.getpid() if parent is None else parent
    found = set()
    for task in Path(f"/proc/{parent}/task").iterdir():
        found |= {int(pid) for pid in (task / "children").read_text().split()}
    return {pid for pid in found if b"mmearth" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def test_a_worker_names_the_damaged_sample(small_dataset: Path, tmp_path: Path) -> None:
    place = copy_to_read(small_dataset, tmp_path / "set", "biomass")
    chosen = mmearth.open(place).select("biomass", modalities=["sentinel2"])
    shard = place / chosen.index.shards[0]
    with shard.open("r+b") as stream:
        stream.seek(int(chosen.index.offset["sentinel2"][0]) + 1000)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 1]))
    with pytest.raises(IntegrityError, match=chosen.index.keys([0])[0]):  # type: ignore[arg-type]
        list(chosen.loader(1, workers=1))


@pytest.mark.parametrize("num_workers", [0, 1, 2, 4])
def test_under_dataloader(chosen: Selection, num_workers: int) -> None:
    expected = list(chosen.loader(2, seed=1, epoch=2))
    stream = chosen.stream(2, seed=1, epoch=2)
    _same(list(DataLoader(stream, batch_size=None, num_workers=num_workers)), expected)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_under_stateful_dataloader(chosen: Selection, num_workers: int) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    def make() -> Any:
        return StatefulDataLoader(chosen.stream(1, seed=1), None, num_workers=num_workers)

    whole = [batch["key"] for batch in chosen.loader(1, seed=1)]
    for stop in (1, len(whole) // 2, len(whole) - 1):
        first, second = make(), make()
        seen = [batch["key"] for batch in islice(first, stop)]
        second.load_state_dict(first.state_dict())
        assert seen + [batch["key"] for batch in second] == whole


def test_a_stream_goes_on_with_other_workers(chosen: Selection) -> None:
    whole = [batch["key"] for batch in chosen.loader(1, seed=1)]
    stream = chosen.stream(1, seed=1)
    taken = list(islice(DataLoader(stream, None, num_workers=2), 3))
    stream.set_epoch(0, taken[-1]["position"])
    rest = [batch["key"] for batch in DataLoader(stream, None, num_workers=1)]
    assert [batch["key"] for batch in taken] + rest == whole


def test_under_fabric(chosen: Selection) -> None:
    fabric = pytest.importorskip("lightning_fabric").Fabric(accelerator="cpu", devices=1)
    loader = fabric.setup_dataloaders(DataLoader(chosen.stream(2, seed=1), batch_size=None))
    _same(list(loader), list(chosen.loader(2, seed=1)))


def test_ranks_of_a_launcher(chosen: Selection, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        seen += [b["key"] for b in chosen.loader(2, seed=1) if b["weight"].all()]
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    assert sorted(seen) == sorted(b["key"] for b in chosen.loader(2, seed=1))
