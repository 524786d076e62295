"""What a run keeps so that it can predict later, without the dataset that it was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mmearth.benchmark.config import BenchmarkConfig
from mmearth.benchmark.matrix import Cell
from mmearth.catalog.documents import read_json
from mmearth.catalog.errors import FormatError
from mmearth.catalog.files import write_atomic

_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """One run's configuration and statistics."""

    config: BenchmarkConfig
    """Of the matrix."""
    cell: Cell
    """Which run."""
    statistics: Mapping[str, Any]
    """`statistics/<task>.json` of the dataset that it was trained on."""
    start: str
    """Name of the folder that has the weights: its own, or that of the run that it adapts."""


def keep(folder: Path, kept: Kept) -> None:
    """Write `run.json` in a run's folder.

    Raises:
        StorageError: The disk is full.
    """
    document = {
        "config": kept.config.model_dump(mode="json"),
        "cell": asdict(kept.cell),
        "statistics": kept.statistics,
        "start": kept.start,
    }
    write_atomic(folder / _FILE, (json.dumps(document, ensure_ascii=False) + "\n").encode())


def read_kept(folder: Path) -> Kept:
    """Read what `keep` wrote.

    Raises:
        FormatError: It is not there, or is damaged.
    """
    path = folder / _FILE
    try:
        document = read_json(path)
        config = BenchmarkConfig.model_validate(document["config"])
        cell, statistics = Cell(**document["cell"]), dict(document["statistics"])
        return Kept(config, cell, statistics, str(document["start"]))
    except (FormatError, KeyError, TypeError, ValueError, ValidationError) as exc:
        raise FormatError(
            f"{path} does not say how its run was made ({str(exc).splitlines()[0]}); delete the "
            "folder and run the benchmark again"
        ) from exc
