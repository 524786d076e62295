"""Observations as GeoTIFFs, for eyes and for other tools: a view of a dataset, not a part of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import rasterio
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import printable
from mmearth.catalog.files import write_atomic
from mmearth.catalog.layer import Band, ClassCode, Layer
from mmearth.catalog.observed import Observed
from mmearth.catalog.sample import Observation
from mmearth.catalog.store import StoreReader
from mmearth.catalog.tile import Tile

_COLOURS = {each.name: each for each in ColorInterp}
_OTHER_NAMES = {"lwir": "tir"}
_PALETTE = 256  # codes that a colour table of GDAL has for all readers


def write_geotiffs(
    root: Path, catalogue: Catalogue, rows: Iterable[Observed], place: Callable[[Tile, str], Path]
) -> Iterator[Path]:
    """Write observations with pixels as GeoTIFFs, one after the other; yield their paths.

    Args:
        root: The dataset's directory.
        catalogue: Its own.
        rows: What was observed; what has no pixels is passed over.
        place: From a tile and the name of a layer, or of a target, to where its file shall be.

    Raises:
        FormatError: An observation is missing or damaged.
        DataError: Its values break their contract.
        StorageError: The disk is full.
    """
    with StoreReader(root) as reader:
        for row in rows:
            if row.path is not None:
                seen = row.read(reader, catalogue)
                seen.check()
                tile = Tile.parse(row.tile, catalogue.grid)
                yield write_geotiff(place(tile, row.modality), tile, seen)


def write_geotiff(path: Path, tile: Tile, seen: Observation) -> Path:
    """Write an observation with pixels; the same observation gives the same bytes.

    What GeoTIFF has no place for, the names of classes, goes into `<name>.tif.aux.xml`, where GDAL
    and QGIS look for it.

    Raises:
        StorageError: The disk is full or the directory cannot be written.
    """
    write_atomic(path, _geotiff(tile, seen))
    if seen.layer.classes:
        write_atomic(path.with_name(f"{path.name}.aux.xml"), _class_names(seen.layer))
    return path


def _geotiff(tile: Tile, seen: Observation) -> bytes:
    layer, array = seen.layer, seen.array
    profile = {
        "driver": "GTiff",
        "count": array.shape[0],
        "height": array.shape[1],
        "width": array.shape[2],
        "dtype": array.dtype.name,
        "crs": f"EPSG:{tile.epsg}",
        "transform": Affine(*tile.transform),
        "nodata": layer.nodata,
        "tiled": True,
        "blockxsize": array.shape[2],
        "blockysize": array.shape[1],
        "interleave": "band",
        # Level 1 with a predictor: half the bytes at the speed of the disk; level 6 saves 4 % more.
        "compress": "deflate",
        "zlevel": 1,
        "predictor": 3 if array.dtype.kind == "f" else 2,
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            _describe(dataset, layer)
            dataset.update_tags(**_provenance(seen))
            dataset.write(array)
        return bytes(memory.read())


def _describe(dataset: rasterio.io.DatasetWriter, layer: Layer) -> None:
    """Say what the bands are: names, units, how stored values become physical ones, colours."""
    dataset.descriptions = layer.band_names
    dataset.units = [band.unit for band in layer.bands]
    dataset.scales = [band.scale for band in layer.bands]
    dataset.offsets = [band.offset for band in layer.bands]
    if layer.classes and layer.dtype in ("uint8", "uint16") and layer.codes[-1] < _PALETTE:
        dataset.write_colormap(1, {entry.code: _rgb(entry) for entry in layer.classes})
    else:
        dataset.colorinterp = [_colour(band) for band in layer.bands]


def _colour(band: Band) -> ColorInterp:
    """Return what GDAL calls STAC's `red`, `nir08` or `rededge071`."""
    name = (band.common_name or "").rstrip("0123456789")
    return _COLOURS.get(_OTHER_NAMES.get(name, name), ColorInterp.gray)


def _rgb(entry: ClassCode) -> tuple[int, ...]:
    return (*bytes.fromhex(entry.color.removeprefix("#")), 255)


def _class_names(layer: Layer) -> bytes:
    """Return GDAL's side-car file: a table of codes, names and colours for each band."""
    document = ElementTree.Element("PAMDataset")
    for i, _ in enumerate(layer.bands, 1):
        band = ElementTree.SubElement(document, "PAMRasterBand", band=str(i))
        if 0 <= layer.codes[0] <= layer.codes[-1] < _PALETTE:
            names = ElementTree.SubElement(band, "CategoryNames")
            by_code = {entry.code: printable(entry.name) for entry in layer.classes}
            for code in range(layer.codes[-1] + 1):
                ElementTree.SubElement(names, "Category").text = by_code.get(code, "")
        table = ElementTree.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
        # The numbers are GDAL's: an integer, a text; of what use a column is.
        for at, (name, kind, use) in enumerate(
            (("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8))
        ):
            column = ElementTree.SubElement(table, "FieldDefn", index=str(at))
            for tag, text in (("Name", name), ("Type", kind), ("Usage", use)):
                ElementTree.SubElement(column, tag).text = str(text)
        for at, entry in enumerate(layer.classes):
            line = ElementTree.SubElement(table, "Row", index=str(at))
            for value in (entry.code, printable(entry.name), *_rgb(entry)[:3]):
                ElementTree.SubElement(line, "F").text = str(value)
    ElementTree.indent(document)
    return bytes(ElementTree.tostring(document, encoding="utf-8")) + b"\n"


def _provenance(seen: Observation) -> dict[str, str]:
    """Return the tags of an observation; one that has no value is left out."""
    tags = {
        "modality": seen.layer.name,
        "acquired": seen.acquired or "",
        "source": seen.source,
        "source_ids": json.dumps(seen.source_ids, ensure_ascii=False),
        "stand_in": seen.stand_in or "",
        "expression": seen.expression or "",
    }
    return {name: value for name, value in tags.items() if value}
