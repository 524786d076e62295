"""Biomass from GEDI L4A granules on disk: which shots count, and places among them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.grid import Grid
from mmearth.catalog.task import Task
from mmearth.catalog.tile import tiles_at
from mmearth.curate.labels.gedi.balance import choose
from mmearth.curate.labels.gedi.files import Granule, find_granules
from mmearth.curate.labels.gedi.footprints import (
    Footprints,
    gather,
    write_footprints,
)
from mmearth.curate.labels.gedi.paint import seasons
from mmearth.curate.labels.gedi.painted import TASK, Painted
from mmearth.curate.labels.gedi.quality import Counts
from mmearth.curate.labels.gedi.read import Columns, read_granule
from mmearth.curate.places import GediPlaces
from mmearth.curate.source import Label, Source

_LOG = logging.getLogger(__name__)
_FORMAT = 1  # of the kept files: another number makes them again


def gedi_labels(
    task: Task,
    config: GediPlaces,
    source: Source,
    base: Path,
    grid: Grid,
    seed: int,
    days_late: bool = False,
) -> list[Label]:
    """Return places at footprints, balanced over biomes and ecoregions where those are given.

    Args:
        task: Must be `biomass`.
        config: Granules and how many places.
        source: Where it paints footprints (`Painted`), those are used; no granule is read again.
        base: Directory that relative paths start from.
        grid: Of the tiles.
        seed: The same seed chooses the same places, in whatever order the granules are named.
        days_late: Count the days of seasons as in the published data; see `paint.seasons`.

    Returns:
        Places whose `label_id` is the shot number, and whose date is when the trees of the tile
        there have leaves.

    Raises:
        ConfigError: A file is missing, no shot passes the tests, or the task is another one.
        FormatError: A granule is broken or no GEDI L4A granule.
    """
    if task.name != TASK:
        raise ConfigError(
            f"tasks.{task.name}: gedi: gives places of {TASK} only; give another kind"
        )
    painters = getattr(source, "painters", ())
    painted = next((each for each in painters if isinstance(each, Painted)), None)
    footprints = read_footprints(config, base) if painted is None else painted.footprints
    _refuse_none(footprints, config)
    _LOG.info("tasks.%s: GEDI: %s", task.name, footprints.counts)
    regions = None if config.ecoregions is None else base / config.ecoregions
    chosen = choose(footprints, config.count, regions, seed, grid, config.layer, config.crs)
    if chosen.size < config.count:
        reason = "no further tile fits between these"
        if regions is not None:
            reason = "shares of biomes and ecoregions hold no more (ecoregions: null takes all)"
        _LOG.info(
            "tasks.%s: %d places of count: %d: %s", task.name, chosen.size, config.count, reason
        )
    lon, lat, shot = (c[chosen] for c in (footprints.lon, footprints.lat, footprints.shot))
    when = (",".join(seasons(footprints, tile, days_late)) for tile in tiles_at(lon, lat, grid))
    rows = zip(lon.tolist(), lat.tolist(), when, shot.tolist(), strict=True)
    return [Label(x, y, date=date or None, label_id=str(n)) for x, y, date, n in rows]


def read_footprints(config: GediPlaces, base: Path) -> Footprints:
    """Return the footprints of all granules that pass the tests.

    Raises:
        ConfigError: A pattern matches no file.
        FormatError: A granule is broken or no GEDI L4A granule.
    """
    granules = find_granules(config.granules, base)
    return gather(_parts(config, granules), _key(config, granules))


def keep_footprints(config: GediPlaces, base: Path, directory: Path) -> Path:
    """Return the file with the footprints of all granules, for `Painted`; write it when it lacks.

    Its name tells which granules and tests made it, so that a build that goes on reads no granule.

    Raises:
        ConfigError: A pattern matches no file.
        FormatError: A granule is broken or no GEDI L4A granule.
        StorageError: The disk is full or the directory cannot be written.
    """
    granules = find_granules(config.granules, base)
    key = _key(config, granules)
    path = directory / f"footprints-{key[:16]}.arrow"
    if not path.exists():
        write_footprints(gather(_parts(config, granules), key), path)
    return path


def _parts(
    config: GediPlaces, granules: tuple[Granule, ...]
) -> Iterator[tuple[str, Columns, Counts, str]]:
    for granule in granules:
        yield granule.name, *read_granule(granule, (config.first, config.last), config.skip)


def _key(config: GediPlaces, granules: tuple[Granule, ...]) -> str:
    document = {
        "format": _FORMAT,
        "granules": [[granule.name, granule.size, granule.key] for granule in granules],
        "dates": [None if day is None else day.isoformat() for day in (config.first, config.last)],
        "skip": sorted(config.skip),
    }
    return sha256_bytes(json.dumps(document).encode())


def _refuse_none(footprints: Footprints, config: GediPlaces) -> None:
    if len(footprints):
        return
    if footprints.counts.outside == footprints.counts.granules:
        raise ConfigError(
            f"none of {footprints.counts.granules} GEDI granules lies within {config.first} and "
            f"{config.last}; change first: and last:, or name other granules"
        )
    raise ConfigError(
        f"no GEDI shot passes the tests ({footprints.counts}); name other granules, or leave "
        "tests out with skip:"
    )
