"""Each quirk changes its own rule and no other: a case for each, seen under each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import shapely

from mmearth.catalog.sample import Observation
from mmearth.curate.recipes import QUIRKS, Quirks
from mmearth.tests.integration.ee_rules.asking import Ask
from mmearth.tests.integration.ee_rules.scenes import (
    NORTH,
    Optical,
    World,
    beyond,
    flat,
    painted,
    reach,
    within,
)

GEDI = "LARSE/GEDI/GEDI04_A_002"
PLACE = World()


@dataclass(frozen=True, slots=True)
class Case:
    """What one modality comes to, with and without a quirk."""

    world: World
    wanted: str
    read: Callable[[Any], float]
    mended: float | None
    published: float | None
    date: str | None = None


def _footprints(optical: Optical, east: float, north: float) -> World:
    """Return a world with a footprint near the centre, of days 100 to 200, and another."""
    properties: dict[str, Any] = {
        **{"degrade_flag": 0, "l2_quality_flag": 1, "l4_quality_flag": 1, "leaf_off_flag": 0},
        **{"region_class": 1, "leaf_on_doy": 100, "leaf_off_doy": 200, "agbd": 7.0},
    }
    points = [shapely.Point(5, 5), shapely.Point(east, north)]
    times = {"time_start": "2020-06-14T10:10:31Z", "time_end": "2020-06-14T11:43:02Z"}
    granule = PLACE.feature(reach(2000), table_id=f"{GEDI}/ONE", **times)
    rows = [PLACE.feature(point, **properties) for point in points]
    return World(NORTH, [optical], tables={f"{GEDI}_INDEX": [granule], f"{GEDI}/ONE": rows})


def _optical(*scenes: Optical) -> World:
    return World(NORTH, scenes)


def _corner(array: Any) -> float:
    return float(array.flat[0])


JUNE = "2020-06-01T10:00"
CORNERS = painted(beyond(640), 100)
HAZE, HOLE = painted(within(140), 100), painted(within(100), 0, 4)
RAIN = {
    f"{year}{month:02d}": {"total_precipitation_sum": flat(year - 2000 + month / 16)}
    for year in (2019, 2020)
    for month in range(1, 13)
}
CASES = {
    "clouds_on_circle": Case(
        _optical(Optical(1, JUNE, sen2cor=CORNERS)), "sentinel2", _corner, None, 1.0
    ),
    "ends_excluded": Case(
        _optical(Optical(1, "2020-09-30T10:00")), "sentinel2", _corner, 1.0, None
    ),
    "leaf_days_late": Case(
        _footprints(Optical(1, "2020-04-09T10:00"), 15, 5), "biomass", lambda a: a.max(), 7.0, None
    ),
    "january_looks_ahead": Case(
        World(months=RAIN), "precipitation", _corner, 19.75, 20.75, "2020-01-15"
    ),
    "labels_in_circle": Case(
        _footprints(Optical(1, JUNE), -635, 635), "biomass", _corner, 7.0, -9999.0
    ),
    "least_no_data": Case(
        _optical(Optical(1, JUNE, sen2cor=HAZE), Optical(2, JUNE, classes=HOLE)),
        *("sentinel2", _corner, 2.0, 1.0),
    ),
    "any_zone": Case(
        _optical(Optical(1, JUNE, zone=32), Optical(2, JUNE, sen2cor=HAZE, classes=HOLE)),
        *("sentinel2", _corner, 2.0, 1.0),
    ),
}


def test_every_quirk_has_a_case_and_a_reason() -> None:
    assert set(CASES) == set(QUIRKS)
    page = Path(__file__).resolve().parents[3] / "docs" / "differences.md"
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line[:3] == "| `"]
    explained = {line.split("`")[1]: line.strip("|").split("|")[-1] for line in lines}
    assert all(explained[quirk].strip() for quirk in QUIRKS)


@pytest.mark.parametrize("switched", QUIRKS)
@pytest.mark.parametrize("name", QUIRKS)
def test_a_quirk_alone(ask: Ask, name: str, switched: str) -> None:
    case = CASES[name]
    outcome = ask(case.world, [case.wanted], Quirks(**{switched: True}), case.date)[case.wanted]
    found = case.read(outcome.array) if isinstance(outcome, Observation) else None
    assert found == (case.published if name == switched else case.mended), outcome
