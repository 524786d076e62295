"""A manifest as a STAC collection: extent, licence, citations, what its items' assets hold."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pystac
from numpy.typing import NDArray

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.grid import Grid
from mmearth.catalog.layer import Layer
from mmearth.catalog.schema import manifest_path
from mmearth.catalog.splits import SPLITS
from mmearth.catalog.stac_asset import (
    GEOTIFF,
    SCIENTIFIC,
    SHARD_TITLE,
    TAR,
    describe,
    roles,
)
from mmearth.catalog.stac_render import RENDER, renders
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tiles, lonlat_bounds

_PARQUET = "application/vnd.apache.parquet"


def stac_collection(
    task: Task,
    card: DatasetCard,
    catalogue: Catalogue,
    table: pa.Table,
    statistics: dict[str, Any] | None,
    *,
    is_json: bool,
) -> dict[str, Any]:
    """Return the collection of one task as JSON.

    Args:
        task: One of the catalogue's.
        card: What the dataset says about itself.
        catalogue: Of the dataset.
        table: Columns of the task's manifest: key, tile, cell, split, date.
        statistics: Of the train samples, where the items' pixels are GeoTIFFs; None: in shards.
        is_json: Whether each item is a file.
    """
    present = set(pc.unique(table["split"]).to_pylist())
    collection = pystac.Collection(
        id=task.name,
        description=f"{task.title}, in {task.unit}. {card.description}".strip(),
        extent=_extent(table, catalogue.grid),
        title=f"{card.title}: {task.name}",
        license=card.licence,
        keywords=["earth observation", "multimodal", task.name],
        providers=[pystac.Provider("mmearth", roles=[pystac.ProviderRole.PROCESSOR])],
        extra_fields={
            "version": card.version,
            "sci:citation": task.target.citation,
            "sci:publications": _publications(task, catalogue),
            "mmearth:label_licence": task.target.licence,
            "mmearth:tile_level": _described(catalogue.tile_layers, catalogue),
        },
    )
    if present:
        summary = {"mmearth:split": [split for split in SPLITS if split in present]}
        collection.summaries = pystac.Summaries(summary)
    collection.links = _links(table if is_json else table.slice(0, 0))
    used: set[str] = set()
    if statistics is None:
        members = catalogue.members(task)
        collection.extra_fields["mmearth:members"] = _described(members, catalogue)
        collection.assets = _tables(task.name)
        item_assets = {"shard": {"title": SHARD_TITLE, "type": TAR, "roles": ["data"]}}
    else:
        item_assets, used = _rasters(task, catalogue)
        collection.extra_fields["renders"] = renders(catalogue.members(task), statistics)
    document = collection.to_dict(include_self_link=False, transform_hrefs=False)
    document["item_assets"] = item_assets
    document["stac_extensions"] = sorted({SCIENTIFIC, *used})
    return document


def _links(table: pa.Table) -> list[pystac.Link]:
    above = [
        pystac.Link(rel, "../catalog.json", pystac.MediaType.JSON) for rel in ("root", "parent")
    ]
    items = [
        pystac.Link("item", f"items/{cell}/{key}.json", pystac.MediaType.GEOJSON)
        for cell, key in zip(table["cell"].to_pylist(), table["key"].to_pylist(), strict=True)
    ]
    return [*above, *items]


def _tables(task: str) -> dict[str, pystac.Asset]:
    assets = {}
    for key, href, media_type, text in (
        ("manifest", manifest_path(task), _PARQUET, "One row per sample, with byte ranges"),
        ("statistics", f"statistics/{task}.json", "application/json", "Train, band by band"),
        ("items", "stac/items.parquet", _PARQUET, "All items of all collections"),
    ):
        assets[key] = pystac.Asset(f"../../{href}", text, None, media_type, ["metadata"])
    return assets


def _rasters(task: Task, catalogue: Catalogue) -> tuple[dict[str, Any], set[str]]:
    entries: dict[str, Any] = {}
    used = {RENDER}
    for layer in catalogue.members(task):
        fields, extensions = describe(layer, catalogue)
        about = {"title": layer.title, "type": GEOTIFF, "roles": roles(layer.name, catalogue)}
        entries[layer.name] = about | fields
        used |= extensions
    return entries, used


def _described(layers: Iterable[Layer], catalogue: Catalogue) -> dict[str, Any]:
    """Describe layers that have no asset: they stand in shards, or in every sample's JSON."""
    return {layer.name: {"title": layer.title, **describe(layer, catalogue)[0]} for layer in layers}


def _publications(task: Task, catalogue: Catalogue) -> list[dict[str, str]]:
    """Return the papers behind the labels and modalities that have a DOI."""
    texts = [task.target.citation, *(layer.citation for layer in catalogue.layers.values())]
    found = [(re.search(r"doi:(10\.\S+)", text), text) for text in dict.fromkeys(texts)]
    return [{"doi": doi.group(1), "citation": text} for doi, text in found if doi]


def _extent(table: pa.Table, grid: Grid) -> pystac.Extent:
    """Return the box and the interval of the samples; the whole Earth where there is none."""
    if not table.num_rows:
        world = pystac.SpatialExtent([[-180.0, -90.0, 180.0, 90.0]])
        return pystac.Extent(world, pystac.TemporalExtent([None, None]))
    tiles = Tiles.parse(table["tile"], grid)
    first_and_last = pc.min_max(table["date"]).as_py()
    interval: list[datetime.datetime | None] = [
        datetime.datetime.combine(first_and_last[end], datetime.time(), datetime.UTC)
        for end in ("min", "max")
    ]
    box = _box(lonlat_bounds(tiles))
    return pystac.Extent(pystac.SpatialExtent([box]), pystac.TemporalExtent([interval]))


def _box(bounds: NDArray[np.float64]) -> list[float]:
    """Return one box around many, across the antimeridian where that makes it much smaller.

    Args:
        bounds: West, south, east, north with west < east, which may be beyond 180, (n, 4).
    """
    west, east = bounds[:, 0], bounds[:, 2]
    south, north = float(bounds[:, 1].min()), float(bounds[:, 3].max())
    turn = np.where(west < 0.0, 360.0, 0.0)  # the western hemisphere, seen beyond 180
    low, high = float((west + turn).min()), float((east + turn).max())
    if high > 180.0 > low and high - low < 180.0 < max(float(np.ptp(west)), float(east.max())):
        return [low, south, round(high - 360.0, 7), north]
    if east.max() > 180.0:
        return [-180.0, south, 180.0, north]
    return [float(west.min()), south, float(east.max()), north]
