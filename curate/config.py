"""The configuration of a build: a YAML file, checked key by key before anything starts."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from mmearth.catalog.anchor import normalised
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.codec import Codec, CodecName
from mmearth.catalog.configuration import Strict, read_config
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.grid import DEFAULT_GRID, Grid
from mmearth.catalog.layer import Layer
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.task import Task
from mmearth.catalog.wording import nearest
from mmearth.curate.declared import GridConfig, LayerConfig, TargetConfig, own_layer, own_task
from mmearth.curate.recipes import Quirks, quirks_of
from mmearth.curate.sources.earthengine.config import (
    EarthEngineConfig,
    EarthEngineLayer,
    check_layer,
)
from mmearth.curate.sources.files.config import FilesConfig, check_files, check_raster
from mmearth.curate.sources.foreign import FOREIGN, OURS, ForeignConfig
from mmearth.curate.sources.stac.config import StacConfig, check_stac
from mmearth.curate.sources.synthetic.config import SyntheticConfig
from mmearth.curate.task_config import TaskConfig, check_places

SHARD_BYTES = 256 * 1024 * 1024
"""Default size of a shard: few enough files for a network file system, small enough to cache."""


def _source_tag(source: Any) -> str | None:
    """Return which of the sources a `source:` is of."""
    kind = source.get("kind") if isinstance(source, dict) else getattr(source, "kind", FOREIGN)
    return kind if kind is None or kind in OURS else FOREIGN


class MembersConfig(Strict):
    """`members:`, how arrays are written."""

    codec: CodecName = "npy"
    """See docs/data-format.md."""


class StacOutput(Strict):
    """How the STAC catalogue is written."""

    items: Literal["json", "parquet"] | None = None
    """`json`: a file for each sample beside `items.parquet`; `parquet`: none; unless given, files
    where the largest task has a thousand samples at most."""


SourceConfig = Annotated[
    Annotated[SyntheticConfig, Tag("synthetic")]
    | Annotated[FilesConfig, Tag("files")]
    | Annotated[EarthEngineConfig, Tag("earthengine")]
    | Annotated[StacConfig, Tag("stac")]
    | Annotated[ForeignConfig, Tag(FOREIGN)],
    Discriminator(_source_tag),
]
"""Any source."""


class BuildConfig(Strict):
    """All that decides a dataset."""

    name: str
    """Of the dataset: small letters, digits, dashes."""
    title: str
    """For people."""
    description: str = ""
    """What is in it and what it is for."""
    version: str = "1.0.0"
    """Of the data."""
    licence: str = "other"
    """Of the dataset as a whole, an SPDX identifier or `other`."""
    recipe: Literal["default", "mmearth-bench-2026"] = "default"
    """Which set of rules makes the data (docs/differences.md)."""
    seed: int = 42
    """Of the choice of places and of the splits."""
    grid: GridConfig = GridConfig()
    """The pixels of every tile."""
    layers: dict[str, LayerConfig] = Field(default_factory=dict)
    """Layers of the user's own, by name."""
    modalities: tuple[str, ...] = ()
    """What is collected: every published modality and every layer of the user's own unless given.
    """
    require: tuple[str, ...] = ("sentinel2",)
    """Modalities without which a tile makes no sample."""
    date: str | None = None
    """What is asked for where a label has no date: as `Label.date`. None lets the source choose a
    scene of the published season, and where there is none its middle day stands (`anchor_date`)."""
    members: MembersConfig = MembersConfig()
    """How arrays are written into shards."""
    shard_bytes: int = Field(default=SHARD_BYTES, ge=1024)
    """A shard is closed when it has grown beyond this."""
    stac: StacOutput = StacOutput()
    """What the STAC catalogue is made of."""
    source: SourceConfig
    """Where observations come from."""
    sources: dict[str, SourceConfig] = Field(default_factory=dict)
    """Where those of some layers come from instead, by layer."""
    tasks: dict[str, TaskConfig] = Field(min_length=1)
    """By name: a published task, or one of the user's own."""

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
            raise ValueError(
                "expected small letters, digits and dashes, the first no dash, such as 'my-dataset'"
            )
        return name

    @model_validator(mode="before")
    @classmethod
    def _all_modalities(cls, document: Any) -> Any:
        if not isinstance(document, dict) or "modalities" in document:
            return document
        own = document.get("layers")
        names = (*MMEARTH_BENCH.layers, *(own if isinstance(own, dict) else ()))
        return {**document, "modalities": names}

    @field_validator("grid")
    @classmethod
    def _grid(cls, grid: GridConfig) -> GridConfig:
        try:
            Grid(grid.pixels, grid.resolution_m)
        except ConfigError as exc:
            raise ValueError(str(exc).replace("grid: ", "")) from exc
        return grid

    @field_validator("layers")
    @classmethod
    def _layers(cls, layers: dict[str, LayerConfig]) -> dict[str, LayerConfig]:
        for name in layers:
            _refuse_published(name, "layer", (*MMEARTH_BENCH.layers, *MMEARTH_BENCH.tasks))
        own = {name: own_layer(name, layer) for name, layer in layers.items()}
        _refuse_names({**MMEARTH_BENCH.layers, **own}, {})
        return layers

    @field_validator("modalities", "require")
    @classmethod
    def _modalities(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "layers" not in info.data:
            return names  # what is wrong with them is told
        known = (*MMEARTH_BENCH.layers, *info.data["layers"])
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(
                f"{unknown[0]!r} is no modality{nearest(unknown[0], known)}, expected some of "
                f"{', '.join(known)}"
            )
        return tuple(name for name in known if name in names)

    @field_validator("modalities")
    @classmethod
    def _some(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError("expected one modality at least: a sample needs something to be seen")
        return names

    @field_validator("date", mode="before")
    @classmethod
    def _date(cls, date: object) -> object:
        # YAML makes a date of 2020-07-01.
        return date.isoformat() if isinstance(date, datetime.date) else date

    @field_validator("date")
    @classmethod
    def _intervals(cls, date: str | None) -> str | None:
        try:
            return None if date is None else normalised(date)
        except ConfigError as exc:
            raise ValueError(str(exc)) from exc

    @field_validator("tasks")
    @classmethod
    def _tasks(cls, tasks: dict[str, TaskConfig], info: ValidationInfo) -> dict[str, TaskConfig]:
        published = [name for name in MMEARTH_BENCH.tasks if name in tasks]
        for name in published:
            if tasks[name].target is not None:
                raise ValueError(f"{name} is a published task, whose target is known; leave it out")
        for name, task in tasks.items():
            if name not in published:
                _refuse_published(name, "task", tuple(MMEARTH_BENCH.tasks))
                _refuse_slip(name, task)
        own = {name: _task(name, task) for name, task in tasks.items()}
        layers = {name: own_layer(name, each) for name, each in info.data.get("layers", {}).items()}
        _refuse_names({**MMEARTH_BENCH.layers, **layers}, own)
        return {name: tasks[name] for name in (*published, *tasks)}

    @model_validator(mode="after")
    def _grids_have_labels(self) -> BuildConfig:
        for name, task in self.catalogue.tasks.items():
            grid = self.tasks[name].grid
            if grid is None or task.is_pixel or task.optional:
                continue
            if task.kind == "regression":
                raise ValueError(f"{name}: a grid has no values; give points: or labels: instead")
            if grid.ranges is None:
                raise ValueError(f"{name}: a grid has no labels; give ranges: (polygons) with it")
        return self

    @model_validator(mode="after")
    def _required_are_collected(self) -> BuildConfig:
        absent = [name for name in self.require if name not in self.modalities]
        if absent:
            raise ValueError(f"require names {absent[0]}, which modalities leaves out")
        return self

    @model_validator(mode="after")
    def _sources_are_of_layers(self) -> BuildConfig:
        unknown = [name for name in self.sources if name not in self.modalities]
        if unknown:
            near = nearest(unknown[0], self.modalities)
            raise ValueError(f"sources: {unknown[0]!r} is none of the modalities{near}")
        for source in (self.source, *self.sources.values()):
            if isinstance(source, FilesConfig):
                check_files(source, self.known)
            if isinstance(source, StacConfig):
                check_stac(source, self.known)
        for name, task in self.tasks.items():
            target = self.known.tasks[name].target
            if not target.is_pixel and (task.raster is not None or task.polygons is not None):
                raise ValueError(
                    f"{name}: polygons: and raster: make a target with pixels; say target: "
                    "{level: pixel}"
                )
            if task.raster is not None:
                check_raster(target, task.raster)
        return self

    @model_validator(mode="after")
    def _places_suit_targets(self) -> BuildConfig:
        for name, task in self.catalogue.tasks.items():
            places, source = self.tasks[name], self.source
            check_places(task, places)
            made = any((places.polygons, places.raster, places.gedi)) or not (
                isinstance(source, FilesConfig | StacConfig)
                or (name not in MMEARTH_BENCH.tasks and isinstance(source, EarthEngineConfig))
            )
            if task.is_pixel and not made and name not in getattr(source, "rasters", ()):
                raise ValueError(f"{name}: nothing makes its pixels; add polygons: or raster:")
        return self

    @model_validator(mode="after")
    def _earthengine_has_layers(self) -> BuildConfig:
        for name, layer in self.layers.items():
            if layer.earthengine is not None:
                check_layer(self.known.layers[name], layer.earthengine)
            elif name in self.modalities and isinstance(self.source_of(name), EarthEngineConfig):
                raise ValueError(
                    f"layers.{name} has no earthengine:, and Earth Engine is the source; say where "
                    "it is, or leave the layer out of modalities:"
                )
        return self

    def source_of(self, name: str) -> SourceConfig:
        """Return where a layer comes from."""
        return self.sources.get(name, self.source)

    @property
    def layers_of_sources(self) -> list[tuple[SourceConfig, tuple[str, ...]]]:
        """The sources of `sources:`, those that say the same as one, each with its layers."""
        found: list[tuple[SourceConfig, tuple[str, ...]]] = []
        for name in self.modalities:
            if name in self.sources:
                said = self.sources[name]
                known = next((i for i, (each, _) in enumerate(found) if each == said), None)
                if known is None:
                    found.append((said, (name,)))
                else:
                    found[known] = said, (*found[known][1], name)
        return found

    @property
    def own_earthengine(self) -> dict[str, EarthEngineLayer]:
        """Where Earth Engine has layers of the user's own that are collected, by name."""
        online = {name: layer.earthengine for name, layer in self.layers.items()}
        return {n: each for n, each in online.items() if each and n in self.modalities}

    @cached_property
    def known(self) -> Catalogue:
        """The grid, and all layers and tasks: the published ones and the user's own."""
        layers = {name: own_layer(name, layer) for name, layer in self.layers.items()}
        tasks = {name: _task(name, task) for name, task in self.tasks.items()}
        return Catalogue(
            Grid(self.grid.pixels, self.grid.resolution_m),
            {**MMEARTH_BENCH.layers, **layers},
            {**MMEARTH_BENCH.tasks, **tasks},
            Codec(self.members.codec),
        )

    @cached_property
    def catalogue(self) -> Catalogue:
        """The grid, and the layers and tasks that are collected."""
        return self.known.only(self.modalities, self.tasks)

    @property
    def quirks(self) -> Quirks:
        """The recipe's, with those that the source switches."""
        said = (self.source, *self.sources.values())
        changes = next((each.quirks for each in said if isinstance(each, EarthEngineConfig)), {})
        return quirks_of(self.recipe, changes)

    @property
    def sha256(self) -> str:
        """Hash of all keys with their defaults: equal when two files mean the same."""
        # No date is as if there were no such key, and so are no sources.
        absent = {name for name in ("date", "sources") if not getattr(self, name)}
        document = self.model_dump(mode="json", exclude=absent)
        return sha256_bytes(json.dumps(document, sort_keys=True).encode())


def _task(name: str, config: TaskConfig) -> Task:
    return MMEARTH_BENCH.tasks.get(name) or own_task(name, config.target or TargetConfig())


def _refuse_names(layers: Mapping[str, Layer], tasks: Mapping[str, Task]) -> None:
    try:
        Catalogue(DEFAULT_GRID, layers, tasks)
    except ConfigError as exc:
        raise ValueError(str(exc)) from exc


def _refuse_published(name: str, what: str, published: tuple[str, ...]) -> None:
    """Refuse a name of the user's own that is a published one, or nearly."""
    if name in published:
        raise ValueError(f"{name!r} is a published name; choose another for a {what} of your own")
    if name.lower() in {each.lower() for each in published}:
        raise ValueError(f"{name!r} is no {what}{nearest(name, published)}")


def _refuse_slip(name: str, task: TaskConfig) -> None:
    """Refuse a task that says nothing of its target and is nearly a published one."""
    known = {each.lower(): each for each in MMEARTH_BENCH.tasks}
    if task.target is None and (near := get_close_matches(name.lower(), known, 1, cutoff=0.9)):
        raise ValueError(
            f"{name!r} is no published task (did you mean {known[near[0]]!r}?); say target: of a "
            "task of your own"
        )


def load_config(path: Path) -> BuildConfig:
    """Read and check a configuration.

    Raises:
        ConfigError: The file is missing, is not YAML, or a key is wrong; all wrong keys are named.
    """
    return read_config(path, BuildConfig, "examples/demo.yaml")
