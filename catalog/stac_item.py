"""A row of a manifest as a STAC item: where, when, which split, and its assets."""

from __future__ import annotations

import datetime
from typing import Any

import pystac
import shapely

from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.modality import TILE_PX
from mmearth.catalog.schema import member_column
from mmearth.catalog.stac_asset import PROCESSING, PROJECTION, Row, sample_assets, source_ids
from mmearth.catalog.tasks import TASKS
from mmearth.catalog.tile import Tile


def stac_item(row: Row, stored: dict[str, Row], software: dict[str, str]) -> dict[str, Any]:
    """Return the item of one sample as JSON.

    Args:
        row: Of the manifest.
        stored: Modality → row of observations.parquet, for GeoTIFFs that are in the store.
        software: Name → version of what wrote the dataset.
    """
    shape = shapely.from_wkb(row["geometry"])
    item = pystac.Item(
        id=row["key"],
        geometry=shapely.geometry.mapping(shape),
        bbox=_bbox(shape),
        datetime=datetime.datetime.combine(row["date"], datetime.time(), datetime.UTC),
        properties=_properties(row) | {"processing:software": software},
        collection=row["task"],
    )
    item.assets, used = sample_assets(row, stored)
    item.stac_extensions = sorted({*used, PROCESSING, PROJECTION})
    for rel, target in (
        ("root", "../../catalog.json"),
        ("parent", "../collection.json"),
        ("collection", "../collection.json"),
    ):
        item.links.append(pystac.Link(rel, target, pystac.MediaType.JSON))
    for name in source_ids(row):
        if "://" in name:
            item.links.append(pystac.Link("derived_from", name))
    return item.to_dict(include_self_link=False, transform_hrefs=False)


def _properties(row: Row) -> dict[str, Any]:
    tile = Tile(row["epsg"], row["left"], row["top"])
    return {
        "proj:code": f"EPSG:{tile.epsg}",
        "proj:transform": list(tile.transform),
        "proj:shape": [TILE_PX, TILE_PX],
        "proj:bbox": list(tile.bounds),
        "mmearth:task": row["task"],
        "mmearth:split": row["split"],
        "mmearth:train_5": row["train_5"],
        "mmearth:train_50": row["train_50"],
        "mmearth:tile": row["tile"],
        "mmearth:biome": row["biome"],
        "mmearth:ecoregion": row["ecoregion"],
        "mmearth:missing": [m for m in MODALITIES if not row[member_column(m)]["present"]],
        **_stand_ins(row),
        **_target(row),
    }


def _stand_ins(row: Row) -> dict[str, Any]:
    """Return why other products were used, by modality; no field where none was."""
    reasons = {name: row[member_column(name)]["stand_in"] for name in MODALITIES}
    found = {name: reason for name, reason in reasons.items() if reason}
    return {"mmearth:stand_in": found} if found else {}


def _target(row: Row) -> dict[str, Any]:
    """Return the value to be predicted; its mean over labelled pixels where it has pixels."""
    task = TASKS[row["task"]]
    if task.kind == "multilabel":
        return {f"mmearth:{task.name}": row[task.name]}
    target = row[task.name]["mean"] if task.level == "pixel" else row["target"]
    return {} if target is None else {"mmearth:target": target}


def _bbox(shape: shapely.Geometry) -> list[float]:
    """Return west, south, east, north; west > east across the antimeridian (RFC 7946 §5.2)."""
    west, south, east, north = shape.bounds
    if shape.geom_type == "MultiPolygon":
        west = min(part.bounds[0] for part in shape.geoms if part.bounds[0] > 0)
        east = max(part.bounds[2] for part in shape.geoms if part.bounds[2] < 0)
    return [west, south, east, north]
