"""Ranges from tables: the text reader and the rules of points, and a column of WKT."""

from __future__ import annotations

import gzip
from pathlib import Path

import geopandas as gpd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.curate.labels.ranges import read_ranges, species_in_ranges
from mmearth.curate.places import RangesConfig

_NAMES = ["Canis lupus", "Mus musculus", "Mus musculus"]
_BOXES = [shapely.box(9, 44, 11, 46), shapely.box(10, 44, 12, 46), shapely.box(20, 44, 21, 46)]
_WOLF, _BOTH = ("Canis lupus",), ("Mus musculus", "Canis lupus")


def _rows(separator: str, quote: str) -> str:
    rows = [
        f'"{name}"{separator}2{separator}{quote}{box.wkt}{quote}'
        for name, box in zip(_NAMES, _BOXES, strict=True)
    ]
    return "\n".join([separator.join(("sci_name", "Presence", "WKT")), *rows, ""])


def _check(base: Path, **keys: object) -> None:
    config = RangesConfig.model_validate({"path": "r.csv", **keys})
    # In one; in both; in the second polygon of a species; in none.
    found = species_in_ranges(config, base, [9.5, 10.5, 20.5, 30.0], [45.0] * 4, DEFAULT_GRID)
    assert found == [_WOLF, _BOTH, ("Mus musculus",), ()]


@pytest.mark.parametrize("name", ["r.csv", "r.tsv", "r.txt", "r.csv.gz"])
@pytest.mark.parametrize(("separator", "quote"), [(",", '"'), (";", '"'), ("\t", ""), ("|", "")])
def test_text_of_any_kind(name: str, separator: str, quote: str, tmp_path: Path) -> None:
    data = _rows(separator, quote).encode("utf-16" if name == "r.txt" else "utf-8")
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    _check(tmp_path, path=name)


def test_columns_of_other_names_in_another_crs(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame({"art": _NAMES}, geometry=_BOXES, crs=4326).to_crs(32633)
    frame["umriß"] = frame.geometry.force_3d().to_wkt()
    text = frame.drop(columns="geometry").to_csv(index=False)
    (tmp_path / "r.csv").write_bytes(text.encode("cp1252"))
    _check(tmp_path, name="art", wkt="umriß", crs="EPSG:32633", encoding="latin-1")


def test_a_table_of_parquet(tmp_path: Path) -> None:
    table = pa.table({"sci_name": _NAMES, "origin": [1, 1, 3], "WKT": [b.wkt for b in _BOXES]})
    pq.write_table(table, tmp_path / "r.parquet")
    _check(tmp_path, path="r.parquet")
    config = RangesConfig(path="r.parquet", origin=(1,))
    assert species_in_ranges(config, tmp_path, [20.5], [45.0], DEFAULT_GRID) == [()]


def test_codes_and_empty_cells(tmp_path: Path) -> None:
    box = _BOXES[0].wkt
    rows = [
        f"Canis lupus\t5\t{box}",
        f"NA\t1\t{box}",
        "Mus musculus\t1\t",
        f"Mus musculus\t1\t{box}",
    ]
    text = "\n".join(["sci_name\tPRESENCE\tWKT", *rows])
    (tmp_path / "r.tsv").write_text(text)
    assert read_ranges(RangesConfig(path="r.tsv"), tmp_path).names == ("Mus musculus",)


def test_codes_of_a_column_with_a_gap_are_floats_to_pandas(tmp_path: Path) -> None:
    rows = [f"{_NAMES[0]}\t{code}\t{_BOXES[0].wkt}" for code in ("1.0", "", "4.0")]
    (tmp_path / "r.tsv").write_text("\n".join(["sci_name\tpresence\tWKT", *rows, ""]))
    assert len(read_ranges(RangesConfig(path="r.tsv"), tmp_path).names) == 2


_HEAD = "sci_name\tWKT\n"
_WOLVES = f"{_HEAD}Canis lupus\t"
_TRIANGLE = "POLYGON ((9 44, 11 44, 11 46, 9 44))"
_METRES = "POLYGON ((5e5 5e6, 6e5 5e6, 6e5 6e6, 5e5 5e6))"
_NO_QUOTE = f"""sci_name,WKT
"Canis lupus,"{_TRIANGLE}"
Mus musculus,"{_TRIANGLE}"
"""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sci_name\tshape\n", "has no column 'WKT' for wkt:; its columns are sci_name, shape"),
        ("WKT\n", "has no column 'sci_name' for name:"),
        (f"{_WOLVES}SRID=4326;{_TRIANGLE}\n", "line 2, column 'WKT': found 'SRID="),
        (f"{_WOLVES}POLYGON ((9 44, 11 44, 11 46))\n", "expected a polygon in WKT"),
        (f"{_WOLVES}{'9 44 ' * 99}\n", "found '9 44 .*…', expected a polygon"),
        (f'{_HEAD}"Canis lupus\t{_TRIANGLE}\nMus musculus\t{_TRIANGLE}\n', "line 2: has a double"),
        (_NO_QUOTE, "line 2: has a double"),
        (f"{_WOLVES}{_METRES}\n", "no degrees: say crs:"),
        (f"{_WOLVES}POINT (9 44)\n", "holds no polygon; expected an area"),
    ],
)
def test_tables_that_cannot_be_used(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        read_ranges(RangesConfig(path="r.txt"), tmp_path)


def test_longitude_and_latitude_swapped(tmp_path: Path) -> None:
    """Places in Brazil; turned, they are in the sea south of Africa and in Antarctica's."""
    turned = [shapely.box(y, x, y + 1, x + 1) for x, y in ((-50, -5), (-55, -10), (-60, -4))]
    text = "\n".join(f"Canis lupus\t{box.wkt}" for box in turned)
    (tmp_path / "r.tsv").write_text(f"sci_name\tWKT\n{text}\n")
    with pytest.raises(ConfigError, match="swap the coordinates in the file; if they are right"):
        read_ranges(RangesConfig(path="r.tsv"), tmp_path)
    assert read_ranges(RangesConfig(path="r.tsv", crs="EPSG:4326"), tmp_path).shapes.size == 3


def test_an_encoding_of_what_is_no_text(tmp_path: Path) -> None:
    gpd.GeoDataFrame({"sci_name": _NAMES}, geometry=_BOXES, crs=4326).to_file(tmp_path / "r.gpkg")
    with pytest.raises(ConfigError, match=r"r\.gpkg is no table of text; leave encoding: out"):
        read_ranges(RangesConfig(path="r.gpkg", encoding="cp1251"), tmp_path)
