"""Audit of splits: overlaps, distances, shared scenes and balance, measured on any table of tiles.

A violation is what makes a test number wrong: a tile in two splits, ground shared by train and a
test, a subset that is not inside the next, a training tile nearer to a test than the buffer. Scenes
shared by train and a test, and imbalance, are reported: they weaken a claim, they do not break it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from pyarrow import csv

from mmearth.catalog import balance
from mmearth.catalog.audit_columns import check_columns
from mmearth.catalog.catalogue import Catalogue, read_catalogue
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import DEFAULT_GRID, Grid
from mmearth.catalog.nearest import nearest
from mmearth.catalog.schema import check_version, manifest_path, read_table
from mmearth.catalog.splits import SPLITS, TESTS
from mmearth.catalog.tile import EARTH_RADIUS_KM, Tiles, centres, lonlat_bounds

_AUDITED = ("key", "tile", "split", "train_5", "train_50", "biome", "sentinel2.source_ids")
_IMBALANCE = (
    "Biome imbalance: the share of a split's samples that would have to lie in other biomes for it "
    "to have train's mixture; 0 is the same mixture, 1 is no biome in common."
)


@dataclass(frozen=True, slots=True)
class Distance:
    """How far a test is from the training tiles, centre to centre, in kilometres."""

    test: str
    """Name of the split."""
    least: float
    """Of the test tile nearest to any training tile."""
    percent_1: float
    """One test tile in a hundred is nearer."""
    median: float
    """Half of the test tiles are nearer."""


@dataclass(frozen=True, slots=True)
class TaskAudit:
    """What the audit of one task found."""

    task: str
    """Its name."""
    counts: dict[str, int]
    """Samples by split and train subset."""
    overlaps: dict[str, int]
    """Pairs of tiles that share ground, by pair of splits."""
    distances: tuple[Distance, ...]
    """Of each test that has samples."""
    shared_scenes: dict[str, int]
    """Sentinel-2 scenes seen by train and by another split."""
    biomes: dict[str, dict[str, int]]
    """Samples by split and biome."""
    imbalance: dict[str, float]
    """Total variation distance of a split's biomes from train's, 0 to 1."""
    targets: dict[str, dict[str, float]]
    """Mean and deviation of the target by split; labels a sample for multi-label tasks."""
    label_imbalance: dict[str, float]
    """Of multi-label tasks: total variation distance of a split's labels from train's, 0 to 1."""
    violations: tuple[str, ...] = field(default=())
    """What makes a test number wrong."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)


def audit_dataset(root: Path, buffer_m: float) -> list[TaskAudit]:
    """Audit every manifest of a dataset.

    Args:
        root: The dataset's directory.
        buffer_m: Distance that train must keep from the tests, in metres; 0 asks for none.

    Raises:
        ConfigError: There is no manifest.
        FormatError: A manifest is of another version.
    """
    if not any((root / "manifests").glob("*.parquet")):
        raise ConfigError(f"{root} has no manifests to audit; build a dataset there first")
    catalogue = read_catalogue(root)
    tasks = [task for task in catalogue.tasks if (root / manifest_path(task)).exists()]
    tables = ((task, _read(root, catalogue, task)) for task in tasks)
    return [audit(task, table, buffer_m, catalogue.grid) for task, table in tables]


def _read(root: Path, catalogue: Catalogue, task: str) -> pa.Table:
    """Read what is audited of a manifest, a tenth of it."""
    path = root / manifest_path(task)
    audited = [*_AUDITED, catalogue.task(task).column]
    found = check_version(path, root).names
    return read_table(path, [name for name in audited if name.partition(".")[0] in found], root)


