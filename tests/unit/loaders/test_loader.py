"""Batches of tensors: the shards' own numbers, in the order asked for, from anywhere on."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import mmearth
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.schema import member_column
from mmearth.catalog.targets import target_array
from mmearth.loaders.collate import Batch
from mmearth.loaders.dataset import Dataset
from mmearth.loaders.orders.order import ORDERS
from mmearth.packaging.codec import decode_tile_level
from mmearth.tests.hand_index import tar_members

Row = dict[str, Any]


@pytest.fixture(scope="module")
def dataset(small_dataset: Path) -> Dataset:
    return mmearth.open(small_dataset)


def _rows(root: Path, task: str) -> list[Row]:
    found: list[Row] = pq.read_table(root / f"manifests/{task}.parquet").to_pylist()
    return found


def _samples(root: Path, task: str) -> dict[str, dict[str, Any]]:
    """Return every sample's arrays by key, read from the tars by the standard library."""
    members = tar_members(root, task)
    found = {}
    for row in _rows(root, task):
        document = json.loads(members[f"{row['key']}.json"])
        tile_level = decode_tile_level(document, MMEARTH_BENCH)
        arrays: dict[str, Any] = {layer.name: values for layer, values in tile_level}
        for name in [*MMEARTH_BENCH.layers, task]:
            if f"{row['key']}.{name}.npy" in members:
                arrays[name] = np.load(io.BytesIO(members[f"{row['key']}.{name}.npy"]))
        if task not in arrays:
            arrays[task] = target_array(MMEARTH_BENCH.tasks[task], document["target"])
        found[row["key"]] = {**arrays, "target": arrays.pop(task)}
    return found


def _keys(batches: list[Batch]) -> list[str]:
    return [key for batch in batches for key in batch["key"]]


@pytest.mark.parametrize("task", ["biomass", "soil_pH", "species"])
def test_tensors_are_what_the_tars_hold(small_dataset: Path, dataset: Dataset, task: str) -> None:
    truth = _samples(small_dataset, task)
    loader = dataset.select(task).loader(batch_size=3, order="shuffled", seed=1)
    first = list(loader)
    again = list(loader)  # each member was checked by now; in other batches, over other numbers
    assert sorted(_keys(first)) == sorted(_keys(again)) == sorted(truth)
    for batch in [*first, *again]:
        assert set(batch) == {*MMEARTH_BENCH.layers, "target", "mask", "weight", "key", "position"}
        assert batch["weight"].tolist() == [1.0] * len(batch["key"])
        for i, key in enumerate(batch["key"]):
            for name in MMEARTH_BENCH.layers:
                _agrees(name, batch[name][i], batch["mask"][name][i], truth[key].get(name))
            mask, target = batch["mask"]["target"][i].numpy(), batch["target"][i].numpy()
            assert target.dtype == np.dtype(MMEARTH_BENCH.tasks[task].dtype)
            np.testing.assert_array_equal(target, truth[key]["target"])
            nodata = MMEARTH_BENCH.tasks[task].nodata
            np.testing.assert_array_equal(mask, target != nodata if nodata else np.True_)


def _agrees(name: str, values: torch.Tensor, mask: torch.Tensor, truth: Any) -> None:
    assert values.shape == mask.shape == MMEARTH_BENCH.layers[name].shape
    assert values.numpy().dtype == np.dtype(MMEARTH_BENCH.layers[name].dtype)
    if truth is None:
        assert not mask.any(), name
        return
    np.testing.assert_array_equal(values.numpy(), truth, err_msg=name)
    np.testing.assert_array_equal(
        mask.numpy(), MMEARTH_BENCH.layers[name].valid(truth), err_msg=name
    )


def test_some_samples_lack_modalities_and_pixels(small_dataset: Path, dataset: Dataset) -> None:
    """What the test above compares has gaps of all kinds."""
    rows = [row for task in ("biomass", "soil_pH", "species") for row in _rows(small_dataset, task)]
    columns = [member_column(layer) for layer in MMEARTH_BENCH.layers.values()]
    structs = [row[column] for row in rows for column in columns]
    assert any(not struct["present"] for struct in structs)
    assert any(0 < struct["valid_fraction"] < 1 for struct in structs)


