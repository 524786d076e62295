"""Answers as layers: another reader finds rows, places and values."""

from __future__ import annotations

import io
import json
import resource
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from mmearth.catalog.errors import ConfigError, StorageError
from mmearth.loaders.answer import cells, render, write
from mmearth.tests.unit.loaders.test_query import query

RunCli = Callable[..., tuple[int, str, str]]
ASKED = "SELECT key, target, date, sentinel2, geometry FROM soil_pH ORDER BY key LIMIT 5"


@pytest.mark.parametrize("form", ["geojson", "gpkg", "fgb", "parquet"])
def test_geopandas_reads_places_and_values(
    small_dataset: Path, tmp_path: Path, run_cli: RunCli, form: str
) -> None:
    path, expected = tmp_path / f"answer.{form}", query(small_dataset, ASKED).to_pylist()
    code, out, err = run_cli("loaders", "query", str(small_dataset), ASKED, "-o", str(path))
    assert (code, out) == (0, ""), err
    read = gpd.read_parquet if form == "parquet" else gpd.read_file
    found = read(path).sort_values("key").reset_index(drop=True)
    assert found["key"].tolist() == [row["key"] for row in expected]
    assert found["target"].tolist() == [row["target"] for row in expected]
    assert [str(day)[:10] for day in found["date"]] == [str(row["date"]) for row in expected]
    shapes = shapely.from_wkb([row["geometry"] for row in expected])
    np.testing.assert_allclose(found.total_bounds, shapely.total_bounds(shapes), atol=1e-9)
    # In metres of its own zone every outline is a tile of 1.28 km.
    zone = found.iloc[[0]].to_crs(int(expected[0]["key"].split("_")[0]))
    assert zone.area.iloc[0] == pytest.approx(1280**2, rel=1e-4)
    if form != "parquet":
        said = found["sentinel2"][0]
        said = json.loads(said) if isinstance(said, str) else said
        assert said["byte_offset"] == expected[0]["sentinel2"]["byte_offset"]


@pytest.mark.parametrize("form", ["gpkg", "fgb"])
def test_equal_answers_are_equal_bytes(small_dataset: Path, tmp_path: Path, form: str) -> None:
    answer = query(small_dataset, ASKED)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(answer, form, tmp_path / name / f"places.{form}")
    first, second = ((tmp_path / name / f"places.{form}").read_bytes() for name in ("a", "b"))
    assert first == second
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("form", ["geojson", "gpkg"])
def test_an_answer_without_places_is_no_layer(
    small_dataset: Path, tmp_path: Path, run_cli: RunCli, form: str
) -> None:
    out = tmp_path / f"answer.{form}"
    asked = "loaders", "query", str(small_dataset), "SELECT key FROM soil_pH", "-o", str(out)
    code, _, err = run_cli(*asked)
    assert (code, out.exists()) == (2, False)
    assert "found no column geometry in the answer" in err and "select it too" in err


def test_nothing_and_nowhere() -> None:
    empty = pa.table({"a": pa.array([], pa.int64()), "geometry": pa.array([], pa.binary())})
    assert json.loads(render(empty, "geojson"))["features"] == []
    nowhere = pa.table({"a": [1], "geometry": pa.array([None], pa.binary())})
    assert json.loads(render(nowhere, "geojson"))["features"][0]["geometry"] is None
    assert b"geo" in pq.read_schema(io.BytesIO(render(nowhere, "parquet"))).metadata
    with pytest.raises(ConfigError, match="found no column geometry"):
        render(pa.table({"a": [1]}), "geojson")


