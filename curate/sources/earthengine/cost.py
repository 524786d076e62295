"""What a build costs the service: counted requests, and EECU-hours found on a few tiles."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ee

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.sources.earthengine.source import EarthEngine

MONTHLY_EECU_HOURS = 150
"""Of a noncommercial project by default, since 27 April 2026
(developers.google.com/earth-engine/guides/noncommercial_tiers)."""
# A profile is a table whose first column is the cost of each step in EECU-seconds.
_COST = re.compile(r"^\s*(\d+(?:\.\d+)?)\s", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a few tiles cost."""

    n_tiles: int
    """How many were tried."""
    n_requests: int
    """Requests that answered."""
    bytes: int
    """Of the arrays that came of it."""
    seconds: float
    """One after the other."""
    eecu_s: float | None
    """EECU-seconds; None where the service does not say."""


def calibrate(source: EarthEngine, tiles: Sequence[Tile], names: Sequence[str]) -> Calibration:
    """Collect a few tiles, keep nothing, and ask the service what they cost.

    Args:
        source: Where they come from.
        tiles: Which ones.
        names: Modalities and tasks with pixel-level targets.

    Raises:
        RefusedError: A person must act before anything can be fetched.
    """
    profiles: list[str] = []
    profiled = replace(source, profiles=profiles)
    begin, nbytes = time.perf_counter(), 0
    for tile in tiles:
        outcomes = profiled.observe(tile, names, None).values()
        nbytes += sum(o.array.nbytes for o in outcomes if isinstance(o, Observation))
    seconds = time.perf_counter() - begin
    return Calibration(
        len(tiles), len(profiles) or 2 * len(tiles), nbytes, seconds, _eecu_s(source, profiles)
    )


def requests_for(calibration: Calibration, eecu_hours: float) -> int:
    """Return how many requests a budget of EECU-hours pays for.

    Raises:
        ConfigError: The service does not say what requests cost.
    """
    if not calibration.eecu_s:
        raise ConfigError(
            "Earth Engine did not say what its answers cost, so --budget-eecu cannot be kept; give "
            "--budget-requests"
        )
    return int(eecu_hours * 3600.0 / (calibration.eecu_s / calibration.n_requests))


def _eecu_s(source: EarthEngine, profiles: list[str]) -> float | None:
    if not profiles:
        return None
    service = source.service

    def table() -> Any:
        return ee.ApiFunction.lookup("Profile.getProfiles").call(ids=list(profiles))

    text = str(service.value(service.made(table)))
    return sum(float(cost) for cost in _COST.findall(text))
