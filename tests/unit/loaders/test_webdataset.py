"""A selection as a stock pipeline: the samples that WebDataset itself reads from the shards."""

from __future__ import annotations

import io
import json
import pickle
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds

from mmearth.catalog.errors import ConfigError, IntegrityError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.loaders.dataset import open_dataset
from mmearth.loaders.selection import Selection
from mmearth.loaders.webdataset import pipeline

TASKS = ("biomass", "soil_pH", "species")
TILE_LEVEL = [name for name, modality in MMEARTH_BENCH.layers.items() if modality.level == "tile"]


def stock(selection: Selection) -> Iterator[dict[str, Any]]:
    root = Path(selection.dataset.root.url)
    shards = [str(root / name) for name in selection.index.shards]
    yield from wds.WebDataset(shards, shardshuffle=False)


@pytest.mark.parametrize("task", TASKS)
def test_it_gives_what_stock_webdataset_gives(small_dataset: Path, task: str) -> None:
    selection = open_dataset(small_dataset).select(task)
    ours, theirs = list(pipeline(selection, block=3)), list(stock(selection))
    assert [sample["__key__"] for sample in ours] == [sample["__key__"] for sample in theirs]
    assert len(ours) == selection.count > 3
    for mine, other in zip(ours, theirs, strict=True):
        assert set(other) - set(mine) <= {"__local_path__"}
        assert set(mine) <= set(other)
        assert mine["__url__"] == other["__url__"]
        for name in mine:
            if name.endswith(".npy"):
                assert mine[name] == other[name], name
        document, whole = json.loads(mine["json"]), json.loads(other["json"])
        assert document == {name: whole[name] for name in document}
        assert set(whole) - set(document) == {"split", "missing"}


def test_only_what_was_chosen_is_there(small_dataset: Path) -> None:
    dataset = open_dataset(small_dataset)
    wanted = ["esa_worldcover", "month"]
    for sample in pipeline(dataset.select("soil_pH", "train", modalities=wanted)):
        assert set(sample) <= {"__key__", "__url__", "json", "esa_worldcover.npy"}
        assert list(json.loads(sample["json"])["modalities"]) == ["month"]


def test_other_members_are_not_read(small_dataset: Path, tmp_path: Path) -> None:
    place = tmp_path / "set"
    shutil.copytree(small_dataset, place)
    dataset = open_dataset(place)
    chosen = dataset.select("soil_pH", modalities=["esa_worldcover"])
    before = list(pipeline(chosen))
    offsets = dataset.select("soil_pH").index.offset["sentinel2"]
    flip(place, chosen, int(offsets[0]))
    assert list(pipeline(chosen)) == before
    with pytest.raises(IntegrityError, match=before[0]["__key__"]):
        list(pipeline(dataset.select("soil_pH", modalities=["sentinel2"])))


def flip(place: Path, selection: Selection, offset: int) -> None:
    """Change a value of the first sample's member at `offset`."""
    with (place / selection.index.shards[0]).open("r+b") as stream:
        stream.seek(offset + 1000)
        [byte] = stream.read(1)
        stream.seek(offset + 1000)
        stream.write(bytes([byte ^ 1]))


def test_stock_stages_compose(small_dataset: Path) -> None:
    selection = open_dataset(small_dataset).select("soil_pH", modalities=["esa_worldcover"])
    rng = random.Random(1)
    stages = (
        pipeline(selection).shuffle(8, rng=rng).decode().to_tuple("__key__", "esa_worldcover.npy")
    )
    batches = list(stages.batched(4))
    keys = [key for names, _ in batches for key in names]
    assert sorted(keys) == sorted(selection.index.keys(np.arange(selection.count)))
    assert keys != selection.index.keys(np.arange(selection.count))
    assert batches[0][1].shape == (4, 1, 128, 128)
    assert batches[0][1].dtype == np.uint8


@pytest.mark.parametrize(("nodes", "workers"), [(1, 2), (2, 1), (3, 2)])
def test_nodes_and_workers_share_the_samples(
    small_dataset: Path, monkeypatch: pytest.MonkeyPatch, nodes: int, workers: int
) -> None:
    selection = open_dataset(small_dataset).select("biomass", modalities=["esa_worldcover"])
    whole = [sample["__key__"] for sample in pipeline(selection)]
    seen: list[str] = []
    for node in range(nodes):
        for worker in range(workers):
            for name, value in {
                "RANK": node, "WORLD_SIZE": nodes, "WORKER": worker, "NUM_WORKERS": workers
            }.items():  # fmt: skip
                monkeypatch.setenv(name, str(value))
            mine = [sample["__key__"] for sample in pipeline(selection, block=1)]
            assert mine == whole[node::nodes][worker::workers]
            seen += mine
    assert sorted(seen) == sorted(whole)


def test_workers_of_a_dataloader(small_dataset: Path) -> None:
    selection = open_dataset(small_dataset).select("soil_pH", modalities=["esa_worldcover"])
    loader = wds.WebLoader(pipeline(selection, block=2), batch_size=None, num_workers=2)
    alone = {sample["__key__"]: sample["esa_worldcover.npy"] for sample in pipeline(selection)}
    assert {sample["__key__"]: sample["esa_worldcover.npy"] for sample in loader} == alone


def test_it_can_be_pickled_and_read_twice(small_dataset: Path) -> None:
    stages = pipeline(open_dataset(small_dataset).select("species", modalities=["sentinel1"]))
    once = list(stages)
    assert list(stages) == once
    assert list(pickle.loads(pickle.dumps(stages))) == once


def test_a_sample_outlives_the_next_block(small_dataset: Path) -> None:
    selection = open_dataset(small_dataset).select("species", modalities=["sentinel2"])
    first = next(iter(pipeline(selection, block=1)))
    kept = bytes(first["sentinel2.npy"])
    assert next(iter(pipeline(selection, block=1)))["sentinel2.npy"] == kept
    array = np.load(io.BytesIO(kept))
    assert array.shape == (12, 128, 128)
    assert array.dtype == np.uint16


def test_a_block_has_one_sample_or_more(small_dataset: Path) -> None:
    with pytest.raises(ConfigError, match="found block 0"):
        pipeline(open_dataset(small_dataset).select("species"), block=0)
