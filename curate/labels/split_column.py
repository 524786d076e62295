"""Splits that a table already has, so that another benchmark's can be kept."""

from __future__ import annotations

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.splits import SPLITS
from mmearth.catalog.wording import nearest
from mmearth.curate.labels.table import Table

_WORDS = {
    **{name: name for name in SPLITS},
    **{"training": "train", "validation": "val", "valid": "val", "dev": "val"},
    **{"test": "random_test", "testing": "random_test"},
}
"""How a table may write a split, in small letters."""


def split_of(table: Table, row: int) -> str | None:
    """Return the split that a row says; None where the table has no such column.

    Raises:
        ConfigError: The cell is empty, or names no split.
    """
    if "split" not in table.text:
        return None
    text = table.text["split"][row].as_py()
    found = _WORDS.get((text or "").lower())
    if found is None:
        raise ConfigError(
            f"{table.cell('split', row)}{nearest(text or '', _WORDS)}; expected one of "
            f"{', '.join(SPLITS)}, or test (random_test) and validation (val)"
        )
    return found
