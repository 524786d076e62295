"""Exported GeoTIFFs as a STAC catalogue, with a picture of each tile: what GIS tools open."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import rasterio
from PIL import Image

from mmearth.catalog import stac
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import Catalogue, read_catalogue
from mmearth.catalog.checksums import DATASET, read_dataset
from mmearth.catalog.files import sha256_file, write_atomic
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.catalog.stac_asset import THUMBNAIL, File
from mmearth.curate.panels import pictures

_COLOURS = {"red", "green", "blue"}


def write_catalogue(root: Path, out: Path, paths: Iterable[Path]) -> Path | None:
    """Write `stac/` of GeoTIFFs, and a picture of each tile; return `stac/catalog.json`.

    Args:
        root: The dataset's directory. One that is not finished has no samples to catalogue.
        out: Where the GeoTIFFs are.
        paths: All of them: `<epsg>/<tile>/<layer>.tif` below `out`.

    Returns:
        None where there is no catalogue: the dataset is not finished.

    Raises:
        FormatError: A table is missing or of another version.
        StorageError: The disk is full.
    """
    if not (root / DATASET).exists():
        return None
    catalogue, files = read_catalogue(root), dict[str, dict[str, File]]()
    for path in paths:
        files.setdefault(path.parent.name, {})[path.stem] = _file(out, path)
    for of_tile in files.values():
        if (picture := _thumbnail(out, catalogue, of_tile)) is not None:
            of_tile[THUMBNAIL] = _file(out, picture)
    return stac.build(root, DatasetCard.from_json(read_dataset(root)), stac.Rasters(out, files))


def _file(out: Path, path: Path) -> File:
    return File(path.relative_to(out).as_posix(), path.stat().st_size, sha256_file(path))


def _thumbnail(out: Path, catalogue: Catalogue, files: dict[str, File]) -> Path | None:
    """Draw the first layer in true colour, or else the first; None where it has no value."""
    layers = [each for each in catalogue.pixel_layers if each.name in files]
    if not layers:
        return None
    layer = min(layers, key=lambda each: not _is_optical(each))
    path = out / files[layer.name].path
    with rasterio.open(path) as dataset:
        picture = pictures(Observation(layer, dataset.read()), layer.name)[0].picture
    if isinstance(picture, list):
        return None
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG")
    write_atomic(path.with_name(f"{THUMBNAIL}.png"), data.getvalue())
    return path.with_name(f"{THUMBNAIL}.png")


def _is_optical(layer: Layer) -> bool:
    return {band.common_name for band in layer.bands} >= _COLOURS
