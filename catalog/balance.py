"""How alike the splits are: biomes, targets and labels of each against train's."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmearth.catalog.ecoregions import BIOMES
from mmearth.catalog.splits import SPLITS


def biomes(table: pa.Table, split: NDArray[np.object_]) -> dict[str, dict[str, int]]:
    """Return samples by split and biome; `none` where there is no biome."""
    if "biome" not in table.column_names:
        return {name: {} for name in SPLITS}
    codes = table["biome"].to_pylist()
    counts: dict[str, dict[str, int]] = {name: {} for name in SPLITS}
    for (name, code), n in sorted(Counter(zip(split, codes, strict=True)).items(), key=str):
        counts[name]["none" if code is None else BIOMES[code]] = n
    return counts


def variation(first: dict[str, int], second: dict[str, int]) -> float:
    """Return the total variation distance of two distributions, 0 (equal) to 1 (disjoint)."""
    n_first, n_second = sum(first.values()), sum(second.values())
    if not n_first or not n_second:
        return 0.0
    labels = first.keys() | second.keys()
    gaps = [abs(first.get(k, 0) / n_first - second.get(k, 0) / n_second) for k in sorted(labels)]
    return sum(gaps) / 2.0


def targets(task: str, table: pa.Table, split: NDArray[np.object_]) -> dict[str, dict[str, float]]:
    """Return mean and deviation of the target by split, where the table has it."""
    column = "target" if "target" in table.column_names else task
    if column not in table.column_names:
        return {}
    kind = table.schema.field(column).type
    if pa.types.is_string(kind):
        return {}
    result: dict[str, dict[str, float]] = {}
    for output in _outputs(kind):
        values = _numbers(table[column], output)
        for name in SPLITS:
            found = values[(split == name) & ~np.isnan(values)]
            if found.size:
                prefix = f"{output} " if output else ""
                moments = {"mean": float(found.mean()), "std": float(found.std())}
                result.setdefault(name, {}).update(
                    {f"{prefix}{moment}": value for moment, value in moments.items()}
                )
    return result


def _outputs(kind: pa.DataType) -> list[str]:
    """Return the names of a target's numbers; an empty one where it is one number."""
    if not pa.types.is_struct(kind) or kind.get_field_index("valid_fraction") >= 0:
        return [""]
    return [kind.field(i).name for i in range(kind.num_fields)]


def label_imbalance(task: str, table: pa.Table, split: NDArray[np.object_]) -> dict[str, float]:
    """Return how far each split's label frequencies are from train's; {} for other tasks."""
    kind = table.schema.field(task).type if task in table.column_names else pa.null()
    if not (pa.types.is_list(kind) or pa.types.is_string(kind)):
        return {}
    counts: dict[str, dict[str, int]] = {}
    for name in SPLITS:
        labels = table[task].filter(pa.array(split == name))
        if pa.types.is_list(kind):
            labels = pc.list_flatten(labels)
        found = pc.value_counts(labels.drop_null().cast(pa.string())).to_pylist()
        counts[name] = {each["values"]: each["counts"] for each in found}
    return {name: variation(counts["train"], counts[name]) for name in SPLITS}


def _numbers(column: pa.ChunkedArray, output: str) -> NDArray[np.float64]:
    """Return one number of each target, or how many labels it has; NaN for none, (n,)."""
    kind = column.type
    if pa.types.is_struct(kind):
        column = pc.struct_field(column, output or "mean")
    elif pa.types.is_list(kind):
        column = pc.list_value_length(column)
    return np.asarray(column.cast(pa.float64()).to_numpy())
