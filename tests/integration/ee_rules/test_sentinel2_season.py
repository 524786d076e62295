"""When the anchor scene may be of: in each test the first scene is better, if its date will do."""

from __future__ import annotations

import pytest

from mmearth.catalog.errors import ConfigError, NoDataError
from mmearth.catalog.tile import Tile
from mmearth.curate.source import Outcome
from mmearth.tests.integration.ee_rules.asking import (
    DEFAULT,
    PUBLISHED,
    RECIPE_NAMES,
    Ask,
    drawn,
    seen,
)
from mmearth.tests.integration.ee_rules.scenes import NORTH, SOUTH, Optical, World, painted, within

EQUATOR = Tile(32633, 499_360, 640)
HAZE, HOLE = painted(within(100), 50), painted(within(100), 0, 4)


def _better(when: str) -> Optical:
    return Optical(1, when)


def _worse(when: str) -> Optical:
    """A scene that is clear enough, but cloudier and with less data than the better one."""
    return Optical(2, when, sen2cor=HAZE, classes=HOLE)


def _chosen(outcome: Outcome) -> tuple[float, str | None]:
    return drawn(outcome), seen(outcome).acquired


@pytest.mark.parametrize(
    ("tile", "when", "by_default", "as_published"),
    [
        (NORTH, "2020-04-30T23:59:59", False, False),
        (NORTH, "2020-05-01T00:00:00", True, True),
        (NORTH, "2020-09-29T23:59:59", True, True),
        (NORTH, "2020-09-30T00:00:00", True, False),
        (NORTH, "2020-09-30T23:59:59", True, False),
        (NORTH, "2020-10-01T00:00:00", False, False),
        (NORTH, "2019-07-01T10:00:00", False, False),
        (SOUTH, "2019-12-31T23:59:59", False, False),
        (SOUTH, "2020-01-01T00:00:00", True, True),
        (SOUTH, "2020-03-30T23:59:59", True, True),
        (SOUTH, "2020-03-31T23:59:59", True, False),
        (SOUTH, "2020-04-01T00:00:00", False, False),
        (SOUTH, "2020-10-31T23:59:59", False, False),
        (SOUTH, "2020-11-01T00:00:00", True, True),
        (SOUTH, "2020-12-30T23:59:59", True, True),
        (SOUTH, "2020-12-31T00:00:00", True, False),
        (SOUTH, "2021-01-01T00:00:00", False, False),
        (EQUATOR, "2020-07-01T10:00:00", True, True),
        (EQUATOR, "2020-01-15T10:00:00", False, False),
    ],
)
def test_season(ask: Ask, tile: Tile, when: str, by_default: bool, as_published: bool) -> None:
    middle = "2020-02-01T10:00" if tile is SOUTH else "2020-06-01T10:00"
    world = World(tile, [_worse(middle), _better(when)])
    for recipe, fits in ((DEFAULT, by_default), (PUBLISHED, as_published)):
        expected = (1.0, when[:10]) if fits else (2.0, middle[:10])
        assert _chosen(ask(world, ["sentinel2"], recipe)["sentinel2"]) == expected


@pytest.mark.parametrize(
    ("first", "second", "chosen"),
    [
        ("2019-06-12T10:00", "2019-06-17T10:00", 2),
        ("2019-06-13T10:00", "2019-06-17T10:00", 1),  # as near: the better one
        ("2019-06-18T10:00", "2019-06-13T10:00", 2),
        ("2019-06-17T10:00", "2019-06-13T10:00", 1),
        # A day is a day: 23:59 of the day before is further off than 23:59 of the day.
        ("2019-06-14T23:59", "2019-06-15T23:59", 2),
        ("2019-06-15T00:00", "2019-06-15T23:59", 1),
        ("2019-06-15T23:59", "2019-06-15T00:00", 1),
    ],
)
@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_nearest_day_of_a_label(
    ask: Ask, first: str, second: str, chosen: int, recipe: str
) -> None:
    world = World(NORTH, [_worse(second), _better(first)])
    outcome = ask(world, ["sentinel2"], recipe, "2019-06-15")["sentinel2"]
    assert drawn(outcome) == chosen


@pytest.mark.parametrize(
    ("when", "days", "there"),
    [
        ("2019-05-31T00:00:00", 15, True),
        ("2019-05-30T23:59:59", 15, False),
        ("2019-06-30T23:59:59", 15, True),
        ("2019-07-01T00:00:00", 15, False),
        ("2019-06-15T23:59:59", 0, True),
        ("2019-06-16T00:00:00", 0, False),
        ("2019-06-14T23:59:59", 0, False),
    ],
)
@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_none_beyond_the_days_of_a_label(
    ask: Ask, when: str, days: int, there: bool, recipe: str
) -> None:
    outcome = ask(World(NORTH, [_better(when)]), ["sentinel2"], recipe, "2019-06-15", days)
    if there:
        assert _chosen(outcome["sentinel2"]) == (1.0, when[:10])
    else:
        assert isinstance(outcome["sentinel2"], NoDataError)
        assert "none of the 0 Sentinel-2 scenes" in str(outcome["sentinel2"])


@pytest.mark.parametrize(
    ("when", "fits"),
    [
        ("2018-03-09T23:59:59", False),
        ("2018-03-10T00:00:00", True),
        ("2018-03-20T23:59:59", True),
        ("2018-03-21T00:00:00", False),
        ("2019-03-14T23:59:59", False),
        ("2019-03-15T00:00:00", True),
        ("2019-03-15T23:59:59", True),
        ("2019-03-16T00:00:00", False),
    ],
)
@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_intervals_of_a_label(ask: Ask, when: str, fits: bool, recipe: str) -> None:
    """Both ends count, and inside all days are alike: the better scene wins."""
    world = World(NORTH, [_worse("2018-03-15T10:00"), _better(when)])
    asked = "2018-03-10/2018-03-20,2019-03-15/2019-03-15"
    outcome = ask(world, ["sentinel2"], recipe, asked)["sentinel2"]
    assert drawn(outcome) == (1 if fits else 2)


def test_a_date_that_is_none_is_a_sentence(ask: Ask) -> None:
    outcome = ask(World(), ["sentinel2"], DEFAULT, "June 2020")["sentinel2"]
    assert isinstance(outcome, ConfigError)
    assert "found the date 'June 2020'; expected YYYY-MM-DD" in str(outcome)
