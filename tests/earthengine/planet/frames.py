"""Sentinel-1's frames: slanted pieces of the swaths of several orbits, in each UTM zone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from mmearth.catalog.tile import Tile
from mmearth.tests.earthengine.planet.pixels import Double, Mask, convert
from mmearth.tests.earthengine.planet.sky import key_of, luck
from mmearth.tests.earthengine.planet.squares import outline
from mmearth.tests.earthengine.planet.times import DAY_MS, day_of, stamp, visits, within

PERIOD_DAYS = 6
LIFE = range(day_of("2018-12-01"), day_of("2021-04-01"))
"""Days on which there are scenes."""
ASCENDING, DESCENDING = "ASCENDING", "DESCENDING"
_ORBITS = 3
"""Of each direction; the third is absent over half of the world."""
_EXTRA_WIDE = 3
"""Number of the orbit that is flown in the mode EW."""
_PITCH_M, _LENGTH_M = 250_000.0, 170_000.0
_GAP_M, _OVERLAP_M = 6_000.0, 6_000.0
"""Swaths leave gaps and frames abut, but those of the first orbit overlap: it misses no tile."""
_LEAN = 0.2
_INDEX = re.compile(
    r"S1[AB]_(IW|EW)_GRD[HM]_1SD([VHQ])_(\d{8})T\d{6}_\d{8}T\d{6}_\d{6}_(\w{6})_\w{4}"
)


@dataclass(frozen=True, slots=True, order=True)
class Frame:
    """A piece of a swath: what one orbit sees again every 12 days, from two satellites every 6."""

    epsg: int
    """Of the UTM zone."""
    orbit: int
    """0 to 2 in the mode IW, 3 in the mode EW."""
    ascending: bool
    """Whether the satellite flies north."""
    column: int
    """Of the swath, counted from x = 0."""
    row: int
    """Of the piece, counted from y = 0."""

    @property
    def key(self) -> int:
        """All that is random about the swath follows from this, but the row's name."""
        return key_of(303, self.epsg, self.orbit, int(self.ascending), self.column)

    @property
    def code(self) -> str:
        """Six hexadecimal digits that name the frame."""
        zone = self.epsg % 100 + (60 if self.epsg >= 32700 else 0)
        bits = (zone << 3 | self.orbit) << 1 | int(self.ascending)
        return f"{(bits << 5 | self.column + 8) << 6 | self.row:06X}"

    @classmethod
    def parse(cls, code: str) -> Frame:
        """Return the frame of a code.

        Raises:
            ValueError: It is no hexadecimal number.
        """
        bits = int(code, 16)
        zone = bits >> 15
        epsg = 32700 + zone - 60 if zone > 60 else 32600 + zone
        return cls(epsg, bits >> 12 & 7, bool(bits >> 11 & 1), (bits >> 6 & 31) - 8, bits & 63)

    @property
    def exists(self) -> bool:
        """Say whether this orbit is flown here."""
        return self.orbit != 2 or luck(self.key)[0] < 0.5

    @property
    def phase(self) -> int:
        """A day on which it is seen."""
        return int(luck(self.key)[1] * PERIOD_DAYS)

    @property
    def relative_orbit(self) -> int:
        """1 to 175."""
        return 1 + int(luck(self.key)[2] * 175)

    @property
    def _size(self) -> tuple[float, float]:
        """Width and height in metres."""
        if self.orbit == 0:
            return _PITCH_M + _OVERLAP_M, _LENGTH_M + _OVERLAP_M
        return _PITCH_M - _GAP_M, _LENGTH_M

    @property
    def _corner(self) -> tuple[float, float, float]:
        """Lower left corner, and how far east the swath has moved at its upper end."""
        shift = _shift(self.epsg, self.orbit, self.ascending)
        x = self.column * _PITCH_M + shift % 250_000
        y = self.row * _LENGTH_M + shift // 250_000 % 170_000 - _LENGTH_M
        return x, y, (-_LEAN if self.ascending else _LEAN) * _LENGTH_M

    @property
    def footprint(self) -> BaseGeometry:
        """Outline in EPSG:4326."""
        return _footprint(self)

    def inside(self, x: Double, y: Double) -> Mask:
        """Return the places, in metres of the zone, that the frame shows."""
        (left, bottom, lean), (width, height) = self._corner, self._size
        across = x - left - lean * (y - bottom) / height
        along = (y >= bottom) & (y < bottom + height)
        return np.asarray((across >= 0.0) & (across < width) & along)

    def touches(self, x: Double, y: Double) -> bool:
        """Say whether the frame may touch the box of some places, in metres of the zone."""
        (left, bottom, lean), (width, height) = self._corner, self._size
        west, east = left + min(lean, 0.0), left + width + max(lean, 0.0)
        across = float(x.max()) >= west and float(x.min()) <= east
        return across and float(y.max()) >= bottom and float(y.min()) <= bottom + height


