"""A dataset against the source it came from: some tiles fetched again and compared."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.catalogue import Catalogue, read_catalogue
from mmearth.catalog.checksums import read_dataset
from mmearth.catalog.documents import parse_json
from mmearth.catalog.errors import ConfigError, MMEarthError
from mmearth.catalog.files import open_regular
from mmearth.catalog.layer import Layer
from mmearth.catalog.schema import manifest_path, member_column, read_table
from mmearth.catalog.tile import Tile
from mmearth.curate.config import load_config
from mmearth.curate.source import Source, Visit
from mmearth.curate.sources import make_source
from mmearth.packaging.codec import decode_tile_level
from mmearth.packaging.findings import Finding

Row = dict[str, Any]
Plan = dict[str, tuple[Tile, str | None, tuple[str, ...]]]
"""Tile's id → the tile, the date that its labels ask for, and its pixel-level targets."""


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
    catalogue = read_catalogue(root)
    plan = _plan(root, catalogue)
    rows = [row for task in catalogue.tasks for row in _rows(root, task)]
    chosen = np.random.default_rng(seed).permutation(len(rows))[:count]
    # In a cache of its own: what was kept of files on servers tells nothing of what they are now.
    with TemporaryDirectory(prefix="mmearth-") as cache:
        source = make_source(config, config_path.parent, Path(cache))
        return [
            finding
            for i in sorted(chosen)
            for finding in _compare(dict(_kept(root, rows[i], catalogue)), rows[i], source, plan)
        ]


def _rows(root: Path, task: str) -> Iterator[Row]:
    return iter(read_table(root / manifest_path(task), root=root).to_pylist())


def _plan(root: Path, catalogue: Catalogue) -> Plan:
    """Return what was asked of each tile."""
    found: Plan = {}
    for row in read_table(root / "tiles.parquet", ["tile", "task", "date"], root).to_pylist():
        tile = Tile.parse(row["tile"], catalogue.grid)
        _, date, targets = found.get(row["tile"], (tile, None, ()))
        here = (row["task"],) if catalogue.task(row["task"]).is_pixel else ()
        found[row["tile"]] = tile, date or row["date"], (*targets, *here)
    return found


def _compare(
    kept: dict[str, NDArray[np.generic]], row: Row, source: Source, plan: Plan
) -> Iterator[Finding]:
    """Yield what the source says otherwise about one sample, whose arrays were kept."""
    tile, date, targets = plan[row["tile"]]
    outcomes = source.observe(Visit(tile, tuple(kept), date, str(row["date"]), targets))
    for name, array in kept.items():
        now = outcomes[name]
        where = f"{row['shard']}#{row['key']}.{name}"
        if isinstance(now, MMEarthError):
            yield Finding(where, "source", f"the source has it no more: {now}")
        elif not np.array_equal(now.array, array):
            yield Finding(where, "source", _difference(array, now.array))


def _difference(kept: NDArray[np.generic], now: NDArray[np.generic]) -> str:
    if kept.shape != now.shape:
        return f"the source gives an array {now.shape}, the dataset has one {kept.shape}"
    off = np.abs(kept.astype(np.float64) - now.astype(np.float64))
    share = float(np.mean(off > 0))
    return f"the source gives other values: {share:.2%} of them differ, by {off.max():g} at most"


def _kept(root: Path, row: Row, catalogue: Catalogue) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Yield the arrays of a sample as its shard holds them, in the shapes of their layers."""
    with open_regular(root / row["shard"], root) as shard:

        def read(layer: Layer) -> bytes | None:
            here = row[member_column(layer)]
            if here is None or here["byte_offset"] is None:
                return None
            shard.seek(here["byte_offset"])
            return shard.read(here["byte_length"])

        for layer in catalogue.members(catalogue.task(row["task"])):
            if (data := read(layer)) is not None:
                shape = catalogue.member_shape(layer.name)
                array = catalogue.codec.decode(data, layer.name, layer.dtype, shape)
                yield layer.name, array.reshape(layer.shape)
        # All tile-level values of a sample are in one member.
        documents = filter(None, map(read, catalogue.tile_layers))
        for data in itertools.islice(documents, 1):
            document = parse_json(data, f"{row['key']}.json")
            for layer, array in decode_tile_level(document, catalogue):
                yield layer.name, array
