"""The assets of a STAC item: arrays, files of the store, byte ranges inside a shard.

An asset describes one layer: bands, units, no-data, classes. Its bytes are a GeoTIFF of the
store or, where the store was not kept, a member of the shard, which the `archive` extension points
at. The asset `shard` lists all members: any STAC client can read one with an HTTP range request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pystac

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.codec import Codec
from mmearth.catalog.layer import Band, Layer
from mmearth.catalog.schema import member_column

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

GEOTIFF = "image/tiff; application=geotiff"
TAR = "application/x-tar"
SHARD_TITLE = "WebDataset shard; `archive` tells where this sample's members are"
_SENTINEL1 = "COPERNICUS/S1_GRD"
Row = dict[str, Any]


def sample_assets(
    row: Row, stored: dict[str, Row], catalogue: Catalogue, to_root: str
) -> tuple[dict[str, pystac.Asset], set[str]]:
    """Return a sample's assets by name, and the extensions that they use.

    Args:
        row: Of the manifest.
        stored: Layer → row of observations.parquet, for GeoTIFFs that are in the store.
        catalogue: Of the dataset.
        to_root: From where the links are to the dataset's root: `..`, `../..`, …
    """
    assets: dict[str, pystac.Asset] = {}
    used = {ARCHIVE, FILE}
    for name, member in _pixel_members(row, catalogue).items():
        layer = catalogue.observed(name)
        fields, extensions = describe(layer, catalogue)
        if name in stored:
            href, media_type = f"{to_root}/{stored[name]['path']}", GEOTIFF
            fields |= _file(stored[name]["bytes"], stored[name]["sha256"])
        else:
            href, media_type = f"{to_root}/{row['shard']}", TAR
            fields["archive"] = [_array_entry(row, name, catalogue.codec)]
        fields |= _provenance(member)
        assets[name] = pystac.Asset(
            href, layer.title, None, media_type, roles(name, catalogue), fields
        )
        used |= extensions
    assets["shard"] = _shard(row, catalogue, to_root)
    return assets, used


def describe(layer: Layer, catalogue: Catalogue) -> tuple[dict[str, Any], set[str]]:
    """Return the fields that describe a layer's array, and their extensions."""
    resolution_m = catalogue.grid.resolution_m if layer.is_pixel else None
    fields: dict[str, Any] = {
        "data_type": layer.dtype,
        **({} if layer.nodata is None else {"nodata": layer.nodata}),
        "bands": [_band(band, resolution_m) for band in layer.bands],
    }
    used = {RASTER} if layer.is_pixel else set()
    if any(band.wavelength_nm or band.common_name for band in layer.bands):
        used.add(EO)
    if layer.product == _SENTINEL1:
        used.add(SAR)
        fields |= {
            "sar:instrument_mode": "IW",
            "sar:frequency_band": "C",
            "sar:polarizations": ["VV", "VH", "HH", "HV"],
            "sar:product_type": "GRD",
        }
    if layer.kind == "categorical" and layer.is_pixel:
        used.add(CLASSIFICATION)
        fields["classification:classes"] = _classes(layer)
    return fields, used


def roles(name: str, catalogue: Catalogue) -> list[str]:
    """Return the roles of a modality's or a target's asset."""
    return ["labels"] if name in catalogue.tasks else ["data"]


def multihash(sha256: str) -> str:
    """Return a SHA-256 as the `file` extension wants it: hex 12 is its code, 20 its length."""
    return f"1220{sha256}"


def source_ids(row: Row, catalogue: Catalogue) -> list[str]:
    """Return what a sample's arrays came from, each once, in the order of its members."""
    members = [*_pixel_members(row, catalogue).values(), *_tile_members(row, catalogue).values()]
    return list(dict.fromkeys(name for member in members for name in member["source_ids"] or ()))


def _pixel_members(row: Row, catalogue: Catalogue) -> dict[str, Row]:
    """Return name → struct of the manifest, of arrays that are a member of their own."""
    return _there(row, catalogue.members(catalogue.tasks[row["task"]]))


