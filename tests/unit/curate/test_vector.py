"""Vector files: layers, CRS, damaged and mixed geometries, polygons across 180°."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from pyproj import CRS, Transformer

from mmearth.catalog.errors import ConfigError
from mmearth.curate.antimeridian import CrossingError, to_lonlat
from mmearth.curate.vector import read_layer, read_polygons

_BOX = shapely.box(8, 50, 9, 51)


def _write(path: Path, *shapes: object, crs: object = 4326, **how: object) -> Path:
    frame = gpd.GeoDataFrame({"id": [f"{i:03d}" for i in range(len(shapes))]}, geometry=[*shapes])
    frame.set_crs(crs).to_file(path, **how)
    return path


def _area(*shapes: shapely.Geometry, crs: object = 4326) -> shapely.Geometry:
    """Return what polygons cover in longitude and latitude; all parts must be valid."""
    parts, _ = to_lonlat(np.array(shapes, dtype=object), CRS.from_user_input(crs))
    west, _, east, _ = shapely.total_bounds(parts)
    assert shapely.is_valid(parts).all() and west >= -180.0 and east <= 180.0
    return shapely.union_all(parts)


def test_several_layers_are_named_and_one_is_chosen(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.gpkg", _BOX, layer="old")
    assert len(read_polygons(path)) == 1
    _write(path, shapely.box(20, 50, 21, 51), _BOX, layer="study")
    with pytest.raises(ConfigError, match="has 2 layers; say layer: with one of old, study"):
        read_polygons(path)
    with pytest.raises(ConfigError, match="has no layer 'x'; say layer: with one of old, study"):
        read_polygons(path, layer="x")
    assert read_polygons(path, layer="study").total_bounds.tolist() == [8.0, 50.0, 21.0, 51.0]


def test_a_layer_without_geometries_is_no_other_layer(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.gpkg", _BOX, layer="study")
    styles = gpd.pd.DataFrame({"styleName": ["blue"]})
    pyogrio.write_dataframe(styles, path, layer="layer_styles", append=True)
    assert len(read_polygons(path)) == 1
    with pytest.raises(ConfigError, match="has no geometries; expected a vector file"):
        read_polygons(path, layer="layer_styles")


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_a_crs_is_asked_for_and_a_wrong_one_gives_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _write(tmp_path / "a.gpkg", _BOX, crs=None)
    with pytest.raises(ConfigError, match=r"names no CRS; .*, or say crs: EPSG:4326"):
        read_polygons(path)
    assert read_polygons(path, crs="EPSG:4326").total_bounds.tolist() == [8, 50, 9, 51]
    assert not caplog.messages
    path = _write(tmp_path / "b.gpkg", shapely.box(0, 0, 111319.49079327357, 9), crs=4326)
    assert read_polygons(path, crs="EPSG:3857").total_bounds[2] == pytest.approx(1.0)
    assert "says that it is in WGS 84; taken for EPSG:3857, as crs: says" in caplog.text
    local = 'LOCAL_CS["mine",UNIT["metre",1]]'
    with pytest.raises(ConfigError, match="which PROJ cannot bring to longitude and latitude"):
        read_polygons(_write(tmp_path / "c.gpkg", _BOX, crs=local))


def test_metres_that_are_said_to_be_degrees(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.geojson", shapely.box(4e5, 5.5e6, 4.1e5, 5.6e6))
    said = "a polygon at x 400000 and y 5500000, which are no degrees; say crs: with the EPSG code"
    with pytest.raises(ConfigError, match=said):
        read_polygons(path)
    west, south, _, _ = read_polygons(path, crs="EPSG:32632").total_bounds
    assert (west, south) == pytest.approx((7.6, 49.6), abs=0.1)


def test_a_directory_of_shapefiles_and_a_zip_of_two(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in ("a", "b"):
        _write(tmp_path / "d" / f"{name}.shp", _BOX)
    shutil.make_archive(str(tmp_path / "z"), "zip", tmp_path / "d")
    for path in (tmp_path / "d", tmp_path / "z.zip"):
        with pytest.raises(ConfigError, match="has 2 layers; say layer: with one of a, b"):
            read_polygons(path)
        assert len(read_polygons(path, layer="b")) == 1


def test_only_polygons_count_and_others_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mixed = shapely.GeometryCollection([shapely.Point(1, 1), shapely.box(2, 2, 3, 3)])
    solid = shapely.force_3d(_BOX, 7.0)
    with np.errstate(invalid="ignore"):
        broken = shapely.Polygon([(0, 0), (np.nan, 1), (1, 1)])
    shapes = [solid, None, shapely.Point(0, 0), mixed, shapely.Polygon(), broken]
    path = _write(tmp_path / "a.gpkg", *shapes)
    frame = read_polygons(path, "id")
    assert frame["id"].tolist() == ["000", "003"]
    assert frame.total_bounds.tolist() == [2.0, 2.0, 9.0, 51.0] and not frame.has_z.any()
    assert "2 features are no polygons: left out" in caplog.text
    assert "1 polygons have a vertex that is no place: left out" in caplog.text
    with pytest.raises(ConfigError, match="holds no polygon; expected an area"):
        read_polygons(_write(tmp_path / "b.geojson", shapely.Point(0, 0)))
    _write(tmp_path / "c.gpkg", geometry_type="Polygon")
    with pytest.raises(ConfigError, match="holds no polygon; expected an area"):
        read_polygons(tmp_path / "c.gpkg")


def test_numbers_of_a_table_keep_every_digit(tmp_path: Path) -> None:
    shots = [161510300300271459, None]
    frame = gpd.GeoDataFrame({"shot": gpd.pd.array(shots, "Int64"), "x": [0.1, 7.0]})
    frame.set_geometry([shapely.Point(0, 0)] * 2, crs=4326).to_file(tmp_path / "a.gpkg")
    fields = read_layer(tmp_path / "a.gpkg").fields
    assert fields["shot"].to_pylist() == ["161510300300271459", None]
    assert fields["x"].to_pylist() == ["0.1", "7"]


@pytest.mark.parametrize("name", ["a.xlsx", "a.ods"])
def test_a_sheets_first_row_is_names_though_all_is_text(name: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"code": ["007", "012"], "species": ["Canis lupus", "Mus musculus"]})
    driver = name[2:].upper()
    pyogrio.write_dataframe(table, tmp_path / name, driver=driver, layer="one")
    assert read_layer(tmp_path / name).fields.to_pydict() == table.to_dict("list")
    pyogrio.write_dataframe(table, tmp_path / name, driver=driver, layer="two", append=True)
    with pytest.raises(ConfigError, match="has 2 layers; say layer: with one of one, two"):
        read_layer(tmp_path / name)


def test_a_workbook_whose_days_count_from_1904(tmp_path: Path) -> None:
    """GDAL would take its dates to be four years earlier."""
    path, changed = tmp_path / "a.xlsx", tmp_path / "b.xlsx"
    day = pd.to_datetime(["2020-06-01"])
    pyogrio.write_dataframe(pd.DataFrame({"day": day}), path, driver="XLSX")
    assert read_layer(path).fields["day"].to_pylist() == ["2020-06-01T00:00:00"]
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(changed, "w") as after:
        for name in before.namelist():
            data = before.read(name)
            after.writestr(name, data.replace(b"<sheets>", b'<workbookPr date1904="1"/><sheets>'))
    with pytest.raises(ConfigError, match=r"b\.xlsx counts its days from 1904; save it as CSV"):
        read_layer(changed)


def test_a_workbook_of_before_2007(tmp_path: Path) -> None:
    (tmp_path / "a.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512))
    with pytest.raises(ConfigError, match=r"format.*; save it as GeoPackage, or a table as CSV"):
        read_layer(tmp_path / "a.xls")


def test_a_bow_tie_becomes_two_triangles() -> None:
    area = _area(shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)]))
    assert area.area == pytest.approx(2.0)


@pytest.mark.parametrize("turn", [-360, 0, 360])
def test_a_box_beyond_180_is_on_both_sides(turn: int) -> None:
    area = _area(shapely.box(170 + turn, -20, 190 + turn, -10))
    both = shapely.union(shapely.box(170, -20, 180, -10), shapely.box(-180, -20, -170, -10))
    assert area.symmetric_difference(both).area == 0.0


def test_a_world_from_0_to_360() -> None:
    hole = shapely.box(170, -20, 190, -10)
    area = _area(shapely.box(0, -90, 360, 90).difference(hole))
    assert area.area == pytest.approx(360 * 180 - 200)
    assert not shapely.contains_xy(area, [175, -175], -15).any()
    assert shapely.contains_xy(area, [-179, 165, -90], [-25, -15, 0]).all()


@pytest.mark.parametrize("crs", [4326, 4269, 4258, "OGC:CRS84"])
def test_a_box_round_the_globe_stays_one(crs: object) -> None:
    for box in (shapely.box(-180, -60, 180, 80), shapely.box(-170, -60, 170, 80)):
        area = _area(box, crs=crs)
        assert area.area == pytest.approx(box.area, rel=1e-4)
        assert shapely.contains_xy(area, [0, 90, -165], 10).all()


@pytest.mark.parametrize("crs", [4326, 4269])
def test_a_ring_that_jumps_to_the_other_side_is_cut(crs: object) -> None:
    island = shapely.Polygon([(178, -18), (179.5, -19), (-179, -18.5), (-179, -16), (178, -16)])
    area = _area(island, crs=crs)
    assert shapely.contains_xy(area, [179.9, -179.9, 178.5, 177.9, -178.9, 0], -17).tolist() == [
        *(True, True, True, False, False, False)
    ]


@pytest.mark.parametrize(
    "ring",
    [
        [(176, -20), (179, -20), (183, -20), (183, -15), (179, -15), (176, -15)],
        [(176, -18), (178, -20), (184, -17), (183, -14), (179, -16), (177, -14)],
    ],
)
def test_a_ring_that_jumps_is_no_ring_that_crosses_itself(ring: list[tuple[float, float]]) -> None:
    jumping = shapely.Polygon([(x - 360 * (x > 180), y) for x, y in ring])
    assert not jumping.is_valid
    assert _area(jumping).equals(_area(shapely.Polygon(ring)))


def test_a_box_that_may_be_either_is_refused(tmp_path: Path) -> None:
    box = shapely.box(-179, -20, 177, -10)
    with pytest.raises(CrossingError, match="may cross 180° or go round the globe; draw it from 1"):
        _area(box)
    with pytest.raises(ConfigError, match=r"a\.gpkg has a box between -179 and 177 degrees"):
        read_polygons(_write(tmp_path / "a.gpkg", box))


@pytest.mark.parametrize(
    ("crs", "box"),
    [
        (3460, (1_800_000, 3_700_000, 2_400_000, 4_200_000)),  # Fiji
        (3832, (2_500_000, -2_300_000, 4_500_000, -1_000_000)),  # Mercator round 150° E
        (32701, (100_000, 8_000_000, 600_000, 8_400_000)),  # UTM 1 S, from 179° E
        (3413, (-3_000_000, -2_000_000, 2_500_000, 2_200_000)),  # with the pole in it
        (3031, (-3_000_000, -2_000_000, 2_500_000, 2_200_000)),
        (3413, (-2_500_000, 300_000, -300_000, 2_500_000)),  # beside it, across 180°
        (8857, (-2_000_000, -2_000_000, 3_000_000, 4_000_000)),  # far from 180°
    ],
)
def test_a_polygon_of_a_map_holds_the_same_places(crs: int, box: tuple[float, ...]) -> None:
    """Against the polygon in its own CRS, at 4,000 places, of which hundreds lie inside."""
    west, south, east, north = box
    hole = shapely.box(west * 0.6 + east * 0.4, south * 0.6 + north * 0.4, east, north).buffer(-9e4)
    polygon = shapely.box(*box).difference(hole)
    area = _area(polygon, crs=crs)
    draw = np.random.default_rng(crs)
    wide = shapely.bounds(polygon.buffer(2e5))
    x, y = draw.uniform(wide[:2], wide[2:], (4000, 2)).T
    distance = shapely.distance(polygon.boundary, shapely.points(x, y))
    x, y = x[distance > 20], y[distance > 20]  # m: what edges of 10 km may be off
    lon, lat = Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    expected = shapely.contains_xy(polygon, x, y)
    assert 300 < expected.sum() < expected.size - 300
    np.testing.assert_array_equal(shapely.contains_xy(area, lon, lat), expected)


@pytest.mark.parametrize("crs", ["ESRI:54009", "ESRI:54030"])
@pytest.mark.parametrize("west", [-180, 150])
def test_what_reaches_to_the_rim_of_a_map_is_kept(crs: str, west: float) -> None:
    box = shapely.segmentize(shapely.box(west, 50, west + 30, 70), 1.0)
    to_map = Transformer.from_crs(4326, crs, always_xy=True).transform
    on_map = shapely.transform(box, lambda xy: np.stack(to_map(*xy.T), axis=1))
    found = _area(on_map, crs=crs)
    assert shapely.symmetric_difference(found, box).area < 0.01 * box.area


def test_the_whole_world_of_a_map_is_the_whole_world() -> None:
    edge = 20037508.342789244
    area = _area(shapely.box(-edge, -edge, edge, edge), crs=3857)
    assert area.area == pytest.approx(360 * 2 * 85.0511287798, rel=1e-9)
