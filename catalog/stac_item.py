"""A row of a manifest as a STAC item, and what every asset of a modality says.

Each item has an asset for its shard, in which the `archive` extension tells the byte range of every
member: any STAC client can read one modality of one sample with an HTTP range request. Where the
store was kept there is a GeoTIFF asset a pixel-level modality too.
"""

from __future__ import annotations

import datetime
from typing import Any

import pystac
import shapely

from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.modality import TILE_PX, Band, Modality
from mmearth.catalog.schema import member_column
from mmearth.catalog.tasks import TASKS
from mmearth.catalog.tile import Tile

_BASE = "https://stac-extensions.github.io"
ARCHIVE = f"{_BASE}/archive/v1.0.0/schema.json"
CLASSIFICATION = f"{_BASE}/classification/v2.0.0/schema.json"
EO = f"{_BASE}/eo/v2.0.0/schema.json"
FILE = f"{_BASE}/file/v2.1.0/schema.json"
PROCESSING = f"{_BASE}/processing/v1.2.0/schema.json"
PROJECTION = f"{_BASE}/projection/v2.0.0/schema.json"
RASTER = f"{_BASE}/raster/v2.0.0/schema.json"
SAR = f"{_BASE}/sar/v1.3.0/schema.json"
SCIENTIFIC = f"{_BASE}/scientific/v1.0.0/schema.json"

NPY = "application/x-npy"
"""Media type of NumPy's array format; not registered, and in common use."""
TO_ROOT = "../../.."
"""From an item's directory, `stac/<task>/items`, to the dataset's root."""
Row = dict[str, Any]


def stac_item(row: Row, stored: dict[str, Row], software: str) -> pystac.Item:
    """Return the item of one sample.

    Args:
        row: Of the manifest.
        stored: Modality → row of observations.parquet, for files that are in the store.
        software: Name and version of what wrote the dataset.
    """
    tile = Tile(row["epsg"], row["left"], row["top"])
    shape = shapely.from_wkb(row["geometry"])
    item = pystac.Item(
        id=row["key"],
        geometry=shapely.geometry.mapping(shape),
        bbox=_bbox(shape),
        datetime=datetime.datetime.combine(row["date"], datetime.time(), datetime.UTC),
        properties=_properties(row, tile, software),
        collection=row["task"],
    )
    used = {ARCHIVE, FILE, PROJECTION, PROCESSING}
    for name, entry in stored.items():
        asset, extensions = _geotiff(name, entry)
        item.assets[name] = asset
        used |= extensions
    item.assets["shard"] = _shard(row)
    item.stac_extensions = sorted(used)
    for rel, target in (("root", "../../catalog.json"), ("parent", "../collection.json")):
        item.links.append(pystac.Link(rel, target, "application/json"))
    item.links.append(pystac.Link("collection", "../collection.json", "application/json"))
    return item


def describe(modality: Modality) -> tuple[dict[str, Any], set[str]]:
    """Return the fields that describe a modality's arrays, and the extensions they are from."""
    fields: dict[str, Any] = {
        "data_type": modality.dtype,
        **({} if modality.nodata is None else {"nodata": modality.nodata}),
        "bands": [_band(band, modality) for band in modality.bands],
    }
    used = {RASTER} if modality.level == "pixel" else set()
    if modality.name == "sentinel2":
        used.add(EO)
    if modality.name == "sentinel1":
        used.add(SAR)
        fields |= {
            "sar:instrument_mode": "IW",
            "sar:frequency_band": "C",
            "sar:polarizations": ["VV", "VH", "HH", "HV"],
            "sar:product_type": "GRD",
        }
    if modality.kind == "categorical" and modality.level == "pixel":
        used.add(CLASSIFICATION)
        fields["classification:classes"] = [
            {
                "value": entry.code,
                "name": "".join(c if c.isalnum() else "_" for c in entry.name),
                "title": entry.name,
                "color_hint": entry.color.removeprefix("#").upper(),
            }
            for entry in modality.classes
        ]
    return fields, used


def multihash(sha256: str) -> str:
    """Return a SHA-256 as the `file` extension wants it: code 12, length 20, both hexadecimal."""
    return f"1220{sha256}"


