"""A task's raster, as a `Painter`: read as the `files` source reads one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.layer import Layer
from mmearth.catalog.tile import Tile
from mmearth.curate.source import Outcome, Visit
from mmearth.curate.sources.files import Files
from mmearth.curate.sources.files.config import FilesConfig, RasterTargets

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class RasterTarget:
    """One task's raster."""

    layer: Layer
    """The task's target."""
    files: Files = field(repr=False)
    """With this one entry."""

    @property
    def key(self) -> str:
        """Of the source that reads it; of its files, see `under`."""
        return self.files.fingerprint(self.layer.name)

    @property
    def is_dated(self) -> bool:
        """Whether its files have dates, of which one is chosen."""
        return self.files.is_dated(self.layer.name)

    def under(self, tile: Tile) -> str:
        """Return what of it may cover a tile."""
        name = self.layer.name
        return f"{self.files.under(tile, name)} {self.files.otherwise(name)}"

    @property
    def boxes(self) -> list[Box]:
        """Where its files lie: west, south, east, north in degrees.

        Raises:
            ConfigError: No file can be used.
        """
        index = self.files.index(self.layer.name)
        if not index.products:
            raise ConfigError(f"tasks.{self.layer.name}.raster: {index.broken[0].reason}")
        return [product.bounds for product in index.products]

    def paint(self, tile: Tile, date: str | None) -> Outcome:
        """Return the raster on a tile."""
        visit = Visit(tile, (self.layer.name,), None, date)
        return self.files.observe(visit)[self.layer.name]


def raster_target(
    name: str, entry: RasterTargets, base: Path, catalogue: Catalogue
) -> RasterTarget:
    """Return the painter of a task's raster."""
    config = FilesConfig(kind="files", root=entry.root, rasters={name: [entry]})
    return RasterTarget(catalogue.observed(name), Files(config, base, catalogue))
