"""Labels of a published file → our names of species: by name, never by number."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from mmearth.catalog.documents import parse_json
from mmearth.catalog.errors import FormatError
from mmearth.packaging.h5.layout import LABELS_FILE, NAMES_FILE, TaskFiles, read_json


class Labels:
    """What the labels of one file are called here."""

    def __init__(self, files: TaskFiles) -> None:
        """Read LABELS_FILE, and NAMES_FILE where it is there.

        Raises:
            FormatError: One is missing or no such list, two names have one number or are one name,
                or a name of ours is not among them.
        """
        self._h5, self._outputs = files.h5, files.task.outputs
        path = files.h5.with_name(LABELS_FILE)
        numbers = _numbers(path)
        renamed = _renamed(files.h5.with_name(NAMES_FILE), numbers, self._outputs)
        known = {_plain(name): name for name in self._outputs}
        self._ours: dict[str, str | None] = {}  # by plain name: ours, None where we have none
        self._names = {number: name for name, number in numbers.items()}
        before: dict[str, str] = {}
        for name in numbers:
            ours = renamed.get(name, known.get(_plain(name)))
            other = before.setdefault(ours or _plain(name), name)
            if other != name:
                raise FormatError(
                    f"{path}: {other!r} and {name!r} are one species here; take one of them out"
                )
            self._ours[_plain(name)] = ours
        self._check_all_there(path, numbers)

    def of(self, row: int, text: str) -> list[str]:
        """Return our names of a row's labels, in our order.

        Args:
            row: For the sentence.
            text: A JSON list of names of LABELS_FILE, or of their numbers.

        Raises:
            FormatError: It is something else, or we know no such species.
        """
        where = f"{self._h5}: row {row} has the labels {text[:60]!r}"
        labels = parse_json(text.encode(), where)
        if not isinstance(labels, list) or not all(type(each) in {str, int} for each in labels):
            raise FormatError(f"{where}; expected a JSON list of names of {LABELS_FILE}")
        found = set()
        for label in labels:
            name = label if isinstance(label, str) else self._names.get(label)
            if name is None or _plain(name) not in self._ours:
                raise FormatError(
                    f"{where}, and {LABELS_FILE} has no {label!r}; are the two files of one "
                    "version?"
                )
            ours = self._ours[_plain(name)]
            if ours is None:
                raise FormatError(f"{where}, and mmearth knows no {name!r}; {self._advice(name)}")
            found.add(ours)
        return [name for name in self._outputs if name in found]

    def _check_all_there(self, path: Path, numbers: dict[str, int]) -> None:
        """Refuse a list that lacks a species: all tiles would seem to be outside of its range."""
        lacking = [name for name in self._outputs if name not in self._ours.values()]
        if not lacking:
            return
        unknown = [name for name in numbers if self._ours[_plain(name)] is None]
        advice = "is it the list of another version?"
        if unknown:
            advice = f"it has {unknown[0]!r}, which mmearth does not know; " + self._advice(
                unknown[0], lacking[0]
            )
        raise FormatError(
            f"{path} lacks {len(lacking)} of the {len(self._outputs)} species that mmearth has, "
            f"the first is {lacking[0]!r}; {advice}"
        )

    def _advice(self, name: str, ours: str | None = None) -> str:
        """Return what to write where the user knows which of ours it is."""
        near = difflib.get_close_matches(name, self._outputs, 1)
        best = near[0] if near else ours or self._outputs[0]
        line = f'{{"{name}": "{best}"}}'
        return f"if it is {best!r}, write {line} into {NAMES_FILE} beside the .h5 file"


def _plain(name: str) -> str:
    """Return a name without its case and separators: `Canis_lupus` is `canis lupus`."""
    return " ".join(name.replace("_", " ").split()).casefold()


def _numbers(path: Path) -> dict[str, int]:
    """Return LABELS_FILE: name → number, each number once."""
    if not isinstance(document := read_json(path), dict) or not document:
        raise FormatError(f"{path} is no list of species; expected a name and a number of each")
    numbers: dict[str, int] = {}
    names: dict[int, str] = {}
    for name, value in json.loads(path.read_bytes(), object_pairs_hook=list):
        if name in numbers:
            raise FormatError(f"{path}: {name!r} stands twice; expected each name once")
        number = _whole(value)
        if number is None:
            raise FormatError(f"{path}: {name!r} has the number {value!r}; expected a whole number")
        before = names.setdefault(number, name)
        if before != name:
            raise FormatError(
                f"{path}: {before!r} and {name!r} have one number, {number}; expected a number each"
            )
        numbers[name] = number
    return numbers


def _whole(value: Any) -> int | None:
    """Return a number that may be written as text; None for what is not whole."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if type(value) is int else None


def _renamed(path: Path, numbers: dict[str, int], outputs: tuple[str, ...]) -> dict[str, str]:
    """Return NAMES_FILE: a name of LABELS_FILE → ours."""
    if not path.is_file():
        return {}
    document = read_json(path)
    if not isinstance(document, dict):
        raise FormatError(f'{path} is no list of names; expected {{"theirs": "ours"}}')
    for theirs, ours in document.items():
        if theirs not in numbers or ours not in outputs:
            raise FormatError(
                f"{path} says that {theirs!r} is {ours!r}; expected a name of {LABELS_FILE} and "
                "one of `mmearth catalog tasks --json`"
            )
    return document
