"""What a source promises: everything that can be seen at one tile, as values or as reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from mmearth.catalog.errors import MMEarthError
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile

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
    species: tuple[str, ...] | None = None
    """Names of the species that are present; None for other tasks."""
    date: str | None = None
    """`YYYY-MM-DD` that the observations should be of; None for any."""
    label_id: str | None = None
    """Identifier in the table it came from."""


class Source(Protocol):
    """Where observations come from. Must be picklable: it travels to worker processes."""

    @property
    def name(self) -> str:
        """Name and version, as it stands in provenance: `synthetic 1`."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides what it answers; another one makes collected work stale."""

    def observe(self, tile: Tile, wanted: Sequence[str], date: str | None) -> dict[str, Outcome]:
        """Observe modalities, and pixel-level targets, over one tile.

        Args:
            tile: The place.
            wanted: Keys of MODALITIES, and of TASKS for pixel-level targets.
            date: The anchor date, `YYYY-MM-DD`; None lets the source choose it.

        Returns:
            One outcome for every name in `wanted`; NoDataError where all would be no-data.

        Raises:
            RefusedError: A person must act before anything can be fetched.
        """

    def labels(self, task: str, count: int, seed: int) -> Iterator[Label]:
        """Yield labelled places of a task.

        Args:
            task: A key of TASKS.
            count: How many; fewer when the source has no more.
            seed: The same seed yields the same places.

        Raises:
            ConfigError: This source has no labels for the task.
        """
