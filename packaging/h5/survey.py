"""A look at published files before anything is written: what can be refused is refused at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.errors import FormatError
from mmearth.packaging.h5.file import check, opened
from mmearth.packaging.h5.layout import NODATA, TaskFiles, key_of, read_json
from mmearth.packaging.h5.provenance import read_provenance
from mmearth.packaging.h5.rows import Rows, read_rows
from mmearth.packaging.h5.scratch import room
from mmearth.packaging.h5.tables import scene, seen_otherwise


@dataclass(frozen=True, slots=True)
class Survey:
    """What an import is about to do."""

    nbytes: int
    """Of disk that it takes at its height, about."""
    card: DatasetCard | None
    """Of the dataset that all the files were exported from; None where they were not."""


def survey(tasks: list[TaskFiles], progress: Callable[[str, int | None], None]) -> Survey:
    """Look at files: their rows, their layout, and what stands beside them.

    Args:
        tasks: In the order of the import.
        progress: Told (step, 1) when a step begins.

    Raises:
        ConfigError: h5py is not installed.
        FormatError: A file is not as published, or two of them saw a tile unlike.
    """
    seen: dict[str, tuple[Path, Any]] = {}
    height, stays = 0, 0
    cards: list[DatasetCard | None] = []
    for files in tasks:
        progress(f"look at {files.h5.name}", 1)
        with opened(files.h5) as file:
            names = check(files.h5, files.task, file)
            rows = read_rows(files, file, names)
            while_packed, after = room(file, names, files.task)
        _check_nodata(files)
        _check_views(files.h5, rows, seen)
        known = read_provenance(files, rows)
        cards.append(None if known is None else known.card)
        height = max(height, stays + while_packed)
        stays += after
    return Survey(height, _common(cards, tuple(files.task.name for files in tasks)))


def _common(cards: list[DatasetCard | None], tasks: tuple[str, ...]) -> DatasetCard | None:
    """Return the card of one dataset that all files are of, with the tasks that are imported."""
    first = cards[0]
    if first is None or any(card != first for card in cards):
        return None
    return replace(first, tasks=tasks)


def _check_nodata(files: TaskFiles) -> None:
    """Refuse files of other no-data values: they would be read as measurements."""
    for path in files.nodata:
        document = read_json(path)
        if not isinstance(document, dict):
            raise FormatError(f"{path} is not a list of no-data values; fetch it again")
        for name, value in document.items():
            expected = NODATA.get(key_of(name), value)
            if value != expected:
                raise FormatError(
                    f"{path}: {name} has the no-data value {value!r}, expected {expected}; it is "
                    "of another version than this mmearth reads"
                )


def _check_views(path: Path, rows: Rows, seen: dict[str, tuple[Path, Any]]) -> None:
    """Refuse a tile that another task saw on another day, before hours of reading pixels."""
    for row, tile in enumerate(rows.tiles):
        view = (rows.dates[row], scene(rows, row))
        before = seen.setdefault(tile.id, (path, view))
        if before[1] != view:
            raise seen_otherwise(path, row, tile.id, before[0])
