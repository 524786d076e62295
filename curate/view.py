"""A tile to look at: all that a dataset has of it on one contact sheet, and as GeoTIFFs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from mmearth.catalog.catalogue import Catalogue, read_catalogue
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.files import write_atomic
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.catalog.schema import read_table, tiles_schema
from mmearth.catalog.store import STORE, read_observation, read_stored
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile
from mmearth.curate.panels import pictures, value_lines
from mmearth.curate.sheet import Panel, compose, missing, texts, wrap

_TILES = "tiles.parquet"


def contact_sheet(
    root: Path, tile: Tile, reasons: dict[str, str], digests: dict[str, str]
) -> Image.Image:
    """Return all that a dataset has of a tile as one picture, what is missing with the reason.

    Args:
        root: The dataset's directory, with its store.
        tile: Which.
        reasons: Modality, or task with pixels → why it is not in the store.
        digests: Likewise → the SHA-256 of its file, which is compared before it is drawn.

    Raises:
        ConfigError: The store was not kept.
        FormatError: A file of the store is damaged, or not the one that was collected.
        DataError: Its values break their contract.
    """
    if not (root / STORE).is_dir():
        raise ConfigError(
            f"{root} has no store to draw from; build with keep_store: true, or read its shards"
        )
    catalogue, found = read_catalogue(root), {}
    targets = [task.target for task in catalogue.tasks.values() if task.is_pixel]
    for layer in (*catalogue.layers.values(), *targets):
        if layer.name in digests:
            found[layer.name] = read_observation(root, tile, layer, digests[layer.name])[0]
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


def export_geotiffs(root: Path, tile: Tile, out: Path, names: Iterable[str]) -> list[Path]:
    """Copy a tile's GeoTIFFs to a directory; return their paths.

    Args:
        root: The dataset's directory, with its store.
        tile: Which.
        out: The directory; made when it is not there.
        names: Of what is in the store, and was looked at.

    Raises:
        StorageError: The disk is full.
    """
    copied, catalogue = [], read_catalogue(root)
    for layer in map(catalogue.observed, names):
        if layer.is_pixel:
            copied.append(out / f"{tile.id}_{layer.name}.tif")
            write_atomic(copied[-1], read_stored(root, tile, layer))
    return copied


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
