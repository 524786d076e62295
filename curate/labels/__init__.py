"""Labelled places: from the source's own reader, from a table of points, or from a grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import shapely

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import Grid
from mmearth.catalog.task import Task
from mmearth.curate.labels.burnt import Burnt
from mmearth.curate.labels.extent import labels_over
from mmearth.curate.labels.gedi import gedi_labels
from mmearth.curate.labels.grid import grid_labels
from mmearth.curate.labels.points import point_labels
from mmearth.curate.labels.range_places import range_labels
from mmearth.curate.labels.raster_target import RasterTarget
from mmearth.curate.labels.soil import soil_labels
from mmearth.curate.recipes import Quirks
from mmearth.curate.source import Label, Source
from mmearth.curate.task_config import TaskConfig


def read_labels(
    task: Task,
    config: TaskConfig,
    source: Source,
    base: Path,
    grid: Grid,
    seed: int,
    quirks: Quirks,
    every_presence: bool,
) -> list[Label]:
    """Return a task's labelled places, in their own order.

    Args:
        task: Whose places.
        config: Where they come from.
        source: Asked when the configuration says `labels`.
        base: Directory that relative paths start from.
        grid: Of the tiles.
        seed: Of the source's choice of places.
        quirks: Published rules that are kept.
        every_presence: Take ranges of every IUCN presence where the configuration names none.

    Raises:
        ConfigError: A file or column is missing, or no place is found.
    """
    if every_presence:
        config = _of_every_presence(config)
    if config.labels is not None:
        return list(source.labels(task, config.labels.count, seed))
    if config.points is not None:
        return point_labels(task, config.points, base, grid, config.split.column)
    if config.soil is not None:
        return soil_labels(task, config.soil, base)
    if config.gedi is not None:
        return gedi_labels(task, config.gedi, source, base, grid, seed, quirks.leaf_days_late)
    if config.ranges is not None:
        return range_labels(config.ranges, base, seed, grid)
    if config.grid is not None:
        return grid_labels(config.grid, base, grid)
    return _extent_labels(task, config, source, grid)


def _extent_labels(task: Task, config: TaskConfig, source: Source, grid: Grid) -> list[Label]:
    """Return places over the polygons or the raster that are a task's target."""
    painters = {painter.layer.name: painter for painter in getattr(source, "painters", ())}
    painter = painters[task.name]
    try:
        if isinstance(painter, Burnt):
            assert config.polygons is not None  # TaskConfig lets one be given
            polygons = painter.polygons.tree
            boxes = shapely.bounds(polygons.geometries).tolist()
            how = config.polygons.spacing_m, config.polygons.limit
            return labels_over([*map(tuple, boxes)], grid, *how, polygons)
        assert isinstance(painter, RasterTarget) and config.raster is not None
        return labels_over(painter.boxes, grid, config.raster.spacing_m, config.raster.limit)
    except ConfigError as exc:
        raise ConfigError(f"tasks.{task.name}: {exc}") from exc


def _of_every_presence(config: TaskConfig) -> TaskConfig:
    """Return a task's places with all ranges, but for those whose presence it names."""
    changed: dict[str, Any] = {}
    for kind in ("points", "grid", "ranges"):
        places = getattr(config, kind)
        ranges = getattr(places, "ranges", places)
        if ranges is None or "presence" in ranges.model_fields_set:
            continue
        ranges = ranges.model_copy(update={"presence": None})
        changed[kind] = ranges if kind == "ranges" else places.model_copy(update={"ranges": ranges})
    return config.model_copy(update=changed)
