"""Catalogue: the grid, layers and tasks of a dataset; `catalogue.json` is one, written down.

It is the one thing that says what arrays mean, and it travels with them: packaging, loaders and
benchmark take layers and tasks from the dataset's own, never from the code.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, is_dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from mmearth.catalog.codec import NPY, Codec
from mmearth.catalog.documents import parse_json
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.files import read_regular, write_atomic
from mmearth.catalog.grid import Grid
from mmearth.catalog.layer import Layer
from mmearth.catalog.layer_rules import impossible, impossible_task
from mmearth.catalog.plain import from_plain, written
from mmearth.catalog.task import Task
from mmearth.catalog.wording import nearest

CATALOGUE = "catalogue.json"
"""Name of the file in a dataset."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_TAKEN = frozenset(
    (
        *("key", "task", "split", "train_5", "train_50", "hilbert", "tile", "epsg", "left", "top"),
        *("lon", "lat", "cell", "geometry", "date", "target", "label_id", "shard", "mask", "json"),
        *("samples", "tiles", "observations", "bbox", "stand_in"),
    )
)
"""Columns of the manifest, views of SQL and keys of a batch, in small letters."""
Noun = TypeVar("Noun", Layer, Task)


@dataclass(frozen=True)
class Catalogue:
    """The layers and tasks that a dataset is made of.

    Raises:
        ConfigError: A name is taken, is used twice (SQL does not tell `A` from `a`), or cannot be
            a column.
    """

    grid: Grid
    """Of every tile."""
    layers: Mapping[str, Layer]
    """Modalities by name, in the order that samples, shards and tables keep."""
    tasks: Mapping[str, Task]
    """By name, in their order."""
    codec: Codec = NPY
    """Of the members of shards, and of what is collected."""

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for name in (*self.layers, *self.tasks):
            _check_name(name, seen)
        pixels = self.grid.pixels
        layers = {name: replace(layer, pixels=pixels) for name, layer in self.layers.items()}
        tasks = {
            name: replace(task, target=replace(task.target, pixels=pixels))
            for name, task in self.tasks.items()
        }
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "tasks", tasks)

    def __hash__(self) -> int:
        return hash(self._packed)

    def __reduce__(self) -> tuple[Callable[[bytes], Catalogue], tuple[bytes]]:
        # It travels to workers with every visit: a few kilobytes, and made once per process.
        return _unpacked, (self._packed,)

    @cached_property
    def _packed(self) -> bytes:
        return zlib.compress(json.dumps(self.to_json(), ensure_ascii=False).encode())

    @property
    def pixel_layers(self) -> list[Layer]:
        """Layers with pixels, in order."""
        return [layer for layer in self.layers.values() if layer.is_pixel]

    @property
    def tile_layers(self) -> list[Layer]:
        """Layers without pixels, in order."""
        return [layer for layer in self.layers.values() if not layer.is_pixel]

    def layer(self, name: str) -> Layer:
        """Return a modality by name.

        Raises:
            ConfigError: There is none of that name.
        """
        return _of("modality", name, self.layers)

    def task(self, name: str) -> Task:
        """Return a task by name.

        Raises:
            ConfigError: There is none of that name.
        """
        return _of("task", name, self.tasks)

    def observed(self, name: str) -> Layer:
        """Return what an observation of that name is of: a modality, or a pixel-level target.

        Raises:
            ConfigError: There is none of that name.
        """
        if name in self.tasks and self.tasks[name].is_pixel:
            return self.tasks[name].target
        return self.layer(name)

    def members(self, task: Task) -> list[Layer]:
        """Return what a task's samples have pixels of: the target first, then the modalities."""
        return [*([task.target] if task.is_pixel else []), *self.pixel_layers]

    def member_shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a member: (band, row, column), or (row, column) of a target.

        Raises:
            ConfigError: There is no layer or pixel-level target of that name.
        """
        return self.tasks[name].shape if name in self.tasks else self.layer(name).shape

    def only(self, layers: Iterable[str], tasks: Iterable[str]) -> Catalogue:
        """Return the part of some layers and tasks, in this catalogue's order.

        Raises:
            ConfigError: A name is not in it.
        """
        wanted = {self.layer(name).name for name in layers}, {self.task(n).name for n in tasks}
        return Catalogue(
            self.grid,
            {name: layer for name, layer in self.layers.items() if name in wanted[0]},
            {name: task for name, task in self.tasks.items() if name in wanted[1]},
            self.codec,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the catalogue as plain JSON; docs/data-format.md says what each field means."""
        return {
            "grid": _plain(self.grid),
            "layers": [_plain(layer) for layer in self.layers.values()],
            "tasks": [_plain(task) for task in self.tasks.values()],
            **({} if self.codec.is_npy else {"codecs": self.codec.to_json()}),
        }

    @classmethod
    def from_json(cls, document: Any, name: str = CATALOGUE) -> Catalogue:
        """Return the catalogue that `to_json` wrote; fields that it does not know are left out.

        Args:
            document: Plain JSON.
            name: Where it came from, for the sentence.

        Raises:
            FormatError: A field is missing, not what it must be, or contradicts another.
        """
        parts = from_plain(_Parts, document, name)
        codec = Codec.from_json(document["codecs"], name) if "codecs" in document else NPY
        nouns: tuple[Layer | Task, ...] = (*parts.layers, *parts.tasks)
        for noun in nouns:
            _check_possible(noun, name)
        layers = {layer.name: layer for layer in parts.layers}
        tasks = {task.name: task for task in parts.tasks}
        if len(layers) < len(parts.layers) or len(tasks) < len(parts.tasks):
            raise FormatError(f"{name} names a layer or a task twice; it is damaged")
        try:
            return cls(parts.grid, layers, tasks, codec)
        except ConfigError as exc:
            raise FormatError(f"{name}: {exc}") from exc


