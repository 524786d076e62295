"""Findings: long runs of one kind are cut, others are kept."""

from __future__ import annotations

from mmearth.packaging.findings import MAX_ALIKE, Finding, shorten


def test_long_runs_of_one_kind_are_cut() -> None:
    alike = [Finding("a.tar", "range", f"member {i}") for i in range(MAX_ALIKE + 3)]
    others = [Finding("a.tar", "checksum", "other bytes"), Finding("b.tar", "range", "member 0")]
    told = list(shorten([*alike, *others]))
    assert told[:MAX_ALIKE] == alike[:MAX_ALIKE]
    assert told[MAX_ALIKE:] == [Finding("a.tar", "range", "and 3 more like these"), *others]


def test_a_finding_reads_as_one_line() -> None:
    assert str(Finding("tiles.parquet", "missing", "a dataset has it")) == (
        "tiles.parquet: a dataset has it"
    )
