"""The published tests of a GEDI shot, and how many shots each of them rejected."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.utm import UTM_NORTH, UTM_SOUTH

Values = NDArray[Any]
"""One variable of a beam, (shot,)."""

LON, LAT, AGBD, SHOT = "lon_lowestmode", "lat_lowestmode", "agbd", "shot_number"
TIME = "delta_time"
LEAF_ON, LEAF_OFF = "land_cover_data/leaf_on_doy", "land_cover_data/leaf_off_doy"
_CENTURY_S = 100 * 365 * 86_400  # later times are fills
LAST_DOY = 366
"""Last day of a leap year; the product's fills for an unknown day, 9999 and 32767, lie beyond."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One test of a shot."""

    variables: tuple[str, ...]
    """What it looks at, as paths inside a beam's group."""
    passes: Callable[..., Values]
    """Takes the variables' values, (shot,) each; returns which shots pass, (shot,)."""


def _on_earth(lon: Values, lat: Values) -> Values:
    return (np.abs(lon) <= 180.0) & (lat >= UTM_SOUTH) & (lat <= UTM_NORTH)


def _measured(agbd: Values) -> Values:
    low, high = MMEARTH_BENCH.tasks["biomass"].target.bands[0].valid
    return (agbd >= low) & (agbd <= high)


def in_leaf(leaf_on: Values, leaf_off: Values) -> Values:
    """Return where a leaf-on season is known and lies within one calendar year, (shot,)."""
    return (leaf_on >= 1) & (leaf_on < leaf_off) & (leaf_off <= LAST_DOY)


RULES: dict[str, Rule] = {
    "place": Rule((LON, LAT), _on_earth),
    "time": Rule((TIME,), lambda seconds: (seconds > 0) & (seconds < _CENTURY_S)),
    "agbd": Rule((AGBD,), _measured),
    "degrade_flag": Rule(("degrade_flag",), lambda flag: flag == 0),
    "l2_quality_flag": Rule(("l2_quality_flag",), lambda flag: flag == 1),
    "l4_quality_flag": Rule(("l4_quality_flag",), lambda flag: flag == 1),
    "leaf_off_flag": Rule(("land_cover_data/leaf_off_flag",), lambda flag: flag == 0),
    "region_class": Rule(("land_cover_data/region_class",), lambda region: region > 0),
    "leaf_doy": Rule((LEAF_ON, LEAF_OFF), in_leaf),
}
"""Every test, by name; those from degrade_flag on may be skipped by a configuration.

Source:
    MMEarth-Bench, biomass points: degrade_flag = 0, l2_quality_flag = 1, l4_quality_flag = 1,
    leaf_off_flag = 0, region_class > 0, leaf_off_doy > leaf_on_doy, agbd ≤ 2000. Place, time and
    agbd ≥ 0 are ours: they leave out fills.
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the shots of all granules."""

    granules: int = 0
    """Granules read."""
    outside: int = 0
    """Of those, granules that begin before the first or end after the last day; not counted below.
    """
    shots: int = 0
    """Shots tested."""
    rejected: dict[str, int] = field(default_factory=dict)
    """Test → shots that fail it; one that fails several tests counts for each of them."""
    untested: dict[str, int] = field(default_factory=dict)
    """Test → shots whose file lacks its variables: for them the test could not be made."""
    twice: int = 0
    """Shots that passed and were in an earlier granule too, such as two subsets of one orbit."""
    kept: int = 0
    """Shots that are left."""

    def __add__(self, other: Counts) -> Counts:
        """Return the counts of both."""
        return Counts(
            self.granules + other.granules,
            self.outside + other.outside,
            self.shots + other.shots,
            _sum(self.rejected, other.rejected),
            _sum(self.untested, other.untested),
            self.twice + other.twice,
            self.kept + other.kept,
        )

    def __str__(self) -> str:
        """Return all of it as one line for a person."""
        parts = [f"{self.kept} of {self.shots} shots in {self.granules} granules kept"]
        if self.outside:
            parts.append(f"{self.outside} granules outside the dates")
        parts += [f"{name} rejects {n}" for name, n in self.rejected.items() if n]
        parts += [f"{name} not testable for {n}" for name, n in self.untested.items() if n]
        if self.twice:
            parts.append(f"{self.twice} were there twice")
        return ", ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, as JSON can hold them."""
        return asdict(self)


def judge(
    values: Mapping[str, Values], n_shots: int, skip: Collection[str]
) -> tuple[NDArray[np.bool_], Counts]:
    """Return which shots of a beam pass every test that can be made, (shot,), and the counts.

    Args:
        values: Variables by their paths, (shot,) each; those that the file lacks are not there.
        n_shots: How many shots the beam has.
        skip: Names of tests that shall not be made.
    """
    passed = np.ones(n_shots, dtype=np.bool_)
    rejected: dict[str, int] = {}
    untested: dict[str, int] = {}
    for name, rule in RULES.items():
        if name in skip:
            continue
        if not all(variable in values for variable in rule.variables):
            untested[name] = n_shots
            continue
        good = rule.passes(*(values[variable] for variable in rule.variables))
        rejected[name] = n_shots - int(np.count_nonzero(good))
        passed &= good
    kept = int(np.count_nonzero(passed))
    return passed, Counts(shots=n_shots, rejected=rejected, untested=untested, kept=kept)


def _sum(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    both = {name: first.get(name, 0) + second.get(name, 0) for name in RULES}
    return {name: n for name, n in both.items() if name in first or name in second}
