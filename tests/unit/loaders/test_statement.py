"""What SQL may say: a corpus of what it may not, and that nothing on the disk has changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import duckdb
import pytest

import mmearth
from mmearth.catalog.errors import ConfigError
from mmearth.loaders.query import views
from mmearth.loaders.statement import check_statement
from mmearth.tests.unit.loaders.sql_corpus import ALLOWED, FORBIDDEN


def digests(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a directory."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_nothing_but_the_tables_can_be_read_or_changed(
    small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(FORBIDDEN) >= 200
    other = tmp_path / "elsewhere.csv"
    other.write_text("a,b\n1,2\n")
    monkeypatch.chdir(tmp_path)
    before = digests(small_dataset), digests(tmp_path)
    dataset = mmearth.open(small_dataset)
    places = {
        "shard": str(next((small_dataset / "shards/biomass").glob("*.tar"))),
        "manifest": str(small_dataset / "manifests/biomass.parquet"),
        "other": str(other),
        "new": str(tmp_path / "new"),
        "table": "biomass",
    }
    let_through = []
    for text in FORBIDDEN:
        try:
            dataset.sql(text.format(**places))
        except ConfigError as exc:
            assert "\n" not in str(exc), text
        else:
            let_through.append(text)
    assert not let_through
    assert (digests(small_dataset), digests(tmp_path)) == before


def test_ordinary_questions_are_answered(small_dataset: Path) -> None:
    dataset = mmearth.open(small_dataset)
    for text in ALLOWED:
        assert dataset.sql(text.format(table="soil_pH")).num_columns > 0, text


def test_the_text_that_is_checked_is_the_text_that_runs(small_dataset: Path) -> None:
    names = set(views(mmearth.open(small_dataset).tables))
    with duckdb.connect() as connection:
        assert check_statement(connection, "/* COPY */ EXPLAIN FROM tiles", names) == (
            "EXPLAIN  FROM tiles"
        )


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("lat IN (SELECT size FROM read_text('/etc/hostname'))", "table function read_text"),
        ("EXISTS (FROM '/etc/hostname')", "the table '/etc/hostname'"),
        ("getenv('HOME') = ''", "the function getenv"),
        ("EXISTS (WITH x AS (DELETE FROM tiles RETURNING *) FROM x)", "found DELETE inside"),
        ("+".join(["1"] * 900) + " > 0", "nested too deeply"),
    ],
)
def test_where_reads_no_more(small_dataset: Path, where: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        mmearth.open(small_dataset).select("soil_pH", where=where)
