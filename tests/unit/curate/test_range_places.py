"""Places drawn from species' ranges: which species, where, how many, and always the same."""

from __future__ import annotations

import logging
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely

from mmearth.catalog.africa import africa
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import tiles_at
from mmearth.curate.labels.range_places import range_labels
from mmearth.curate.overlap import keep_apart
from mmearth.curate.places import RangePlaces
from mmearth.curate.source import Label

# A degree at the equator is 111.3 km long and 110.6 km high: 0.5 square degrees are 6,155 km².
_BOTH = {"Canis lupus": [(20.0, 0.0, 30.0, 10.0), (80.0, 20.0, 90.0, 30.0)]}


def _write(path: Path, ranges: dict[str, list[tuple[float, ...]]], name: str = "sci_name") -> None:
    rows = [(species, shapely.box(*box)) for species, boxes in ranges.items() for box in boxes]
    frame = gpd.GeoDataFrame({name: [row[0] for row in rows]}, geometry=[row[1] for row in rows])
    frame.set_crs(4326).to_file(path)


def _draw(base: Path, ranges: dict[str, list[tuple[float, ...]]], **how: object) -> list[Label]:
    _write(base / "ranges.gpkg", ranges)
    config = RangePlaces(path="ranges.gpkg", **{"in_africa": 20, "outside": 30, **how})
    return range_labels(config, base, 3, DEFAULT_GRID)


def test_so_many_in_africa_and_outside(tmp_path: Path) -> None:
    labels = _draw(tmp_path, _BOTH)
    inside = shapely.contains_xy(africa(), [x.lon for x in labels], [x.lat for x in labels])
    assert inside.tolist() == [True] * 20 + [False] * 30
    assert {label.labels for label in labels} == {("Canis lupus",)}
    assert all(19.9 < x.lon < 30.1 and -0.1 < x.lat < 10.1 for x in labels[:20])
    assert all(79.9 < x.lon < 90.1 and 19.9 < x.lat < 30.1 for x in labels[20:])
    assert keep_apart(
        tiles_at([x.lon for x in labels], [x.lat for x in labels], DEFAULT_GRID)
    ).all()


def test_a_larger_count_keeps_the_places_of_a_smaller_one(tmp_path: Path) -> None:
    fewer, more = (
        {(x.lon, x.lat) for x in _draw(tmp_path, _BOTH, in_africa=n, outside=n)} for n in (20, 60)
    )
    assert fewer < more


def test_every_species_that_is_present_is_named(tmp_path: Path) -> None:
    other = {"Mus musculus": [(24.0, 0.0, 30.0, 10.0), (100.0, 20.0, 110.0, 30.0)]}
    labels = _draw(tmp_path, {**_BOTH, **other}, outside=0)
    shared = [label for label in labels if label.lon > 24.1]
    assert shared and all(set(x.labels or ()) == {"Canis lupus", "Mus musculus"} for x in shared)
    west = [label for label in labels if label.lon < 23.9]
    assert west and all(x.labels == ("Canis lupus",) for x in west)


def test_neither_order_nor_company_moves_a_place(tmp_path: Path) -> None:
    other = {"Mus musculus": [(0.0, 0.0, 9.0, 9.0), (100.0, 20.0, 110.0, 30.0)]}
    alone = [(x.lon, x.lat) for x in _draw(tmp_path, _BOTH)]
    first = [(x.lon, x.lat) for x in _draw(tmp_path, {**other, **_BOTH})]
    turned = [(x.lon, x.lat) for x in _draw(tmp_path, {**_BOTH, **other})]
    assert first == turned
    assert first[: len(alone)] == alone
    _write(tmp_path / "ranges.gpkg", _BOTH)
    config = RangePlaces(path="ranges.gpkg", in_africa=20, outside=30)
    assert [(x.lon, x.lat) for x in range_labels(config, tmp_path, 4, DEFAULT_GRID)] != alone


@pytest.mark.parametrize("side", ["in Africa", "outside"])
def test_a_selected_range_has_its_least_area_on_both_sides(tmp_path: Path, side: str) -> None:
    wide, small, enough = (20.0, 0.0, 22.0, 2.0), 0.48, 0.50
    far = (80.0, 0.0, 82.0, 2.0)
    for height, chosen in ((small, False), (enough, True)):
        near = (20.0, 0.0, 21.0, height) if side == "in Africa" else wide
        away = (80.0, 0.0, 81.0, height) if side == "outside" else far
        ranges = {"Canis lupus": [wide, far], "Mus musculus": [near, away]}
        labels = _draw(tmp_path, ranges, select=True, in_africa=3, outside=3)
        assert len(labels) == (12 if chosen else 6)


def test_a_range_outside_africa_only_is_not_selected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave select: out"):
        _draw(tmp_path, {"Canis lupus": [(80.0, 0.0, 82.0, 2.0)]}, select=True)
    labels = _draw(tmp_path, {"Canis lupus": [(80.0, 0.0, 82.0, 2.0)]})
    assert len(labels) == 30


def test_a_range_smaller_than_a_tile_gives_what_fits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The box of 1.3 km touches a range of 100 m from up to 650 m away; no two fit beside."""
    tiny = {"Canis lupus": [(20.0, 0.0, 20.001, 0.001)]}
    assert len(_draw(tmp_path, tiny)) == 1
    # Two islands so far apart that a place between them is hardly ever near either.
    islands = {"Canis lupus": [(20.0, 0.0, 20.0001, 0.0001), (30.0, 10.0, 30.0001, 10.0001)]}
    with caplog.at_level(logging.WARNING):
        _draw(tmp_path, islands, in_africa=4000, outside=0)
    assert "its range is small" in caplog.text


def test_names_with_underscores_and_in_another_field(tmp_path: Path) -> None:
    _write(tmp_path / "r.gpkg", {"Canis_lupus": _BOTH["Canis lupus"]}, name="binomial")
    config = RangePlaces(path="r.gpkg", name="binomial", in_africa=2, outside=2)
    assert range_labels(config, tmp_path, 1, DEFAULT_GRID)[0].labels == ("Canis lupus",)


def test_an_unknown_species_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none of the task's 100 species"):
        _draw(tmp_path, {"Homo sapiens": _BOTH["Canis lupus"]})


def test_real_ranges(real_data: Path) -> None:
    path = "phylacine_1.2.1_current_ranges_africa_dev.gpkg"
    base = real_data / "species"
    labels = range_labels(RangePlaces(path=path, in_africa=10, outside=20), base, 42, DEFAULT_GRID)
    with np.errstate(invalid="ignore"):
        frame = gpd.read_file(base / path)
    first = frame[frame.sci_name.str.replace("_", " ") == "Acinonyx jubatus"].geometry
    near = shapely.buffer(first.union_all(), 0.02)
    of_first = [x for x in labels if "Acinonyx jubatus" in (x.labels or ())]
    assert of_first and all(near.contains(shapely.Point(x.lon, x.lat)) for x in of_first)
    known = frame.sci_name.str.replace("_", " ").isin(_task_names())
    assert known.sum() * 10 < len(labels) <= known.sum() * 30


def _task_names() -> tuple[str, ...]:

    return MMEARTH_BENCH.tasks["species"].outputs
