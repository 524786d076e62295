"""Any table that the csv module writes is read back cell by cell, in any encoding and packing."""

from __future__ import annotations

import csv
import gzip
import io
import re
import tempfile
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmearth.curate.labels.table import read_table
from mmearth.curate.places import TableConfig

_CELL = st.text(alphabet='ab1.,;-\t\n\r "éÀ', max_size=6)
_EMPTY = {"", "-"}


@given(
    rows=st.lists(st.tuples(_CELL, _CELL, _CELL), max_size=8),
    separator=st.sampled_from("\t,;|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "utf-16"]),
    packed=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_what_csv_writes_is_read(
    rows: list[tuple[str, str, str]], separator: str, quoting: int, encoding: str, packed: bool
) -> None:
    # A line in a cell that begins with a number, as a row does, may be one that a quote swallowed.
    assume(not any(re.search(r"[\r\n]\W*\d", cell) for row in rows for cell in row))
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, quoting=quoting)
    writer.writerow(["lon", "one", "two", "lat", "three"])
    writer.writerows([8, *row[:2], 50, row[2]] for row in rows)
    data = text.getvalue().encode(encoding)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "table.csv"
        path.write_bytes(gzip.compress(data) if packed else data)
        columns = {"lon": "lon", "lat": "lat", "value": "three", "id": "one"}
        table = read_table(path, columns, ("lon", "lat"), TableConfig(path=path.name))
    assert not table.malformed
    stripped = [(row[2].strip(), row[0].strip()) for row in rows]
    expected = [(None if value in _EMPTY else value, id_ or None) for value, id_ in stripped]
    found = zip(table.text["value"].to_pylist(), table.text["id"].to_pylist(), strict=True)
    assert list(found) == expected
