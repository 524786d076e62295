"""Sources that other packages bring: found by name or place, and held to what they promise."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from inspect import getattr_static, signature
from itertools import islice
from pathlib import Path
from traceback import extract_tb
from typing import Any, TypeVar

from pydantic import ConfigDict, field_validator

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.configuration import Strict
from mmearth.catalog.errors import ConfigError, FormatError, MMEarthError, SourceError
from mmearth.catalog.plugins import SOURCES, load, place_of, plugins
from mmearth.catalog.sample import Observation
from mmearth.catalog.targets import target_array
from mmearth.catalog.task import Task
from mmearth.catalog.wording import first_line, nearest, one_of
from mmearth.curate.source import Label, Outcome, Source, Visit, label_target

OURS = ("synthetic", "files", "earthengine", "stac")
"""Kinds of the sources that are here."""
FOREIGN = "module:Class"
"""What the `kind` of any other is like."""
_PROMISED = ("name", "fingerprint", "observe", "labels")
_Answer = TypeVar("_Answer")


class ForeignConfig(Strict):
    """A source of another package: all keys but `kind` are its own."""

    model_config = ConfigDict(extra="allow")

    kind: str
    """Name of an entry point of `mmearth.sources`, `module:Class` or `file.py:Class`."""

    @field_validator("kind")
    @classmethod
    def _offered(cls, kind: str) -> str:
        if place_of(SOURCES, kind) is None:
            names = (*OURS, *(each.name for each in plugins(SOURCES)))
            near = nearest(kind, names)
            raise ValueError(f"expected {one_of((*names, FOREIGN))}{near}")
        return kind

    @property
    def place(self) -> str:
        """`module:Class` or `file.py:Class`."""
        return place_of(SOURCES, self.kind) or self.kind


@dataclass(frozen=True)
class Foreign:
    """A source of another package. Each process makes its own, so that it need not be picklable.

    Its class is called with the keys of `source:` by name, and with those of `catalogue` and `base`
    that it names. What it raises or answers against `Source` is one sentence.

    Raises:
        ConfigError: It cannot be imported or made, or is no source.
    """

    place: str
    """`module:Class` or `file.py:Class`."""
    keys: dict[str, Any]
    """Of `source:` in the configuration, without `kind`."""
    base: Path
    """Directory that relative paths start from."""
    catalogue: Catalogue
    """Of the dataset."""

    def __post_init__(self) -> None:
        lacking = [name for name in _PROMISED if getattr_static(self._made, name, None) is None]
        if lacking:
            raise ConfigError(
                f"the source {self.place} has no {lacking[0]}; expected {', '.join(_PROMISED)}, "
                "as mmearth.curate.source.Source says"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.place, self.keys, self.base, self.catalogue)

    @cached_property
    def _made(self) -> Source:
        kind = load(SOURCES, self.place, self.base)
        given = {"catalogue": self.catalogue, "base": self.base}
        try:
            named = signature(kind).parameters
            made: Source = kind(**{n: v for n, v in given.items() if n in named}, **self.keys)
        except MMEarthError:
            raise
        except Exception as exc:  # somebody else's code
            raise ConfigError(
                f"the source {self.place} cannot be made ({type(exc).__name__}: {first_line(exc)})"
                "; its class is called with the keys of source:, and with those of catalogue and "
                "base that it names"
            ) from exc
        return made

    @property
    def name(self) -> str:
        """Name and version, as it says; see `Source.name`."""
        return str(self._asked("name", lambda: self._made.name))

    def fingerprint(self, name: str) -> str:
        """Return what decides its answers for a layer, as it says; see `Source.fingerprint`."""
        said = str(self._asked("fingerprint", lambda: self._made.fingerprint(name)))
        return f"{said} {json.dumps(self.keys, sort_keys=True, default=str)}"

    def observe(self, visit: Visit) -> dict[str, Outcome]:
        """Observe layers, and pixel-level targets, over one tile; see `Source.observe`."""
        found = self._asked("observe", lambda: dict(self._made.observe(visit)))
        return {name: self._outcome(name, found.get(name)) for name in visit.wanted}

    def labels(self, task: Task, count: int, seed: int) -> Iterator[Label]:
        """Yield its labels of a task; see `Source.labels`."""
        labels = self._asked(
            "labels", lambda: list(islice(self._made.labels(task, count, seed), count))
        )
        for label in labels:
            self._check_label(task, label)
            yield label

    def _asked(self, what: str, ask: Callable[[], _Answer]) -> _Answer:
        try:
            return ask()
        except MMEarthError:
            raise
        except Exception as exc:  # somebody else's code
            where = extract_tb(exc.__traceback__)[-1]
            raise SourceError(
                f"{what} of the source {self.place} failed ({type(exc).__name__}: "
                f"{first_line(exc)}, line {where.lineno} of {where.filename}); mend it"
            ) from exc

    def _outcome(self, name: str, found: object) -> Outcome:
        """Return an outcome that is one; else an error for a person."""
        if isinstance(found, MMEarthError):
            return found
        if isinstance(found, Observation) and found.layer == self.catalogue.observed(name):
            return found
        shown = f"one of {found.layer.name}" if isinstance(found, Observation) else repr(found)[:60]
        return SourceError(
            f"observe of the source {self.place} gave {shown} for {name}; expected an Observation "
            f"of the catalogue's {name}, or a NoDataError"
        )

    def _check_label(self, task: Task, label: object) -> None:
        field = _field(task)
        try:
            if not isinstance(label, Label) or _fields(label) - {field}:
                raise TypeError
            target_array(task, label_target(task, label))
        except (FormatError, TypeError, ValueError) as exc:
            wanted = f"{field} of {', '.join(task.outputs[:20])}" if field else "no target"
            raise SourceError(
                f"labels of the source {self.place} gave {label!r:.60} for {task.name}; expected a "
                f"Label with {wanted}"
            ) from exc


def _fields(label: Label) -> set[str]:
    return {each for each in ("value", "values", "labels") if getattr(label, each) is not None}


def _field(task: Task) -> str | None:
    """Return which field of a label has the target of a task; None where the target has pixels."""
    if task.is_pixel:
        return None
    if task.kind != "regression":
        return "labels"
    return "value" if task.column == "target" else "values"
