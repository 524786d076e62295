"""What a table must look like to be audited: the columns, their types and their values."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from mmearth.catalog.ecoregions import BIOMES
from mmearth.catalog.errors import FormatError
from mmearth.catalog.splits import SPLITS

_NEEDED = ("tile", "split")


def _is_text(kind: pa.DataType) -> bool:
    # Categories of pandas and enums of DuckDB arrive as dictionaries of strings.
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_null(kind))


def _is_label(kind: pa.DataType) -> bool:
    if types.is_struct(kind) and kind.get_field_index("valid_fraction") >= 0:  # of pixels
        return _is_number(kind.field("mean").type)
    if types.is_struct(kind):
        return all(_is_number(kind.field(i).type) for i in range(kind.num_fields))
    is_list = types.is_list(kind) and _is_text(kind.value_type)
    return bool(is_list) or _is_text(kind) or _is_number(kind)


def _is_scene(kind: pa.DataType) -> bool:
    index = kind.get_field_index("source_ids") if types.is_struct(kind) else -1
    return index >= 0 and bool(types.is_list(kind.field(index).type))


_KINDS: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
    "task": (_is_text, "text"),
    "tile": (_is_text, "text"),
    "split": (_is_text, "text"),
    "train_5": (types.is_boolean, "true or false"),
    "train_50": (types.is_boolean, "true or false"),
    "biome": (lambda kind: types.is_integer(kind) or types.is_null(kind), "whole numbers"),
    "sentinel2": (_is_scene, "a struct with a list of source_ids"),
    "target": (_is_number, "numbers"),
}
_NEVER_NULL = ("task", "tile", "split", "train_5", "train_50")


def check_columns(task: str, table: pa.Table) -> None:
    """Refuse a table that cannot be audited.

    Raises:
        FormatError: `tile` or `split` is not there, a column is of another type or has nulls where
            it may not, a split has an unknown name, or a biome is none of the published ids.
    """
    for name in _NEEDED:
        if name not in table.column_names:
            raise FormatError(f"the table of {task} has no column {name!r}; expected {_NEEDED}")
    for name in table.column_names:
        if name in _KINDS:
            _check_kind(task, table, name, *_KINDS[name])
        elif name == task:
            _check_kind(task, table, name, _is_label, "numbers, names or lists of names")
    _check_values(task, table)


def _check_kind(
    task: str, table: pa.Table, name: str, fits: Callable[[pa.DataType], bool], expected: str
) -> None:
    kind = table.schema.field(name).type
    if not fits(kind):
        raise FormatError(
            f"column {name!r} of {task} holds {kind}; expected {expected}: cast it or leave it out"
        )
    n_null = table[name].null_count
    if n_null and name in _NEVER_NULL:
        raise FormatError(
            f"column {name!r} of {task} is null in {n_null} rows; expected {expected} in every "
            "row: fill it or drop the rows"
        )


def _check_values(task: str, table: pa.Table) -> None:
    unknown = sorted(set(table["split"].to_pylist()) - set(SPLITS))
    if unknown:
        raise FormatError(
            f"{task} has the split {unknown[0]!r}; expected one of {', '.join(SPLITS)}: "
            "rename it or drop its rows"
        )
    if "biome" in table.column_names and table["biome"].null_count < table.num_rows:
        extremes = pc.min_max(table["biome"]).as_py()
        if extremes["min"] < 0 or extremes["max"] >= len(BIOMES):
            raise FormatError(
                f"{task} has biomes {extremes['min']} to {extremes['max']}; expected 0 to "
                f"{len(BIOMES) - 1}, or null where there is none"
            )
