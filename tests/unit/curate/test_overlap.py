"""Overlap removal on cases that one can check by hand, and on many places."""

from __future__ import annotations

import time

import numpy as np

from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.tile import Tile, Tiles, tiles_at
from mmearth.curate.overlap import keep_apart


def _row(*lefts: int) -> list[Tile]:
    return [Tile(32633, left, 5_000_000) for left in lefts]


def test_no_tiles() -> None:
    assert keep_apart([]).tolist() == []


def test_the_middle_of_three_goes() -> None:
    # The middle one touches both others, which are 2000 m apart: 1300 m boxes do not reach.
    assert keep_apart(_row(500_000, 501_000, 502_000)).tolist() == [True, False, True]


def test_on_a_tie_the_lowest_index_goes() -> None:
    assert keep_apart(_row(500_000, 501_000)).tolist() == [False, True]


def test_tiles_beyond_the_outer_box_stay() -> None:
    assert keep_apart(_row(500_000, 501_320)).tolist() == [True, True]


def test_of_equal_tiles_the_last_stays() -> None:
    assert keep_apart(_row(500_000, 500_000, 500_000)).tolist() == [False, False, True]


def test_tiles_of_two_zones_on_the_same_ground_conflict() -> None:
    # 12° E is the edge of zones 32 and 33; the two places are about 150 m apart.
    tiles = tiles_at([11.999, 12.001], [45.0, 45.0], DEFAULT_GRID)
    assert [tile.epsg for tile in tiles] == [32632, 32633]
    assert keep_apart(tiles).tolist() == [False, True]


def test_tiles_at_both_sides_of_the_antimeridian_conflict() -> None:
    tiles = tiles_at([179.999, -179.999], [-17.0, -17.0], DEFAULT_GRID)
    assert [tile.epsg for tile in tiles] == [32760, 32701]
    assert keep_apart(tiles).tolist() == [False, True]


def test_a_hundred_thousand_places_take_seconds() -> None:
    generator = np.random.default_rng(1)
    lon, lat = generator.uniform(0, 20, 99_000), generator.uniform(40, 55, 99_000)
    # A thousand records of one place, as tables of soil profiles have them.
    tiles = tiles_at(np.append(lon, [5.0] * 1000), np.append(lat, [60.0] * 1000), DEFAULT_GRID)
    begin = time.perf_counter()
    kept = keep_apart(tiles)
    assert time.perf_counter() - begin < 20.0
    assert kept[-1000:].sum() == 1


def test_many_are_looked_at_in_parts_and_none_is_missed() -> None:
    # 100,000 places 1.3 km apart or more, more than one tree takes; each has a neighbour 100 m on.
    row, column = np.divmod(np.arange(50_000), 100)
    left, top = 300_000 + 4_000 * column, 1_000_000 + 4_000 * row
    tiles = Tiles(
        np.full(100_000, 32633), np.append(left, left), np.append(top, top + 100), DEFAULT_GRID
    )
    assert keep_apart(tiles).tolist() == [False] * 50_000 + [True] * 50_000
