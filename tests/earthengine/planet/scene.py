"""One Sentinel-2 scene: a square on a day, named, cut by the swath's edge and under its own sky."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

from mmearth.tests.earthengine.model import Grid
from mmearth.tests.earthengine.planet.pixels import Double, Mask, positions
from mmearth.tests.earthengine.planet.sky import Sky, key_of, luck
from mmearth.tests.earthengine.planet.squares import SIDE_M, Square, outline, square_named
from mmearth.tests.earthengine.planet.times import DAY_MS, date_of, day_of, stamp, visits, within

PERIOD_DAYS = 5
LIFE = range(day_of("2018-12-01"), day_of("2021-04-01"))
"""Days on which there are scenes."""
_INDEX = re.compile(r"(\d{8})T\d{6}_\d{8}T\d{6}_T(\w{5})")
_LEAN = 0.2
"""The swath's edge runs this many metres east for each metre north."""
_CUT, _GENEROUS = 0.25, 0.125
"""Shares of scenes cut by the swath's edge; of these half have a footprint drawn too wide."""
_GENEROUS_M = 4_000.0


@dataclass(frozen=True)
class Scene:
    """A Sentinel-2 scene."""

    square: Square
    """Where."""
    day: int
    """Days since 1970."""
    seed: int
    """Of the planet."""

    @cached_property
    def key(self) -> int:
        """All that is random about the scene follows from this."""
        square = self.square
        return key_of(self.seed, 201, square.epsg, square.column, square.row, self.day)

    @cached_property
    def sky(self) -> Sky:
        """What hides the ground."""
        return Sky.of(self.key)

    @property
    def number(self) -> int:
        """Visits of the square so far."""
        return (self.day - _phase(self.square, self.seed)) // PERIOD_DAYS

    @cached_property
    def begun_ms(self) -> int:
        """When the recording of the orbit began; half past ten in the morning, local time."""
        hour = (10.4 - self.square.centre[0] / 15.0) % 24.0
        seconds = int(hour * 3600.0) + int(120.0 * luck(self.key)[8])
        return self.day * DAY_MS + seconds % 86_400 * 1000

    @property
    def start_ms(self) -> int:
        """When the scene itself was seen, `system:time_start`."""
        return self.begun_ms + 60_000 + int(500_000 * luck(self.key)[9])

    @cached_property
    def index(self) -> str:
        """`system:index`."""
        second = self.begun_ms + int(9.0 * luck(self.key)[10]) * 1000
        return f"{stamp(self.begun_ms)}_{stamp(second)}_T{self.square.code}"

    @cached_property
    def footprint(self) -> BaseGeometry:
        """Outline in EPSG:4326; wider than the data in some scenes that the swath cuts."""
        if self._edge is None:
            return self.square.footprint
        x, east = self._edge
        if luck(self.key)[11] < _GENEROUS:
            x += -_GENEROUS_M if east else _GENEROUS_M
        left, top = self.square.left, self.square.top
        bottom, far = top - SIDE_M, left + SIDE_M if east else left
        upper = x + _LEAN * SIDE_M
        beyond = 2.0 * SIDE_M if east else -2.0 * SIDE_M
        side = Polygon([(x, bottom), (upper, top), (far + beyond, top), (far + beyond, bottom)])
        return outline(box(left, bottom, left + SIDE_M, top).intersection(side), self.square.epsg)

    @property
    def _edge(self) -> tuple[float, bool] | None:
        """Where the swath's edge meets the bottom, and whether the data lie east of it."""
        chance = luck(self.key)[11]
        if chance >= _CUT:
            return None
        part = (chance * 1_000.0) % 1.0
        return self.square.left + SIDE_M * (0.9 * part - 0.05), luck(self.key)[12] < 0.5

    def seen(self, grid: Grid) -> Mask:
        """Return the pixels of which the scene has data, (row, col)."""
        return _seen(self, grid)

    def inside(self, x: Double, y: Double) -> Mask:
        """Return the places, in metres of the scene's zone, within square and swath."""
        result = self.square.inside(x, y)
        if self._edge is None:
            return result
        edge, east = self._edge
        swath = x - _LEAN * (y - self.square.top + SIDE_M) >= edge
        return np.asarray(result & (swath == east))


@lru_cache(maxsize=256)
def _seen(scene: Scene, grid: Grid) -> Mask:
    x, y = positions(grid, f"EPSG:{scene.square.epsg}")
    return np.asarray(scene.inside(x, y) & ~scene.sky.missing(x, y))


@lru_cache(maxsize=4096)
def _phase(square: Square, seed: int) -> int:
    # Three neighbouring columns share an orbit, and so its days.
    return key_of(seed, 202, square.epsg, square.column // 3) % PERIOD_DAYS


def scenes_of(
    square: Square, times: list[tuple[int, int]] | None, seed: int, every: int = 1
) -> list[Scene]:
    """Return the scenes of a square that begin in one of the times, or every n-th of them."""
    phase = _phase(square, seed)
    days = visits(times, LIFE, PERIOD_DAYS, phase)
    scenes = (Scene(square, day, seed) for day in days)
    return [s for s in scenes if s.number % every == 0 and within(s.start_ms, times)]


def scene_named(index: str, seed: int) -> Scene:
    """Return the scene of a `system:index`.

    Raises:
        KeyError: There is no such scene.
    """
    match = _INDEX.fullmatch(index)
    if match is None:
        raise KeyError(index)
    square = square_named(match[2])
    try:
        day = day_of(match[1])
    except ValueError:
        raise KeyError(index) from None
    scene = Scene(square, day, seed)
    known = day in LIFE and (day - _phase(square, seed)) % PERIOD_DAYS == 0
    if not known or scene.index != index:
        raise KeyError(index)
    return scene


def acquired(scene: Scene) -> str:
    """Return the scene's date, `YYYY-MM-DD`, as its `system:time_start` tells it."""
    return date_of(scene.start_ms // DAY_MS)
