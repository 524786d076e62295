"""Predictions of targets with pixels: a GeoTIFF a sample, and a mosaic a zone (GDAL's VRT)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmearth.benchmark.predict import Asked, Made
from mmearth.benchmark.predicted import adapted_columns
from mmearth.catalog.files import write_atomic
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile
from mmearth.curate.geotiff import write_geotiff

_NODATA = -9999.0
_GDAL_TYPES = {"uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16"}
_GDAL_TYPES |= {"uint32": "UInt32", "int32": "Int32", "float32": "Float32", "float64": "Float64"}


def map_columns(asked: Asked, task: Task, made: Sequence[Made], out: Path) -> dict[str, pa.Array]:
    """Write `maps/<epsg>/<key>.tif` and `maps/<epsg>.vrt`; return the columns of the table.

    A map is the mean over the seeds in the task's unit (float32 where the target has whole
    numbers), or the class that most seeds say (the first of several). `prediction` is its mean,
    null for classes; `spread` the mean over its pixels of the standard deviation over the seeds, or
    of the share of seeds that say another class.

    Raises:
        StorageError: The disk is full.
    """
    parts = [each.all(but_values=True) for each in made]
    found: dict[str, tuple[str, float | None, float | None]] = {}
    zones: dict[int, list[tuple[Tile, str]]] = {}
    layer = _layer(task)
    for key, values in _of_each_key(made):
        tile = Tile.parse(key.rpartition("_")[0], asked.catalogue.grid)
        array, spread = _agreed(task, layer, values)
        path = f"maps/{tile.epsg}/{key}.tif"
        write_geotiff(out / path, tile, Observation(layer, array[None]))
        zones.setdefault(tile.epsg, []).append((tile, path))
        mean = None if task.kind == "classification" else float(array.mean(dtype=np.float64))
        found[key] = path, mean, spread
    for epsg, tiles in zones.items():
        write_atomic(out / f"maps/{epsg}.vrt", _mosaic(layer, epsg, sorted(tiles, key=_name)))
    keys = parts[0].key.tolist()
    columns = [[found[key][i] for key in keys] for i in range(3)]
    return {
        "key": pa.array(keys),
        "map": pa.array(columns[0]),
        "prediction": pa.array(columns[1], pa.float64()),
        "spread": pa.array(columns[2], pa.float64()),
        **adapted_columns(parts),
    }


def _name(entry: tuple[Tile, str]) -> str:
    return entry[1]


def _of_each_key(made: Sequence[Made]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield each sample's key and what every seed says of it, (seed, row, column)."""
    others = [_Places.of(each) for each in made[1:]]
    seen: set[str] = set()
    for batch in made[0].batches():
        for key, values in zip(batch.key.tolist(), batch.values, strict=True):
            if key not in seen:
                seen.add(key)
                yield key, np.stack([values, *(other.at(key) for other in others)])


@dataclass(slots=True)
class _Places:
    """Where a seed's predictions of a sample are."""

    files: list[Path]
    place: dict[str, tuple[int, int]]
    """Key → number of the file, row in it."""
    last: tuple[int, NDArray[np.float32]] | None = None

    @classmethod
    def of(cls, made: Made) -> _Places:
        files = sorted(made.folder.glob("*.npz"))
        place: dict[str, tuple[int, int]] = {}
        for number, path in enumerate(files):
            with np.load(path) as found:
                place |= {key: (number, row) for row, key in enumerate(found["key"].tolist())}
        return cls(files, place)

    def at(self, key: str) -> NDArray[np.float32]:
        number, row = self.place[key]
        if self.last is None or self.last[0] != number:
            with np.load(self.files[number]) as found:
                self.last = number, found["values"]
        values: NDArray[np.float32] = self.last[1][row]
        return values


def _layer(task: Task) -> Layer:
    """Return what a map is: a mean of whole numbers is none, and may lie beyond their type."""
    if task.kind == "classification" or np.dtype(task.target.dtype).kind == "f":
        return task.target
    return replace(task.target, dtype="float32", nodata=_NODATA)


def _agreed(
    task: Task, layer: Layer, values: NDArray[np.float32]
) -> tuple[NDArray[np.generic], float | None]:
    """Return what the seeds say together, (row, column) as stored, and how far they differ."""
    n = len(values)
    if task.kind == "classification":
        said = values.astype(np.int64)
        votes = np.stack([(said == i).sum(axis=0) for i in range(len(task.outputs))])
        codes = np.array(layer.codes)[votes.argmax(axis=0)]
        spread = None if n == 1 else float(1 - votes.max(axis=0).mean() / n)
        return codes.astype(layer.dtype), spread
    mean = values.mean(axis=0, dtype=np.float64)
    spread = None if n == 1 else float(values.std(axis=0, ddof=1, dtype=np.float64).mean())
    return mean.astype(layer.dtype), spread


def _mosaic(layer: Layer, epsg: int, tiles: Sequence[tuple[Tile, str]]) -> bytes:
    """Return a VRT over the maps of a zone, with paths relative to it."""
    step, pixels = tiles[0][0].grid.resolution_m, tiles[0][0].grid.pixels
    left = min(tile.left for tile, _ in tiles)
    top = max(tile.top for tile, _ in tiles)
    side = pixels * step
    width = round((max(tile.left for tile, _ in tiles) + side - left) / step)
    height = round((top - min(tile.top for tile, _ in tiles) + side) / step)
    root = ElementTree.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    ElementTree.SubElement(root, "SRS").text = f"EPSG:{epsg}"
    transform = f"{left}, {step}, 0, {top}, 0, -{step}"
    ElementTree.SubElement(root, "GeoTransform").text = transform
    kind = _GDAL_TYPES[layer.dtype]
    band = ElementTree.SubElement(root, "VRTRasterBand", dataType=kind, band="1")
    ElementTree.SubElement(band, "NoDataValue").text = str(layer.nodata)
    for tile, path in tiles:
        source = ElementTree.SubElement(band, "SimpleSource")
        name = ElementTree.SubElement(source, "SourceFilename", relativeToVRT="1")
        name.text = path.removeprefix("maps/")
        ElementTree.SubElement(source, "SourceBand").text = "1"
        size = {"xSize": str(pixels), "ySize": str(pixels)}
        ElementTree.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0"} | size)
        at = {"xOff": str((tile.left - left) // step), "yOff": str((top - tile.top) // step)}
        ElementTree.SubElement(source, "DstRect", at | size)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode").encode() + b"\n"