def test_normalised_by_the_train_subset(dataset: Dataset) -> None:
    chosen = dataset.select("soil_pH", split="train", modalities=["sentinel2", "biome", "month"])
    [batch] = chosen.loader(batch_size=99, order="sequential", normalise="train")
    [stored] = chosen.loader(batch_size=99, order="sequential")
    bands, mask = batch["sentinel2"], batch["mask"]["sentinel2"]
    assert bands.dtype == torch.float32 and batch["biome"].dtype == torch.int64
    assert (bands[~mask] == 0).all()
    for band in range(12):
        valid = stored["sentinel2"].float()[:, band][mask[:, band]].double()
        expected = (valid - valid.mean()) / valid.std(unbiased=False)
        torch.testing.assert_close(
            bands[:, band][mask[:, band]].double(), expected, atol=2e-6, rtol=2e-6
        )
    torch.testing.assert_close(batch["month"], stored["month"].float())


def test_normalised_again_is_the_same(dataset: Dataset) -> None:
    loader = dataset.select("soil_pH").loader(batch_size=3, seed=1, normalise="train")
    first, again = _by_key(list(loader)), _by_key(list(loader))
    assert first.keys() == again.keys()
    for key, arrays in first.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(again[key][name], array, err_msg=f"{key} {name}")


def _by_key(batches: list[Batch]) -> dict[str, dict[str, Any]]:
    """Return every sample's values and masks, copied."""
    return {
        key: {
            **{name: batch[name][i].numpy().copy() for name in MMEARTH_BENCH.layers},
            **{
                f"mask of {name}": batch["mask"][name][i].numpy().copy()
                for name in MMEARTH_BENCH.layers
            },
        }
        for batch in batches
        for i, key in enumerate(batch["key"])
    }


@pytest.mark.parametrize("order", ORDERS)
def test_any_stop_any_ranks_and_workers(dataset: Dataset, order: str) -> None:
    chosen = dataset.select("soil_pH", modalities=["geolocation"])
    whole = [batch["key"] for batch in chosen.loader(2, order, seed=3, epoch=1)]
    assert len({key for keys in whole for key in keys}) == len(chosen)
    for world in (1, 2, 3):
        for stop in range(-(-len(whole) // world) + 1):
            state, seen = _stopped(chosen, order, world, stop)
            assert len(json.dumps(state)) < 400
            for then in (1, 2, 3):
                assert sorted(seen + _rest(chosen, order, then, state)) == sorted(whole)


def _stopped(
    chosen: Any, order: str, world: int, stop: int
) -> tuple[dict[str, Any], list[list[str]]]:
    seen, states = [], []
    for rank in range(world):
        loader = chosen.loader(2, order, seed=3, epoch=1, rank=rank, world=world)
        for i, batch in enumerate(loader):
            if i == stop:
                break
            seen += [batch["key"]] if batch["weight"].all() else []
            states.append(loader.state_dict())
    loader = chosen.loader(2, order, seed=3, epoch=1, rank=0, world=1)
    states = states[-1:] or [loader.state_dict()]
    return states[0], seen


def _rest(chosen: Any, order: str, world: int, state: dict[str, Any]) -> list[list[str]]:
    seen, counts = [], set()
    for rank in range(world):
        loader = chosen.loader(2, order, seed=3, rank=rank, world=world)
        loader.load_state_dict(state)
        mine = list(loader) if loader.epoch == 1 else []
        counts.add(len(mine))
        seen += [batch["key"] for batch in mine if batch["weight"].all()]
    assert len(counts) == 1
    return seen


def test_an_iteration_that_is_broken_off_begins_again(dataset: Dataset) -> None:
    loader = dataset.select("soil_pH", modalities=["month"]).loader(2)
    first = next(iter(loader))["key"]
    assert loader.state_dict()["position"] == 1
    assert next(iter(loader))["key"] == first
    assert len(list(loader)) == len(loader)
    assert (loader.epoch, loader.position) == (1, 0)


def test_a_batch_that_is_kept_keeps_its_numbers(dataset: Dataset) -> None:
    loader = dataset.select("soil_pH", modalities=["sentinel2"]).loader(1, "sequential")
    kept = [batch["sentinel2"] for batch in loader]
    copies = [tensor.clone() for tensor in kept]
    for _ in range(3):
        for batch in loader:
            del batch
    del loader  # and others come after it
    for seed in range(3):
        list(dataset.select("soil_pH", modalities=["sentinel2"]).loader(1, "shuffled", seed))
    assert all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True))
    assert len({tensor.data_ptr() for tensor in kept}) == len(kept)


