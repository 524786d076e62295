"""Points of a task of one's own: identifiers, values that are not there, files that are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.config import BuildConfig
from mmearth.curate.declared import TargetConfig, own_task
from mmearth.curate.labels import read_labels
from mmearth.curate.labels.points import point_labels
from mmearth.curate.places import PointsPlaces
from mmearth.curate.recipes import Quirks
from mmearth.curate.source import Label
from mmearth.curate.sources.synthetic import Synthetic

_HERE, _THERE = {"type": "Point", "coordinates": [8, 50]}, {"type": "Point", "coordinates": [9, 51]}


def _feature(
    id_: object = None, geometry: object = _HERE, properties: dict[str, Any] | None = None
) -> dict[str, Any]:
    feature = {"type": "Feature", "geometry": geometry, "properties": properties}
    return feature if id_ is None else {**feature, "id": id_}


def _write(path: Path, *features: dict[str, Any]) -> None:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def _labels(directory: Path, **keys: Any) -> list[Label]:
    config = PointsPlaces.model_validate({"path": "p.geojson", "id": "id", **keys})
    return point_labels(own_task("custom", TargetConfig()), config, directory, DEFAULT_GRID)


def test_ids_of_features_without_labels(tmp_path: Path) -> None:
    _write(tmp_path / "p.geojson", _feature(12), _feature(0, _THERE, {"name": "field"}))
    assert _labels(tmp_path) == [
        Label(8.0, 50.0, label_id="12"),
        Label(9.0, 51.0, label_id="0"),
    ]


def test_ids_among_the_properties_come_first(tmp_path: Path) -> None:
    features = [
        _feature(1, _HERE, {"id": 70, "t": 1.5}),
        _feature(2, _THERE, {"id": 71, "t": None}),
    ]
    _write(tmp_path / "p.geojson", *features)
    assert _labels(tmp_path, value="t") == [
        Label(8.0, 50.0, 1.5, label_id="70"),
        Label(9.0, 51.0, None, label_id="71"),
    ]


def test_ids_stay_with_their_points_where_others_have_no_place(tmp_path: Path) -> None:
    nowhere = [{"note": "no feature"}, _feature(2, None), _feature(3, {"type": "Point"})]
    _write(tmp_path / "p.geojson", _feature(1), *nowhere, _feature(-4, _THERE))
    found = [(label.lon, label.label_id) for label in _labels(tmp_path)]
    assert found == [(8.0, "1"), (9.0, "-4")]


def test_text_ids_and_ids_of_tables(tmp_path: Path) -> None:
    _write(tmp_path / "p.geojson", _feature("north"), _feature("south", _THERE))
    assert [label.label_id for label in _labels(tmp_path)] == ["north", "south"]
    (tmp_path / "p.csv").write_text("lon,lat,no,t\n8,50,5,\n9,51,6,2.5\n")
    assert _labels(tmp_path, path="p.csv", id="no", value="t") == [
        Label(8.0, 50.0, None, label_id="5"),
        Label(9.0, 51.0, 2.5, label_id="6"),
    ]


def test_a_multipoint_of_one_point_is_a_point(tmp_path: Path) -> None:
    one = {"type": "MultiPoint", "coordinates": [[9, 51, 120]]}
    _write(tmp_path / "p.geojson", _feature(1), _feature(2, one))
    assert [(x.lon, x.lat) for x in _labels(tmp_path)] == [(8.0, 50.0), (9.0, 51.0)]


def test_a_soil_task_still_leaves_out_what_has_no_value(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("lon,lat,no,t\n8,50,,7\n9,51,6,\n")
    config = PointsPlaces(path="p.csv", id="no", value="t")
    assert point_labels(MMEARTH_BENCH.tasks["soil_pH"], config, tmp_path, DEFAULT_GRID) == [
        Label(8.0, 50.0, 7.0)
    ]
    (tmp_path / "p.csv").write_text("lon,lat,no,t\n8,50,,7\n9,51,6,5\n")
    assert [
        label.label_id
        for label in point_labels(MMEARTH_BENCH.tasks["soil_pH"], config, tmp_path, DEFAULT_GRID)
    ] == [None, "6"]


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ([_feature(7), _feature(7, _THERE)], "has the id 7 at 2 points; expected each once"),
        ([_feature(7), _feature(None, _THERE)], "has no id at 1 of its 2 points"),
        ([_feature(), _feature(None, _THERE)], "has no column 'id' for id:"),
        ([_feature(1, _HERE, {"id": 3}), _feature(2, _THERE, {})], "has no id at 1 of its 2"),
        ([_feature(1, _HERE, {"id": 3}), _feature(2, _THERE, {"id": 3})], "has the id 3 at 2"),
        ([_feature(1, _HERE, {"id": [1]}), _feature(2, _THERE, {"id": [1]})], r"id \[1\] at 2"),
        (
            [_feature(1, {"type": "MultiPoint", "coordinates": [[8, 50], [9, 50]]})],
            "geometries that are no points, such as a MultiPoint; .* split multipoints",
        ),
        (
            [_feature(1, {"type": "LineString", "coordinates": [[8, 50], [9, 5]]})],
            "a LineS.*; use `grid:`",
        ),
        ([], "has no column 'id' for id:|no usable row"),
        ([_feature(1, None)], r"no usable row among 1 \(1 no place\)"),
    ],
)
def test_files_that_cannot_be_used(
    features: list[dict[str, Any]], said: str, tmp_path: Path
) -> None:
    _write(tmp_path / "p.geojson", *features)
    with pytest.raises(ConfigError, match=said):
        _labels(tmp_path)


@pytest.mark.parametrize("text", ['{"type": "FeatureCollection", "features": [{', "", "[1, 2]"])
def test_what_is_no_geojson(text: str, tmp_path: Path) -> None:
    (tmp_path / "p.geojson").write_text(text)
    with pytest.raises(ConfigError, match=r"p\.geojson cannot be read as a vector file"):
        _labels(tmp_path)


def test_a_value_must_be_a_number(tmp_path: Path) -> None:
    _write(tmp_path / "p.geojson", _feature(1, _HERE, {"t": "ripe"}))
    with pytest.raises(ConfigError, match="row 1, column 't': found 'ripe', expected a number"):
        _labels(tmp_path, value="t")


def test_places_on_a_grid_and_of_profiles_need_no_labels_of_a_known_unit(tmp_path: Path) -> None:
    ring = [[8, 50], [8.1, 50], [8.1, 50.1], [8, 50.1], [8, 50]]
    _write(tmp_path / "area.geojson", _feature(1, {"type": "Polygon", "coordinates": [ring]}))
    (tmp_path / "clay.csv").write_text("longitude,latitude,clay\n8,50,31\n")
    profiles = {"path": "clay.csv", "value": "clay"} | dict.fromkeys(
        ("upper", "lower", "uncertainty", "id")
    )
    for places, values in (
        ({"grid": {"path": "area.geojson", "spacing_m": 5000}}, {None}),
        ({"soil": profiles}, {31.0}),
    ):
        document = {
            "name": "own",
            "title": "Own",
            "source": {"kind": "synthetic", "seed": 7},
            "tasks": {"custom": places},
        }
        config = BuildConfig.model_validate(document)
        task = config.tasks["custom"]
        how = task, Synthetic(7), tmp_path, config.catalogue.grid, 1, Quirks(), False
        labels = read_labels(config.catalogue.tasks["custom"], *how)
        assert {label.value for label in labels} == values


def test_a_place_at_zero_and_zero_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,lon,lat\na,8,50\nb,0,0\nc,0,50\n")
    columns = {"path": "p.csv", "lon": "lon", "lat": "lat"}
    assert [label.label_id for label in _labels(tmp_path, **columns)] == ["a", "c"]
    told = _labels(tmp_path, **columns, crs="EPSG:4326")
    assert [label.label_id for label in told] == ["a", "b", "c"]


def test_a_value_that_stands_for_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,lon,lat,v\na,8,50,1.5\nb,9,50,-9999\n")
    with pytest.raises(ConfigError, match="line 3, column 'v': found '-9999', which usually means"):
        _labels(tmp_path, path="p.csv", lon="lon", lat="lat", value="v")
