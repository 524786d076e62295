"""Text tables as the world writes them: separators, encodings, quotes, gzip, damage."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mmearth.catalog.errors import ConfigError
from mmearth.curate.labels.delimited import numbers, read_columns

_ROWS = [["id", "note", "value"], ["a", "plain", "1.5"], ["b", "", "-2"]]


def _table(path: Path, data: bytes) -> list[list[str | None]]:
    path.write_bytes(data)
    table, n_malformed = read_columns(path, ["id", "value"])
    assert n_malformed == 0
    return [list(row.values()) for row in table.to_pylist()]


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_separators_line_ends_and_byte_order_marks(
    separator: str, end: str, mark: str, tmp_path: Path
) -> None:
    text = mark + end.join(separator.join(row) for row in _ROWS) + end
    assert _table(tmp_path / "t.txt", text.encode()) == [["a", "1.5"], ["b", "-2"]]


def test_gzip_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    packed = gzip.compress(b"id,value\na,1\n")
    assert _table(tmp_path / "t.csv", packed) == [["a", "1"]]
    assert _table(tmp_path / "t.tsv.gz", packed) == [["a", "1"]]


def test_quoted_cells_hold_separators_and_line_ends(tmp_path: Path) -> None:
    text = b'id\tnote\tvalue\na\t"one\ttwo\nthree ""four"""\t1\n"b"\tsix "feet"\t"2"\n'
    assert _table(tmp_path / "t.tsv", text) == [["a", "1"], ["b", "2"]]


def test_a_header_in_quotes_with_a_comma_in_a_tab_table(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbf"id"\t"depth, cm"\t"value"\nx\t1\t2\n'
    assert _table(tmp_path / "t.tsv", text) == [["x", "2"]]


def test_latin_1_where_it_matters_and_where_it_does_not(tmp_path: Path) -> None:
    assert _table(tmp_path / "t.csv", "id,value\nPará,1\n".encode("latin-1")) == [["Pará", "1"]]
    assert _table(tmp_path / "t.csv", "id,value\nPará,1\n".encode()) == [["Pará", "1"]]
    other = "id,Größe,value\na,São,1\n".encode("latin-1")
    assert _table(tmp_path / "t.csv", other) == [["a", "1"]]


def test_empty_cells_of_all_kinds_are_null(tmp_path: Path) -> None:
    marks = ["", "  ", "NA", " NaN ", '""', "NULL", "N/A", r"\N", "-"]
    text = "id,value\n" + "".join(f"a,{mark}\n" for mark in marks)
    assert _table(tmp_path / "t.csv", text.encode()) == [["a", None]] * len(marks)


def test_lines_with_too_many_or_too_few_cells_are_counted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"id,value\na,1\nb\n\nc,3,4\nd,5\n")
    table, n_malformed = read_columns(tmp_path / "t.csv", ["id", "value"])
    assert (table["id"].to_pylist(), n_malformed) == (["a", "d"], 2)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        ("id,value\na,1\n".encode("utf-16"), "no text in UTF-8 or Latin-1"),
        (b"PK\x03\x04\x00\x00", "no text in UTF-8 or Latin-1"),
        (b"id,number\na,1\n", "has no column 'value'; its columns are id, number"),
        (b"id,value,value\na,1,2\n", "has several columns 'value'"),
        (gzip.compress(b"id,value\n" * 9, mtime=0)[:20], "cannot be read as a table"),
        (b'id,value\na,"1\nb,2\n', "double quote is never closed, so that its last lines are"),
        (b'id,other,value\na,"1,2\nb,2,3', "double quote is never closed"),
        (b'id,value\na,1\n"b,2\n' + b"c,3\n" * 500_000, "quote"),
    ],
    ids=("nothing", "blanks", "utf-16", "zip", "other", "twice", "cut", "tail", "row", "block"),
)
def test_what_is_no_table(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(ConfigError, match=said):
        read_columns(tmp_path / "t.csv", ["id", "value"])


def test_no_file_and_a_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read as a table"):
            read_columns(path, ["id"])


def test_numbers_and_what_is_none(tmp_path: Path) -> None:
    cells = ["1", "-2.5", "+3", ".5", "4.", "1e3", "2E-2", None, "<5", "1,5", "0x1", "inf", "1 2"]
    values, text = numbers(pa.chunked_array([cells]))
    np.testing.assert_array_equal(values[:7], [1, -2.5, 3, 0.5, 4, 1000, 0.02])
    assert np.isnan(values[7:]).all()
    assert text.tolist() == [False] * 8 + [True] * 5
