"""Tables in parts: the bytes of one that is written whole, and the parts back again."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmearth.catalog.errors import FormatError
from mmearth.catalog.schema import ROW_GROUP_ROWS, read_parts, read_table, write_parts, write_table

_SCHEMA = pa.schema([("tile", pa.string()), ("bytes", pa.int64()), ("ids", pa.list_(pa.string()))])


def _table(n: int) -> pa.Table:
    columns = {
        "tile": [f"32633_{i // 12}_10" for i in range(n)],
        "bytes": [None if i % 7 == 0 else i for i in range(n)],
        "ids": [["a", str(i)] if i % 3 else [] for i in range(n)],
    }
    return pa.table(columns, schema=_SCHEMA)


@pytest.mark.parametrize("n", [0, 5, ROW_GROUP_ROWS, 2 * ROW_GROUP_ROWS + 7])
def test_parts_make_the_bytes_of_the_whole(n: int, tmp_path: Path) -> None:
    table = _table(n)
    write_table(table, tmp_path / "whole.parquet", _SCHEMA)
    parts = [table.slice(i, ROW_GROUP_ROWS) for i in range(0, max(n, 1), ROW_GROUP_ROWS)]
    write_parts(iter(parts), tmp_path / "parts.parquet", _SCHEMA)
    whole, made = ((tmp_path / f"{name}.parquet").read_bytes() for name in ("whole", "parts"))
    assert whole == made
    assert read_table(tmp_path / "parts.parquet").equals(table)
    back = list(read_parts(tmp_path / "parts.parquet"))
    assert [part.num_rows for part in back] == [part.num_rows for part in parts]
    assert all(found.equals(part) for found, part in zip(back, parts, strict=True))


def test_pages_are_listed_and_do_not_follow_the_chunks(tmp_path: Path) -> None:
    table = _table(3000)
    chunked = pa.concat_tables([table.slice(0, 10), table.slice(10, 1500), table.slice(1510)])
    for name, each in (("whole", table), ("chunked", chunked)):
        write_table(each, tmp_path / f"{name}.parquet", _SCHEMA)
    assert (tmp_path / "whole.parquet").read_bytes() == (tmp_path / "chunked.parquet").read_bytes()
    group = pq.read_metadata(tmp_path / "whole.parquet").row_group(0)
    assert all(group.column(i).has_offset_index for i in range(3))
    assert not any(group.column(i).has_dictionary_page for i in range(3))
    # A header of 20 bytes or so a page, and 3 pages: far from one a row, and more than one.
    nbytes = [group.column(i).total_compressed_size for i in range(3)]
    pq.write_table(table, tmp_path / "one.parquet", compression="zstd", use_dictionary=False)
    one = pq.read_metadata(tmp_path / "one.parquet").row_group(0)
    assert 20 < nbytes[1] - one.column(1).total_compressed_size < 1000


def test_parts_that_break_off_leave_no_file(tmp_path: Path) -> None:
    def parts() -> object:
        yield _table(5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_parts(parts(), tmp_path / "a.parquet", _SCHEMA)
    assert list(tmp_path.iterdir()) == []


def test_parts_of_what_is_no_table_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(FormatError, match="not a readable Parquet file"):
        next(read_parts(tmp_path / "a.parquet"))
    with pytest.raises(FormatError, match="build it first"):
        next(read_parts(tmp_path / "b.parquet"))


def test_text_that_is_none_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table(_table(1), path, _SCHEMA)
    bad = pa.StringArray.from_buffers(
        1, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"a\xe7")
    )
    pq.write_table(pq.read_table(path, partitioning=None).set_column(0, "tile", bad), path)
    for read in (read_table, lambda path: list(read_parts(path))):
        with pytest.raises(FormatError, match=r"is not a readable Parquet file .*UTF8"):
            read(path)
