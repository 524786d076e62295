"""Grid: which sizes a tile may have, and that tiles and their ids follow it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import DEFAULT_GRID, Grid
from mmearth.catalog.sample import tile_of
from mmearth.catalog.tile import Tile, Tiles, lonlat_bounds, tiles_at

COARSE = Grid(64, 20)


def test_the_published_grid_is_the_default() -> None:
    assert (DEFAULT_GRID.pixels, DEFAULT_GRID.resolution_m, DEFAULT_GRID.side_m) == (128, 10, 1280)


@pytest.mark.parametrize(("pixels", "resolution_m"), [(32, 1), (512, 60), (48, 7)])
def test_sizes_that_may_be(pixels: int, resolution_m: int) -> None:
    assert Grid(pixels, resolution_m).side_m == pixels * resolution_m


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ((16, 10), "pixels"),
        ((528, 10), "pixels"),
        ((100, 10), "found grid: pixels 100; expected a multiple of 16, 32 to 512"),
        ((128.0, 10), "pixels"),
        ((True, 10), "pixels"),
        ((128, 0), "resolution_m"),
        ((128, 61), "resolution_m"),
        ((128, "10"), "resolution_m"),
    ],
)
def test_sizes_that_may_not_be(sizes: tuple[Any, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Grid(*sizes)


def test_a_tile_has_the_size_of_its_grid() -> None:
    # The central meridian of zone 33 is at 500000 m; half a side of 1280 m is 640 m.
    tile = Tile.at(15.0, 42.0, COARSE)
    assert (tile.left, tile.top % 20, tile.grid) == (499_360, 0, COARSE)
    assert tile.bounds == (499_360, tile.top - 1280, 500_640, tile.top)
    assert tile.transform == (20.0, 0.0, 499_360.0, 0.0, -20.0, float(tile.top))
    small = Tile.at(15.0, 42.0, Grid(32, 10))
    assert small.bounds[2] - small.bounds[0] == 320
    west, south, east, north = lonlat_bounds([small])[0]
    assert north - south == pytest.approx(320 / 111_000, rel=0.01)
    assert west < 15.0 < east
    assert south < 42.0 < north


def test_an_id_is_of_a_grid() -> None:
    assert Tile.parse("32633_499360_4650400", COARSE).grid == COARSE
    with pytest.raises(ConfigError, match="its zone or 20 m grid is wrong"):
        Tile.parse("32633_499370_4650400", COARSE)
    assert tile_of("32633_499370_4650400_20200615", Grid(32, 10)).left == 499_370


def test_columns_of_tiles_keep_the_grid() -> None:
    tiles = tiles_at([15.0, -70.0], [42.0, -10.0], COARSE)
    assert (tiles.grid, tiles[0].grid, tiles[1:].grid) == (COARSE, COARSE, COARSE)
    assert Tiles.of([tiles[1]]).grid == COARSE
    fine = Grid(32, 1)
    beside = [Tile(32633, 500_000 + x, 5_000_000, fine) for x in (0, 1, 2)]
    assert len(np.unique(Tiles.of(beside).number)) == 3
