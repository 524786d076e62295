"""What a build costs the service: EECU-seconds of a few tiles, asked for as the build asks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mmearth.catalog.errors import ConfigError, UnavailableError
from mmearth.catalog.sample import Observation
from mmearth.curate.meter import Price
from mmearth.curate.source import Visit
from mmearth.curate.sources.earthengine.source import EarthEngine

MONTHLY_EECU_HOURS = 150
"""Of a noncommercial project by default, since 27 April 2026
(developers.google.com/earth-engine/guides/noncommercial_tiers)."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a few tiles cost."""

    n_tiles: int
    """How many were tried."""
    bytes: int
    """Of the arrays that came of it."""
    seconds: float
    """One after the other."""
    prices: Mapping[str, Price]
    """By kind of request; empty where the service does not say."""

    @property
    def eecu_s(self) -> float:
        """EECU-seconds of all of it."""
        return sum(price.eecu_s for price in self.prices.values())


def calibrate(source: EarthEngine, visits: Sequence[Visit], ahead: int) -> Calibration:
    """Collect a few tiles as a build does, keep nothing, and ask the service what they cost.

    Args:
        source: Where they come from.
        visits: Which ones, each with what its label asks for.
        ahead: How many share a request, as in the build.

    Raises:
        RefusedError: A person must act before anything can be fetched.
        UnavailableError: No tile could be asked for now.
    """
    profiles: dict[str, list[str]] = {}
    profiled = replace(source, profiles=profiles)
    begin, nbytes = time.perf_counter(), 0
    unasked: UnavailableError | None = None
    for first in range(0, len(visits), ahead):
        together = visits[first : first + ahead]
        if len(together) > 1:
            profiled.look_ahead(together)
        for visit in together:
            outcomes = profiled.observe(visit).values()
            nbytes += sum(o.array.nbytes for o in outcomes if isinstance(o, Observation))
            failed = (o for o in outcomes if isinstance(o, UnavailableError))
            unasked = next(failed, unasked)
    if unasked is not None and not any(profiles.values()):
        raise unasked
    seconds = time.perf_counter() - begin
    prices: dict[str, Price] = {}
    for kind, ids in profiles.items():
        eecu_s = source.service.eecu_s(ids)
        if eecu_s is None:  # the sum of the others would be too low
            return Calibration(len(visits), nbytes, seconds, {})
        prices[kind] = Price(len(ids), eecu_s)
    return Calibration(len(visits), nbytes, seconds, prices)


def prices_for_budget(found: Calibration) -> Mapping[str, Price]:
    """Return what requests cost.

    Raises:
        ConfigError: The service does not say.
    """
    if not found.eecu_s:
        raise ConfigError(
            "Earth Engine did not say what its answers cost, so --budget-eecu cannot be kept; give "
            "--budget-requests"
        )
    return found.prices
