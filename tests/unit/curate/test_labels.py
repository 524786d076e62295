"""Places from tables, grids and ranges; what cannot be used is said in one sentence."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import lonlat_bounds, tiles_at
from mmearth.curate.declared import TargetConfig, own_task
from mmearth.curate.labels.grid import grid_labels
from mmearth.curate.labels.points import point_labels
from mmearth.curate.labels.ranges import species_in_ranges
from mmearth.curate.places import GridPlaces, PointsPlaces, RangesConfig
from mmearth.curate.source import Label

_SOIL = [
    Label(10.5, 45.25, 6.5, None, "2020-06-01", "a"),
    Label(-60.0, -10.0, 4.0, None, None, "b"),
]


def _points(path: str, **more: object) -> PointsPlaces:
    keys = {"value": "ph", "date": "day", "id": "code"}
    return PointsPlaces.model_validate({"path": path, **keys, **more})


def _frame() -> gpd.GeoDataFrame:
    columns = {"ph": [6.5, 4.0], "day": ["2020-06-01", None], "code": ["a", "b"]}
    return gpd.GeoDataFrame(
        columns, geometry=gpd.points_from_xy([10.5, -60], [45.25, -10]), crs=4326
    )


def _write_csv(directory: Path, text: str) -> None:
    (directory / "p.csv").write_text(text)


def test_csv(tmp_path: Path) -> None:
    _write_csv(tmp_path, "lon,lat,ph,day,code\n10.5,45.25,6.5,2020-06-01,a\n-60,-10,4,,b\n")
    assert (
        point_labels(MMEARTH_BENCH.tasks["soil_pH"], _points("p.csv"), tmp_path, DEFAULT_GRID)
        == _SOIL
    )


def test_named_columns(tmp_path: Path) -> None:
    _write_csv(tmp_path, "X,Y,lon,ph,day,code\n10.5,45.25,1,6.5,2020-06-01,a\n-60,-10,1,4,,b\n")
    assert (
        point_labels(
            MMEARTH_BENCH.tasks["soil_pH"],
            _points("p.csv", lon="X", lat="Y"),
            tmp_path,
            DEFAULT_GRID,
        )
        == _SOIL
    )


def test_parquet_without_geometries(tmp_path: Path) -> None:
    table = pa.table({**_frame().drop(columns="geometry"), "lon": [10.5, -60], "lat": [45.25, -10]})
    pq.write_table(table, tmp_path / "p.parquet")
    assert (
        point_labels(MMEARTH_BENCH.tasks["soil_pH"], _points("p.parquet"), tmp_path, DEFAULT_GRID)
        == _SOIL
    )


def test_geoparquet_and_geojson(tmp_path: Path) -> None:
    _frame().to_parquet(tmp_path / "p.parquet")
    _frame().to_file(tmp_path / "p.geojson")
    assert (
        point_labels(MMEARTH_BENCH.tasks["soil_pH"], _points("p.parquet"), tmp_path, DEFAULT_GRID)
        == _SOIL
    )
    assert (
        point_labels(MMEARTH_BENCH.tasks["soil_pH"], _points("p.geojson"), tmp_path, DEFAULT_GRID)
        == _SOIL
    )


def test_points_of_another_crs(tmp_path: Path) -> None:
    _frame().to_crs(3857).to_parquet(tmp_path / "p.parquet")
    labels = point_labels(
        MMEARTH_BENCH.tasks["soil_pH"], _points("p.parquet"), tmp_path, DEFAULT_GRID
    )
    assert [label.lon for label in labels] == pytest.approx([10.5, -60.0])
    assert [label.lat for label in labels] == pytest.approx([45.25, -10.0])


def test_rows_without_place_or_value_are_left_out(tmp_path: Path) -> None:
    rows = ["10.5,45.25,6.5,2020-06-01,a", ",45,6,,x", "10,45,,,y", "-60,-10,4,,b"]
    _write_csv(tmp_path, "\n".join(["lon,lat,ph,day,code", *rows]))
    assert (
        point_labels(MMEARTH_BENCH.tasks["soil_pH"], _points("p.csv"), tmp_path, DEFAULT_GRID)
        == _SOIL
    )


def test_species_of_a_column(tmp_path: Path) -> None:
    _write_csv(tmp_path, "lon,lat,who\n10,45,Canis_lupus; Mus musculus;Homo sapiens\n11,45,\n")
    config = PointsPlaces(path="p.csv", species="who")
    labels = point_labels(MMEARTH_BENCH.tasks["species"], config, tmp_path, DEFAULT_GRID)
    assert [label.labels for label in labels] == [("Mus musculus", "Canis lupus"), ()]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a,b\n1,2\n",
            r"no column 'lon' for lon:; its columns are a, b: name another with lon:",
        ),
        ("lon,lat,day,code\n1,2,,\n", "has no column 'ph' for value:; its columns are lon, lat"),
        (
            "lon,lat,ph,day,code\n1,2,sour,,\n",
            "2, column 'ph': found 'sour', expected a number",
        ),
        (
            "lon,lat,ph,day,code\n1,2,5,June,\n",
            "2, column 'day': found 'June', expected a date",
        ),
        ("lon,lat,ph,day,code\n,,5,,\n", "has no usable row among 1"),
        ("", "is empty"),
        ("lon,lat,ph,day,code\n1,2\n", "line 2: has not the 5 cells of the header, as 1 of 1"),
    ],
)
def test_tables_that_cannot_be_used(text: str, said: str, tmp_path: Path) -> None:
    _write_csv(tmp_path, text)
    with pytest.raises(ConfigError, match=said):
        point_labels(MMEARTH_BENCH.tasks["soil_pH"], _points("p.csv"), tmp_path, DEFAULT_GRID)


@pytest.mark.parametrize("name", ["p.csv", "p.parquet", "p.geojson", "p.gpkg"])
def test_missing_and_damaged_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        point_labels(MMEARTH_BENCH.tasks["soil_pH"], _points(name), tmp_path, DEFAULT_GRID)
    (tmp_path / name).write_bytes(b"\xff\xfe\x00 nothing of the kind")
    with pytest.raises(ConfigError):
        point_labels(MMEARTH_BENCH.tasks["soil_pH"], _points(name), tmp_path, DEFAULT_GRID)


def test_points_need_a_crs_and_must_be_points(tmp_path: Path) -> None:
    _frame().set_crs(None, allow_override=True).to_parquet(tmp_path / "p.parquet")
    with pytest.raises(ConfigError, match="names no CRS"):
        point_labels(MMEARTH_BENCH.tasks["soil_pH"], _points("p.parquet"), tmp_path, DEFAULT_GRID)
    squares = _frame().set_geometry(_frame().to_crs(3857).buffer(9).to_crs(4326))
    squares.to_file(tmp_path / "p.geojson")
    with pytest.raises(ConfigError, match="use `grid:` for polygons"):
        point_labels(MMEARTH_BENCH.tasks["soil_pH"], _points("p.geojson"), tmp_path, DEFAULT_GRID)


def test_a_task_needs_its_target(tmp_path: Path) -> None:
    _write_csv(tmp_path, "lon,lat\n1,2\n")
    with pytest.raises(ConfigError, match=r"value: must name the column .*soil_pH"):
        point_labels(
            MMEARTH_BENCH.tasks["soil_pH"], PointsPlaces(path="p.csv"), tmp_path, DEFAULT_GRID
        )
    with pytest.raises(ConfigError, match=r"give species: .* or ranges:"):
        point_labels(
            MMEARTH_BENCH.tasks["species"], PointsPlaces(path="p.csv"), tmp_path, DEFAULT_GRID
        )
    assert point_labels(
        MMEARTH_BENCH.tasks["biomass"], PointsPlaces(path="p.csv"), tmp_path, DEFAULT_GRID
    ) == [Label(1.0, 2.0)]


def _write_ranges(directory: Path) -> RangesConfig:
    boxes = {
        "Canis_lupus": (9, 44, 11, 46),
        "Mus musculus": (10, 44, 12, 46),
        "Homo sapiens": (0, 0, 90, 80),
    }
    frame = gpd.GeoDataFrame(
        {"sci_name": list(boxes)}, geometry=[shapely.box(*box) for box in boxes.values()], crs=4326
    )
    frame.to_file(directory / "r.geojson")
    return RangesConfig(path="r.geojson")


def test_species_of_ranges(tmp_path: Path) -> None:
    config = _write_ranges(tmp_path)
    # In one; in both; 500 m west of a border, which the tile's box crosses; in none; beyond UTM.
    found = species_in_ranges(
        config, tmp_path, [9.5, 10.5, 9.994, 20.0, 10.5], [45.0] * 4 + [85.0], DEFAULT_GRID
    )
    wolf, both = ("Canis lupus",), ("Mus musculus", "Canis lupus")
    assert found == [wolf, both, both, (), ()]


def test_points_with_ranges(tmp_path: Path) -> None:
    ranges = _write_ranges(tmp_path)
    _write_csv(tmp_path, "lon,lat\n9.5,45\n,\n10.5,-89\n")
    labels = point_labels(
        MMEARTH_BENCH.tasks["species"],
        PointsPlaces(path="p.csv", ranges=ranges),
        tmp_path,
        DEFAULT_GRID,
    )
    assert [label.labels for label in labels] == [("Canis lupus",), ()]


def test_ranges_without_the_field_or_the_species(tmp_path: Path) -> None:
    _write_ranges(tmp_path)
    with pytest.raises(ConfigError, match=r"has no field 'binomial'; its fields are sci_name"):
        species_in_ranges(
            RangesConfig(path="r.geojson", name="binomial"), tmp_path, [1.0], [1.0], DEFAULT_GRID
        )
    frame = gpd.GeoDataFrame(
        {"sci_name": ["Homo sapiens"]}, geometry=[shapely.box(0, 0, 1, 1)], crs=4326
    )
    frame.to_file(tmp_path / "r.geojson")
    with pytest.raises(ConfigError, match="none of the task's 100 species"):
        species_in_ranges(RangesConfig(path="r.geojson"), tmp_path, [1.0], [1.0], DEFAULT_GRID)


def _write_area(directory: Path, *boxes: tuple[float, float, float, float]) -> None:
    shapes = [json.loads(shapely.to_geojson(shapely.box(*box))) for box in boxes]
    features = [{"type": "Feature", "properties": {}, "geometry": shape} for shape in shapes]
    text = json.dumps({"type": "FeatureCollection", "features": features})
    (directory / "area.geojson").write_text(text)


def test_a_grid_is_even_on_the_ground(tmp_path: Path) -> None:
    # At 60° N a degree of longitude is half as long as at the equator.
    _write_area(tmp_path, (10.0, -0.5, 14.0, 0.5), (10.0, 59.5, 14.0, 60.5))
    labels = grid_labels(GridPlaces(path="area.geojson", spacing_m=20_000), tmp_path, DEFAULT_GRID)
    # 4 degrees are 444.8 km at the equator and 222.4 km at 60° N, so 22 or 23 steps and half of it.
    rows = Counter(label.lat for label in labels)
    assert {n for lat, n in rows.items() if lat < 30} <= {22, 23}
    assert {n for lat, n in rows.items() if lat > 30} <= {10, 11, 12}
    equator = sorted(label.lon for label in labels if label.lat == 0.0)
    assert equator[1] - equator[0] == pytest.approx(20.0 / 111.195, rel=1e-4)  # km in a degree
    assert all(10.0 <= label.lon <= 14.0 for label in labels)


def test_a_limit_takes_every_nth_place(tmp_path: Path) -> None:
    _write_area(tmp_path, (10.0, -0.5, 14.0, 0.5))
    every = grid_labels(GridPlaces(path="area.geojson", spacing_m=20_000), tmp_path, DEFAULT_GRID)
    some = grid_labels(
        GridPlaces(path="area.geojson", spacing_m=20_000, limit=10), tmp_path, DEFAULT_GRID
    )
    assert len(some) <= 10
    assert some == every[:: -(-len(every) // 10)]


def test_grids_that_hold_nothing(tmp_path: Path) -> None:
    _write_area(tmp_path, (10.01, 0.01, 10.02, 0.02))
    with pytest.raises(ConfigError, match=r"no place of a 50000 m grid .*spacing_m smaller"):
        grid_labels(GridPlaces(path="area.geojson", spacing_m=50_000), tmp_path, DEFAULT_GRID)
    _frame().to_file(tmp_path / "area.geojson")
    with pytest.raises(ConfigError, match="holds no polygon"):
        grid_labels(GridPlaces(path="area.geojson", spacing_m=50_000), tmp_path, DEFAULT_GRID)


def test_a_column_that_is_twice_there_is_refused(tmp_path: Path) -> None:
    _write_csv(tmp_path, "lon,lat,ph,ph,day,code\n10.5,45.25,6.5,7,,a\n")
    with pytest.raises(ConfigError, match="has 2 columns 'ph' for value:; keep one of them"):
        point_labels(MMEARTH_BENCH.tasks["soil_pH"], _points("p.csv"), tmp_path, DEFAULT_GRID)


def test_a_bow_tie_is_repaired_and_a_grid_laid_in_it(tmp_path: Path) -> None:
    bow_tie = shapely.Polygon([(10, 0), (14, 2), (14, 0), (10, 2)])
    gpd.GeoDataFrame(geometry=[bow_tie], crs=4326).to_file(tmp_path / "area.gpkg")
    labels = grid_labels(GridPlaces(path="area.gpkg", spacing_m=20_000), tmp_path, DEFAULT_GRID)
    halves = shapely.union_all([shapely.Polygon([(x, 0), (x, 2), (12, 1)]) for x in (10, 14)])
    assert len(labels) == pytest.approx(halves.area / (20 / 111.195) ** 2, rel=0.05)
    assert all(halves.covers(shapely.Point(x.lon, x.lat)) for x in labels)


def test_a_grid_across_180_lies_on_both_sides(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame(geometry=[shapely.box(179, -18, 181, -17)], crs=4326)
    frame.to_file(tmp_path / "area.gpkg")
    config = GridPlaces(path="area.gpkg", spacing_m=20_000)
    east, west = 0, 0
    for label in grid_labels(config, tmp_path, DEFAULT_GRID):
        assert 179 <= abs(label.lon) <= 180 and -18 <= label.lat <= -17
        east, west = east + (label.lon > 0), west + (label.lon < 0)
    assert east > 20 and west > 20


def test_the_layer_of_a_grid_and_of_points(tmp_path: Path) -> None:
    for i, name in enumerate(("old", "study")):
        area = gpd.GeoDataFrame(geometry=[shapely.box(20 * i, 0, 20 * i + 1, 1)], crs=4326)
        area.to_file(tmp_path / "area.gpkg", layer=name)
        points = gpd.GeoDataFrame({"no": ["007"]}, geometry=[shapely.Point(20 * i, 1)], crs=4326)
        points.to_file(tmp_path / "points.gpkg", layer=name)
    with pytest.raises(ConfigError, match="has 2 layers; say layer: with one of old, study"):
        grid_labels(GridPlaces(path="area.gpkg", spacing_m=20_000), tmp_path, DEFAULT_GRID)
    found = grid_labels(
        GridPlaces(path="area.gpkg", layer="study", spacing_m=20_000), tmp_path, DEFAULT_GRID
    )
    assert min(label.lon for label in found) >= 20
    with pytest.raises(ConfigError, match="has 2 layers; say layer: with one of old, study"):
        point_labels(
            own_task("custom", TargetConfig()),
            PointsPlaces(path="points.gpkg"),
            tmp_path,
            DEFAULT_GRID,
        )
    chosen = PointsPlaces(path="points.gpkg", layer="study", id="no")
    assert point_labels(own_task("custom", TargetConfig()), chosen, tmp_path, DEFAULT_GRID) == [
        Label(20.0, 1.0, label_id="007")
    ]


@pytest.mark.parametrize("name", ["p.csv", "p", "p.parquet", "p.gpkg", "p.xlsx.txt"])
def test_ids_stay_as_they_are_in_every_format(name: str, tmp_path: Path) -> None:
    ids = ["007", "12", "1e5", "0x1F", "12345678901234567890123", "1.50"]
    frame = gpd.GeoDataFrame({"id": ids, "lon": [10.0] * 6, "lat": [50.0] * 6})
    if name == "p.parquet":
        pq.write_table(pa.table(dict(frame)), tmp_path / name)
    elif name == "p.gpkg":
        pyogrio.write_dataframe(gpd.pd.DataFrame(frame), tmp_path / name)
    else:
        frame.to_csv(tmp_path / name, index=False)
    labels = point_labels(
        own_task("custom", TargetConfig()), PointsPlaces(path=name, id="id"), tmp_path, DEFAULT_GRID
    )
    assert [label.label_id for label in labels] == ids


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([7, 12]), ["7", "12"]),
        (pa.array([7.0, 12.0]), ["7", "12"]),
        (pa.array([161510300300271459, 5]), ["161510300300271459", "5"]),
        (pa.array([7.5, 12.0]), ["7.5", "12"]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        (pa.array([b"007", b"b"]), ["007", "b"]),
        (pa.array([True, False]), ["true", "false"]),
    ],
)
def test_ids_of_typed_columns(column: pa.Array, text: list[str], tmp_path: Path) -> None:
    pq.write_table(pa.table({"lon": [1, 2], "lat": [3, 4], "id": column}), tmp_path / "p.parquet")
    labels = point_labels(
        own_task("custom", TargetConfig()),
        PointsPlaces(path="p.parquet", id="id"),
        tmp_path,
        DEFAULT_GRID,
    )
    assert [label.label_id for label in labels] == text


def test_ids_that_are_no_text(tmp_path: Path) -> None:
    table = pa.table({"lon": [1, 2], "lat": [3, 4], "id": [b"\xff", b"b"]})
    pq.write_table(table, tmp_path / "p.parquet")
    with pytest.raises(ConfigError, match="bytes that are no UTF-8 in its column 'id'"):
        point_labels(
            own_task("custom", TargetConfig()),
            PointsPlaces(path="p.parquet", id="id"),
            tmp_path,
            DEFAULT_GRID,
        )


def test_real_places_as_a_table(real_data: Path, tmp_path: Path) -> None:
    """2,313 places of the United States, latitude first."""
    places = np.load(real_data / "points" / "presto_fuel_moisture" / "latlon.npy")
    assert places.shape == (2313, 2)
    frame = gpd.pd.DataFrame(places, columns=["first", "second"])
    frame.to_csv(tmp_path / "p.csv", sep=";", decimal=",", index=False)
    frame.to_csv(tmp_path / "q.tsv", sep="\t", index=False)
    for name in ("p.csv", "q.tsv"):
        labels = point_labels(
            own_task("custom", TargetConfig()),
            PointsPlaces(path=name, lon="second", lat="first"),
            tmp_path,
            DEFAULT_GRID,
        )
        assert [(x.lat, x.lon) for x in labels] == [tuple(row) for row in places.tolist()]
        with pytest.raises(ConfigError, match="write lon: second and lat: first"):
            point_labels(
                own_task("custom", TargetConfig()),
                PointsPlaces(path=name, lon="first", lat="second"),
                tmp_path,
                DEFAULT_GRID,
            )


def test_real_ranges_answer_as_their_own_file_does(real_data: Path) -> None:
    """Against GeoPandas' join of the file as it is with the 1.3 km boxes of 500 places."""
    path = real_data / "species" / "phylacine_1.2.1_current_ranges_africa_dev.gpkg"
    draw = np.random.default_rng(5)
    lons, lats = draw.uniform(-18, 60, 500), draw.uniform(-34, 60, 500)
    config = RangesConfig(path=path.name)
    found = species_in_ranges(config, path.parent, lons.tolist(), lats.tolist(), DEFAULT_GRID)
    with np.errstate(invalid="ignore"):
        frame = gpd.read_file(path).explode()
        frame = frame[np.isfinite(shapely.area(frame.geometry.to_numpy()))]
    bounds = lonlat_bounds(tiles_at(lons, lats, DEFAULT_GRID), 10.0)
    boxes = gpd.GeoDataFrame(geometry=shapely.box(*bounds.T), crs=4326)
    frame["name"] = frame["sci_name"].str.replace("_", " ")
    joined = boxes.sjoin(frame[frame["name"].isin(MMEARTH_BENCH.tasks["species"].outputs)]).groupby(
        level=0
    )
    expected = joined["name"].agg(set).reindex(range(500)).tolist()
    assert sum(map(len, found)) > 1500
    assert [set(names) for names in found] == [e if isinstance(e, set) else set() for e in expected]