def audit_table(path: Path, buffer_m: float) -> list[TaskAudit]:
    """Audit any table of tiles and splits, each `task` in it by itself.

    Args:
        path: Parquet, or CSV where the suffix is .csv.
        buffer_m: Distance that train must keep from the tests, in metres.

    Raises:
        ConfigError: The file cannot be read as what its suffix says.
        FormatError: See `audit`.

    Its tiles are of the published grid.
    """
    is_csv = path.suffix.lower() == ".csv"
    try:
        table = csv.read_csv(path) if is_csv else pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowInvalid) as exc:
        reason = " ".join(str(exc).split())
        raise ConfigError(
            f"{path} cannot be read as {'CSV' if is_csv else 'Parquet'} ({reason}); expected "
            "Parquet, or CSV with the suffix .csv, with the columns tile, split, …"
        ) from exc
    if "task" not in table.column_names:
        return [audit(path.stem, table, buffer_m)]
    check_columns(path.stem, table)
    tasks = sorted(set(table["task"].to_pylist()))
    return [audit(task, table.filter(pc.equal(table["task"], task)), buffer_m) for task in tasks]


def audit(task: str, table: pa.Table, buffer_m: float, grid: Grid = DEFAULT_GRID) -> TaskAudit:
    """Audit one task's samples.

    Args:
        task: Its name, for the report.
        table: A row per sample with its tile (an id) and split; where there, also key, train_5,
            train_50, biome, sentinel2 and the target.
        buffer_m: Distance that train must keep from the tests, in metres.
        grid: Of the tiles.

    Raises:
        ConfigError: An entry of `tile` is no tile id.
        FormatError: A column is missing or of another type, or a split has an unknown name.
    """
    check_columns(task, table)
    split = table["split"].cast(pa.string()).to_numpy()
    tiles = Tiles.parse(table["tile"].cast(pa.string()), grid)
    overlaps = _overlaps(tiles, split)
    distances = _distances(tiles, split)
    violations = [
        *_twice(table, split),
        *_not_nested(table, split),
        *[
            f"{n} pairs of tiles share ground between {pair}"
            for pair, n in overlaps.items()
            if "test" in pair and "train" in pair
        ],
        *[
            f"{d.test} has a tile {d.least:.2f} km from a training tile, "
            f"nearer than {buffer_m / 1000:g} km"
            for d in distances
            if d.least * 1000.0 < buffer_m
        ],
    ]
    biomes = balance.biomes(table, split)
    return TaskAudit(
        task=task,
        counts=_counts(table, split),
        overlaps=overlaps,
        distances=distances,
        shared_scenes=_shared_scenes(table, split),
        biomes=biomes,
        imbalance={
            name: balance.variation(biomes["train"], found) for name, found in biomes.items()
        },
        targets=balance.targets(task, table, split),
        label_imbalance=balance.label_imbalance(task, table, split),
        violations=tuple(violations),
    )


def to_markdown(audits: Sequence[TaskAudit]) -> str:
    """Return the audits as a report for a paper's appendix."""
    lines = ["# Audit of splits", ""]
    for found in audits:
        lines += [f"## {found.task}", ""]
        lines += [f"- **violation**: {text}" for text in found.violations] or ["- no violation"]
        lines += [
            "",
            "| split | samples | km to train (least, 1 %, median) | biome imbalance |",
        ]
        lines += ["| --- | --- | --- | --- |"]
        near = {
            d.test: f"{d.least:.2f}, {d.percent_1:.2f}, {d.median:.1f}" for d in found.distances
        }
        for name in SPLITS:
            imbalance = found.imbalance.get(name, 0.0)
            lines.append(
                f"| {name} | {found.counts[name]} | {near.get(name, '–')} | {imbalance:.3f} |"
            )
        lines += ["", _IMBALANCE]
        scenes = ", ".join(f"{name} {n}" for name, n in found.shared_scenes.items())
        lines += ["", f"Sentinel-2 scenes shared with train: {scenes or 'none'}.", ""]
    return "\n".join(lines)


def _counts(table: pa.Table, split: NDArray[np.object_]) -> dict[str, int]:
    counts = {name: int(np.count_nonzero(split == name)) for name in SPLITS}
    for subset in ("train_5", "train_50"):
        if subset in table.column_names:
            counts[subset] = int(np.count_nonzero(table[subset].to_numpy()))
    return counts