def _properties(row: Row, tile: Tile, software: str) -> dict[str, Any]:
    name, _, version = software.partition(" ")
    left, bottom, right, top = tile.bounds
    missing = [m for m in MODALITIES if not row[member_column(m)]["present"]]
    return {
        "proj:code": f"EPSG:{tile.epsg}",
        "proj:transform": list(tile.transform),
        "proj:shape": [TILE_PX, TILE_PX],
        "proj:bbox": [left, bottom, right, top],
        "processing:software": {name: version},
        "mmearth:task": row["task"],
        "mmearth:split": row["split"],
        "mmearth:train_5": row["train_5"],
        "mmearth:train_50": row["train_50"],
        "mmearth:tile": row["tile"],
        "mmearth:biome": row["biome"],
        "mmearth:ecoregion": row["ecoregion"],
        "mmearth:target": _target(row),
        "mmearth:missing": missing,
    }


def _target(row: Row) -> Any:
    task = TASKS[row["task"]]
    if task.level == "pixel":
        return row[task.name]["mean"]
    return len(row[task.name]) if task.kind == "multilabel" else row["target"]


def _geotiff(name: str, entry: Row) -> tuple[pystac.Asset, set[str]]:
    """Return the asset of a file in the store."""
    if name in MODALITIES:
        fields, used = describe(MODALITIES[name])
        title = MODALITIES[name].title
    else:
        task = TASKS[name]
        band = {"name": task.outputs[0], "unit": task.unit}
        fields = {"data_type": task.dtype, "nodata": task.nodata, "bands": [band]}
        used, title = set(), task.title
    fields |= {"file:size": entry["bytes"], "file:checksum": multihash(entry["sha256"])}
    fields |= _provenance(entry)
    roles = ["labels"] if name in TASKS else ["data"]
    media_type = "image/tiff; application=geotiff"
    href = f"{TO_ROOT}/{entry['path']}"
    return pystac.Asset(href, title, None, media_type, roles, fields), used


def _shard(row: Row) -> pystac.Asset:
    """Return the asset of a sample's shard, with the byte range of each member."""
    names = [name for name, modality in MODALITIES.items() if modality.level == "pixel"]
    columns = [(name, member_column(name)) for name in names]
    if TASKS[row["task"]].level == "pixel":
        columns.insert(0, (row["task"], row["task"]))
    members = [
        _member(f"{row['key']}.{name}.npy", NPY, row[column], name)
        for name, column in columns
        if row[column]["byte_length"] is not None
    ]
    document = row[member_column("geolocation")]
    if document["present"]:
        members.insert(0, _member(f"{row['key']}.json", "application/json", document, None))
    members.sort(key=lambda entry: entry["range"])
    return pystac.Asset(
        f"{TO_ROOT}/{row['shard']}",
        "WebDataset shard; `archive` tells where this sample's members are",
        None,
        "application/x-tar",
        ["data"],
        {"archive": members},
    )


def _member(href: str, media_type: str, member: Row, modality: str | None) -> dict[str, Any]:
    first = member["byte_offset"]
    entry: dict[str, Any] = {
        "href": href,
        "type": media_type,
        "roles": ["data"],
        # Both ends are part of the range, as in an HTTP Range header.
        "range": [first, first + member["byte_length"] - 1],
        "file:size": member["byte_length"],
        "file:checksum": multihash(member["sha256"]),
    }
    if modality is not None:
        entry["title"] = modality
        entry |= _provenance(member)
    return entry


def _provenance(entry: Row) -> dict[str, Any]:
    fields: dict[str, Any] = {"mmearth:source_ids": list(entry["source_ids"] or ())}
    if entry.get("acquired"):
        fields["mmearth:acquired"] = entry["acquired"]
    if entry.get("stand_in"):
        fields["mmearth:stand_in"] = entry["stand_in"]
        fields["processing:lineage"] = (
            f"Stands in for the modality's own product: {entry['stand_in']}"
        )
    return fields


def _band(band: Band, modality: Modality) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": band.name, "unit": band.unit}
    if (band.scale, band.offset) != (1.0, 0.0):
        fields |= {"raster:scale": band.scale, "raster:offset": band.offset}
    if modality.level == "pixel":
        fields["raster:spatial_resolution"] = 10.0
    if band.wavelength_nm is not None:
        fields["eo:center_wavelength"] = round(band.wavelength_nm / 1000.0, 4)  # micrometres
    if band.common_name is not None:
        fields["eo:common_name"] = band.common_name
    return fields


def _bbox(shape: shapely.Geometry) -> list[float]:
    """Return west, south, east, north; west > east across the antimeridian (RFC 7946 §5.2)."""
    west, south, east, north = shape.bounds
    if shape.geom_type == "MultiPolygon":
        west = min(part.bounds[0] for part in shape.geoms if part.bounds[0] > 0)
        east = max(part.bounds[2] for part in shape.geoms if part.bounds[2] < 0)
    return [west, south, east, north]