def test_memory_is_used_again(dataset: Dataset) -> None:
    loader = dataset.select("soil_pH", modalities=["sentinel2"]).loader(1, prefetch=1)
    places = set()
    for _ in range(4):
        for batch in loader:
            places.add(batch["sentinel2"].data_ptr())
            del batch
    assert len(places) <= 4 < len(loader)


def test_memory_is_used_by_the_next_loader(dataset: Dataset) -> None:
    chosen = dataset.select("soil_pH", modalities=["sentinel2"])
    places = []
    for _ in range(2):  # as one that validates after each epoch
        places.append({batch["sentinel2"].data_ptr() for batch in chosen.loader(1, prefetch=1)})
        others = [np.empty(12 * 128 * 128 * 2 + 64, np.uint8) for _ in range(8)]
    assert places[0] & places[1], "whatever others took meanwhile"
    del others


def test_drop_last(dataset: Dataset) -> None:
    chosen = dataset.select("soil_pH", modalities=["month"])
    size = len(chosen) - 1
    assert [len(b["key"]) for b in chosen.loader(size)] == [size, 1]
    assert [len(b["key"]) for b in chosen.loader(size, drop_last=True)] == [size]


def test_a_state_of_other_samples_is_refused(dataset: Dataset) -> None:
    state = dataset.select("soil_pH").loader(2).state_dict()
    dataset.select("soil_pH", modalities=["month"]).loader(2).load_state_dict(state)
    for other in (
        dataset.select("soil_pH", limit=3).loader(2),
        dataset.select("soil_pH").loader(3),
        dataset.select("soil_pH").loader(2, "sequential"),
    ):
        with pytest.raises(ConfigError, match="the state is of a loader with"):
            other.load_state_dict(state)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"order": "random"}, "expected one of sequential, shuffled"),
        ({"order": ["shuffled"]}, "found order"),
        ({"batch_size": 0}, "found batch_size 0; expected a whole number, 1 or more"),
        ({"batch_size": 2.5}, "found batch_size 2.5"),
        ({"batch_size": "8"}, "found batch_size '8'"),
        ({"batch_size": None}, "found batch_size None"),
        ({"batch_size": True}, "found batch_size True"),
        ({"batch_size": 10**20}, "at most 9223372036854775807"),
        ({"seed": -1}, "found seed -1"),
        ({"seed": 1.0}, "found seed 1.0"),
        ({"epoch": -1}, "found epoch -1"),
        ({"epoch": "0"}, "found epoch '0'"),
        ({"workers": -1}, "found workers -1"),
        ({"workers": 10**6}, "found workers 1000000; expected a whole number, 0 to 1024"),
        ({"prefetch": None}, "found prefetch None"),
        ({"drop_last": 1}, "found drop_last 1; expected True or False"),
        ({"pin_memory": "no"}, "found pin_memory 'no'"),
        ({"verify": True}, "found verify True; expected one of all, sampled, none"),
        ({"gap": -1}, "found gap -1"),
        ({"gap": 1e6}, "found gap 1000000.0"),
        ({"rank": "0", "world": 2}, "found rank '0'"),
        ({"rank": 0, "world": 0}, "found world 0"),
        ({"normalise": 5}, "found normalise=5"),
        ({"normalise": {"sentinel2": {}}}, "expected 'train', a Normalisation or None"),
        ({"normalise": "val"}, "expected 'train'"),
        ({"rank": 2, "world": 2}, "expected 0 to 1"),
        ({"rank": 0}, "both rank and world"),
        ({"pin_memory": True, "workers": 1}, "cannot be pinned"),
    ],
)
def test_what_no_loader_can_do_is_refused(
    dataset: Dataset, how: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        list(dataset.select("soil_pH", modalities=["month"]).loader(**how))