def _twice(table: pa.Table, split: NDArray[np.object_]) -> list[str]:
    """Name tiles that are in two splits, or in one twice."""
    counts = pc.value_counts(table["tile"].combine_chunks())
    often = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    rows = np.flatnonzero(pc.is_in(table["tile"], often).to_numpy())
    seen: dict[str, str] = {}
    found = []
    for tile, name in zip(table["tile"].take(rows).to_pylist(), split[rows], strict=True):
        if tile in seen:
            found.append(f"tile {tile} is in {seen[tile]} and in {name}")
        seen[tile] = name
    return found


def _not_nested(table: pa.Table, split: NDArray[np.object_]) -> list[str]:
    if not {"train_5", "train_50"} <= set(table.column_names):
        return []
    five, fifty = table["train_5"].to_numpy(), table["train_50"].to_numpy()
    keys = table["key" if "key" in table.column_names else "tile"].to_pylist()
    found = [f"{keys[i]} is in train_5 and not in train_50" for i in np.flatnonzero(five & ~fifty)]
    outside = np.flatnonzero(fifty & (split != "train"))
    return [*found, *(f"{keys[i]} is in train_50 and not in train" for i in outside)]


def _overlaps(tiles: Tiles, split: NDArray[np.object_]) -> dict[str, int]:
    """Count pairs of different tiles that share ground, by the splits they are in."""
    pairs = _sharing(tiles, _touching(lonlat_bounds(tiles)))
    counts: dict[str, int] = {}
    for a, b in split[pairs].tolist():
        pair = " and ".join(sorted((a, b), key=SPLITS.index))
        counts[pair] = counts.get(pair, 0) + 1
    return counts


def _touching(bounds: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the pairs (n, 2) of boxes that touch; (west, south, east, north), (n, 4)."""
    over = np.flatnonzero(bounds[:, 2] > 180.0)  # across the antimeridian: they stand twice
    rows = np.concatenate([np.arange(len(bounds)), over])
    boxes = shapely.box(*np.vstack([bounds, bounds[over] - (360.0, 0.0, 360.0, 0.0)]).T)
    first, second = rows[shapely.STRtree(boxes).query(boxes, predicate="intersects")]
    return np.unique(np.column_stack([first, second])[first < second], axis=0)


def _sharing(tiles: Tiles, pairs: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the pairs (n, 2) that share ground: boxes in degrees are larger than their tiles."""
    corners = np.column_stack([tiles.epsg, tiles.left, tiles.top])
    zone, x, y = np.abs(corners[pairs[:, 0]] - corners[pairs[:, 1]]).T
    sure = (zone == 0) & (x < tiles.grid.side_m) & (y < tiles.grid.side_m) & (x + y > 0)
    for i in np.flatnonzero(zone != 0).tolist():
        one, other = (tiles[int(row)] for row in pairs[i])
        # Outlines of two zones fit to a few square metres: less than a pixel is no overlap.
        degree_m = math.radians(EARTH_RADIUS_KM * 1000.0)
        pixel = tiles.grid.resolution_m**2 / degree_m**2 / math.cos(math.radians(one.lat))
        sure[i] = one.geometry.intersection(other.geometry).area > pixel
    return np.asarray(pairs[sure])


def _distances(tiles: Tiles, split: NDArray[np.object_]) -> tuple[Distance, ...]:
    lon, lat = (np.radians(values) for values in centres(tiles))
    points = np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    train = points[split == "train"]
    result = []
    for test in TESTS:
        tests = points[split == test]
        if train.size and tests.size:
            chord = nearest(tests, train)
            km = 2.0 * EARTH_RADIUS_KM * np.arcsin(np.minimum(chord / 2.0, 1.0))
            one, half = np.percentile(km, (1, 50))
            result.append(Distance(test, float(km.min()), float(one), float(half)))
    return tuple(result)


def _shared_scenes(table: pa.Table, split: NDArray[np.object_]) -> dict[str, int]:
    if "sentinel2" not in table.column_names:
        return {}
    ids = pc.struct_field(table["sentinel2"], "source_ids")
    scenes = {
        name: set(pc.unique(pc.list_flatten(ids.filter(pa.array(split == name)))).to_pylist())
        for name in SPLITS
    }
    shared = {name: len(scenes["train"] & scenes[name]) for name in SPLITS[1:]}
    return {name: n for name, n in shared.items() if n}
