"""What holds for any tile and for statistics merged in any order."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.statistics import TaskStatistics
from mmearth.catalog.tile import Tile, cell_at


@given(st.floats(-180, 179.999), st.floats(-79.9, 83.9))
def test_a_tile_holds_its_place_and_is_found_again(lon: float, lat: float) -> None:
    tile = Tile.at(lon, lat)
    assert Tile.parse(tile.id, DEFAULT_GRID) == tile
    assert abs(tile.lat - lat) < 1e-4
    turn = abs((tile.lon - lon + 180) % 360 - 180)
    assert turn * math.cos(math.radians(lat)) < 1e-4
    assert tile.left % 10 == tile.top % 10 == 0
    assert tile.cell == cell_at(tile.lon, tile.lat)
    assert tile.geometry.is_valid


def _statistics() -> TaskStatistics:
    return TaskStatistics(MMEARTH_BENCH.tasks["soil_pH"], tuple(MMEARTH_BENCH.layers.values()))


def _sample(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    generator = np.random.default_rng(seed)
    sentinel1 = generator.normal(-12, 6, (8, 128, 128)).astype(np.float32)
    sentinel1[:, : seed % 100] = -9999
    arrays = {
        "sentinel1": sentinel1,
        "sentinel2": generator.integers(0, 65536, (12, 128, 128)).astype(np.uint16),
        "esa_worldcover": generator.integers(0, 12, (1, 128, 128)).astype(np.uint8),
        "temperature": generator.uniform(250, 300, 9),
    }
    return arrays, np.array([generator.uniform(3, 9)], dtype=np.float32)


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(5)), st.integers(0, 4))
def test_statistics_merge_exactly_in_any_order(order: list[int], cut: int) -> None:
    whole = _statistics()
    for seed in range(5):
        arrays, target = _sample(seed)
        whole.update(("train",), arrays, target)
    parts = [_statistics(), _statistics()]
    for position, seed in enumerate(order):
        arrays, target = _sample(seed)
        parts[position >= cut].update(("train",), arrays, target)
    parts[1].merge(parts[0])
    assert json.dumps(parts[1].to_json()) == json.dumps(whole.to_json())


def test_statistics_equal_a_plain_computation() -> None:
    found = _statistics()
    samples = [_sample(seed) for seed in range(3)]
    for arrays, target in samples:
        found.update(("train", "train_50"), arrays, target)
    document = found.to_json()
    for name in ("sentinel1", "sentinel2"):
        stack = np.stack([arrays[name] for arrays, _ in samples]).astype(np.float64)
        for i, band in enumerate(MMEARTH_BENCH.layers[name].bands):
            values = stack[:, i][stack[:, i] != MMEARTH_BENCH.layers[name].nodata]
            entry = document["train"]["modalities"][name][band.name]
            assert entry["n"] == values.size
            exact = math.fsum(values.tolist()) / values.size  # rounded twice, ours once
            assert abs(entry["mean"] - exact) <= math.ulp(exact)
            np.testing.assert_allclose(entry["std"], values.std(), rtol=1e-9)
            assert (entry["min"], entry["max"]) == (values.min(), values.max())
            n_missing = stack[:, i].size - values.size
            assert entry["missing_share"] == n_missing / stack[:, i].size
    assert document["train_5"]["n_samples"] == 0
    assert document["train_5"]["modalities"] == {}
    cover = document["train_50"]["modalities"]["esa_worldcover"]["label"]
    assert sum(cover["classes"].values()) == cover["n"]
