"""The assets of a STAC item: a shard and where in it the sample's members are, or GeoTIFFs.

In a dataset the pixels of a sample are members of a shard, which is no raster: the asset `shard`
says by the `archive` extension where each is, and any STAC client can read one with an HTTP range
request. Where a dataset was exported as GeoTIFFs, each is an asset, with bands, units and classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pystac

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.layer import Band, Layer
from mmearth.catalog.schema import member_column

_BASE = "https://stac-extensions.github.io"
ARCHIVE = f"{_BASE}/archive/v1.0.0/schema.json"
CLASSIFICATION = f"{_BASE}/classification/v2.0.0/schema.json"
EO = f"{_BASE}/eo/v2.0.0/schema.json"
OLD_EO = f"{_BASE}/eo/v1.1.0/schema.json"
"""The last with `eo:bands`, which the next forbids."""
FILE = f"{_BASE}/file/v2.1.0/schema.json"
PROCESSING = f"{_BASE}/processing/v1.2.0/schema.json"
PROJECTION = f"{_BASE}/projection/v2.0.0/schema.json"
RASTER = f"{_BASE}/raster/v2.0.0/schema.json"
SAR = f"{_BASE}/sar/v1.3.0/schema.json"
SCIENTIFIC = f"{_BASE}/scientific/v1.0.0/schema.json"

GEOTIFF = "image/tiff; application=geotiff"
TAR = "application/x-tar"
THUMBNAIL = "thumbnail"
"""Name of the asset of a picture."""
SHARD_TITLE = "WebDataset shard; `archive` tells where this sample's members are"
_SENTINEL1 = "COPERNICUS/S1_GRD"
_OLD_NAMES = frozenset(
    (
        *("coastal", "blue", "green", "red", "rededge", "yellow", "pan", "nir", "nir08", "nir09"),
        *("cirrus", "swir16", "swir22", "lwir", "lwir11", "lwir12"),
    )
)
"""Common names of bands in `eo:bands`."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class File:
    """A file that an asset is of."""

    path: str
    """Relative to the directory that the catalogue is in."""
    nbytes: int
    """Its size."""
    sha256: str
    """Of its bytes."""


def shard_assets(row: Row, catalogue: Catalogue, to_root: str) -> dict[str, pystac.Asset]:
    """Return the asset of a sample's shard, with the byte range of each member.

    Args:
        row: Of the manifest.
        catalogue: Of the dataset.
        to_root: From where the links are to the dataset's root: `..`, `../..`, …
    """
    # Every entry has these keys: a table of items would fill a gap with null, which is invalid.
    entries = [
        _entry(f"{row['key']}.{catalogue.codec.member(name)}", catalogue.codec.media_type, member)
        | {"title": name, "roles": roles(name, catalogue), **_provenance(member)}
        for name, member in _pixel_members(row, catalogue).items()
    ]
    # All tile-level layers share one member: the sample's JSON.
    entries += [
        _entry(f"{row['key']}.json", "application/json", member)
        | {"title": "tile-level", "roles": ["data"], "mmearth:source_ids": []}
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
    href = f"{to_root}/{row['shard']}"
    return {"shard": pystac.Asset(href, SHARD_TITLE, None, TAR, ["data"], fields)}


def raster_assets(
    row: Row, files: Mapping[str, File], catalogue: Catalogue, to_root: str
) -> tuple[dict[str, pystac.Asset], set[str]]:
    """Return the assets of a sample's GeoTIFFs by layer, and the extensions that they use.

    Args:
        row: Of the manifest.
        files: By layer, and THUMBNAIL; a layer that the sample has not is left out.
        catalogue: Of the dataset.
        to_root: From where the links are to what paths are relative to.
    """
    assets: dict[str, pystac.Asset] = {}
    used = {FILE}
    for name, member in _pixel_members(row, catalogue).items():
        if name in files:
            layer, file = catalogue.observed(name), files[name]
            fields, extensions = describe(layer, catalogue)
            fields |= {"eo:bands": _old_bands(layer)}
            fields |= _file(file.nbytes, file.sha256) | _provenance(member)
            href = f"{to_root}/{file.path}"
            assets[name] = pystac.Asset(
                href, layer.title, None, GEOTIFF, roles(name, catalogue), fields
            )
            used |= extensions - {EO} | {OLD_EO}
    if THUMBNAIL in files:
        file = files[THUMBNAIL]
        href, fields = f"{to_root}/{file.path}", _file(file.nbytes, file.sha256)
        assets[THUMBNAIL] = pystac.Asset(
            href, "Thumbnail", None, pystac.MediaType.PNG, ["thumbnail"], fields
        )
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


def _entry(href: str, media_type: str, member: Row) -> dict[str, Any]:
    first = member["byte_offset"]
    return {
        "href": href,
        "type": media_type,
        # Both ends are part of the range, as in an HTTP Range header.
        "range": [first, first + member["byte_length"] - 1],
        **_file(member["byte_length"], member["sha256"]),
    }


def _file(nbytes: int, sha256: str) -> dict[str, Any]:
    return {"file:size": nbytes, "file:checksum": multihash(sha256)}


def _provenance(member: Row) -> dict[str, Any]:
    fields: dict[str, Any] = {"mmearth:source_ids": list(member["source_ids"] or ())}
    for name in ("acquired", "expression", "stand_in"):
        if member.get(name):
            fields[f"mmearth:{name}"] = member[name]
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


def _old_bands(layer: Layer) -> list[dict[str, Any]]:
    """Return bands as STAC 1.0 has them: odc-stac knows names by no other field.

    The only band of a layer has the layer's name: it takes the first `label` of an item for all.
    """
    if len(layer.bands) == 1:
        return [{"name": layer.name, **_old_common_name(layer.bands[0])}]
    return [{"name": band.name, **_old_common_name(band)} for band in layer.bands]


def _old_common_name(band: Band) -> dict[str, str]:
    name = band.common_name or ""
    old = name if name in _OLD_NAMES else name.rstrip("0123456789")
    return {"common_name": old} if old in _OLD_NAMES else {}


def _classes(layer: Layer) -> list[dict[str, Any]]:
    """Return classes as STAC has them: a name is of few letters, and no other class has it."""
    found: dict[str, dict[str, Any]] = {}
    for entry in layer.classes:
        name = re.sub("[^0-9A-Za-z]+", "_", entry.name)
        name = f"class_{entry.code}" if name == "_" else name
        while name in found:
            name = f"{name}_{entry.code}"
        found[name] = {
            "value": entry.code,
            "name": name,
            "title": entry.name,
            "color_hint": entry.color.removeprefix("#").upper(),
        }
    return list(found.values())
