"""Text tables as the world writes them: separators, encodings, quotes, gzip, damage."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mmearth.catalog.errors import ConfigError
from mmearth.curate.labels.numbers import has_decimal_commas, numbers
from mmearth.curate.labels.table import Table, read_table
from mmearth.curate.places import TableConfig

_ROWS = [
    ["lon", "note", "lat", "id", "value"],
    ["8", "plain", "50", "a", "1.5"],
    ["9", "", "51", "b", "-2"],
]
_COLUMNS = {"lon": "lon", "lat": "lat", "id": "id", "value": "value"}
_HEAD = b"lon,lat,id,value\n"


def _read(path: Path, data: bytes) -> Table:
    path.write_bytes(data)
    return read_table(path, _COLUMNS, ("lon", "lat", "value"), TableConfig(path=path.name))


def _table(path: Path, data: bytes) -> list[tuple[str | None, ...]]:
    table = _read(path, data)
    assert not table.malformed
    return list(zip(table.text["id"].to_pylist(), table.text["value"].to_pylist(), strict=True))


@pytest.mark.parametrize("separator", ["\t", ",", ";", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff", "sep={}\n"])
def test_separators_line_ends_and_what_stands_before(
    separator: str, end: str, mark: str, tmp_path: Path
) -> None:
    text = mark.format(separator) + end.join(separator.join(row) for row in _ROWS) + end
    assert _table(tmp_path / "t.txt", text.encode()) == [("a", "1.5"), ("b", "-2")]


@pytest.mark.parametrize("name", ["t.csv", "T.TSV", "t.txt", "t.tab", "t.csv.gz"])
def test_gzip_by_its_bytes_and_not_by_its_name(name: str, tmp_path: Path) -> None:
    assert _table(tmp_path / name, _HEAD + b"1,2,a,1\n") == [("a", "1")]
    assert _table(tmp_path / name, gzip.compress(_HEAD + b"1,2,a,1\n")) == [("a", "1")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "utf-32"])
def test_encodings(encoding: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "lon,Größe,lat,id,value\n1,São,2,Pará \u2013 7,1\n"
    assert _table(tmp_path / "t.csv", text.encode(encoding)) == [("Pará \u2013 7", "1")]
    assert ("read as Windows-1252" in caplog.text) == (encoding == "cp1252")


def test_quoted_cells_hold_separators_and_line_ends(tmp_path: Path) -> None:
    head = b"lon\tlat\tnote\tid\tvalue\n"
    text = b'1\t2\t"one\ttwo\nthree ""four"""\ta\t1\n3\t4\tsix "feet"\t"b"\t"2"\n'
    assert _table(tmp_path / "t.tsv", head + text) == [("a", "1"), ("b", "2")]


def test_a_quote_after_a_blank_encloses_a_cell(tmp_path: Path) -> None:
    text = b'"lon", "lat", "id", "value"\n 1, 2, "a, b", 1\n'
    assert _table(tmp_path / "t.csv", text) == [("a, b", "1")]


def test_an_id_may_be_what_elsewhere_is_an_empty_cell(tmp_path: Path) -> None:
    text = _HEAD + b"1,2,NA,NA\n1,2,-,-\n1,2, ,1\n"
    assert _table(tmp_path / "t.csv", text) == [("NA", None), ("-", None), (None, "1")]


def test_honest_line_ends_in_a_file_of_two_megabytes(tmp_path: Path) -> None:
    prose = "first, second\nthird\r\n\n" * 6
    rows = [f'{i % 90},{i % 80},{i:05d},{i},"{prose}"\n' for i in range(20_000)]
    data = ("lon,lat,id,value,note\n" + "".join(rows)).encode()
    assert len(data) > 2_000_000
    found = _table(tmp_path / "t.csv", data)
    assert found == [(f"{i:05d}", str(i)) for i in range(20_000)]


