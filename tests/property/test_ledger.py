"""The ledger is the replay of what it was told: the last word on each tile and modality counts."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from mmearth.curate.ledger import Ledger, Record

_TILES = ("32633_500000_4649760", "32733_500000_4649760", "32601_500000_100")
_NAMES = ("sentinel2", "month", "biomass")


def _record(tile: str, name: str, state: str, permanent: bool, length: int) -> Record:
    if state == "done":
        return Record(
            tile, name, state, path="a.pack", byte_offset=7, bytes=length, source_ids=("x",)
        )
    return Record(tile, name, state, permanent=permanent or state == "missing", reason=f"r{length}")


_RECORDS = st.builds(
    _record,
    st.sampled_from(_TILES),
    st.sampled_from(_NAMES),
    st.sampled_from(["done", "missing", "failed"]),
    st.booleans(),
    st.integers(1, 99),
)
_VISITS = st.lists(st.lists(_RECORDS, max_size=4), max_size=12)


@settings(max_examples=40, deadline=None)
@given(_VISITS, st.data())
def test_the_ledger_is_a_replay(visits: list[list[Record]], data: st.DataObject) -> None:
    reopened_after = data.draw(st.integers(0, len(visits)))
    last: dict[tuple[str, str], Record] = {}
    tries: dict[tuple[str, str], int] = {}
    with tempfile.TemporaryDirectory() as directory:
        for part in (visits[:reopened_after], visits[reopened_after:]):
            with Ledger(Path(directory)) as ledger:
                for visit in part:
                    ledger.record(visit)
        for record in (record for visit in visits for record in visit):
            key = record.tile, record.modality
            last[key], tries[key] = record, tries.get(key, 0) + 1
        with Ledger(Path(directory)) as ledger:
            rows = pa.concat_tables(ledger.export()).to_pylist()
            known = list(ledger.known("", None))
            failures = list(ledger.failures())
    assert [(row["tile"], row["modality"]) for row in rows] == sorted(last)
    for row in rows:
        record = last[row["tile"], row["modality"]]
        told = (record.state, record.bytes, record.reason)
        assert (row["state"], row["bytes"], row["reason"]) == told
    ends = {key: record.bytes and 7 + record.bytes for key, record in last.items()}
    assert known == [
        (
            *(*key, "", 1, last[key].state, last[key].permanent, 1, last[key].bytes or 0),
            *(last[key].path, ends[key], None),
        )
        for key in sorted(last)
    ]
    assert [(f["tile"], f["modality"], f["tries"]) for f in failures] == [
        (*key, tries[key]) for key in sorted(last) if last[key].state == "failed"
    ]
