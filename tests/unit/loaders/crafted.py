"""Manifests that say something wrong, one change each; by name, to be written over a good one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa

Change = Callable[[pa.Table], pa.Table]
_S2 = "sentinel2"


def rows(change: Callable[[list[dict[str, Any]]], object]) -> Change:
    """Return what changes a table's rows in place, with the types as they were."""

    def changed(table: pa.Table) -> pa.Table:
        found = table.to_pylist()
        change(found)
        return pa.Table.from_pylist(found, table.schema)

    return changed


def put(column: str, value: object, row: int = 1) -> Change:
    """Return what sets one value; `sentinel2.byte_offset` is a field of a column."""
    name, _, field = column.partition(".")
    if not field:
        return rows(lambda found: found[row].__setitem__(name, value))
    return rows(lambda found: found[row][name].__setitem__(field, value))


def drop(column: str) -> Change:
    """Return what leaves a column out."""
    return lambda table: table.drop_columns([column])


def retype(column: str, kind: pa.DataType, values: object = None) -> Change:
    """Return what gives a column another type; its values are null unless given."""

    def changed(table: pa.Table) -> pa.Table:
        array = pa.nulls(len(table), kind) if values is None else pa.array([values] * len(table))
        return table.set_column(table.column_names.index(column), column, array.cast(kind))

    return changed


def _swap(fields: tuple[str, ...]) -> Change:
    def swap(found: list[dict[str, Any]]) -> None:
        for name in fields:
            one, other = found[1][_S2], found[2][_S2]
            one[name], other[name] = other[name], one[name]

    return rows(swap)


def _same_member(found: list[dict[str, Any]]) -> None:
    for row in found[2:5]:
        row["shard"], row[_S2] = found[1]["shard"], found[1][_S2]


_REFERENCE = ("byte_offset", "byte_length", "sha256")
VALUES: dict[str, Change] = {
    "target": put("target", 5.5),
    "swapped references": _swap(_REFERENCE),
    "swapped digests": _swap(("sha256",)),
    "swapped fractions": _swap(("valid_fraction", "band_valid_fraction")),
    "one member for several": rows(_same_member),
    "valid_fraction 0": put("sentinel2.valid_fraction", 0.0),
    "valid_fraction 1": put("sentinel2.valid_fraction", 1.0),
    "band_valid_fraction 0": put("sentinel2.band_valid_fraction", [0.0] * 12),
    "row removed": lambda table: table.slice(1),
    "last row removed": lambda table: table.slice(0, len(table) - 1),
    "no rows": lambda table: table.slice(0, 0),
    "row doubled": lambda table: pa.concat_tables([table, table.slice(0, 1)]),
    "rows reversed": lambda table: table.take(list(reversed(range(len(table))))),
    "epsg": put("epsg", 32633),
    "left": put("left", 500_000),
    "top": put("top", 0),
    "lon": put("lon", 1.0),
    "lat": put("lat", 1.0),
    "key": put("key", "32633_0_0_20200101"),
    "tile": put("tile", "32633_0_0"),
    "cell": put("cell", "x"),
    "hilbert": put("hilbert", 1),
    "split": put("split", "geographic_test"),
    "train_50": put("train_50", True),
    "train_5": put("train_5", True),
    "biome": put("biome", 3),
    "ecoregion": put("ecoregion", 3),
    "label_id": put("label_id", "x"),
    "geometry": put("geometry", b"x"),
    "month": put("month.values", [0.0, 1.0]),
    "month absent": put("month.present", False),
    "acquired": put("sentinel2.acquired", "1999-01-01"),
    "source_ids": put("sentinel2.source_ids", ["x"]),
    "another column": lambda table: table.append_column("run", pa.array([7] * len(table))),
    "columns in another order": lambda table: table.select(list(reversed(table.column_names))),
}
"""Only the checksum of the file tells them."""

