"""Which Sentinel-1 scenes are drawn: the nearest of each orbit, of those that may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mmearth.catalog.errors import NoDataError
from mmearth.tests.integration.ee_rules.asking import DEFAULT, PUBLISHED, RECIPE_NAMES, Ask, seen
from mmearth.tests.integration.ee_rules.scenes import NORTH, Optical, Radar, World, disc, reach

NAMES = ["sentinel2", "sentinel1"]
DAY = "2020-07-01"
ANCHOR = Optical(9, f"{DAY}T10:00")
NODATA = -9999.0
NEAR, FAR = Radar(1, "2020-07-03T05:00"), Radar(2, "2020-06-26T05:00")
"""Two days and five days off: the near one wins where no rule refuses it."""


def _bands(
    ask: Ask,
    radar: Sequence[Radar],
    recipe: str = DEFAULT,
    anchor: Optical = ANCHOR,
    date: str | None = None,
) -> list[float]:
    """Return the value of each of the eight bands."""
    array = seen(ask(World(NORTH, [anchor], radar), NAMES, recipe, date)["sentinel1"]).array
    assert (array == array[:, :1, :1]).all()
    return [float(value) for value in array[:, 0, 0]]


def _ascending(ask: Ask, radar: Sequence[Radar], recipe: str = DEFAULT, **how: Any) -> float:
    """Return the number of the ascending scene, whatever the order of the collection."""
    found = {_bands(ask, each, recipe, **how)[0] for each in (radar, radar[::-1])}
    assert len(found) == 1
    return found.pop()


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"mode": "EW"}, False),
        ({"mode": "SM"}, False),
        ({"outline": reach(201)}, True),
        ({"outline": reach(199)}, False),
        ({"outline": disc(1195)}, True),
        ({"outline": disc(1180)}, False),
        ({"ascending": False}, False),
    ],
)
def test_what_may_be_drawn(ask: Ask, recipe: str, change: dict[str, Any], fits: bool) -> None:
    """Both recipes want the square covered: the published circle is for Sentinel-2 only."""
    near = replace(NEAR, **change)
    assert _ascending(ask, [near, FAR], recipe) == (1.0 if fits else 2.0)


@pytest.mark.parametrize(
    ("when", "nearer"),
    [
        ("2020-07-05T18:59", True),
        ("2020-07-05T19:01", False),
        ("2020-06-26T05:01", True),
        ("2020-06-26T04:59", False),
        ("2020-07-01T00:00", True),
    ],
)
@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_nearest_counts_from_the_midnight_of_the_anchor(
    ask: Ask, when: str, nearer: bool, recipe: str
) -> None:
    """The other one, of 26 June at 5 in the morning, is 4 days and 19 hours before 1 July."""
    assert _ascending(ask, [Radar(1, when), FAR], recipe) == (1.0 if nearer else 2.0)


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_each_orbit_has_its_nearest(ask: Ask, recipe: str) -> None:
    """Ascending bands come first, then descending ones: VV, VH, HH, HV each."""
    radar = [
        Radar(1, "2020-06-28T17:00"),
        Radar(2, "2020-07-10T17:00"),
        Radar(3, "2020-07-09T05:00", ascending=False),
        Radar(4, "2020-06-20T05:00", ascending=False),
    ]
    nothing = [NODATA, NODATA]
    assert _bands(ask, radar, recipe) == [1.0, 1.25, *nothing, 3.0, 3.25, *nothing]
    assert _bands(ask, radar[1:3], recipe) == [2.0, 2.25, *nothing, 3.0, 3.25, *nothing]
    # One orbit is enough.
    assert _bands(ask, radar[:2], recipe) == [1.0, 1.25, *nothing, *nothing, *nothing]
    assert _bands(ask, radar[2:], recipe) == [*nothing, *nothing, 3.0, 3.25, *nothing]


@pytest.mark.parametrize(
    ("polarisations", "expected"),
    [
        (("VV",), [1.0, NODATA, NODATA, NODATA]),
        (("HH",), [NODATA, NODATA, 1.5, NODATA]),
        (("HH", "HV"), [NODATA, NODATA, 1.5, 1.75]),
        (("VV", "VH", "HH", "HV"), [1.0, 1.25, 1.5, 1.75]),
        (("HV", "VH", "VV"), [1.0, 1.25, NODATA, 1.75]),
    ],
)
def test_a_polarisation_that_was_not_sent(
    ask: Ask, polarisations: tuple[str, ...], expected: list[float]
) -> None:
    """The nearest scene is drawn with what it has; no other one fills in."""
    near = replace(NEAR, polarisations=polarisations)
    full = replace(FAR, polarisations=("VV", "VH", "HH", "HV"))
    assert _bands(ask, [near, full])[:4] == expected


@pytest.mark.parametrize(
    ("when", "by_default", "as_published"),
    [
        ("2020-09-30T05:00", True, False),
        ("2020-09-29T05:00", True, True),
        ("2020-10-01T05:00", False, False),
    ],
)
def test_same_season_as_the_anchor(
    ask: Ask, when: str, by_default: bool, as_published: bool
) -> None:
    """A scene beyond the season is not drawn, however near to the anchor it is."""
    anchor = Optical(9, "2020-09-28T10:00")
    radar = [Radar(1, when), Radar(2, "2020-09-20T05:00")]
    for recipe, fits in ((DEFAULT, by_default), (PUBLISHED, as_published)):
        assert _ascending(ask, radar, recipe, anchor=anchor) == (1.0 if fits else 2.0)


@pytest.mark.parametrize(
    ("when", "there"), [("2020-07-16T23:59", True), ("2020-07-17T00:00", False)]
)
def test_same_days_as_the_anchor_of_a_label(ask: Ask, when: str, there: bool) -> None:
    world = World(NORTH, [ANCHOR], [Radar(1, when)])
    outcome = ask(world, NAMES, DEFAULT, DAY)["sentinel1"]
    assert isinstance(outcome, NoDataError) is not there


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_neither_orbit_is_missing_data(ask: Ask, recipe: str) -> None:
    radar = [replace(NEAR, mode="EW"), replace(FAR, outline=reach(0))]
    outcomes = ask(World(NORTH, [ANCHOR], radar), NAMES, recipe)
    assert np.unique(seen(outcomes["sentinel2"]).array).tolist() == [9]
    assert isinstance(outcomes["sentinel1"], NoDataError)
    assert (
        str(outcomes["sentinel1"])
        == "no Sentinel-1 scene of either orbit covers the tile in its season"
    )


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_a_later_visit_draws_the_same(ask: Ask, recipe: str) -> None:
    """It knows the anchor's day only. The anchor was taken at 23:00: the moment is nearer to the
    second scene (21 hours, not 46), the day to the first (23 hours before it, not 44 after)."""
    radar = [Radar(1, "2020-06-30T01:00"), Radar(2, "2020-07-02T20:00")]
    world = World(NORTH, [Optical(9, f"{DAY}T23:00")], radar)
    whole = seen(ask(world, NAMES, recipe)["sentinel1"])
    later = seen(ask(world, ["sentinel1"], recipe, DAY)["sentinel1"])
    assert whole.array[0, 0, 0] == 1.0
    assert np.array_equal(whole.array, later.array)
    assert whole.source_ids == later.source_ids == ("COPERNICUS/S1_GRD/S1_1",)
    assert whole.acquired == later.acquired == DAY


def test_a_later_visit_looks_through_the_whole_season(ask: Ask) -> None:
    """Not only around the anchor: a pass of five weeks before is the nearest of its orbit."""
    passes = [
        Radar(1, "2020-09-15T05:00"),
        Radar(2, "2020-10-01T05:00"),
        Radar(3, "2020-08-20T05:00", ascending=False),
    ]
    world = World(NORTH, [Optical(9, "2020-09-25T10:00")], passes)
    whole = seen(ask(world, ["sentinel2", "sentinel1"])["sentinel1"])
    later = seen(ask(world, ["sentinel1"], date="2020-09-25")["sentinel1"])
    assert whole.source_ids == later.source_ids
    assert [index[-1] for index in later.source_ids] == ["1", "3"]
