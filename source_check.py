"""A dataset against the source it came from: some tiles fetched again and compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.checksums import read_dataset
from mmearth.catalog.documents import parse_json
from mmearth.catalog.errors import ConfigError, MMEarthError
from mmearth.catalog.files import open_regular
from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.schema import manifest_path, member_column, read_table
from mmearth.catalog.tasks import TASKS
from mmearth.catalog.tile import Tile
from mmearth.curate.config import load_config
from mmearth.curate.source import Source
from mmearth.curate.sources import make_source
from mmearth.packaging.codec import decode_npy, decode_tile_level
from mmearth.packaging.findings import Finding

Row = dict[str, Any]


def against_source(root: Path, config_path: Path, count: int, seed: int) -> list[Finding]:
    """Fetch random samples again and return where the source now says something else.

    Args:
        root: The dataset's directory.
        config_path: The configuration that it was built with.
        count: How many samples.
        seed: Another seed, other samples.

    Raises:
        ConfigError: The directory holds no dataset, or one of another configuration.
        RefusedError: A person must act before anything can be fetched.
    """
    config = load_config(config_path)
    if read_dataset(root)["config_sha256"] != config.sha256:
        raise ConfigError(
            f"{root} was built with another configuration than {config_path}; give the one it was "
            "built with"
        )
    source = make_source(config, config_path.parent)
    plan = _plan(root)
    rows = [row for task in config.tasks for row in _rows(root, task)]
    chosen = np.random.default_rng(seed).permutation(len(rows))[:count]
    return [finding for i in sorted(chosen) for finding in _compare(root, rows[i], source, plan)]


def _rows(root: Path, task: str) -> Iterator[Row]:
    return iter(read_table(root / manifest_path(task), root=root).to_pylist())


def _plan(root: Path) -> dict[str, tuple[str | None, tuple[str, ...]]]:
    """Return of each tile the date that its labels ask for, and its pixel-level targets."""
    found: dict[str, tuple[str | None, tuple[str, ...]]] = {}
    for row in read_table(root / "tiles.parquet", ["tile", "task", "date"], root).to_pylist():
        date, targets = found.get(row["tile"], (None, ()))
        here = (row["task"],) if TASKS[row["task"]].level == "pixel" else ()
        found[row["tile"]] = date or row["date"], (*targets, *here)
    return found


def _compare(
    root: Path, row: Row, source: Source, plan: dict[str, tuple[str | None, tuple[str, ...]]]
) -> Iterator[Finding]:
    """Yield what the source says otherwise about one sample."""
    kept = dict(_kept(root, row))
    date, targets = plan[row["tile"]]
    tile, anchor = Tile.parse(row["tile"]), str(row["date"])
    outcomes = source.observe(tile, tuple(kept), date, anchor, targets)
    for name, array in kept.items():
        now = outcomes[name]
        where = f"{row['shard']}#{row['key']}.{name}"
        if isinstance(now, MMEarthError):
            yield Finding(where, "source", f"the source has it no more: {now}")
        elif not np.array_equal(now.array, array):
            yield Finding(where, "source", _difference(array, now.array))


def _difference(kept: NDArray[np.generic], now: NDArray[np.generic]) -> str:
    off = np.abs(kept.astype(np.float64) - now.astype(np.float64))
    share = float(np.mean(off > 0))
    return f"the source gives other values: {share:.2%} of them differ, by {off.max():g} at most"


def _kept(root: Path, row: Row) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Yield the arrays of a sample as its shard holds them."""
    members = {name: row[member_column(name)] for name in MODALITIES}
    pixel = {name: here for name, here in members.items() if MODALITIES[name].level == "pixel"}
    if TASKS[row["task"]].level == "pixel":
        pixel[row["task"]] = {**row[row["task"]], "present": True}
    with open_regular(root / row["shard"], root) as shard:
        for name, here in pixel.items():
            if here["present"]:
                shard.seek(here["byte_offset"])
                yield name, decode_npy(shard.read(here["byte_length"]), name)
        # All tile-level values of a sample are in one member.
        others = [here for name, here in members.items() if name not in pixel and here["present"]]
        for here in others[:1]:
            shard.seek(here["byte_offset"])
            document = parse_json(shard.read(here["byte_length"]), f"{row['key']}.json")
            yield from decode_tile_level(document)
