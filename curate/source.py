"""What a source promises: everything that can be seen at one tile, as values or as reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, runtime_checkable

from mmearth.catalog.errors import MMEarthError
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile
from mmearth.curate.limit import Limit

Outcome = Observation | MMEarthError
"""An observation, or why there is none: NoDataError is final, UnavailableError may pass, any other
error is for a person. RefusedError is raised instead: it ends the whole run."""


@dataclass(frozen=True, slots=True)
class Label:
    """One labelled place."""

    lon: float
    """Degrees east."""
    lat: float
    """Degrees north."""
    value: float | None = None
    """The target of a tile-level regression, in the task's unit; None for other tasks."""
    labels: tuple[str, ...] | None = None
    """Names of the labels that are present, or of the one class; None for other tasks."""
    date: str | None = None
    """`YYYY-MM-DD` that the observations should be of, or intervals `YYYY-MM-DD/YYYY-MM-DD`, both
    ends included, separated by commas; None for any."""
    label_id: str | None = None
    """Identifier in the table it came from."""
    values: tuple[float, ...] | None = None
    """The target of a regression of several outputs; None for other tasks."""
    split: str | None = None
    """The split that the table says; None where it says none."""


def label_target(task: Task, label: Label) -> Any:
    """Return the plain target of a label, as `catalog.targets` says; None where it has none.

    Raises:
        ValueError: It is not a target of this task.
    """
    if task.is_pixel:
        return None
    if task.column == "target":
        return label.value
    if task.kind == "regression":
        if not label.values or None in label.values:
            return None
        return dict(zip(task.outputs, label.values, strict=True))
    if task.kind == "multilabel":
        return sorted(set(label.labels or ()), key=task.outputs.index)
    (name,) = label.labels or (None,)
    return name


@dataclass(frozen=True, slots=True)
class Visit:
    """What is asked of a source about one tile; see `Source.observe`."""

    tile: Tile
    """The place."""
    wanted: tuple[str, ...]
    """Layers, and tasks with pixel-level targets, by name."""
    date: str | None
    """What the label asks for, a day or intervals, as in `Label.date`; None lets the source choose
    the anchor date."""
    anchor: str | None = None
    """The anchor date, where an earlier visit settled it."""
    settled: tuple[str, ...] = ()
    """What earlier visits found out about: not wanted again, but part of the tile."""


class Source(Protocol):
    """Where observations come from. Must be picklable: it travels to worker processes."""

    @property
    def name(self) -> str:
        """Name and version, as it stands in provenance: `synthetic 2`."""

    def fingerprint(self, name: str) -> str:
        """Return a hash of all that decides what it answers for a layer or pixel-level target.

        What is the tile's own, its date, the layer's definition and the Sentinel-2 image that
        fixes the date are told apart from it; see `Particular`. Observations that were collected
        under another one are collected again.
        """

    def observe(self, visit: Visit) -> dict[str, Outcome]:
        """Observe layers, and pixel-level targets, over one tile.

        Returns:
            One outcome for every name in `visit.wanted`; NoDataError where all would be no-data.

        Raises:
            RefusedError: A person must act before anything can be fetched.
        """

    def labels(self, task: Task, count: int, seed: int) -> Iterator[Label]:
        """Yield labelled places of a task.

        Args:
            task: One of the dataset's.
            count: How many; fewer when the source has no more.
            seed: The same seed yields the same places.

        Raises:
            ConfigError: This source has no labels for the task.
        """


@runtime_checkable
class Particular(Protocol):
    """A source that knows more closely than `fingerprint` tells when an observation is another."""

    def dating(self, layer: Layer, wanted: Sequence[str], is_required: bool) -> str:
        """Return a hash of all that decides which image fixes the date that a layer follows.

        Args:
            layer: The layer, or the pixel-level target.
            wanted: All that is wanted at the tile.
            is_required: Whether a tile without that image makes no sample.

        Returns:
            An empty text where it follows none.
        """

    def under(self, tile: Tile, name: str) -> str:
        """Return a hash of what of the source may cover a tile; empty where that is unknown."""

    def otherwise(self, name: str) -> str:
        """Return a hash of what only tells why something is not there."""


@dataclass(frozen=True, slots=True)
class Price:
    """What visits cost of services, about."""

    requests: int
    """How many are sent."""
    n_bytes: int | None
    """Of the answers, where hosts of rasters send them and the cache is empty; else None."""


class Metered(Source, Protocol):
    """A source that asks a service, whose limits all workers share."""

    @property
    def in_flight(self) -> int:
        """How many requests the service takes at once."""

    @property
    def per_second(self) -> float:
        """How many requests may begin in a second."""

    @property
    def pauses_s(self) -> tuple[float, float]:
        """How long a service that is out of reach is left alone: at first, and at most."""

    @property
    def ahead(self) -> int:
        """How many visits are best asked for together, those near each other."""

    def visitors(self, n_cores: int) -> int:
        """Return how many threads are to visit, each that many tiles at once."""

    def price(self, visits: Sequence[Visit]) -> Price:
        """Return what visits cost, about, by arithmetic: nothing is sent."""

    def limited(self, limit: Limit) -> Source:
        """Return the same source under another limit, one that reaches other processes."""


def is_metered(source: Source) -> TypeGuard[Metered]:
    """Return whether a source asks a service, whose limits all workers share.

    Its class tells: until Python 3.12 `isinstance` of a protocol reads every property, and the
    fingerprint of files takes as long as reading them.
    """
    inner = getattr(source, "inner", source)  # of `WithTargets`
    return hasattr(type(inner), "limited")


def price_of(source: Source, visits: Sequence[Visit]) -> Price | None:
    """Return what visits cost, about; None of a source that asks no service."""
    return source.price(visits) if is_metered(source) else None


@runtime_checkable
class Farsighted(Protocol):
    """A source that answers several visits more cheaply when it knows of them beforehand."""

    def look_ahead(self, visits: Sequence[Visit]) -> None:
        """Take note of visits that come next in this thread, to ask for them together.

        `observe` answers the same without it.

        Raises:
            RefusedError: A person must act before anything can be fetched.
        """
