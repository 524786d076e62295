"""Labelled places: from the source's own reader, from a table of points, or from a grid."""

from __future__ import annotations

from pathlib import Path

from mmearth.curate.config import TaskConfig
from mmearth.curate.labels.gedi import gedi_labels
from mmearth.curate.labels.grid import grid_labels
from mmearth.curate.labels.points import point_labels
from mmearth.curate.labels.range_places import range_labels
from mmearth.curate.labels.soil import soil_labels
from mmearth.curate.recipes import Quirks
from mmearth.curate.source import Label, Source


def read_labels(
    task: str, config: TaskConfig, source: Source, base: Path, seed: int, quirks: Quirks
) -> list[Label]:
    """Return a task's labelled places, in their own order.

    Args:
        task: A key of TASKS.
        config: Where they come from.
        source: Asked when the configuration says `labels`.
        base: Directory that relative paths start from.
        seed: Of the source's choice of places.
        quirks: Published rules that are kept.

    Raises:
        ConfigError: A file or column is missing, or no place is found.
    """
    if config.labels is not None:
        return list(source.labels(task, config.labels.count, seed))
    if config.points is not None:
        return point_labels(task, config.points, base)
    if config.soil is not None:
        return soil_labels(task, config.soil, base)
    if config.gedi is not None:
        return gedi_labels(task, config.gedi, source, base, seed, quirks.leaf_days_late)
    if config.ranges is not None:
        return range_labels(config.ranges, base, seed)
    assert config.grid is not None  # TaskConfig lets exactly one be given
    return grid_labels(config.grid, base)
