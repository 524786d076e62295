"""Whether a table has the columns that its schema says; looked at once, until it is touched."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from mmearth.catalog.schema import check_columns
from mmearth.loaders.fetch.trust import Identity, identity

_ours: set[tuple[Identity, str]] = set()


def check_once(path: Path, seal: str, schema: pa.Schema) -> None:
    """Refuse a table whose columns are not those of its schema; others are left alone.

    Args:
        path: The file, whole.
        seal: Hash of its dataset, which decides the schema.
        schema: Names and types.

    Raises:
        FormatError: A column is missing or of another type, or it is no Parquet of this version.
    """
    mark = identity(path.stat()), seal
    if mark not in _ours:
        check_columns(path, schema)
        _ours.add(mark)