@pytest.mark.parametrize("form", ["geojson", "gpkg", "fgb", "parquet"])
def test_a_row_may_have_no_place(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"answer.{form}"
    outlines = pa.array([None, shapely.Point(1, 2).wkb], pa.binary())
    write(pa.table({"fid": [5, 5], "geom": [1, 2], "geometry": outlines}), form, path)
    found = gpd.read_parquet(path) if form == "parquet" else gpd.read_file(path)
    assert (found["fid"].tolist(), found["geom"].tolist()) == ([5, 5], [1, 2])
    assert [None if shape is None else shape.wkt for shape in found.geometry] == [
        None,
        "POINT (1 2)",
    ]


@pytest.mark.parametrize("form", ["geojson", "gpkg", "fgb", "parquet"])
def test_a_place_may_be_empty(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"answer.{form}"
    write(pa.table({"a": [1], "geometry": [shapely.Polygon().wkb]}), form, path)
    found = gpd.read_parquet(path) if form == "parquet" else gpd.read_file(path)
    assert found["a"].tolist() == [1]


@pytest.mark.parametrize("form", ["geojson", "gpkg", "fgb"])
def test_no_number_is_rounded(tmp_path: Path, form: str) -> None:
    path, outline = tmp_path / f"answer.{form}", shapely.Point(1, 2).wkb
    answer = pa.table(
        {
            "fits": pa.array([2**62 + 1], pa.uint64()),
            "hilbert": pa.array([2**63 + 1], pa.uint64()),
            "sum": pa.array([Decimal(2**62 + 1)], pa.decimal128(38, 0)),
            "sums": pa.array([Decimal(2**65 + 1)], pa.decimal128(38, 0)),
            "share": pa.array([Decimal("0.25")], pa.decimal128(30, 20)),
            "geometry": [outline],
        }
    )
    write(answer, form, path)
    found = gpd.read_file(path).iloc[0]
    assert (found["fits"], found["hilbert"]) == (2**62 + 1, str(2**63 + 1))
    assert (found["sum"], found["sums"], found["share"]) == (2**62 + 1, str(2**65 + 1), 0.25)


@pytest.mark.parametrize("form", ["gpkg", "fgb"])
def test_columns_that_differ_by_case_are_refused(tmp_path: Path, form: str) -> None:
    answer = pa.table({"key": ["a"], "Key": ["b"], "geometry": [shapely.Point(1, 2).wkb]})
    with pytest.raises(ConfigError, match="found the columns key and Key"):
        write(answer, form, tmp_path / f"answer.{form}")


@pytest.mark.parametrize("form", ["gpkg", "fgb"])
@pytest.mark.parametrize(
    ("stem", "layer"),
    [
        *(("a b", "a b"), ("größe", "größe"), ("it's", "it's"), ("-x", "answer")),
        *(("gpkg_a", "answer"), ("sqlite_a", "answer"), ("..a", "answer"), ("%`s", "answer")),
    ],
)
def test_a_file_may_have_any_name(tmp_path: Path, form: str, stem: str, layer: str) -> None:
    path = tmp_path / f"{stem}.{form}"
    write(pa.table({"geometry": [shapely.Point(1, 2).wkb]}), form, path)
    assert pyogrio.list_layers(path)[:, 0].tolist() == [layer]
    assert len(gpd.read_file(path)) == 1


@pytest.mark.parametrize("values", [["abc"], [5], [b"abc"]])
def test_a_geometry_that_is_no_outline(tmp_path: Path, values: list[object]) -> None:
    answer = pa.table({"geometry": values})
    for form in ("geojson", "gpkg", "fgb"):
        with pytest.raises(ConfigError, match="are no outlines; expected those of a task"):
            write(answer, form, tmp_path / f"answer.{form}")
    stored = pq.read_table(io.BytesIO(render(answer, "parquet")))
    assert stored["geometry"].to_pylist() == values
    assert b"geo" not in (stored.schema.metadata or {})


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_every_type_of_an_answer_is_written(small_dataset: Path, form: str) -> None:
    asked = "SELECT INTERVAL 3 DAY AS span, union_value(a := 1) AS one, 1.5 AS x, sum(epsg) AS s"
    data = render(query(small_dataset, f"{asked} FROM soil_pH"), form)
    if form == "json":
        row = json.loads(data)[0]
        assert (row["x"], row["span"], row["one"]) == (1.5, [0, 3, 0], 1)
        assert row["s"] == sum(query(small_dataset, "FROM soil_pH")["epsg"].to_pylist())


STRANGE = (
    "NULL",
    "[INTERVAL 3 DAY]",
    "{'a': [INTERVAL 3 DAY]}",
    "MAP {}",
    "1::BIGNUM",
    "DATE '10000-01-01'",
    "TIMESTAMP '-infinity'",
    "TIMESTAMP_NS '2020-01-01 00:00:00.123456789'",
)


@pytest.mark.parametrize("form", ["csv", "json", "parquet", "geojson", "gpkg", "fgb"])
def test_what_a_format_has_not_is_text(small_dataset: Path, tmp_path: Path, form: str) -> None:
    columns = ", ".join(f"{sql} AS c{i}" for i, sql in enumerate(STRANGE))
    answer = query(small_dataset, f"SELECT {columns}, geometry FROM soil_pH LIMIT 1")
    path = tmp_path / f"answer.{form}"
    write(answer, form, path)
    if form in ("gpkg", "fgb"):
        read = pyogrio.read_dataframe(path).iloc[0]
        assert (read["c0"], read["c5"], read["c7"].year) == (None, "10000-01-01", 2020)
        assert read["c6"].startswith("<value out of range")


@pytest.mark.parametrize("form", ["gpkg", "fgb"])
def test_a_full_disk_is_one_sentence(small_dataset: Path, tmp_path: Path, form: str) -> None:
    answer, path = query(small_dataset, ASKED), tmp_path / f"answer.{form}"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, before[1]))
    try:
        with pytest.raises(StorageError, match=r"cannot be written there .* TMPDIR names another"):
            write(answer, form, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not path.exists()


def test_places_alone_are_an_answer(small_dataset: Path, tmp_path: Path) -> None:
    answer = query(small_dataset, "SELECT geometry FROM soil_pH LIMIT 2")
    for form in ("geojson", "gpkg", "fgb", "parquet"):
        path = tmp_path / f"answer.{form}"
        write(answer, form, path)
        read = gpd.read_parquet if form == "parquet" else gpd.read_file
        assert list(read(path).columns) == ["geometry"]
        assert len(read(path)) == 2


@pytest.mark.parametrize("form", ["table", "csv", "json", "geojson"])
def test_days_that_python_has_not_are_text(small_dataset: Path, form: str) -> None:
    day = "DATE 'infinity'"
    kinds = ("TIMESTAMP '12000-01-01'", day, f"{{'a': {day}}}", f"[{day}]", f"[{day}]::DATE[1]")
    columns = (*kinds, f"MAP {{{day}: 1}}", f"[MAP {{1: {day}}}]")
    named = ", ".join(f"{sql} AS c{i}" for i, sql in enumerate(columns))
    answer = query(small_dataset, f"SELECT {named}, geometry FROM soil_pH LIMIT 2")
    said = render(answer, form).decode()
    assert said.count("12000-01-01") == 2
    assert len(cells(answer)) == 2


def test_a_question_from_standard_input(
    small_dataset: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"SELECT 1 AS one")))
    code, out, _ = run_cli("loaders", "query", str(small_dataset), "-", "--json")
    assert (code, json.loads(out)) == (0, [{"one": 1}])
