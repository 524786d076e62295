"""Query: which samples of a task, and which of their modalities; nothing is read yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mmearth.catalog.arguments import one_of, whole
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.splits import SPLITS

FRACTIONS = (5, 50, 100)
"""Percent of the train split that can be chosen (MMEarth-Bench §4); the subsets are nested."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which samples of a task, and which of their modalities."""

    task: str
    """One of the dataset's."""
    modalities: tuple[str, ...]
    """Some of the dataset's, in their order."""
    split: tuple[str, ...] = SPLITS
    """Some of SPLITS, in their order."""
    fraction: int = 100
    """One of FRACTIONS: percent of the train split; other splits are whole."""
    where: str | None = None
    """An SQL expression on the manifest's columns; None is every sample."""
    limit: int | None = None
    """At most so many samples, the first in the manifest's order; None is all."""

    @staticmethod
    def of(
        catalogue: Catalogue,
        task: str,
        split: str | Iterable[str] | None = None,
        fraction: int = 100,
        modalities: str | Iterable[str] | None = None,
        where: str | None = None,
        limit: int | None = None,
    ) -> Query:
        """Return a checked query from what people write: a name or several in any order, or None.

        Args:
            catalogue: Of the dataset.
            task: One of its tasks.
            split: A split, several, or None for all.
            fraction: Percent of the train split.
            modalities: Some of its modalities; None for all.
            where: See `Query.where`.
            limit: See `Query.limit`.

        Raises:
            ConfigError: See `check`.
        """
        splits = _names("split", split, SPLITS)
        chosen = _names("modality", modalities, tuple(catalogue.layers))
        fraction = whole("fraction", fraction, 1, 100)
        limit = None if limit is None else whole("limit", limit, 1)
        query = Query(task, chosen, splits, fraction, where, limit)
        query.check(catalogue)
        return query

    def check(self, catalogue: Catalogue) -> None:
        """Refuse what a dataset of that catalogue cannot answer.

        Raises:
            ConfigError: A task, split, modality or fraction that does not exist, none or too many
                of them, a `where` that is not text, or a limit below one.
        """
        one_of("task", self.task, catalogue.tasks)
        if _names("split", self.split, SPLITS) != self.split:
            raise ConfigError(f"found splits {self.split}; expected some of {SPLITS} in this order")
        known = tuple(catalogue.layers)
        if _names("modality", self.modalities, known) != self.modalities:
            raise ConfigError(
                f"found modalities {self.modalities}; expected them once each, in the order of "
                f"{', '.join(known)}"
            )
        if type(self.fraction) is not int or self.fraction not in FRACTIONS:
            raise ConfigError(
                f"found fraction {self.fraction!r}; expected one of "
                f"{', '.join(map(str, FRACTIONS))}: percent of the train split"
            )
        if self.where is not None and (not isinstance(self.where, str) or not self.where.strip()):
            raise ConfigError(
                f"found where {self.where!r}; expected an SQL expression on the manifest's "
                "columns, such as 'biome = 12 AND lat < 0', or None for every sample"
            )
        if self.limit is not None:
            whole("limit", self.limit, 1)


def _names(what: str, given: str | Iterable[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return names in the order of `known`, each once; all of them for None."""
    if given is None:
        return known
    if not isinstance(given, Iterable):
        raise ConfigError(
            f"found {'modalities' if what == 'modality' else what} {given!r}; "
            "expected a name, several names, or None"
        )
    names = (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        one_of(what, name, known)
    if not names:
        raise ConfigError(f"found no {what}; expected some of {', '.join(known)}, or None for all")
    return tuple(name for name in known if name in names)
