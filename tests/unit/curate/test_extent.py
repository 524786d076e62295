"""Places side by side over boxes and polygons."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import shapely
from shapely import box

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import Grid
from mmearth.catalog.tile import Tiles, lonlat_bounds, tiles_at
from mmearth.catalog.utm import to_lonlat
from mmearth.curate.labels.extent import labels_over
from mmearth.curate.overlap import keep_apart
from mmearth.curate.source import Label
from mmearth.tests.own_config import GRID

Box = tuple[float, float, float, float]
SIDE, STEP = 320, 370
"""A tile's side, and the least distance that keeps two apart: 18 m as UTM is turned from north, 20
m of margin, a pixel of snap, in whole pixels."""


def _tiles(labels: Sequence[Label], grid: Grid = GRID) -> Tiles:
    return tiles_at([x.lon for x in labels], [x.lat for x in labels], grid)


def _degrees(left: float, bottom: float, right: float, top: float, epsg: int = 32633) -> Box:
    xs, ys = to_lonlat(epsg).transform([left, right], [bottom, top])
    return xs[0], ys[0], xs[1], ys[1]


def test_a_box_is_covered_and_no_two_tiles_overlap() -> None:
    extent = _degrees(500_000, 5_000_000, 503_700, 5_003_700)  # ten steps wide and high
    tiles = _tiles(labels_over([extent], GRID, None, None))
    assert keep_apart(tiles).all()
    # Centres are multiples of the step: 1352 of them are 500,240, and 13,514 5,000,180.
    assert np.unique(tiles.left + SIDE // 2).tolist() == list(range(500_240, 503_700, STEP))
    assert np.unique(tiles.top - SIDE // 2).tolist() == list(range(5_000_180, 5_003_700, STEP))
    assert len(tiles) == 10 * 10


def test_places_lie_on_one_lattice_whatever_the_box() -> None:
    whole = _degrees(500_000, 5_000_000, 503_700, 5_003_700)
    part = _degrees(501_000, 5_001_000, 502_000, 5_002_000)
    some = set(_tiles(labels_over([part], GRID, None, None)).number.tolist())
    every = labels_over([whole, part, part], GRID, None, None)
    assert some < set(_tiles(every).number.tolist())
    assert len(every) == 100  # each once


@pytest.mark.parametrize("limit", [None, 7])
def test_no_order_or_cut_of_areas_decides_the_places(limit: int | None) -> None:
    whole = [(8.0, 50.0, 8.1, 50.2), (11.9, 50.0, 12.1, 50.1)]
    parts = [(8.05, 50.0, 8.1, 50.2), (11.9, 50.0, 12.1, 50.1), (8.0, 50.0, 8.05, 50.2)]
    expected = labels_over(whole, GRID, None, limit)
    assert labels_over(whole[::-1], GRID, None, limit) == expected
    assert labels_over(parts, GRID, None, limit) == expected


def test_spacing_and_limit() -> None:
    extent = _degrees(500_500, 5_000_500, 510_500, 5_010_500)
    tiles = _tiles(labels_over([extent], GRID, 995.0, None))
    assert np.unique(np.diff(np.unique(tiles.left))).tolist() == [1000]  # whole pixels, upwards
    assert len(tiles) == 100
    limited = labels_over([extent], GRID, 1000.0, 30)
    assert len(limited) == 25  # every fourth
    assert _tiles(limited).number.tolist() == tiles.number[::4].tolist()
    assert len(labels_over([extent], GRID, 1000.0, 100)) == 100


def test_at_the_border_of_two_zones_each_keeps_to_its_own_side() -> None:
    labels = labels_over([(11.9, 50.0, 12.1, 50.01)], GRID, None, None)
    tiles = _tiles(labels)
    assert set(tiles.epsg.tolist()) == {32632, 32633}
    lons = np.array([label.lon for label in labels])
    assert np.array_equal(tiles.epsg == 32633, lons >= 12.0)
    kept = keep_apart(tiles)  # although UTM is turned by 2.3 degrees here
    assert 0 < np.count_nonzero(~kept) < len(tiles) / 4  # along the border only


def test_across_the_antimeridian() -> None:
    labels = labels_over([(179.98, 65.0, 180.02, 65.01)], GRID, None, None)
    lons = np.array([label.lon for label in labels])
    assert np.all((lons >= 179.98) | (lons <= -179.98))
    assert np.count_nonzero(lons > 0) == pytest.approx(np.count_nonzero(lons < 0), abs=6)


def test_a_polygon_smaller_than_a_tile_has_one() -> None:
    # 8 m wide: within the tile, at its edges and corners, and in the gap to the next one.
    x, y = 500_240, 5_000_180  # a centre
    for dx, dy, n in ((0, 0, 1), (150, 0, 1), (150, 150, 1), (180, 0, 0), (-155, 150, 1)):
        field = box(*_degrees(x + dx, y + dy, x + dx + 8, y + dy + 8))
        tree = shapely.STRtree([field])
        if not n:
            with pytest.raises(ConfigError, match="no tile fits into the extent"):
                labels_over([field.bounds], GRID, None, None, tree)
            continue
        (label,) = labels_over([field.bounds], GRID, None, None, tree)
        tile = _tiles([label])
        assert box(*lonlat_bounds(tile)[0]).intersects(field)


def test_every_tile_touches_a_polygon_and_every_polygon_has_one() -> None:
    rng = np.random.default_rng(1)
    xs, ys = 500_000 + 9000 * rng.random(40), 5_000_000 + 9000 * rng.random(40)
    fields = [box(*_degrees(x, y, x + 60, y + 60)) for x, y in zip(xs, ys, strict=True)]
    tree = shapely.STRtree(fields)
    tiles = _tiles(labels_over([f.bounds for f in fields], GRID, None, None, tree))
    outlines = shapely.box(*lonlat_bounds(tiles).T)
    of_tile, of_field = tree.query(outlines, "intersects")
    assert np.unique(of_tile).size == len(tiles) <= 2 * len(fields)
    assert np.unique(of_field).size == len(fields)  # wider than the gap between tiles


def test_a_polygon_at_the_antimeridian_has_tiles_on_both_sides() -> None:
    field = box(-180.0, 64.9, -179.999, 65.1)
    labels = labels_over([field.bounds], GRID, None, None, shapely.STRtree([field]))
    bounds = lonlat_bounds(_tiles(labels))
    assert all(east > 180.0 or west < -179.999 for west, _, east, _ in bounds)
    assert any(east > 180.0 for *_, east, _ in bounds)


def test_what_cannot_be_filled() -> None:
    with pytest.raises(ConfigError, match="no tile fits into the extent; give points: or grid:"):
        labels_over([(8.0, 50.0, 8.0001, 50.0001)], GRID, None, None)
    with pytest.raises(ConfigError, match="tiles 370 m apart are far too many; give spacing_m:"):
        labels_over([(-180.0, -60.0, 180.0, 70.0)], GRID, None, None)
    with pytest.raises(ConfigError, match=r"spacing_m: 320 would let tiles overlap.* 368 or more"):
        labels_over([(8.0, 50.0, 9.0, 51.0)], GRID, 320.0, None)
    with pytest.raises(ConfigError, match="no tile fits"):  # beyond UTM
        labels_over([(8.0, 85.0, 9.0, 86.0)], GRID, None, None)


def test_a_box_of_the_whole_world_has_every_zone() -> None:
    labels = labels_over([(-180.0, -80.0, 180.0, 84.0)], GRID, 100_000, None)
    zones = set(_tiles(labels).epsg.tolist())
    assert zones == {*range(32601, 32661), *range(32701, 32761)}
    lats = np.array([label.lat for label in labels])
    assert lats.min() < -76 and lats.max() > 80
    # A tile each 100 km: about the Earth's area between the limits over that of a square.
    share = (math.sin(math.radians(84)) + math.sin(math.radians(80))) / 2
    assert len(labels) == pytest.approx(share * 510.1e6 / 10_000, rel=0.02)
