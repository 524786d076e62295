"""Polygons burnt onto a tile: classes or numbers where one lies, no data elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.transform import Affine

from mmearth.catalog.errors import ConfigError, NoDataError
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile, lonlat_bounds
from mmearth.catalog.utm import from_lonlat
from mmearth.curate.labels.numbers import stands_for_none
from mmearth.curate.places import PolygonTargets
from mmearth.curate.source import Outcome
from mmearth.curate.sources.files.index import content_key
from mmearth.curate.sources.files.polygons import class_code, parts
from mmearth.curate.vector import read_polygons


@dataclass(frozen=True, eq=False)
class Labelled:
    """Polygons with what each is labelled as."""

    values: NDArray[np.float64]
    """Stored values, (n,)."""
    tree: shapely.STRtree
    """The polygons, in longitude and latitude."""


@dataclass(frozen=True)
class Burnt:
    """One task's polygons, as a `Painter`."""

    task: Task
    """With a target of pixels."""
    config: PolygonTargets
    """The file, and how it is burnt."""
    path: Path
    """Of the file."""

    @property
    def layer(self) -> Layer:
        """The task's target."""
        return self.task.target

    is_dated = False
    """Polygons have no date."""

    def under(self, tile: Tile) -> str:
        """Return nothing: `key` is of all polygons."""
        del tile
        return ""

    @cached_property
    def key(self) -> str:
        """SHA-256 of the polygons' files and of how they are burnt.

        Raises:
            ConfigError: There is no file.
        """
        if not self.path.exists():
            raise ConfigError(f"tasks.{self.task.name}.polygons: there is no {self.path}")
        keys = " ".join(content_key(part) for part in parts(self.path))
        return sha256_bytes(f"{self.config.model_dump_json()} {self.layer} {keys}".encode())

    @property
    def polygons(self) -> Labelled:
        """All polygons; read once per process.

        Raises:
            ConfigError: The file cannot be read, or a cell of the field is no class or number.
        """
        return _read(self.task, self.config, self.path)

    def paint(self, tile: Tile, date: str | None) -> Outcome:
        """Return the polygons on a tile; ground that two label differently stays unlabelled."""
        found = self.polygons
        west, south, east, north = lonlat_bounds([tile])[0]
        here = [_within(found, (west + turn, south, east + turn, north)) for turn in (-360.0, 0.0)]
        values, shapes = (np.concatenate(parts) for parts in zip(*here, strict=True))
        array = _burn(values, shapes, self.layer, tile, self.config.all_touched)
        if not self.layer.valid(array).any():
            return NoDataError(f"no polygon of {self.config.path} labels a pixel of the tile")
        source = "polygons"
        return Observation(self.layer, array, None, source, (self.config.path,))


def _within(
    found: Labelled, box: tuple[float, float, float, float]
) -> tuple[NDArray[np.float64], NDArray[np.object_]]:
    """Return the values and the shapes of polygons in a box of degrees, cut a little beyond it.

    UTM cannot hold what lies far from a zone, and bends the long edges of what lies near.
    """
    hits = found.tree.query(shapely.box(*box), "intersects")
    west, south, east, north = box
    wide, high = east - west, north - south
    cut = shapely.box(west - wide, south - high, east + wide, north + high)
    return found.values[hits], shapely.intersection(found.tree.geometries[hits], cut)


def _burn(
    values: NDArray[np.float64],
    shapes: NDArray[np.object_],
    layer: Layer,
    tile: Tile,
    all_touched: bool,
) -> NDArray[np.generic]:
    """Return the layer's array, (1, row, column)."""
    size, zone = tile.grid.pixels, from_lonlat(tile.epsg)
    array = layer.empty()
    count = np.zeros((size, size), dtype=np.int64)

    def to_utm(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(zone.transform(xy[:, 0], xy[:, 1]))

    for value in np.unique(values):
        mask = rasterize(
            list(shapely.transform(shapes[values == value], to_utm)),
            out_shape=(size, size),
            transform=Affine(*tile.transform),
            all_touched=all_touched,
            dtype="uint8",
        ).astype(bool)
        array[0, mask] = value
        count += mask
    return np.where(count > 1, layer.empty(), array)


# By process: a source is pickled to its workers with every visit, and reading takes seconds.
@cache
def _read(task: Task, config: PolygonTargets, path: Path) -> Labelled:
    frame = read_polygons(path, config.field, layer=config.layer, crs=config.crs)
    texts = frame[config.field]
    by_text = {text: _value(task, config, path, text) for text in texts.dropna().unique()}
    values = texts.map(by_text).to_numpy(dtype=np.float64)
    kept = np.isfinite(values) & (values != task.nodata)
    if not kept.any():
        raise ConfigError(f"{path} has nothing in its field {config.field!r}; name another")
    return Labelled(values[kept], shapely.STRtree(frame.geometry.to_numpy()[kept]))


def _value(task: Task, config: PolygonTargets, path: Path, text: str) -> float:
    """Return what a cell of the field is stored as."""
    if task.kind == "classification":
        try:
            return float(class_code(task.target, text))
        except ConfigError as exc:
            raise ConfigError(f"{path}, field {config.field!r}: {exc}") from exc
    where = f"{path}, field {config.field!r}: found {text!r}"
    try:
        number = float(text)
    except ValueError as exc:
        raise ConfigError(f"{where}, expected a number; correct it or name another field") from exc
    if number == task.nodata:
        return number
    low, high = valid = task.target.bands[0].valid
    if stands_for_none(np.array(number), valid):
        raise ConfigError(f"{where}, which usually means that there is no value; say nodata: of it")
    if not low <= number <= high:
        raise ConfigError(f"{where}, expected {low:g} to {high:g} {task.unit}; check the unit")
    if np.dtype(task.dtype).kind != "f" and not number.is_integer():
        raise ConfigError(f"{where}, which {task.dtype} cannot hold; say dtype: float32")
    return number
