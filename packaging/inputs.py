"""What packaging starts from: the planned tiles, the collected observations and the store."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmearth.catalog.anchor import anchor_date
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.grid import Grid
from mmearth.catalog.hilbert import row_key
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation, Sample, sample_key
from mmearth.catalog.schema import OBSERVATIONS, STATES, read_table, tiles_schema
from mmearth.catalog.splits import SPLITS
from mmearth.catalog.store import observation_path, read_observation
from mmearth.catalog.targets import target_array
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile

Row = dict[str, Any]
"""A row of a table."""
_NEVER_NULL = ("lon", "lat", "cell", "train_5", "train_50")


@dataclass(frozen=True, slots=True)
class Planned:
    """One sample to be packed: its row of tiles.parquet and the rows of its observations."""

    key: str
    """Of the sample."""
    date: str
    """The anchor date."""
    hilbert: int
    """Its place in the manifest's order."""
    tile: Row
    """Of `tiles_schema`."""
    observations: dict[str, Row]
    """Of the schema OBSERVATIONS, by modality."""


@dataclass(frozen=True, slots=True)
class TaskInputs:
    """A task's samples in the order of its shards, and the tiles that make none."""

    samples: list[Planned]
    """Sorted by split, then along the Hilbert curve."""
    dropped: dict[str, str]
    """Tile → why it makes no sample."""


def read_inputs(
    root: Path, catalogue: Catalogue, task: Task, require: tuple[str, ...]
) -> TaskInputs:
    """Return what a task is packed from.

    Args:
        root: The dataset's directory.
        catalogue: Its own.
        task: One of its tasks.
        require: Modalities that every sample must have.

    Raises:
        FormatError: A table is missing or of another version.
    """
    path = root / "tiles.parquet"
    table = read_table(path, root=root, schema=tiles_schema(catalogue.tasks.values()))
    asked = _asked(table, catalogue)
    tiles = table.filter(pc.equal(table["task"], task.name)).to_pylist()
    for row in tiles:
        check_planned(path, row, catalogue.grid)
    observed = _by_tile(root, {row["tile"] for row in tiles}, catalogue)
    needed = [*require, *([task.name] if task.is_pixel and not task.optional else [])]
    dropped: dict[str, str] = {}
    found = []
    for row in tiles:
        observations = observed.get(row["tile"], {})
        reason = _why_none(observations, needed, catalogue)
        if reason is None:
            date = _date(asked.get(row["tile"]), row["lat"], observations)
            found.append((row, observations, date))
        else:
            dropped[row["tile"]] = reason
    return TaskInputs(_ordered(found, catalogue.grid), dropped)


def count_reasons(dropped: dict[str, str]) -> dict[str, int]:
    """Return why tiles make no sample → how many, the most frequent first.

    Reasons that differ in what follows `no sentinel2` alone, as an Earth Engine tile's number of
    scenes does, count together, under the most frequent of them.
    """
    by_head: dict[str, Counter[str]] = {}
    for reason in dropped.values():
        by_head.setdefault(reason.partition(":")[0], Counter())[reason] += 1
    counted = {max(sorted(c), key=c.__getitem__): c.total() for c in by_head.values()}
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def check_planned(path: Path, row: Row, grid: Grid) -> None:
    """Refuse a row of tiles.parquet that cannot be a place of ours.

    Raises:
        FormatError: Its tile or split is none, or its columns say otherwise than its tile.
    """
    try:
        tile = Tile.parse(str(row["tile"]), grid)
    except ConfigError as exc:
        raise FormatError(f"{path}: {exc}; build it again") from exc
    corner = (tile.epsg, tile.left, tile.top)
    if (row["epsg"], row["left"], row["top"]) != corner or row["split"] not in SPLITS:
        raise FormatError(
            f"{path}: tile {tile.id} is said to be at {row['epsg']}, {row['left']}, {row['top']} "
            f"and in split {row['split']!r}; expected its own grid and one of {', '.join(SPLITS)}: "
            "build it again"
        )
    lacking = [name for name in _NEVER_NULL if row[name] is None]
    if lacking:
        raise FormatError(f"{path}: tile {tile.id} has no {lacking[0]}; build it again")


def _check_observed(path: Path, row: Row, catalogue: Catalogue) -> None:
    """Refuse a row of observations.parquet that cannot be of our store.

    Raises:
        FormatError: It names no modality or state, or a file that is not the observation's.
    """
    tile = Tile.parse(row["tile"], catalogue.grid)
    try:
        layer = catalogue.observed(row["modality"])
    except ConfigError as exc:
        raise FormatError(f"{path}: tile {tile.id}: {exc}; build it again") from exc
    if row["state"] not in STATES:
        raise FormatError(
            f"{path}: tile {tile.id} has {layer.name} in the state {row['state']!r}; "
            f"expected one of {', '.join(STATES)}: build it again"
        )
    has_ids = row["source_ids"] is not None or row["state"] != "done"
    if row["path"] not in (None, observation_path(tile, layer)) or not has_ids:
        raise FormatError(
            f"{path}: {layer.name} of tile {tile.id} is said to be in {row['path']!r} and of "
            f"{row['source_ids']}; expected {observation_path(tile, layer)} and a list: build it "
            "again"
        )


