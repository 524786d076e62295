"""Manifests → a static STAC catalogue: a collection a task, an item a sample, and items.parquet."""

from __future__ import annotations

import datetime
import json
import shutil
from pathlib import Path
from typing import Any

import pystac
import stac_geoparquet.arrow

import mmearth
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.files import atomic_path, write_atomic
from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.schema import manifest_path, read_table
from mmearth.catalog.stac_item import SCIENTIFIC, Row, describe, stac_item
from mmearth.catalog.tasks import TASKS

STAC = "stac"
"""Name of the catalogue's directory in a dataset."""


def build(root: Path, card: DatasetCard) -> Path:
    """Write the catalogue of a packed dataset; return `stac/catalog.json`.

    Args:
        root: Holds the manifests, observations.parquet and perhaps the store.
        card: What the dataset says about itself.

    Raises:
        FormatError: A table is missing or of another version.
        StorageError: The disk is full.
    """
    home = root / STAC
    shutil.rmtree(home, ignore_errors=True)
    stored = _stored(root)
    catalog = pystac.Catalog(card.name, card.description or card.title, card.title)
    catalog.links = [pystac.Link("root", "catalog.json", "application/json")]
    documents: list[dict[str, Any]] = []
    for task in card.tasks:
        rows = read_table(root / manifest_path(task)).to_pylist()
        software = f"mmearth {mmearth.__version__}"
        items = [stac_item(row, stored.get(row["tile"], {}), software) for row in rows]
        for item in items:
            document = item.to_dict(include_self_link=False, transform_hrefs=False)
            _write(home / task / "items" / f"{item.id}.json", document)
            documents.append(document)
        _write(home / task / "collection.json", _collection(task, card, rows))
        link = pystac.Link(
            "child", f"{task}/collection.json", "application/json", TASKS[task].title
        )
        catalog.links.append(link)
    _write_parquet(home / "items.parquet", documents)
    path = home / "catalog.json"
    _write(path, catalog.to_dict(include_self_link=False, transform_hrefs=False))
    return path


def _stored(root: Path) -> dict[str, dict[str, Row]]:
    """Return tile → modality → row of observations.parquet, for GeoTIFFs that are in the store."""
    result: dict[str, dict[str, Row]] = {}
    order = [*TASKS, *MODALITIES]
    rows = read_table(root / "observations.parquet").to_pylist()
    for row in sorted(rows, key=lambda row: (row["tile"], order.index(row["modality"]))):
        if (row["path"] or "").endswith(".tif") and (root / row["path"]).exists():
            result.setdefault(row["tile"], {})[row["modality"]] = row
    return result


def _collection(task: str, card: DatasetCard, rows: list[Row]) -> dict[str, Any]:
    spec = TASKS[task]
    collection = pystac.Collection(
        id=task,
        description=f"{spec.title}, in {spec.unit}. {card.description}".strip(),
        extent=_extent(rows),
        title=f"{card.title}: {task}",
        license=spec.licence,
        keywords=["earth observation", "multimodal", task],
        providers=[pystac.Provider("mmearth", roles=[pystac.ProviderRole.PROCESSOR])],
        summaries=pystac.Summaries({"mmearth:split": _values(rows, "split")}),
        extra_fields={"sci:citation": spec.citation, "version": card.version},
    )
    collection.stac_extensions = [SCIENTIFIC]
    collection.links = [
        pystac.Link("root", "../catalog.json", "application/json"),
        pystac.Link("parent", "../catalog.json", "application/json"),
        *(pystac.Link("item", f"items/{row['key']}.json", "application/geo+json") for row in rows),
    ]
    for key, href, title in (
        ("manifest", f"../../{manifest_path(task)}", "One row a sample, with byte ranges"),
        ("statistics", f"../../statistics/{task}.json", "Of the train subsets, band by band"),
        ("items", "../items.parquet", "All items of all collections (stac-geoparquet)"),
    ):
        media_type = "application/json" if key == "statistics" else "application/vnd.apache.parquet"
        collection.assets[key] = pystac.Asset(href, title, None, media_type, ["metadata"])
    extensions: set[str] = set()
    item_assets: dict[str, Any] = {}
    for name in card.modalities:
        if MODALITIES[name].level == "pixel":
            fields, used = describe(MODALITIES[name])
            item_assets[name] = {"title": MODALITIES[name].title, "roles": ["data"], **fields}
            extensions |= used
    document = collection.to_dict(include_self_link=False, transform_hrefs=False)
    document["item_assets"] = item_assets
    document["stac_extensions"] = sorted({SCIENTIFIC, *extensions})
    return document


def _extent(rows: list[Row]) -> pystac.Extent:
    """Return the box and the interval of the samples; the whole Earth where there is none."""
    if not rows:
        world = pystac.SpatialExtent([[-180.0, -90.0, 180.0, 90.0]])
        return pystac.Extent(world, pystac.TemporalExtent([None, None]))
    lons, lats = [row["lon"] for row in rows], [row["lat"] for row in rows]
    box = [min(lons), min(lats), max(lons), max(lats)]
    dates = [row["date"] for row in rows]
    begin, end = (
        datetime.datetime.combine(date, datetime.time(), datetime.UTC)
        for date in (min(dates), max(dates))
    )
    return pystac.Extent(pystac.SpatialExtent([box]), pystac.TemporalExtent([[begin, end]]))


def _values(rows: list[Row], column: str) -> list[str]:
    return sorted({row[column] for row in rows}) or [""]


def _write(path: Path, document: dict[str, Any]) -> None:
    write_atomic(path, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())


def _write_parquet(path: Path, documents: list[dict[str, Any]]) -> None:
    """Write the items of all tasks as stac-geoparquet; none, where there is no sample."""
    if not documents:
        return
    table = stac_geoparquet.arrow.parse_stac_items_to_arrow(documents).read_all()
    with atomic_path(path) as temporary:
        stac_geoparquet.arrow.to_parquet(table, temporary)
