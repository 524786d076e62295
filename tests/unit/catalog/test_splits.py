"""Splits: the published sizes, and the default rule's promises."""

from __future__ import annotations

import time

import numpy as np
import pytest

from mmearth.catalog.africa import africa, touches_africa
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.splits import LEFT_OUT, RULES, SPLITS, default, published
from mmearth.catalog.tile import EARTH_RADIUS_KM, Tile, centres, tiles_at


def _places(n: int, seed: int, in_africa: bool) -> list[Tile]:
    """Return n tiles of which all or none touch the ring around Africa."""
    generator = np.random.default_rng(seed)
    found: list[Tile] = []
    while len(found) < n:
        if in_africa:
            lons, lats = generator.uniform(5, 35, 4 * n), generator.uniform(-30, 25, 4 * n)
        else:
            lons, lats = generator.uniform(60, 170, 4 * n), generator.uniform(10, 60, 4 * n)
        tiles = tiles_at(lons, lats, DEFAULT_GRID)
        keep = touches_africa(tiles) == in_africa
        found += [tile for tile, good in zip(tiles, keep, strict=True) if good]
    return found[:n]


def test_published_rule_gives_the_published_sizes() -> None:
    tiles = _places(3_156, 1, True) + _places(18_393 - 3_156, 2, False)
    begin = time.perf_counter()
    found = published(tiles)
    assert time.perf_counter() - begin < 5.0
    sizes = {name: int((found.split == name).sum()) for name in SPLITS}
    assert sizes == {
        "train": 10_665,
        "val": 2_286,
        "random_test": 2_286,
        "geographic_test": 3_156,
    }
    assert int(found.train_50.sum()) == 5_332
    assert int(found.train_5.sum()) == 533
    assert not (found.train_5 & ~found.train_50).any()
    assert not (found.train_50 & (found.split != "train")).any()


def test_africa_ring() -> None:
    assert len(africa().exterior.coords) == 50
    assert africa().is_valid
    inside = {"Cairo": (31.2, 30.0), "Antananarivo": (47.5, -18.9), "Malta": (14.4, 35.9)}
    outside = {"Riyadh": (46.7, 24.7), "Sicily": (14.0, 37.5), "Tel Aviv": (34.8, 32.1)}
    for lon, lat in inside.values():
        assert touches_africa([Tile.at(lon, lat)])[0]
    for lon, lat in outside.values():
        assert not touches_africa([Tile.at(lon, lat)])[0]


def test_default_rule_keeps_the_shares() -> None:
    generator = np.random.default_rng(5)
    n = 60_000
    lats = np.degrees(np.arcsin(generator.uniform(-0.98, 0.99, n)))
    found = default(tiles_at(generator.uniform(-180, 180, n), lats, DEFAULT_GRID), 42)
    rest = (found.split != "geographic_test").sum()
    dealt = {name: (found.split == name).sum() / rest for name in (*SPLITS[:3], LEFT_OUT)}
    # What the buffer leaves out comes from train; about 6 % at 5 km and blocks of 50 km.
    assert dealt["train"] + dealt[LEFT_OUT] == pytest.approx(0.70, abs=0.02)
    assert dealt["val"] == pytest.approx(0.15, abs=0.015)
    assert dealt["random_test"] == pytest.approx(0.15, abs=0.015)
    assert dealt[LEFT_OUT] < 0.09
    train = (found.split == "train").sum()
    assert found.train_50.sum() / train == pytest.approx(0.5, abs=0.02)
    assert found.train_5.sum() / train == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("buffer_m", [0.0, 5_000.0, 12_000.0])
def test_default_rule_keeps_its_distance(buffer_m: float) -> None:
    # A carpet of tiles over 600 km of land, where the random rule has neighbours everywhere.
    lons, lats = np.meshgrid(np.arange(80, 86, 0.02), np.arange(49, 51, 0.02))
    tiles = tiles_at(lons.ravel(), lats.ravel(), DEFAULT_GRID)
    found = default(tiles, 42, buffer_m)
    lon, lat = (np.radians(values) for values in centres(tiles))
    points = np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    train, test = points[found.split == "train"], points[found.split == "random_test"]
    assert len(train) > 1000
    assert len(test) > 100
    cosine = max(float((part @ train.T).max()) for part in np.array_split(test, 50))
    nearest_m = np.arccos(min(cosine, 1.0)) * EARTH_RADIUS_KM * 1000.0
    # Centres of squares that are `buffer_m` apart are at least a side further from each other.
    assert nearest_m >= buffer_m + 1280.0 * 0.99


@pytest.mark.parametrize("rule", ["default"])
def test_rule_looks_at_nothing_but_the_place(rule: str) -> None:
    tiles = _places(400, 7, False) + _places(100, 8, True)
    whole = RULES[rule](tiles, 3, 5_000.0)
    order = np.random.default_rng(1).permutation(len(tiles))
    shuffled = RULES[rule]([tiles[i] for i in order], 3, 5_000.0)
    assert (shuffled.split == whole.split[order]).all()
    assert (shuffled.train_5 == whole.train_5[order]).all()
    part = RULES[rule](tiles[:50], 3, 5_000.0)
    assert (part.split == whole.split[:50]).all()
    assert (RULES[rule](tiles, 4, 5_000.0).split != whole.split).any()


def test_no_tiles_at_all() -> None:
    for rule in RULES.values():
        assert rule([], 1, 0.0).split.shape == (0,)
