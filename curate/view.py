"""A tile to look at: all that a dataset has of it on one contact sheet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from mmearth.catalog.catalogue import Catalogue, read_catalogue
from mmearth.catalog.layer import Layer
from mmearth.catalog.observed import Observed
from mmearth.catalog.sample import Observation
from mmearth.catalog.schema import read_table, tiles_schema
from mmearth.catalog.store import StoreReader
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile
from mmearth.curate.panels import pictures, value_lines
from mmearth.curate.sheet import Panel, compose, missing, texts, wrap

_TILES = "tiles.parquet"


def contact_sheet(root: Path, tile: Tile, rows: Mapping[str, Observed]) -> Image.Image:
    """Return all that a dataset has of a tile as one picture, what is missing with the reason.

    Args:
        root: The dataset's directory: it may be unfinished, sealed or downloaded.
        tile: Which.
        rows: Modality, or task with pixels → what is known about it.

    Raises:
        FormatError: An observation is missing or damaged, or not what was collected.
        DataError: Its values break their contract.
    """
    catalogue, found = read_catalogue(root), {}
    targets = [task.target for task in catalogue.tasks.values() if task.is_pixel]
    reasons = {name: _why_none(row) for name, row in rows.items() if not row.is_here}
    with StoreReader(root) as reader:
        for layer in (*catalogue.layers.values(), *targets):
            if layer.name in rows and layer.name not in reasons:
                found[layer.name] = rows[layer.name].read(reader, catalogue)
                found[layer.name].check()
    panels: list[Panel] = []
    for layer in (*catalogue.pixel_layers, *targets):
        name = f"{layer.name} (target)" if layer.name in catalogue.tasks else layer.name
        panels += _pictures(layer, name, found, reasons)
    date = _anchor(catalogue, found)
    panels += _values(catalogue, tile, date, found, reasons)
    panels += texts("labels", _labels(root, tile, catalogue))
    return compose(panels, f"{_title(tile)}   {date or 'no date'}")


def window_sheet(tile: Tile, seen: Observation, origin: str) -> Image.Image:
    """Return one observation as a picture.

    Args:
        tile: Where.
        seen: Of any layer, or of a pixel-level target.
        origin: What it came from, for the title.
    """
    name = seen.layer.name
    panels = pictures(seen, name) if seen.layer.is_pixel else texts(name, [value_lines(seen)])
    return compose(panels, f"{_title(tile)}   {origin}")


def _why_none(row: Observed) -> str:
    """Return why something is not in the dataset's directory."""
    return row.reason or ("it made no sample" if row.state == "done" else row.state)


def _title(tile: Tile) -> str:
    return f"{tile.id}   {tile.lon:.4f}° {tile.lat:.4f}°"


def _pictures(
    layer: Layer, name: str, found: dict[str, Observation], reasons: dict[str, str]
) -> list[Panel]:
    """Return a layer's panels; none of what was neither found nor missed: it was not planned."""
    if layer.name in found:
        return pictures(found[layer.name], name)
    return [missing(name, reasons[layer.name])] if layer.name in reasons else []


def _anchor(catalogue: Catalogue, found: dict[str, Observation]) -> str | None:
    """Return the anchor date, as the first layer that is of it tells it."""
    return next(
        (
            found[layer.name].acquired
            for layer in catalogue.layers.values()
            if layer.timing == "anchor" and layer.name in found
        ),
        None,
    )


def _values(
    catalogue: Catalogue,
    tile: Tile,
    date: str | None,
    found: dict[str, Observation],
    reasons: dict[str, str],
) -> list[Panel]:
    """Return panels of the values of layers without pixels, and of the place with its classes."""
    place = [f"lon\t{tile.lon:.5f}°", f"lat\t{tile.lat:.5f}°", *([f"date\t{date}"] if date else [])]
    values: list[list[str]] = []
    classes = [place]
    for layer in catalogue.tile_layers:
        if layer.kind == "cyclic" and layer.product == "none":
            continue  # it follows from the place and the date, which are told
        blocks = classes if layer.classes else values
        if layer.name in found:
            blocks.append(value_lines(found[layer.name]))
        elif layer.name in reasons:
            blocks.append([f"{layer.name}: missing", *wrap(reasons[layer.name])])
    return [*texts("values", values), *texts("place", classes)]


def _labels(root: Path, tile: Tile, catalogue: Catalogue) -> list[list[str]]:
    """Return what is to be predicted at a tile, task by task; nothing before a plan is written."""
    if not (root / _TILES).exists():
        return []
    schema = tiles_schema(catalogue.tasks.values())
    rows = read_table(root / _TILES, root=root, schema=schema).to_pylist()
    return [
        [f"{row['task']}\t{row['split']}", *_label_of(catalogue.task(row["task"]), row)]
        for row in rows
        if row["tile"] == tile.id
    ]


def _label_of(task: Task, row: dict[str, Any]) -> list[str]:
    if task.is_pixel:
        return []  # it has a picture
    target = row[task.column]
    if target is None:
        return ["  no label"]
    if task.kind == "multilabel":
        return [f"  {name}" for name in target or ("none of them",)]
    if task.kind == "classification":
        return [f"  {target}"]
    if not isinstance(target, dict):
        return [f"  {_told(target, task.target.bands[0].unit)}"]
    units = {band.name: band.unit for band in task.target.bands}
    return [f"  {name}\t{_told(value, units[name])}" for name, value in target.items()]


def _told(value: float, unit: str) -> str:
    return f"{value:.6g} {'' if unit == '1' else unit}".rstrip()