@dataclass(frozen=True)
class _Parts:
    """`catalogue.json` as it stands in the file."""

    grid: Grid
    layers: tuple[Layer, ...]
    tasks: tuple[Task, ...]


@lru_cache(maxsize=16)
def _unpacked(packed: bytes) -> Catalogue:
    return Catalogue.from_json(json.loads(zlib.decompress(packed)))


def write_catalogue(root: Path, catalogue: Catalogue) -> None:
    """Write `catalogue.json` of a dataset.

    Raises:
        StorageError: The disk is full.
    """
    write_atomic(root / CATALOGUE, catalogue_bytes(catalogue))


def catalogue_bytes(catalogue: Catalogue) -> bytes:
    """Return the bytes of `catalogue.json`: equal for equal catalogues."""
    return (json.dumps(catalogue.to_json(), indent=1, ensure_ascii=False) + "\n").encode()


def read_catalogue(root: Path) -> Catalogue:
    """Return the catalogue of a dataset's directory, finished or not.

    Raises:
        FormatError: There is none, or it is not ours.
        StorageError: It may not be read.
    """
    path = root / CATALOGUE
    try:
        data = read_regular(path, root)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise FormatError(
            f"{path} is not there; expected what the dataset's arrays mean: run "
            "`mmearth curate build` first, or fetch the dataset again"
        ) from exc
    return parse_catalogue(data, str(path))


def parse_catalogue(data: bytes, name: str) -> Catalogue:
    """Return the catalogue of a file's bytes, which came from `name`.

    Raises:
        FormatError: It is not ours.
    """
    return Catalogue.from_json(parse_json(data, name), name)


def _check_name(name: str, seen: set[str]) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"found the name {name[:80]!r} of a layer or task; expected a letter, then letters, "
            "digits or _, 63 at most"
        )
    if name.lower() in _TAKEN:
        raise ConfigError(f"a layer or task cannot be named {name!r}: a column has that name")
    for taken in (name, f"{name}_observation"):
        if taken.lower() in seen:
            raise ConfigError(f"two layers or tasks are named {name!r}; expected each name once")
        seen.add(taken.lower())


def _check_possible(noun: Layer | Task, name: str) -> None:
    """Refuse a layer or a task of a file that no array could keep.

    Raises:
        FormatError: Its bands, classes, dtype or kind are not possible.
    """
    if reason := impossible_task(noun) if isinstance(noun, Task) else impossible(noun):
        raise FormatError(f"{name}: {noun.name}: {reason}")


def _of(what: str, name: str, known: Mapping[str, Noun]) -> Noun:
    if not isinstance(name, str) or name not in known:
        hint = nearest(name, known) if isinstance(name, str) else ""
        raise ConfigError(
            f"there is no {what} {name!r}{hint}; expected one of {', '.join(known) or 'none'}"
        )
    return known[name]


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {name: _plain(getattr(value, name)) for name, _ in written(value.__class__)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value
