"""The ledger's other tables, and the statements that only collecting needs."""

from __future__ import annotations

from mmearth.catalog.observed_sql import CHECKED, TABLE, checksum, quoted

SCHEMA = f"""
{TABLE}
CREATE TABLE IF NOT EXISTS asked (tile TEXT PRIMARY KEY, date TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
"""Every ledger's tables: what was seen, the dates that labels ask for, facts about the build."""


def _checksum_with(**changed: str) -> str:
    """Return the expression of a row's checksum when some columns have other values."""
    return checksum(*(changed.get(name, quoted([name])) for name in CHECKED))


RETRY = (
    f"UPDATE observations SET permanent = 0, checksum = {_checksum_with(permanent='0')} "
    "WHERE state = 'failed'"
)
"""Make failures pending again."""

PLANNED = """
CREATE TEMP TABLE planned (tile TEXT PRIMARY KEY, names TEXT NOT NULL, date TEXT) WITHOUT ROWID
"""
"""The plan at hand, for as long as stale rows are looked for; `names` has a blank around each."""
DROP_STALE = """
DELETE FROM observations WHERE NOT EXISTS (
    SELECT 1 FROM planned LEFT JOIN asked USING (tile)
    WHERE planned.tile = observations.tile AND planned.date IS asked.date
    AND instr(names, ' ' || modality || ' ')
)
"""
"""Drop what is not planned any more, or was planned for another date."""
DROP_ASKED = """
DELETE FROM asked WHERE NOT EXISTS (
    SELECT 1 FROM planned WHERE planned.tile = asked.tile AND planned.date = asked.date
)
"""
"""Drop the dates that no label asks for any more."""