def _tile_members(row: Row, catalogue: Catalogue) -> dict[str, Row]:
    """Return name → struct of the manifest, of the layers that stand in the sample's JSON."""
    return _there(row, catalogue.tile_layers)


def _there(row: Row, layers: Iterable[Layer]) -> dict[str, Row]:
    members = {layer.name: row[member_column(layer)] for layer in layers}
    return {name: each for name, each in members.items() if each and each["byte_length"]}


def _shard(row: Row, catalogue: Catalogue, to_root: str) -> pystac.Asset:
    """Return the asset of a sample's shard, with the byte range of each member."""
    # Every entry has the same keys: a table of items would fill a gap with null, which is invalid.
    entries = [
        _array_entry(row, name, catalogue.codec) | {"title": name}
        for name in _pixel_members(row, catalogue)
    ]
    # All tile-level layers share one member: the sample's JSON.
    entries += [
        _entry(f"{row['key']}.json", "application/json", member) | {"title": "tile-level"}
        for member in list(_tile_members(row, catalogue).values())[:1]
    ]
    entries.sort(key=lambda entry: entry["range"])
    # No nulls: of a column that holds nothing else, a table of items could not tell the type.
    tile_level = [
        {"name": name, "source_ids": list(member["source_ids"] or ())}
        | {key: member[key] for key in ("acquired", "expression") if member.get(key)}
        for name, member in _tile_members(row, catalogue).items()
    ]
    fields = {"archive": entries, "mmearth:tile_level": tile_level}
    return pystac.Asset(f"{to_root}/{row['shard']}", SHARD_TITLE, None, TAR, ["data"], fields)


def _array_entry(row: Row, name: str, codec: Codec) -> dict[str, Any]:
    return _entry(f"{row['key']}.{codec.member(name)}", codec.media_type, row[name])


def _entry(href: str, media_type: str, member: Row) -> dict[str, Any]:
    first = member["byte_offset"]
    return {
        "href": href,
        "type": media_type,
        "roles": ["data"],
        # Both ends are part of the range, as in an HTTP Range header.
        "range": [first, first + member["byte_length"] - 1],
        **_file(member["byte_length"], member["sha256"]),
    }


def _file(nbytes: int, sha256: str) -> dict[str, Any]:
    return {"file:size": nbytes, "file:checksum": multihash(sha256)}


def _provenance(member: Row) -> dict[str, Any]:
    fields: dict[str, Any] = {"mmearth:source_ids": list(member["source_ids"] or ())}
    if member.get("acquired"):
        fields["mmearth:acquired"] = member["acquired"]
    if member.get("expression"):
        fields["processing:expression"] = {
            "format": "earthengine-sha256",
            "expression": member["expression"],
        }
    if member.get("stand_in"):
        fields["mmearth:stand_in"] = member["stand_in"]
        fields["processing:lineage"] = (
            f"Stands in for the modality's own product: {member['stand_in']}"
        )
    return fields


def _band(band: Band, resolution_m: int | None) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": band.name, "unit": band.unit}
    if (band.scale, band.offset) != (1.0, 0.0):
        fields |= {"raster:scale": band.scale, "raster:offset": band.offset}
    if resolution_m is not None:
        fields["raster:spatial_resolution"] = resolution_m
    if band.wavelength_nm is not None:
        fields["eo:center_wavelength"] = round(band.wavelength_nm / 1000.0, 4)  # micrometres
    if band.common_name is not None:
        fields["eo:common_name"] = band.common_name
    return fields


def _classes(layer: Layer) -> list[dict[str, Any]]:
    return [
        {
            "value": entry.code,
            "name": re.sub("[^0-9A-Za-z]+", "_", entry.name),
            "title": entry.name,
            "color_hint": entry.color.removeprefix("#").upper(),
        }
        for entry in layer.classes
    ]