STRUCTURE: dict[str, Change] = {
    **{
        f"without {name}": drop(name)
        for name in ("key", "task", "split", "train_50", "epsg", "left", "lon", "date", "target")
    },
    **{f"without {name}": drop(name) for name in ("shard", _S2, "month", "biome_observation")},
    "shard binary": retype("shard", pa.binary(), b"x"),
    "shard null": retype("shard", pa.null()),
    "shard number": retype("shard", pa.int64(), 3),
    "split number": retype("split", pa.int32(), 1),
    "target text": retype("target", pa.string(), "5"),
    "target decimal": retype("target", pa.decimal128(10, 2)),
    "lon float32": retype("lon", pa.float32(), 1.0),
    "date text": retype("date", pa.string(), "2020-01-01"),
    "date timestamp": retype("date", pa.timestamp("us")),
    "sentinel2 text": retype(_S2, pa.string(), "x"),
    "sentinel2 empty": retype(_S2, pa.struct([("present", pa.bool_())])),
    "column twice": lambda table: table.append_column("lat", table["lat"]),
    "task": put("task", "soil_nitrogen"),
    "no task": put("task", None),
    "split unknown": put("split", "training"),
    "no split": put("split", None),
    "target NaN": put("target", float("nan")),
    "target 1e30": put("target", 1e30),
    "target negative": put("target", -1.0),
    "no target": put("target", None),
    "epsg of degrees": put("epsg", 4326),
    "epsg 0": put("epsg", 0),
    "no epsg": put("epsg", None),
    "no left": put("left", None),
    "no date": put("date", None),
    "lon NaN": put("lon", float("nan")),
    "lon 181": put("lon", 181.0),
    "lat infinite": put("lat", float("inf")),
    "lat -91": put("lat", -91.0),
    "no shard": put("shard", None),
    "shard empty": put("shard", ""),
    "shard with NUL": put("shard", "shards/soil_pH/a\0.tar"),
    "shard above": put("shard", "../../../etc/passwd"),
    "shard absolute": put("shard", "/etc/passwd"),
    "shard with a backslash": put("shard", "shards\\a.tar"),
    "shard nowhere": put("shard", "shards/soil_pH/none.tar"),
    "shard a directory": put("shard", "shards/soil_pH"),
    "shard not a tar": put("shard", "dataset.json"),
    "shard too long a name": put("shard", "x" * 5000),
    "offset negative": put("sentinel2.byte_offset", -512),
    "offset least": put("sentinel2.byte_offset", -(2**63)),
    "offset most": put("sentinel2.byte_offset", 2**63 - 512),
    "offset 2^62": put("sentinel2.byte_offset", 2**62),
    "offset beyond": put("sentinel2.byte_offset", 2**40),
    "offset odd": put("sentinel2.byte_offset", 513),
    "offset of another": put("sentinel2.byte_offset", 512),
    "no offset": put("sentinel2.byte_offset", None),
    "offset 0": put("sentinel2.byte_offset", 0),
    "length 0": put("sentinel2.byte_length", 0),
    "length most": put("sentinel2.byte_length", 2**63 - 1),
    "length negative": put("sentinel2.byte_length", -1),
    "no length": put("sentinel2.byte_length", None),
    "no digest": put("sentinel2.sha256", None),
    "digest short": put("sentinel2.sha256", "ab"),
    "digest not hexadecimal": put("sentinel2.sha256", "z" * 64),
    "digest of another": put("sentinel2.sha256", "0" * 64),
    "absent and yet there": put("sentinel2.present", False),
    "valid_fraction below 0": put("sentinel2.valid_fraction", -0.1),
    "valid_fraction above 1": put("sentinel2.valid_fraction", 1.1),
    "valid_fraction null": put("sentinel2.valid_fraction", None),
    "valid_fraction NaN": put("sentinel2.valid_fraction", math.nan),
    "band_valid_fraction short": rows(
        lambda found: found[1][_S2].update(valid_fraction=0.5, band_valid_fraction=[1.0])
    ),
    "values short": put("month.values", [1.0]),
    "values long": put("month.values", [1.0] * 1000),
    "values null": put("month.values", [None, 1.0]),
}
"""Those that are refused even where an attacker made the checksums anew."""
