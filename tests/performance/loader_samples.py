"""The samples that every contender holds: a dataset of ours, and the same arrays as plain files.

The arrays go into the plain files straight from the synthetic Earth, not by way of our shards: a
contender that is checked against them is checked against what was packed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.checksums import seal
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.hilbert import row_key
from mmearth.catalog.own_store import adopt
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation, Sample
from mmearth.catalog.schema import tiles_schema, write_table
from mmearth.catalog.tile import Tile
from mmearth.curate.source import Visit
from mmearth.curate.sources.synthetic import Synthetic
from mmearth.packaging.build import build
from mmearth.tests.collected import keep_collected

TASK = "soil_pH"
"""Its target is one number, so that all pixels are of the twelve modalities."""
SPLIT = "train"
TARGET = "target"
SHARD_SAMPLES = 96
"""About 116 MB a shard: two workers of a reader that goes by shards have two each of 384."""
CATALOGUE = MMEARTH_BENCH.only(MMEARTH_BENCH.layers, [TASK])
CARD = DatasetCard(
    name="contest",
    title="Samples to read fast",
    description="The synthetic Earth.",
    version="1.0.0",
    licence="CC0-1.0",
    recipe="default",
    seed=7,
    config_sha256="0" * 64,
    source="synthetic 1",
    tasks=(TASK,),
    modalities=tuple(MMEARTH_BENCH.layers),
    require=tuple(MMEARTH_BENCH.layers),
    shard_bytes=(SHARD_SAMPLES - 1) * 1_213_000,  # and the sample that passes it
)
_COPIES_M = 40 * DEFAULT_GRID.side_m  # between a tile and its next copy


@dataclass(frozen=True, slots=True)
class Samples:
    """Where the samples are."""

    root: Path
    """The dataset of ours."""
    plain: Path
    """Holds `<modality>.npy` and `target.npy`, a row a source."""
    keys: tuple[str, ...]
    """In the manifest's order."""
    source: NDArray[np.int64]
    """(n,) the row of the plain arrays that each sample has."""
    threshold: float
    """One sample in 96 has a larger target."""

    def array(self, name: str) -> NDArray[Any]:
        """Return a modality or the target, one row a source, mapped from its file."""
        array: NDArray[Any] = np.load(self.plain / f"{name}.npy", mmap_mode="r")
        return array

    @property
    def chosen(self) -> NDArray[np.int64]:
        """Return the rows of the samples whose target is above the threshold."""
        return np.flatnonzero(self.array(TARGET)[self.source, 0] > self.threshold)

    @property
    def shards(self) -> list[Path]:
        """Return the dataset's tars, in order."""
        return sorted((self.root / "shards").rglob("*.tar"))


def make_samples(folder: Path, n: int) -> Samples:
    """Observe `n` whole tiles of the synthetic Earth, pack them, and keep their arrays apart."""
    seen = _ordered(_observe(n))
    samples = Samples(
        folder / "dataset",
        folder / "plain",
        tuple(sample.key for sample in seen),
        np.arange(n),
        _threshold([float(_target(sample)[0]) for sample in seen]),
    )
    _pack(samples.root, seen)
    samples.plain.mkdir()
    for name in MMEARTH_BENCH.layers:
        stacked = np.stack([sample.observations[name].array for sample in seen])
        np.save(samples.plain / f"{name}.npy", stacked)
    np.save(samples.plain / f"{TARGET}.npy", np.stack([_target(sample) for sample in seen]))
    return samples


def make_many(folder: Path, few: Samples, copies: int) -> Samples:
    """Pack every sample several times, each time at another place."""
    moved = [sample for i in range(copies) for sample in _moved(few, i)]
    source = {sample.key: i % len(few.keys) for i, sample in enumerate(moved)}
    seen = _ordered(moved)
    keys = tuple(sample.key for sample in seen)
    _pack(folder / "dataset", seen)
    rows = np.array([source[key] for key in keys])
    return Samples(folder / "dataset", few.plain, keys, rows, few.threshold)


def _observe(n: int) -> list[Sample]:
    """Return the first `n` samples that have all twelve modalities; half of the tiles do not."""
    source, task = Synthetic(7), CATALOGUE.tasks[TASK]
    found: dict[str, Sample] = {}
    for label in source.labels(task, 6 * n, 0):
        tile = Tile.at(label.lon, label.lat)
        outcomes = source.observe(Visit(tile, tuple(tuple(MMEARTH_BENCH.layers)), None))
        observations = {k: o for k, o in outcomes.items() if isinstance(o, Observation)}
        if len(observations) < len(MMEARTH_BENCH.layers):
            continue
        target = np.array([label.value], dtype=task.dtype)
        date = str(observations["sentinel2"].acquired)
        sample = Sample(tile, date, task, SPLIT, target, observations)
        found.setdefault(sample.key, sample)
        if len(found) == n:
            return list(found.values())
    raise AssertionError(f"{len(found)} of {6 * n} places have all modalities; expected {n}")


def _target(sample: Sample) -> NDArray[np.generic]:
    assert sample.target is not None
    return sample.target


def _threshold(targets: list[float]) -> float:
    """Return a number between two targets, which one of 96 exceeds."""
    falling = sorted(set(targets), reverse=True)
    n = len(targets) // 96
    above = next(i for i, t in enumerate(falling) if sum(x >= t for x in targets) >= n)
    return (falling[above] + falling[above + 1]) / 2


def _ordered(samples: list[Sample]) -> list[Sample]:
    keys = [sample.key for sample in samples]
    numbers = _numbers(samples, keys)
    return [samples[i] for i in sorted(range(len(keys)), key=lambda i: (numbers[i], keys[i]))]


def _numbers(samples: list[Sample], keys: list[str]) -> list[int]:
    lon = np.array([sample.tile.lon for sample in samples])
    lat = np.array([sample.tile.lat for sample in samples])
    return [int(number) for number in row_key(lon, lat, keys)]


def _moved(few: Samples, i: int) -> Iterator[Sample]:
    """Yield the samples again, moved to the east by `i` steps."""
    arrays = {name: few.array(name) for name in (*MMEARTH_BENCH.layers, TARGET)}
    for row, key in enumerate(few.keys):
        epsg, left, top, day = key.split("_")
        tile = Tile(int(epsg), int(left) + i * _COPIES_M, int(top))
        date = f"{day[:4]}-{day[4:6]}-{day[6:]}"
        observations = {
            name: Observation(layer, arrays[name][row], date)
            for name, layer in CATALOGUE.layers.items()
        }
        target = arrays[TARGET][row]
        yield Sample(tile, date, CATALOGUE.tasks[TASK], SPLIT, target, observations)


def _pack(root: Path, samples: list[Sample]) -> None:
    """Make a dataset of samples as a build does, from what was observed of them."""
    schema = tiles_schema(CATALOGUE.tasks.values())
    planned = pa.Table.from_pylist([_planned(sample) for sample in samples], schema)
    write_table(planned.sort_by("tile"), root / "tiles.parquet", schema)
    keep_collected(root, CATALOGUE, ((sample.tile, sample.observations) for sample in samples))
    seal(root, CARD, build(root, CARD).sums)
    adopt(root, CATALOGUE)


def _planned(sample: Sample) -> dict[str, Any]:
    tile = sample.tile
    return {
        **{"task": TASK, "tile": tile.id, "epsg": tile.epsg, "left": tile.left, "top": tile.top},
        **{"lon": tile.lon, "lat": tile.lat, "cell": tile.cell, "split": sample.split},
        **{"train_5": False, "train_50": False, "target": float(str(_target(sample)[0]))},
    }