def load_sample(root: Path, catalogue: Catalogue, task: Task, planned: Planned) -> Sample:
    """Read a sample's arrays from the store and check them.

    Raises:
        FormatError: A file of the store is missing or unreadable.
        IntegrityError: A file of the store is not the one that was collected.
        DataError: An array breaks its contract.
    """
    tile = Tile.parse(planned.tile["tile"], catalogue.grid)
    if not task.is_pixel:
        target = planned_array(task, planned)
    elif _state(planned.observations, task.name) == "done":
        target = _load(root, tile, task.target, planned).array[0]
    else:
        target = None
    sample = Sample(
        tile=tile,
        date=planned.date,
        task=task,
        split=planned.tile["split"],
        target=target,
        observations={
            name: _load(root, tile, layer, planned)
            for name, layer in catalogue.layers.items()
            if _state(planned.observations, name) == "done"
        },
    )
    sample.check()
    return sample


def planned_array(task: Task, planned: Planned) -> NDArray[np.generic] | None:
    """Return the tile-level target of a planned sample, (band,); None where it may have none.

    Raises:
        FormatError: It has none and must, or it is no target of the task.
    """
    target = target_array(task, planned.tile[task.column])
    if target is None and not task.optional:
        raise FormatError(
            f"tiles.parquet has no target for tile {planned.tile['tile']} of {task.name}; "
            "plan it again"
        )
    return target


def missing_reasons(planned: Planned, catalogue: Catalogue) -> dict[str, str]:
    """Return modality → why a sample does not have it."""
    return {
        name: row["reason"] or row["state"]
        for name, row in planned.observations.items()
        if row["state"] != "done" and name in catalogue.layers
    }


def _by_tile(root: Path, tiles: set[str], catalogue: Catalogue) -> dict[str, dict[str, Row]]:
    result: dict[str, dict[str, Row]] = {}
    table = read_table(root / "observations.parquet", root=root, schema=OBSERVATIONS)
    for row in table.filter(pc.is_in(table["tile"], pa.array(tiles, pa.string()))).to_pylist():
        _check_observed(root / "observations.parquet", row, catalogue)
        result.setdefault(row["tile"], {})[row["modality"]] = row
    return result


def _state(observations: dict[str, Row], name: str) -> str | None:
    return observations[name]["state"] if name in observations else None


def _why_none(observations: dict[str, Row], needed: list[str], catalogue: Catalogue) -> str | None:
    """Return why a tile makes no sample; None where it makes one."""
    for name in needed:
        if _state(observations, name) != "done":
            reason = observations.get(name, {}).get("reason") or "it was not collected"
            return f"no {name}: {reason}"
    rows = [row for name, row in observations.items() if name in catalogue.layers]
    if any(row["state"] == "done" for row in rows):
        return None
    reasons = sorted({row["reason"] for row in rows if row["reason"]})
    return f"no layer: {reasons[0] if reasons else 'nothing was collected'}"


def _asked(tiles: pa.Table, catalogue: Catalogue) -> dict[str, str]:
    """Return tile → the date that was asked for; of several tasks' the earlier task's."""
    dated = tiles.select(["task", "tile", "date"]).filter(pc.is_valid(tiles["date"]))
    found: dict[str, str] = {}
    for task in catalogue.tasks:
        rows = dated.filter(pc.equal(dated["task"], task))
        for tile, date in zip(rows["tile"].to_pylist(), rows["date"].to_pylist(), strict=True):
            found.setdefault(tile, date)
    return found


def _date(asked: str | None, lat: float, observations: dict[str, Row]) -> str:
    """Return the anchor date: the image's, or where there is none that of what was asked for."""
    image = observations.get("sentinel2")
    if image is not None and image["state"] == "done" and image["acquired"]:
        return str(image["acquired"])
    return anchor_date(asked, lat)


def _ordered(found: list[tuple[Row, dict[str, Row], str]], grid: Grid) -> list[Planned]:
    if not found:
        return []
    keys = [sample_key(Tile.parse(row["tile"], grid), date) for row, _, date in found]
    lon = np.array([row["lon"] for row, _, _ in found])
    lat = np.array([row["lat"] for row, _, _ in found])
    index = row_key(lon, lat, keys)
    samples = [
        Planned(key, date, int(number), row, observations)
        for key, number, (row, observations, date) in zip(keys, index, found, strict=True)
    ]
    return sorted(samples, key=lambda s: (SPLITS.index(s.tile["split"]), s.hilbert, s.key))


def _load(root: Path, tile: Tile, layer: Layer, planned: Planned) -> Observation:
    # Without a checksum there is none that would fit.
    sha256 = planned.observations[layer.name]["sha256"] or "none"
    return read_observation(root, tile, layer, sha256)[0]