@lru_cache(maxsize=1024)
def _shift(epsg: int, orbit: int, ascending: bool) -> int:
    return key_of(304, epsg, orbit, int(ascending))


@lru_cache(maxsize=4096)
def _footprint(frame: Frame) -> BaseGeometry:
    (x, y, lean), (width, height) = frame._corner, frame._size
    upper = y + height
    ring = [(x, y), (x + width, y), (x + width + lean, upper), (x + lean, upper)]
    return outline(Polygon(ring), frame.epsg)


def frames_over(bounds: BaseGeometry, anchor: Tile) -> Iterator[Frame]:
    """Yield the frames of the anchor's zone that touch a place."""
    corners = shapely.get_coordinates(bounds)
    x, y = convert(corners[:, 0], corners[:, 1], "EPSG:4326", f"EPSG:{anchor.epsg}")
    first = math.floor(float(x.min()) / _PITCH_M)
    lowest = math.floor(float(y.min()) / _LENGTH_M)
    for ascending in (True, False):
        for orbit in range(_ORBITS + 1):
            for column in range(first - 3, first + 3):
                for row in range(lowest - 1, lowest + 3):
                    frame = Frame(anchor.epsg, orbit, ascending, column, row)
                    near = frame.touches(x, y) and frame.exists
                    if near and frame.footprint.intersects(bounds):
                        yield frame


@dataclass(frozen=True, slots=True)
class Pass:
    """One frame on one day."""

    frame: Frame
    """Where."""
    day: int
    """Days since 1970."""
    full: bool
    """Whether it sends and receives all four ways."""

    @property
    def mode(self) -> str:
        """`IW` or `EW`."""
        return "EW" if self.frame.orbit == _EXTRA_WIDE else "IW"

    @property
    def polarisations(self) -> tuple[str, ...]:
        """Its bands."""
        if self.mode == "EW":
            return ("HH", "HV")
        return ("VV", "VH", "HH", "HV") if self.full else ("VV", "VH")

    @property
    def platform(self) -> str:
        """`A` or `B`: they take turns."""
        return "AB"[(self.day - self.frame.phase) // PERIOD_DAYS % 2]

    @property
    def start_ms(self) -> int:
        """When it was seen: at six in the evening flying north, in the morning flying south."""
        zone = self.frame.epsg % 100
        hour = ((17.8 if self.frame.ascending else 5.9) - (zone * 6 - 183) / 15.0) % 24.0
        return self.day * DAY_MS + int(hour * 3_600_000) + self.frame.row * 25_000

    @property
    def index(self) -> str:
        """`system:index`; here `1SDQ` stands for all four polarisations."""
        return _index(self)


@lru_cache(maxsize=16384)
def _index(each: Pass) -> str:
    frame = each.frame
    letter = "H" if each.mode == "EW" else "Q" if each.full else "V"
    size = "M" if each.mode == "EW" else "H"
    times = f"{stamp(each.start_ms)}_{stamp(each.start_ms + 25_000)}"
    orbit = 33_020 + int((each.day - day_of("2020-06-14")) * 14.6) + int(frame.ascending)
    check = key_of(305, frame.key, frame.row, each.day) % 65_536
    name = f"S1{each.platform}_{each.mode}_GRD{size}_1SD{letter}"
    return f"{name}_{times}_{orbit:06d}_{frame.code}_{check:04X}"


def passes_of(frame: Frame, times: list[tuple[int, int]] | None, full: bool) -> list[Pass]:
    """Return the passes over a frame that begin in one of the times."""
    days = visits(times, LIFE, PERIOD_DAYS, frame.phase)
    passes = (Pass(frame, day, full) for day in days)
    return [each for each in passes if within(each.start_ms, times)]


def pass_named(index: str) -> Pass:
    """Return the pass of a `system:index`.

    Raises:
        KeyError: There is no such pass.
    """
    match = _INDEX.fullmatch(index)
    if match is None:
        raise KeyError(index)
    try:
        frame, day = Frame.parse(match[4]), day_of(match[3])
    except ValueError:
        raise KeyError(index) from None
    # The day is that of the orbit at the equator; a frame further on may begin after midnight.
    for start in (day, day - 1):
        found = Pass(frame, start, match[2] == "Q")
        flown = frame.exists and (start - frame.phase) % PERIOD_DAYS == 0 and start in LIFE
        if flown and found.index == index:
            return found
    raise KeyError(index)
