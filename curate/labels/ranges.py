"""Which species are present at a place: those whose range touches its tile."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import Grid
from mmearth.catalog.tile import lonlat_bounds, tiles_at
from mmearth.catalog.utm import UTM_NORTH, UTM_SOUTH
from mmearth.curate.labels.areas import read_areas
from mmearth.curate.labels.species import SPECIES, first_few, known_name, misspelt, nearest
from mmearth.curate.overlap import OUTER_MARGIN_M
from mmearth.curate.places import RangesConfig

_CODES = ("presence", "origin", "seasonal")
"""Fields of IUCN's codes."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Ranges:
    """Where species live."""

    names: tuple[str, ...]
    """Of the species, one a polygon."""
    shapes: NDArray[np.object_]
    """Polygons in longitude and latitude, one or more a species, (n,)."""

    def present(
        self, lons: Sequence[float], lats: Sequence[float], grid: Grid
    ) -> list[tuple[str, ...]]:
        """Return the names of the species present at each place, in the task's order.

        Args:
            lons: Degrees east, n of them.
            lats: Degrees north, n of them; beyond UTM nothing is present.
            grid: Of the tiles there.

        Source:
            MMEarth-Bench §3: a species is present where its range intersects the tile's 1.3 km box.
        """
        lon, lat = np.asarray(lons, dtype=np.float64), np.asarray(lats, dtype=np.float64)
        placed = np.flatnonzero(np.isfinite(lon) & (lat >= UTM_SOUTH) & (lat <= UTM_NORTH))
        present: list[set[str]] = [set() for _ in lons]
        boxes, place = _on_both_sides(outer_boxes(lon[placed], lat[placed], grid))
        # The polygons do the asking: each is prepared once, however many vertices it has.
        ranges, hits = shapely.STRtree(boxes).query(self.shapes, predicate="intersects")
        for here, found in zip(placed[place[hits]].tolist(), ranges.tolist(), strict=True):
            present[here].add(self.names[found])
        return [tuple(name for name in SPECIES if name in here) for here in present]


def outer_boxes(
    lons: NDArray[np.float64], lats: NDArray[np.float64], grid: Grid
) -> NDArray[np.object_]:
    """Return the outer boxes of the tiles at places, in degrees, (n,): 1.3 km as published."""
    west, south, east, north = lonlat_bounds(tiles_at(lons, lats, grid), OUTER_MARGIN_M).T
    return np.asarray(shapely.box(west, south, east, north))


def _on_both_sides(boxes: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return boxes, with copies across 180° of those that reach beyond it, and whose each is."""
    west, _, east, _ = shapely.bounds(boxes).reshape(-1, 4).T
    copies, place = [boxes], [np.arange(boxes.size)]
    for turn, beyond in ((360.0, west < -180.0), (-360.0, east > 180.0)):
        moved = shapely.transform(boxes[beyond], partial(np.add, (turn, 0.0)))
        copies.append(np.asarray(moved))
        place.append(np.flatnonzero(beyond))
    return np.concatenate(copies), np.concatenate(place)


def species_in_ranges(
    config: RangesConfig, base: Path, lons: Sequence[float], lats: Sequence[float], grid: Grid
) -> list[tuple[str, ...]]:
    """Return the names of the species present at each place; see `Ranges.present`.

    Raises:
        ConfigError: See `read_ranges`.
    """
    return read_ranges(config, base).present(lons, lats, grid)


def read_ranges(config: RangesConfig, base: Path) -> Ranges:
    """Return the ranges of the species that the task knows.

    Args:
        config: The polygons.
        base: Directory that a relative path starts from.

    Raises:
        ConfigError: The file cannot be read, lacks the field, or none of its species is known.
    """
    path = base / config.path
    frame = read_areas(path, config, _CODES)
    names = frame[config.name].dropna()
    known = {name: known_name(name) for name in names.unique()}
    others = [name for name, found in known.items() if found is None]
    if len(others) == len(known):
        raise ConfigError(
            f"{path} has none of the task's 100 species in its field {config.name!r}, but "
            f"{first_few(others) or 'no name'}{nearest(others[:5])}"
        )
    frame = frame.assign(_name=frame[config.name].map(known)).dropna(subset=["_name"])
    frame = _with_codes(frame, config, path)
    _tell(config, others, set(frame["_name"]))
    return Ranges(tuple(frame["_name"].tolist()), frame.geometry.to_numpy())


def _with_codes(frame: pd.DataFrame, config: RangesConfig, path: Path) -> pd.DataFrame:
    """Return the polygons whose IUCN codes count, and log how many others there are.

    Raises:
        ConfigError: A field is missing that the configuration asks for, or no polygon is left.

    Source:
        IUCN Red List mapping standards 1.20: presence 4 possibly extinct, 5 extinct.
    """
    fields = {name.lower(): name for name in frame.columns}
    left_out = []
    for key in _CODES:
        codes, asked = getattr(config, key), key in config.model_fields_set
        if codes is None or not (asked or key in fields):
            continue
        if key not in fields:
            raise ConfigError(f"{path} has no field {key!r}; leave {key}: out")
        # A column of codes with a gap is one of floats to the program that wrote it.
        column = frame[fields[key]].str.strip().str.removesuffix(".0")
        counts = column.isin([str(code) for code in codes]) | (column.isna() & (not asked))
        others = sorted(column[~counts].fillna("none").unique())
        if others:
            left_out.append(f"{(~counts).sum()} with {key} {', '.join(others)}")
        frame = frame[counts]
    if left_out:
        _log.info("%s: polygons are left out: %s", config.path, "; ".join(left_out))
    if frame.empty:
        raise ConfigError(f"{path} has no polygon left: {'; '.join(left_out)}; name other codes")
    return frame


def _tell(config: RangesConfig, others: list[str], found: set[str]) -> None:
    """Log which species of the file the task does not know, and which of its own have no range."""
    for name, known in misspelt(others).items():
        _log.warning("%s: %r is taken for another species than %r", config.path, name, known)
    without = [name for name in SPECIES if name not in found]
    _log.info(
        "%s: ranges of %d of the task's 100 species%s%s",
        config.path,
        len(found),
        f"; none of {len(without)} ({first_few(without)})" if without else "",
        f"; {len(others)} other species are ignored ({first_few(others)})" if others else "",
    )
