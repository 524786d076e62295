"""The ledger's other tables, and the statements that only collecting needs."""

from __future__ import annotations

from mmearth.catalog.observed_sql import CHECKED, TABLE, checksum, quoted

SCHEMA = f"""
{TABLE}
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
"""Every ledger's tables: what was seen, and facts about the build."""


def _checksum_with(**changed: str) -> str:
    """Return the expression of a row's checksum when some columns have other values."""
    return checksum(*(changed.get(name, quoted([name])) for name in CHECKED))


RETRY = (
    f"UPDATE observations SET permanent = 0, checksum = {_checksum_with(permanent='0')} "
    "WHERE state = 'failed' AND wanted"
)
"""Make failures pending again."""
