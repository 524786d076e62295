"""Classes and labels of the user's own in a table: names, codes, lists, and a column per label."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.task import Task
from mmearth.catalog.wording import folded, nearest
from mmearth.curate.labels.table import ABSENT, Table

_SEPARATORS = re.compile(r"[;,|\n]")
_YES, _NO = {"1", "true", "t", "yes", "y", "x"}, {"0", "false", "f", "no", "n"}


def known_names(task: Task) -> dict[str, str]:
    """Return how names and class codes may be written → the task's name.

    Case, underscores for blanks and further blanks do not matter; a class may be told by its code.

    Raises:
        ConfigError: A name is what tables write where there is none.
    """
    if hidden := [name for name in task.outputs if name in ABSENT]:
        raise ConfigError(
            f"tasks.{task.name}: target: {hidden[0]!r} stands for an empty cell in tables; name "
            "it otherwise, there too"
        )
    codes = {str(entry.code): entry.name for entry in task.target.classes}
    by_code = codes if task.kind == "classification" else {}
    return by_code | {folded(name): name for name in task.outputs}


def class_column(table: Table, key: str, task: Task) -> list[str | None]:
    """Return the class that each row names; None where the cell is empty.

    Raises:
        ConfigError: A cell names no class of the task.
    """
    known, found = known_names(task), []
    for row, text in enumerate(table.text[key].to_pylist()):
        name = None if text is None else known.get(folded(_whole(text)))
        if text is not None and name is None:
            raise _unknown(table, key, row, text, task)
        found.append(name)
    return found


def label_column(table: Table, key: str, task: Task) -> list[tuple[str, ...] | None]:
    """Return the labels that each row lists, in the task's order; None where the cell is empty.

    Lists are separated by `;`, `,` or `|`, or written as JSON; `[]` lists none.

    Raises:
        ConfigError: A cell names a label that the task does not have.
    """
    known, found = known_names(task), list[tuple[str, ...] | None]()
    for row, text in enumerate(table.text[key].to_pylist()):
        if text is None:
            found.append(None)
            continue
        here = set()
        for part in _listed(text):
            if (name := known.get(folded(part))) is None:
                raise _unknown(table, key, row, part, task)
            here.add(name)
        found.append(tuple(name for name in task.outputs if name in here))
    return found


def flag_columns(table: Table, keys: Mapping[str, str], task: Task) -> list[tuple[str, ...] | None]:
    """Return the labels whose own column says yes; None where that is not known.

    It is not known where all of a row's cells are empty and, in a table that says no anywhere,
    where one is. Where only presence is marked, an empty cell beside a mark says no.

    Args:
        table: With a column per label.
        keys: Label → key of its column.
        task: Whose labels.

    Raises:
        ConfigError: A cell says neither yes nor no.
    """
    columns = {label: _flags(table, key) for label, key in keys.items()}
    says_no = any(flag is False for column in columns.values() for flag in column)
    known = all if says_no else any
    found: list[tuple[str, ...] | None] = []
    for flags in zip(*columns.values(), strict=True):
        cells = dict(zip(columns, flags, strict=True))
        here = tuple(name for name in task.outputs if cells.get(name))
        found.append(here if known(flag is not None for flag in flags) else None)
    return found


def _flags(table: Table, key: str) -> list[bool | None]:
    """Return what each cell of a column says; None where it is empty."""
    found = list[bool | None]()
    for row, text in enumerate(table.text[key].to_pylist()):
        word = text and _whole(text.lower())
        if word not in _YES | _NO | {None}:
            raise ConfigError(
                f"{table.cell(key, row)}, expected 1 or 0, true or false, or an empty cell; "
                "correct the cell"
            )
        found.append(None if word is None else word in _YES)
    return found


def label_keys(columns: Sequence[str], task: Task, where: str) -> dict[str, str]:
    """Return label → column of that name.

    Raises:
        ConfigError: A column is named like no label of the task, or two like one.
    """
    known, found = known_names(task), {}
    for column in columns:
        label = known.get(folded(column))
        if label is None or label in found:
            raise ConfigError(
                f"{where}: labels: the column {column!r} is named like "
                f"{'no label' if label is None else f'a second {label!r}'} of the task"
                f"{nearest(column, task.outputs)}; expected columns named as the labels are"
            )
        found[label] = column
    return found


def _listed(text: str) -> list[str]:
    if text.startswith("["):
        try:
            parts = json.loads(text)
            if isinstance(parts, list) and all(isinstance(part, str) for part in parts):
                return parts
        except ValueError:
            text = text.strip("[]")
    parts = (part.strip().strip("'\"") for part in _SEPARATORS.split(text))
    return [part for part in parts if part]


def _unknown(table: Table, key: str, row: int, text: str, task: Task) -> ConfigError:
    what = "class" if task.kind == "classification" else "label"
    shown = ", ".join(task.outputs[:12]) + (" …" if len(task.outputs) > 12 else "")
    return ConfigError(
        f"{table.cell(key, row)}, and {text!r} is no {what} of the task"
        f"{nearest(text, task.outputs)}; expected one of {shown}"
    )


def _whole(text: str) -> str:
    """Return `2` for `2.0` and `2,0`: a column of codes with a gap is one of floats."""
    return text[:-2] if re.fullmatch(r"-?\d+[.,]0", text) else text
