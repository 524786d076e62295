"""Random damage of files: of bytes, of JSON documents, of Parquet tables.

MMEARTH_FUZZ multiplies how many are tried; `make fuzz` sets it.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TIMES = int(os.environ.get("MMEARTH_FUZZ", "1"))
_LEAVES = [None, 0, -1, 10**30, "x", "", [], {}, [None], True, 1.5, float("nan"), "\x00", "../.."]
_CELLS: dict[type, Any] = {str: "zz", int: 7, float: 1e30, bool: True, bytes: b"zz"}


def damaged_bytes(draw: random.Random, data: bytes) -> bytes:
    """Return bytes changed, cut, zeroed, moved or added to."""
    changed = bytearray(data or b"x")
    at, other = draw.randrange(len(changed)), draw.randrange(len(changed))
    how = draw.choice(["change", "cut", "zero", "move", "add"])
    if how == "change":
        for _ in range(draw.choice((1, 8))):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
    elif how == "cut":
        del changed[at:]
    elif how == "zero":
        changed[at : at + 64] = bytes(64)
    elif how == "move":
        changed[at : at + 32] = changed[other : other + 32]
    else:
        changed += b"x" * draw.randrange(1, 100)
    return bytes(changed)


def damaged_json(draw: random.Random, data: bytes) -> bytes:
    """Return a JSON document in which one value is another or has gone."""
    document = json.loads(data)
    inside = document
    while True:
        key: Any = draw.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
        if not (isinstance(inside[key], (dict, list)) and inside[key]) or draw.random() < 0.3:
            break
        inside = inside[key]
    if draw.random() < 0.2:
        del inside[key]
    else:
        inside[key] = draw.choice(_LEAVES)
    return json.dumps(document).encode()


def damage_table(draw: random.Random, path: Path) -> str:
    """Change one column, row or cell of a Parquet table in place; return what was done."""
    table = pq.read_table(path, partitioning=None)
    column = draw.choice(table.column_names)
    i, n = table.column_names.index(column), table.num_rows
    field = table.schema.field(i)
    how = draw.choice(["drop", "null", "text", "number", "bytes", "rows", "cell", "cell"])
    if how == "drop":
        table = table.drop([column])
    elif how == "null":
        table = table.set_column(i, field, pa.nulls(n, field.type))
    elif how == "text":
        texts = [draw.choice(["x", None, "\x00"]) for _ in range(n)]
        table = table.set_column(i, column, pa.array(texts, pa.string()))
    elif how == "number":
        numbers = [draw.choice([0, -1, 2**62]) for _ in range(n)]
        table = table.set_column(i, column, pa.array(numbers, pa.int64()))
    elif how == "bytes":
        table = table.set_column(i, column, pa.array([b"\xff"] * n, pa.binary()))
    elif how == "rows":
        table = table.take(pa.array([draw.randrange(n) for _ in range(n)], pa.int64()))
    else:
        cells = table[column].to_pylist()
        row = draw.randrange(n)
        if isinstance(cells[row], dict):
            inside = draw.choice(list(cells[row]))
            cells[row][inside] = _other(draw, cells[row][inside])
        else:
            cells[row] = _other(draw, cells[row])
        table = table.set_column(i, field, pa.array(cells, field.type))
    pq.write_table(table, path)
    return f"{how} of {column}"


def _other(draw: random.Random, cell: Any) -> Any:
    return None if draw.random() < 0.5 else _CELLS.get(type(cell))


def each_damage(document: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (field and what it became, a copy) for every field removed or of another value.

    Of a list only the first entry and the last are damaged.
    """
    inside = document if isinstance(document, dict) else dict(enumerate(document))
    for key, value in inside.items():
        if isinstance(document, list) and key not in (0, len(document) - 1):
            continue
        place = f"{where}.{key}" if where else str(key)
        without = [(k, v) for k, v in inside.items() if k != key]
        yield f"{place} removed", _rebuilt(document, without)
        for other in _LEAVES:
            if other != value or isinstance(other, bool) != isinstance(value, bool):
                changed = [(k, other if k == key else v) for k, v in inside.items()]
                yield f"{place} {other!r}", _rebuilt(document, changed)
        if isinstance(value, (dict, list)):
            for what, other in each_damage(value, place):
                yield (
                    what,
                    _rebuilt(document, [(k, other if k == key else v) for k, v in inside.items()]),
                )


def _rebuilt(like: Any, items: list[tuple[Any, Any]]) -> Any:
    return dict(items) if isinstance(like, dict) else [value for _, value in items]
