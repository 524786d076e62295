"""Names of species: any separator and case; misspelt ones are refused, others ignored and told."""

from __future__ import annotations

import logging
from pathlib import Path

import geopandas as gpd
import pytest
import shapely

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.config import BuildConfig
from mmearth.curate.labels.points import point_labels
from mmearth.curate.labels.ranges import read_ranges, species_in_ranges
from mmearth.curate.places import PointsPlaces, RangesConfig
from mmearth.curate.plan import make_plan
from mmearth.curate.sources.synthetic import Synthetic

_BOTH = ("Mus musculus", "Canis lupus")


def _present(directory: Path, *cells: str, **keys: bool) -> list[tuple[str, ...] | None]:
    rows = "".join(f'{8 + i},50,"{cell}"\n' for i, cell in enumerate(cells))
    (directory / "p.csv").write_text("lon,lat,names\n" + rows)
    config = PointsPlaces(path="p.csv", species="names", **keys)
    return [
        label.labels
        for label in point_labels(MMEARTH_BENCH.tasks["species"], config, directory, DEFAULT_GRID)
    ]


@pytest.mark.parametrize(
    "cell",
    [
        "Canis lupus;Mus musculus",
        "Mus musculus, Canis lupus",
        "mus  musculus|CANIS LUPUS",
        "Mus_musculus ; canis_lupus;",
        "Canis lupus\nMus musculus",
        "Canis lupus, Mus musculus, Canis lupus",
    ],
)
def test_any_separator_and_case(cell: str, tmp_path: Path) -> None:
    assert _present(tmp_path, cell, "", "canis lupus") == [_BOTH, (), ("Canis lupus",)]


