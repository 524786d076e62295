"""Rasters and vectors that the user has, as a source.

Each modality has a list of entries; of those of one product the date that suits best makes its
observation, its files of that date laid together; another product's stand behind (choose.py). What
a raster says of itself is read once (header.py, bands.py, reading.py). What no file covers
is missing; a file that cannot be used is a failure where nothing else covers the tile, never a
silent gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mmearth.catalog.anchor import anchor_date
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError, MMEarthError, NoDataError
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.grid import Grid
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile
from mmearth.curate import encode
from mmearth.curate.identity import SCENE, scene_of
from mmearth.curate.remote.address import is_remote
from mmearth.curate.source import Label, Outcome, Visit
from mmearth.curate.sources.files.config import FilesConfig, Polygons, Rasters
from mmearth.curate.sources.files.dates import told
from mmearth.curate.sources.files.index import Index, build_index, content_key
from mmearth.curate.sources.files.observation import observation
from mmearth.curate.sources.files.polygons import class_at, parts


class Files:
    """The user's files, as a Source."""

    name = "files"
    """As it stands in provenance."""

    def __init__(self, config: FilesConfig, base: Path, catalogue: Catalogue) -> None:
        """Find the files.

        Args:
            config: Which files hold what.
            base: Directory that `config.root` starts from.
            catalogue: Of the dataset.

        Raises:
            ConfigError: The root directory or a polygon file is missing.
        """
        self._config, self._catalogue = config, catalogue
        self._root = (base / config.root).resolve()
        if not self._root.is_dir():
            raise ConfigError(f"source.root: {base / config.root} is no directory; correct root:")
        self._indices = {
            name: build_index(
                self.layer(name), [e for e in entries if not is_remote(e.path)], self._root
            )
            for name, entries in config.rasters.items()
            if name in catalogue.layers or name in catalogue.tasks
        }
        self._polygons = {n: p for n, p in config.polygons.items() if n in catalogue.layers}

    @property
    def root(self) -> Path:
        """Directory that all paths start from."""
        return self._root

    @property
    def grid(self) -> Grid:
        """Of the dataset's tiles."""
        return self._catalogue.grid

    def layer(self, name: str) -> Layer:
        """Return what the files of a name are of."""
        return self._catalogue.observed(name)

    def index(self, name: str) -> Index:
        """Return the files of a modality, or of a pixel-level target."""
        return self._indices[name]

    def entries(self, name: str) -> list[Rasters]:
        """Return what the configuration says of a modality's files, in its order."""
        return self._config.rasters.get(name, [])

    def fingerprint(self, name: str) -> str:
        """Return the SHA-256 of polygons and addresses of a layer; of rasters, see `under`."""
        lines = [self.name]
        for i, entry in enumerate(self.entries(name)):
            if is_remote(entry.path):
                lines.append(f"{i} {entry.model_dump_json()}")
        if (polygons := self._polygons.get(name)) is not None:
            lines.append(polygons.model_dump_json())
            if not is_remote(polygons.path):
                lines += [content_key(part) for part in parts(self._existing(polygons.path))]
        return sha256_bytes("\n".join(lines).encode())

    def dating(self, layer: Layer, wanted: Sequence[str], is_required: bool) -> str:
        """Return what fixes the date that a layer follows; see `Particular`."""
        del is_required
        if SCENE in wanted and self.is_dated(layer.name):
            return self.fingerprint(SCENE)
        return scene_of(self, layer, wanted)

    def is_dated(self, name: str) -> bool:
        """Return whether the files of a layer have dates, of which one is chosen."""
        return any(entry.date for entry in self.entries(name))

    def under(self, tile: Tile, name: str) -> str:
        """Return a hash of the files whose bounds touch a tile, and of how they are read."""
        index = self._indices.get(name)
        if index is None:
            return ""
        keys = self._keys[name]
        near = (keys[product.name] for product in index.near(tile))
        return " ".join(key for found in near for key in found)

    def otherwise(self, name: str) -> str:
        """Return which files cannot be used: where no other covers a tile, they are the reason."""
        index = self._indices.get(name)
        return "" if index is None else "; ".join(str(each.reason) for each in index.broken)

    def __getstate__(self) -> dict[str, Any]:
        return {name: each for name, each in vars(self).items() if name != "_keys"}

    @cached_property
    def _keys(self) -> dict[str, dict[str, list[str]]]:
        """By layer and product: a hash of its files and of how they are read, for each entry."""
        found: dict[str, dict[str, list[str]]] = {}
        for name, index in self._indices.items():
            of_name = found.setdefault(name, {})
            for product in index.products:
                entry = product.entry.model_dump_json()
                said = f"{product.name} {told(product)} {product.key} {entry}"
                of_name.setdefault(product.name, []).append(sha256_bytes(said.encode()))
        return found

    def labels(self, task: Task, count: int, seed: int) -> Iterator[Label]:
        """Refuse: places for files come from points or a grid; see `Source.labels`."""
        raise ConfigError(
            f"tasks.{task.name}: the source `files` has no labels; give points: or grid:"
        )

    def observe(self, visit: Visit) -> dict[str, Outcome]:
        """Observe modalities, and pixel-level targets, over one tile; see `Source.observe`."""
        outcomes: dict[str, Outcome] = {}
        tile, anchor = visit.tile, visit.anchor
        # Sentinel-2 fixes the date that the others follow.
        if "sentinel2" in visit.wanted:
            found = outcomes["sentinel2"] = self._outcome("sentinel2", tile, anchor or visit.date)
            anchor = found.acquired if isinstance(found, Observation) else anchor
        day = anchor or anchor_date(visit.date, tile.lat)
        for name in visit.wanted:
            if name != "sentinel2":
                outcomes[name] = self._outcome(name, tile, day)
        return outcomes

    def _outcome(self, name: str, tile: Tile, date: str | None) -> Outcome:
        try:
            return self._one(name, tile, date)
        except MMEarthError as exc:
            # The reason is published: it names files from the root on, not this machine's path.
            return type(exc)(str(exc).replace(f"{self._root}/", ""))

    def _one(self, name: str, tile: Tile, date: str | None) -> Observation:
        if name == "geolocation":
            return encode.geolocation(tile)
        if name == "month" and date is not None:
            return encode.month(date)
        if name in self._polygons:
            return self._class(self._polygons[name], self.layer(name), tile)
        if name not in self._indices:
            raise NoDataError(f"the configuration names no file for {name}")
        return self._seen(name, tile, date)

    def _seen(self, name: str, tile: Tile, date: str | None) -> Observation:
        return observation(self.layer(name), self._indices[name], tile, date, self.name)

    def _class(self, entry: Polygons, layer: Layer, tile: Tile) -> Observation:
        array, found = class_at(layer, entry, self._existing(entry.path), tile)
        return Observation(
            layer, array, None, self.name, (f"{entry.path}#{found}",), entry.stand_in
        )

    def _existing(self, path: str) -> Path:
        if not (self._root / path).exists():
            raise ConfigError(f"{self._root / path} is not there; correct source.polygons or root:")
        return self._root / path
