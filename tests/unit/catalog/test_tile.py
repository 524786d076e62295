"""Tiles: zones, snapping, the antimeridian, both hemispheres."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pyproj import Geod

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.tile import Tile, Tiles, cell_at, centres, lonlat_bounds, tiles_at


@pytest.mark.parametrize(
    ("lon", "lat", "epsg"),
    [
        (15.0, 42.0, 32633),  # the zone's central meridian
        (15.0, -42.0, 32733),
        (5.0, 60.0, 32632),  # Bergen: zone 32 is widened to the west
        (2.9, 60.0, 32631),
        (8.0, 75.0, 32631),  # Svalbard's four zones
        (9.0, 75.0, 32633),
        (21.0, 75.0, 32635),
        (33.0, 75.0, 32637),
        (42.0, 75.0, 32638),
        (8.0, 71.9, 32632),
        (180.0, 0.0, 32601),  # 180° is the western edge of zone 1
        (-180.0, 0.0, 32601),
        (179.99, -1.0, 32760),
        (190.0, 10.0, 32602),  # another turn of the globe: 170° W
    ],
)
def test_zone(lon: float, lat: float, epsg: int) -> None:
    assert Tile.at(lon, lat).epsg == epsg


@pytest.mark.parametrize("lat", [84.1, -80.1, 90.0])
def test_poles_are_refused(lat: float) -> None:
    with pytest.raises(ConfigError, match="is beyond UTM, which ends at 80° S and 84° N; tiles"):
        Tile.at(0.0, lat)


def test_places_off_earth_are_refused() -> None:
    with pytest.raises(ConfigError, match="not on Earth"):
        tiles_at([0.0, float("nan")], [0.0, 0.0], DEFAULT_GRID)
    with pytest.raises(ConfigError, match="not on Earth"):
        Tile.at(0.0, 91.0)


def test_central_meridian_by_hand() -> None:
    # The central meridian is at 500000 m by definition; the nearest grid corner is that itself.
    tile = Tile.at(15.0, 42.0)
    assert tile.left == 500_000 - 640
    assert tile.bounds == (499_360, tile.top - 1280, 500_640, tile.top)
    assert tile.id == f"32633_499360_{tile.top}"
    assert tile.transform == (10.0, 0.0, 499_360.0, 0.0, -10.0, float(tile.top))
    assert tile.top % 10 == 0
    assert tile.lon == 15.0
    assert abs(tile.lat - 42.0) < 5 / 111_000


def test_a_tile_is_1280_m_wide_on_the_ground() -> None:
    outline = list(Tile.at(-70.3, -23.5).geometry.exterior.coords)
    _, _, width = Geod(ellps="WGS84").inv(*outline[0], *outline[1])
    assert width == pytest.approx(1280.0, rel=1.5e-3)  # UTM's scale is 0.9996 to 1.001


def test_antimeridian() -> None:
    tile = Tile.at(179.9999, 10.0)
    assert tile.geometry.geom_type == "MultiPolygon"
    west, _, east, _ = tile.geometry.bounds
    assert (west, east) == (-180.0, 180.0)
    assert tile.geometry.area < 0.001  # two slivers, not a belt around the Earth
    box = lonlat_bounds([tile])[0]
    assert 179.9 < box[0] < 180.0 < box[2] < 180.1


def test_ids_are_read_back_and_wrong_ones_refused() -> None:
    tile = Tile(32733, 500_000, 4_649_760)
    assert Tile.parse(tile.id, DEFAULT_GRID) == tile
    for wrong in ("", "32633", "4326_0_0", "32633_500001_0", "32661_0_0", "a_b_c", "1_2_3_4"):
        with pytest.raises(ConfigError, match="is not a tile id"):
            Tile.parse(wrong, DEFAULT_GRID)


def test_many_equals_one_by_one() -> None:
    generator = np.random.default_rng(3)
    lons, lats = generator.uniform(-200, 200, 300), generator.uniform(-80, 84, 300)
    tiles = tiles_at(lons, lats, DEFAULT_GRID)
    assert list(tiles) == [Tile.at(lon, lat) for lon, lat in zip(lons, lats, strict=True)]
    lon, lat = centres(tiles)
    assert lon.tolist() == [tile.lon for tile in tiles]
    assert lat.tolist() == [tile.lat for tile in tiles]
    boxes = lonlat_bounds(tiles)
    plain = boxes[:, 2] < 180.0
    outlines = [t.geometry.bounds for t, keep in zip(tiles, plain, strict=True) if keep]
    np.testing.assert_allclose(boxes[plain], outlines, atol=2e-7)


def test_cells_are_about_100_km_wide() -> None:
    assert cell_at(0.0, 0.0) == cell_at(0.3, 0.3)
    assert cell_at(0.0, 0.0) != cell_at(1.5, 0.0)
    assert cell_at(-180.0, 60.5) == cell_at(180.0, 60.5)
    # At 60° a degree is half as long: a cell spans twice as many degrees.
    columns = {cell_at(float(lon), 60.2) for lon in np.arange(-180, 180, 0.1)}
    assert len(columns) == pytest.approx(200, abs=3)
    assert cell_at(12.0, 90.0).split("_")[0] == "199"


def test_columns_of_tiles_are_a_sequence_of_tiles() -> None:
    places = [Tile(32633, 500_000, 5_000_000), Tile(32701, 400_000, 9_000_000)]
    columns = Tiles.of(places)
    assert Tiles.of(columns) is columns
    assert list(columns) == places
    assert columns[-1] == places[1]
    assert list(columns[1:]) == places[1:]
    assert list(columns[np.array([1, 0, 1])]) == [places[1], places[0], places[1]]
    assert len(Tiles.of([])) == 0
    assert not Tiles.of([])


def test_places_have_numbers_of_their_own() -> None:
    # Neighbours on the 10 m grid, the far corners of a zone, and the same corner of other zones.
    corners = [(left, top) for left in (100_000, 100_010, 899_990) for top in (0, 10, 9_999_990)]
    places = [Tile(epsg, *corner) for epsg in (32601, 32602, 32660, 32701) for corner in corners]
    assert len(set(Tiles.of(places).number.tolist())) == len(places)


def test_many_ids_are_parsed_as_each_is() -> None:
    ids = ["32633_500000_4649760", "32701_-10_20", "32660_0_0"]
    found = Tiles.parse(pa.chunked_array([ids[:1], ids[1:]]), DEFAULT_GRID)
    assert [tile.id for tile in found] == ids
    assert len(Tiles.parse(pa.chunked_array([], pa.string()), DEFAULT_GRID)) == 0
    for wrong in ("32633_500000", "32633_5_10", "32661_0_0", "32633_a_0", "32633_0_0_0", "", None):
        with pytest.raises(ConfigError, match=f"{str(wrong)!r} is not a tile id"):
            Tiles.parse(pa.chunked_array([[ids[0], wrong]], pa.string()), DEFAULT_GRID)
