"""A row of a manifest as a STAC item: where, when, which split, and its assets."""

from __future__ import annotations

import datetime
import posixpath
from collections.abc import Mapping
from typing import Any

import pystac
import shapely

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.schema import member_column
from mmearth.catalog.stac_asset import (
    ARCHIVE,
    FILE,
    PROCESSING,
    PROJECTION,
    File,
    Row,
    raster_assets,
    shard_assets,
    source_ids,
)
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile


def stac_item(
    row: Row,
    files: Mapping[str, File] | None,
    software: dict[str, str],
    catalogue: Catalogue,
    folder: str,
) -> dict[str, Any]:
    """Return the item of one sample as JSON.

    Args:
        row: Of the manifest.
        files: Its GeoTIFFs, by layer; None: its pixels are in its shard alone.
        software: Name → version of what wrote the dataset.
        catalogue: Of the dataset.
        folder: Where its links are from, relative to the directory that the catalogue is in.
    """
    shape = shapely.from_wkb(row["geometry"])
    item = pystac.Item(
        id=row["key"],
        geometry=shapely.geometry.mapping(shape),
        bbox=_bbox(shape),
        datetime=datetime.datetime.combine(row["date"], datetime.time(), datetime.UTC),
        properties=_properties(row, catalogue) | {"processing:software": software},
        collection=row["task"],
    )
    to_root = posixpath.relpath(".", folder)
    if files is None:
        item.assets, used = shard_assets(row, catalogue, to_root), {ARCHIVE, FILE}
    else:
        item.assets, used = raster_assets(row, files, catalogue, to_root)
    item.stac_extensions = sorted({*used, PROCESSING, PROJECTION})
    for rel, target in (
        ("root", "stac/catalog.json"),
        ("parent", f"stac/{row['task']}/collection.json"),
        ("collection", f"stac/{row['task']}/collection.json"),
    ):
        href = posixpath.relpath(target, folder)
        item.links.append(pystac.Link(rel, href, pystac.MediaType.JSON))
    for name in source_ids(row, catalogue):
        if "://" in name:
            item.links.append(pystac.Link("derived_from", name))
    return item.to_dict(include_self_link=False, transform_hrefs=False)


def _properties(row: Row, catalogue: Catalogue) -> dict[str, Any]:
    tile = Tile(row["epsg"], row["left"], row["top"], catalogue.grid)
    layers = catalogue.layers.values()
    return {
        "proj:code": f"EPSG:{tile.epsg}",
        "proj:transform": list(tile.transform),
        "proj:shape": [catalogue.grid.pixels] * 2,
        "proj:bbox": list(tile.bounds),
        "mmearth:task": row["task"],
        "mmearth:split": row["split"],
        "mmearth:train_5": row["train_5"],
        "mmearth:train_50": row["train_50"],
        "mmearth:tile": row["tile"],
        **{f"mmearth:{each.name}": row[each.name] for each in layers if each.has_code_column},
        "mmearth:missing": [m.name for m in layers if not row[member_column(m)]["present"]],
        **_stand_ins(row, catalogue),
        **_target(row, catalogue.tasks[row["task"]]),
    }


def _stand_ins(row: Row, catalogue: Catalogue) -> dict[str, Any]:
    """Return why other products were used, by layer; no field where none was."""
    layers = catalogue.layers.values()
    reasons = {layer.name: row[member_column(layer)]["stand_in"] for layer in layers}
    found = {name: reason for name, reason in reasons.items() if reason}
    return {"mmearth:stand_in": found} if found else {}


def _target(row: Row, task: Task) -> dict[str, Any]:
    """Return the value to be predicted; its mean over labelled pixels where it has pixels."""
    target = row[task.column]
    if task.is_pixel and target is not None:
        target = target["mean"]
    name = "target" if task.is_pixel else task.column
    return {} if target is None else {f"mmearth:{name}": target}


def _bbox(shape: shapely.Geometry) -> list[float]:
    """Return west, south, east, north; west > east across the antimeridian (RFC 7946 §5.2)."""
    west, south, east, north = shape.bounds
    if shape.geom_type == "MultiPolygon":
        west = min(part.bounds[0] for part in shape.geoms if part.bounds[0] > 0)
        east = max(part.bounds[2] for part in shape.geoms if part.bounds[2] < 0)
    return [west, south, east, north]