def test_a_species_that_was_not_seen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As GBIF has them; a place where only that is known says nothing of the other species."""
    head = "gbifID\tspecies\tdecimalLatitude\tdecimalLongitude\toccurrenceStatus\n"
    rows = ["Canis lupus\t50\t8\tPRESENT", "Mus musculus\t50\t8\tABSENT"]
    rows += ["Mus musculus\t51\t8\t", "Canis lupus\t52\t8\tabsent"]
    path = tmp_path / "p.tsv"
    path.write_text(head + "".join(f"{i}\t{row}\n" for i, row in enumerate(rows)))
    config = PointsPlaces(
        path="p.tsv", species="species", lon="decimalLongitude", lat="decimalLatitude"
    )
    with caplog.at_level(logging.INFO):
        labels = point_labels(MMEARTH_BENCH.tasks["species"], config, tmp_path, DEFAULT_GRID)
    assert [(x.lat, x.labels) for x in labels] == [(50, _BOTH[1:]), (51, _BOTH[:1])]
    assert "kept 2 of 4 rows; 2 absent" in caplog.text
    path.write_text(path.read_text() + "9\tMus musculus\t50\t8\tdoubtful\n")
    sentence = "line 6, column 'occurrence[sS]tatus': found 'doubtful', expected PRESENT or ABSENT"
    with pytest.raises(ConfigError, match=sentence):
        point_labels(MMEARTH_BENCH.tasks["species"], config, tmp_path, DEFAULT_GRID)


def test_rows_of_one_place_are_one_list(tmp_path: Path) -> None:
    rows = "8,50,Canis lupus\n8,50,Mus musculus\n9,50,Canis lupus\n"
    (tmp_path / "p.csv").write_text("lon,lat,names\n" + rows)
    config = PointsPlaces(path="p.csv", species="names")
    found = [
        label.labels
        for label in point_labels(MMEARTH_BENCH.tasks["species"], config, tmp_path, DEFAULT_GRID)
    ]
    assert found == [_BOTH, _BOTH, ("Canis lupus",)]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("Canis lupis", "Canis lupus"),
        ("Mus muscullus", "Mus musculus"),
        ("M. musculus", "Mus musculus"),
        ("Mus musculus domesticus", "Mus musculus"),
        ("Canis lupus Linnaeus", "Canis lupus"),
        ("Rattus rattus / Canis lupus", "Canis lupus, Rattus rattus"),
    ],
)
def test_a_name_that_looks_like_a_known_one_is_refused(
    name: str, known: str, tmp_path: Path
) -> None:
    said = f"line 3, column 'names': .*{name!r} is none .*nearest known ones are {known}.*; correct"
    with pytest.raises(ConfigError, match=said):
        _present(tmp_path, "Mus spretus", f"Canis lupus; {name}")
    assert _present(tmp_path, f"Canis lupus; {name}", ignore_unknown=True) == [("Canis lupus",)]


def test_other_species_are_ignored_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="mmearth"):
        found = _present(tmp_path, "Homo sapiens; Canis lupus", "Vulpes chama")
    assert found == [("Canis lupus",), ()]
    assert "2 species are none of the task's: ignored (Homo sapiens, Vulpes chama)" in caplog.text


@pytest.mark.parametrize("keys", [{}, {"ignore_unknown": True}])
def test_a_table_of_which_no_name_is_known(keys: dict[str, bool], tmp_path: Path) -> None:
    said = "line 2, column 'names': found 'house mouse', and 'house mouse' is none of the task's"
    with pytest.raises(ConfigError, match=said):
        _present(tmp_path, "house mouse", "grey wolf", **keys)


def _ranges(directory: Path, *names: str | None) -> RangesConfig:
    shapes = [shapely.box(i, 0, i + 1, 1) for i in range(len(names))]
    frame = gpd.GeoDataFrame({"sci_name": names}, geometry=shapes, crs=4326)
    frame.to_file(directory / "r.gpkg")
    return RangesConfig(path="r.gpkg")


def test_names_of_ranges(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = _ranges(tmp_path, "CANIS_LUPUS", "mus  musculus ", "Homo sapiens", None)
    with caplog.at_level(logging.INFO, logger="mmearth"):
        assert read_ranges(config, tmp_path).names == ("Canis lupus", "Mus musculus")
    assert caplog.messages == [
        "r.gpkg: ranges of 2 of the task's 100 species; none of 98 (Pipistrellus kuhlii, Hyaena "
        "hyaena, Rattus rattus, Acinonyx jubatus, Felis lybica …); 1 other species are ignored "
        "(Homo sapiens)"
    ]


def test_a_misspelt_range_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = _ranges(tmp_path, "Canis lupis", "Mus musculus")
    assert read_ranges(config, tmp_path).names == ("Mus musculus",)
    assert "r.gpkg: 'Canis lupis' is taken for another species than 'Canis lupus'" in caplog.text


def test_ranges_as_geoparquet(tmp_path: Path) -> None:
    box = shapely.box(0, 0, 1, 1)
    frame = gpd.GeoDataFrame({"sci_name": ["Canis lupus"]}, geometry=[box], crs=4326)
    frame.to_parquet(tmp_path / "r.parquet")
    found = species_in_ranges(
        RangesConfig(path="r.parquet"), tmp_path, [0.5, 5.0], [0.5, 0.5], DEFAULT_GRID
    )
    assert found == [("Canis lupus",), ()]


def test_ranges_of_no_known_species_name_the_nearest(tmp_path: Path) -> None:
    config = _ranges(tmp_path, "Canis lupis", "Homo sapiens")
    said = "'sci_name', but Canis lupis, Homo sapiens; the nearest known ones are Canis lupus"
    with pytest.raises(ConfigError, match=said):
        read_ranges(config, tmp_path)


@pytest.mark.parametrize("west", [170, -190, 530])
def test_a_range_across_180_answers_on_both_sides(west: int, tmp_path: Path) -> None:
    box = shapely.box(west, -20, west + 20, -10)
    frame = gpd.GeoDataFrame({"sci_name": ["Canis lupus"]}, geometry=[box], crs=4326)
    frame.to_file(tmp_path / "r.gpkg")
    config = RangesConfig(path="r.gpkg")
    lons = [175.0, -175.0, 185.0, 0.0, 169.0]
    found = species_in_ranges(config, tmp_path, lons, [-15.0] * 5, DEFAULT_GRID)
    assert [bool(names) for names in found] == [True, True, True, False, False]


def test_a_tile_that_reaches_across_180_touches_what_lies_there(tmp_path: Path) -> None:
    """A box of 1.3 km round 179.999° E reaches 0.005° beyond 180°."""
    box = shapely.box(-180, -20, -179.997, -10)
    frame = gpd.GeoDataFrame({"sci_name": ["Canis lupus"]}, geometry=[box], crs=4326)
    frame.to_file(tmp_path / "r.gpkg")
    found = species_in_ranges(
        RangesConfig(path="r.gpkg"), tmp_path, [179.999, 179.99], [-15.0] * 2, DEFAULT_GRID
    )
    assert found == [("Canis lupus",), ()]


def _coded(directory: Path, presence: list[int | None]) -> None:
    boxes = [shapely.box(10 * i, 0, 10 * i + 5, 5) for i in range(len(presence))]
    columns = {
        "sci_name": ["Canis lupus"] * len(boxes),
        "PRESENCE": gpd.pd.array(presence, "Int64"),
    }
    columns["origin"] = [1, 3] * (len(boxes) // 2) + [1] * (len(boxes) % 2)
    frame = gpd.GeoDataFrame(columns, geometry=boxes, crs=4326)
    frame.to_file(directory / "r.gpkg")


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        ({}, [0, 1, 2, 5, 6]),
        ({"presence": [1, 2]}, [0, 1]),
        ({"presence": [1, 2, 3, 4, 5, 6]}, [0, 1, 2, 3, 4, 5]),
        ({"presence": None}, [0, 1, 2, 3, 4, 5, 6]),
        ({"origin": [1]}, [0, 2, 6]),
    ],
)
def test_ranges_where_a_species_is_extinct(
    keys: dict[str, list[int]], kept: list[int], tmp_path: Path
) -> None:
    _coded(tmp_path, [1, 2, 3, 4, 5, 6, None])
    config = RangesConfig.model_validate({"path": "r.gpkg", **keys})
    lons = [10 * i + 2.0 for i in range(7)]
    found = species_in_ranges(config, tmp_path, lons, [2.0] * 7, DEFAULT_GRID)
    assert [i for i, names in enumerate(found) if names] == kept


def test_codes_that_leave_nothing_or_are_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _coded(tmp_path, [1, 4, 5])
    with caplog.at_level(logging.INFO, logger="mmearth"):
        read_ranges(RangesConfig(path="r.gpkg"), tmp_path)
    assert "r.gpkg: polygons are left out: 2 with presence 4, 5" in caplog.text
    with pytest.raises(ConfigError, match="no polygon left: 3 with presence 1, 4, 5; name other"):
        read_ranges(RangesConfig(path="r.gpkg", presence=(6,)), tmp_path)
    with pytest.raises(ConfigError, match="has no field 'seasonal'; leave seasonal: out"):
        read_ranges(RangesConfig(path="r.gpkg", seasonal=(1,)), tmp_path)


@pytest.mark.parametrize(
    ("recipe", "keys", "n"),
    [
        ("default", {}, 1),
        ("mmearth-bench-2026", {}, 3),
        ("mmearth-bench-2026", {"presence": [1, 4]}, 2),
    ],
)
@pytest.mark.parametrize("kind", ["points", "grid", "ranges"])
def test_the_published_recipe_takes_every_presence(
    kind: str, recipe: str, keys: dict[str, list[int]], n: int, tmp_path: Path
) -> None:
    _coded(tmp_path, [1, 4, 5])
    (tmp_path / "p.csv").write_text("lon,lat\n2,2\n12,2\n22,2\n")
    areas = [shapely.box(10 * i + 1.9, 1.9, 10 * i + 2.1, 2.1) for i in range(3)]
    gpd.GeoDataFrame(geometry=areas, crs=4326).to_file(tmp_path / "a.gpkg")
    ranges = {"path": "r.gpkg", **keys}
    places = {
        "points": {"path": "p.csv", "ranges": ranges},
        "grid": {"path": "a.gpkg", "spacing_m": 20_000, "ranges": ranges},
        "ranges": {**ranges, "in_africa": 9, "outside": 0},
    }[kind]
    document = {
        "name": "s",
        "title": "S",
        "recipe": recipe,
        "source": {"kind": "synthetic", "seed": 7},
        "tasks": {"species": {kind: places}},
    }
    plan = make_plan(BuildConfig.model_validate(document), Synthetic(7), tmp_path)
    present = {round(row["lon"] / 10) for row in plan.table.to_pylist() if row["species"]}
    assert len(present) == n