def test_a_header_in_quotes_with_a_comma_in_a_tab_table(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbf"id"\t"depth, cm"\t lon \tlat\t"value"\nx\t1\t8\t9\t2\n'
    assert _table(tmp_path / "t.tsv", text) == [("x", "2")]


def test_empty_cells_of_all_kinds_are_null(tmp_path: Path) -> None:
    marks = ["", "  ", "NA", " NaN ", '""', "NULL", "N/A", r"\N", "-", "#N/A"]
    text = _HEAD.decode() + "".join(f"1,2,a,{mark}\n" for mark in marks)
    assert _table(tmp_path / "t.csv", text.encode()) == [("a", None)] * len(marks)


def test_cells_are_text_and_stay_as_they_are(tmp_path: Path) -> None:
    ids = ["007", "7.0", "1e3", "12345678901234567890123", "True", "2020-01-01", "+1", "é"]
    text = _HEAD.decode() + "".join(f"1,2,{id_},1\n" for id_ in ids)
    assert [id_ for id_, _ in _table(tmp_path / "t.csv", text.encode())] == ids


def test_few_malformed_lines_are_left_out_and_many_refused(tmp_path: Path) -> None:
    rows = [b"1,2,a,1\n"] * 300
    table = _read(tmp_path / "t.csv", _HEAD + b"".join([*rows, b"1,2\n\n", *rows, b"1,2,3,4,5,\n"]))
    assert (len(table), table.malformed) == (600, (302, 604))
    assert table.rows[[0, 300, 599]].tolist() == [2, 304, 603]
    with pytest.raises(ConfigError, match=r"line 3: has not the 4 cells of the header, as 1 of 2"):
        _read(tmp_path / "t.csv", _HEAD + b"1,2,a,1\n1,2,a, b,1\n")
    # A spreadsheet writes empty cells where a column to the right was used once.
    assert _table(tmp_path / "t.csv", _HEAD + b"1,2,a,1,,\n") == [("a", "1")]


def test_an_encoding_that_nothing_tells(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(_HEAD + "8,50,почва,1\n".encode("cp1251"))
    sentence = (
        r"line 2: is not in UTF-8, and hardly in Windows-1252, where it reads 'ïî÷â'; say enc"
    )
    with pytest.raises(ConfigError, match=sentence):
        _read(path, path.read_bytes())

    def read(encoding: str) -> str | None:
        config = TableConfig(path="t.csv", encoding=encoding)
        text = read_table(path, _COLUMNS, ("lon", "lat", "value"), config).text["id"][0].as_py()
        assert text is None or isinstance(text, str)
        return text

    assert read("cp1251") == "почва"
    assert read("cp1252") == "ïî÷âà"  # who says so is believed
    with pytest.raises(ConfigError, match="line 2: cannot be read as ascii text; say encoding:"):
        read("ascii")
    path.write_bytes(_HEAD + b"8,50,a,1\n")
    assert read("ascii") == read("utf-8") == "a"
    path.write_bytes(b"\xef\xbb\xbf" + _HEAD + b"8,50,a,1\n")
    assert read("utf-8") == "a"
    with pytest.raises(ConfigError, match="mark of UTF-8, and encoding: says cp1251; leave enc"):
        read("cp1251")
    with pytest.raises(ValueError, match="expected an encoding that Python knows"):
        TableConfig(path="t.csv", encoding="cp12520")


@pytest.mark.parametrize(
    "rows",
    [
        b'1\t2\t"Loma" alta\ta\t1\n3\t4\tx\tb\t2\n5\t6\ty\tc\t3\n',
        b'1\t2\t"El Alto\ta\t1\n3\t4\tx\tb\t2\n5\t6\t"Rio\tc\t3\n',
        b'1\t2\t"El Alto\ta\t1\n3\t4\tx\tb\t2\n5\t6\tRio"\tc\t3\n',
        b'1\t2\t"El Alto\ta\t1\n3\t4\tRio"\tb\t2\n5\t6\tx\tc\t3\n',
        b'1\t2\t"El Alto\ta\t1\n3\t4\tx\tb\t2\n5\t6\ty\tc\t3\n',
        b'1\t2\tx\ta\t1\n3\t4\ty\tb\t2\n5\t6\t"\tc\t3',
    ],
    ids=("closed early", "two", "round two rows", "round one row", "to the end", "last"),
)
def test_stray_quotes_of_a_table_that_quotes_nothing(rows: bytes, tmp_path: Path) -> None:
    found = _table(tmp_path / "t.tsv", b"lon\tlat\tnote\tid\tvalue\n" + rows)
    assert found == [("a", "1"), ("b", "2"), ("c", "3")]


@pytest.mark.parametrize(
    "rows",
    [
        b'1,2,"x, y",a,1\n3,4,"El Alto,b,2\n5,6,y,c,3\n',
        b'1,2,"x, y",a,1\n3,4,"El Alto,b,2\n5,6,"Rio",c,3\n',
        b'1,2,x,a,1\n3,4,x,"b,2\n5,6,y,"c",3\n',
        b'1,2,x,a,1\n3,4,"El Alto,b,2\n5,6,y",c,3\n7,8,"x, y",d,4\n',
    ],
    ids=("never closed", "swallows a row", "in a wanted cell", "among quoted ones"),
)
def test_a_quote_that_swallows_rows_is_refused_with_its_line(rows: bytes, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"t\.csv, line 3: has a double quote that is never"):
        _read(tmp_path / "t.csv", b"lon,lat,note,id,value\n" + rows)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        ("lon,lat,id,value\n".encode("utf-16-le"), "no text in UTF-8, UTF-16 or Windows-1252"),
        (b"PK\x03\x04\x00\x00", "no text in UTF-8, UTF-16 or Windows-1252"),
        ("é,1\n".encode() + "é,1\n".encode("latin-1"), "line 2: is not in UTF-8, but line 1 is"),
        (b"lon\na\x81\n", "line 2: cannot be read as cp1252 text"),
        (b"\xff\xfea", "line 1: cannot be read as utf-16 text"),
        (b"lon,lat,id,number\n1,2,a,1\n", "no column 'value' .*; its columns are lon, lat, id, n"),
        (b"lon,lat,id,value,value\n1,2,a,1,2\n", "has 2 columns 'value' for value:; keep one"),
        (gzip.compress(b"id,value\n" * 9, mtime=0)[:20], "cannot be read as a table"),
        (b'lon,lat,id,value\n1,2,a,"1\n3,4,b,2\n', "line 2: has a double quote that is never"),
    ],
)
def test_what_is_no_table(data: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        _read(tmp_path / "t.csv", data)


def test_no_file_and_a_directory(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name in ("none.csv", "folder.csv"):
        with pytest.raises(ConfigError, match=f"{name} cannot be read as a"):
            read_table(tmp_path / name, _COLUMNS, (), TableConfig(path=name))


def test_numbers_and_what_is_none() -> None:
    cells = ["1", "-2.5", "+3", ".5", "4.", "1e3", "2E-2", "\u22127", None]
    wrong = ["<5", "1,5", "0x1", "inf", "1 2", "1e999"]
    values, text = numbers(pa.chunked_array([cells + wrong]))
    np.testing.assert_array_equal(values[:8], [1, -2.5, 3, 0.5, 4, 1000, 0.02, -7])
    assert np.isnan(values[8:]).all()
    assert text.tolist() == [False] * 9 + [True] * 6


@pytest.mark.parametrize(
    ("columns", "comma"),
    [
        ([["8,5", "7"], ["1", None]], True),
        ([["8,5", "7"], ["1.5"]], False),  # the one or the other: which, nobody knows
        ([["1,234", "5,678"]], False),  # one number here and another there
        ([["1,234", "5,6"]], True),
        ([["1", "2"]], False),
        ([["1.234,5"]], False),
    ],
)
def test_decimal_commas_are_those_of_a_whole_table(
    columns: list[list[str | None]], comma: bool
) -> None:
    assert has_decimal_commas(pa.chunked_array([column]) for column in columns) is comma


def test_a_table_with_decimal_commas(tmp_path: Path) -> None:
    table = _read(tmp_path / "t.csv", b"lon;lat;id;value\n8,25;-50;1,5;0,5\n")
    assert [table.numbers(key)[0].item() for key in ("lon", "lat", "value")] == [8.25, -50, 0.5]
    assert table.text["id"].to_pylist() == ["1,5"]
    quoted = _read(tmp_path / "t.csv", _HEAD + b'"8,25","50",a,"0,5"\n')
    assert quoted.numbers("lon")[0].item() == 8.25


def test_a_cell_is_named_by_file_line_and_column(tmp_path: Path) -> None:
    table = _read(tmp_path / "t.csv", _HEAD + b'1,2,"a\nb",1\n\n1,48.8N,c,1\n')
    said = "t.csv, line 5, column 'lat': found '48.8N', expected a number with a decimal point; "
    with pytest.raises(ConfigError, match=said):
        table.refuse_text("lat", table.numbers("lat")[1])


def test_no_encoding_is_told_where_all_is_ascii(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="mmearth"):
        _read(tmp_path / "t.csv", _HEAD + b"1,2,a,1\n")
    assert not caplog.messages
