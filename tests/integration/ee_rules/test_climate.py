"""Which months of ERA5-Land are taken, from a series that one can add up by hand."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mmearth.catalog.errors import NoDataError
from mmearth.tests.integration.ee_rules.asking import DEFAULT, PUBLISHED, RECIPE_NAMES, Ask, seen
from mmearth.tests.integration.ee_rules.scenes import Field, World, first, flat, masked, only

MONTHS = [f"{year}{month:02d}" for year in (2018, 2019, 2020) for month in range(1, 13)]
"""The n-th has n metres of rain, a mean of 300 + n, a least of 200 - n, a greatest of 400 + n."""
NAMES = ["precipitation", "temperature"]


def _month(n: float) -> dict[str, Field]:
    return {
        "total_precipitation_sum": flat(n),
        "temperature_2m": flat(300 + n),
        "temperature_2m_min": flat(200 - n),
        "temperature_2m_max": flat(400 + n),
        "skin_temperature": flat(-1),
    }


SERIES = {name: _month(n) for n, name in enumerate(MONTHS, start=1)}


def _values(
    ask: Ask, date: str, recipe: str = DEFAULT, series: Mapping[str, Mapping[str, Field]] = SERIES
) -> tuple[list[float], list[float]]:
    outcomes = ask(World(months=series), NAMES, recipe, date)
    rain, warmth = (seen(outcomes[name]).array.tolist() for name in NAMES)
    return rain, warmth


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
@pytest.mark.parametrize("date", ["2020-06-01", "2020-06-30"])
def test_month_last_month_and_year(ask: Ask, recipe: str, date: str) -> None:
    """June 2020 is number 30, May 29; the year is 19 (July 2019) to 30: 294 in all, 24.5 each."""
    rain, warmth = _values(ask, date, recipe)
    assert rain == [29.0, 30.0, 294.0]
    may, june = [429.0, 329.0, 171.0], [430.0, 330.0, 170.0]
    assert warmth == [*may, *june, 430.0, 324.5, 170.0]


def test_the_year_takes_each_extreme_where_it_is(ask: Ask) -> None:
    """In the year that ends with the anchor's month, and not a month earlier or later."""
    for odd, inside in (("201907", True), ("201906", False), ("202006", True), ("202007", False)):
        series = SERIES | {odd: _month(90) | {"temperature_2m_min": flat(5)}}
        warmth = _values(ask, "2020-06-15", series=series)[1]
        assert (warmth[6], warmth[8]) == ((490.0, 5.0) if inside else (430.0, 170.0)), odd


def test_the_month_before_january(ask: Ask) -> None:
    """December 2019 is number 24, January 2020 25, December 2020 36."""
    before = _values(ask, "2020-01-15")
    assert before[0] == [24.0, 25.0, sum(range(14, 26))]
    assert before[1][:3] == [424.0, 324.0, 176.0]
    ahead = _values(ask, "2020-01-15", PUBLISHED)
    assert ahead[0] == [36.0, 25.0, sum(range(14, 26))]
    assert ahead[1][:3] == [436.0, 336.0, 164.0]


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_the_month_before_december_and_february(ask: Ask, recipe: str) -> None:
    assert _values(ask, "2020-12-31", recipe)[0] == [35.0, 36.0, sum(range(25, 37))]
    assert _values(ask, "2020-02-29", recipe)[0] == [25.0, 26.0, sum(range(15, 27))]


@pytest.mark.parametrize(
    ("date", "absent", "by_default", "as_published"),
    [
        ("2020-06-15", "202006", False, False),
        ("2020-06-15", "202005", False, False),
        ("2020-06-15", "201907", False, False),
        ("2020-06-15", "201906", True, True),
        ("2020-06-15", "202007", True, True),
        ("2020-01-15", "202012", True, False),
        ("2020-01-15", "201912", False, False),
    ],
)
def test_a_month_that_is_not_there(
    ask: Ask, date: str, absent: str, by_default: bool, as_published: bool
) -> None:
    series = {name: month for name, month in SERIES.items() if name != absent}
    for recipe, there in ((DEFAULT, by_default), (PUBLISHED, as_published)):
        for outcome in ask(World(months=series), NAMES, recipe, date).values():
            assert isinstance(outcome, NoDataError) is not there
            if not there:
                sentence = f"ERA5-Land has no twelve months that end with {date[:7]}"
                assert str(outcome) == sentence


def test_the_sea(ask: Ask) -> None:
    series = {name: dict.fromkeys(month, masked()) for name, month in SERIES.items()}
    for outcome in ask(World(months=series), NAMES, DEFAULT, "2020-06-15").values():
        assert isinstance(outcome, NoDataError)
        assert str(outcome) == "ERA5-Land has no values here: the tile lies at sea"


def test_the_coast_has_the_values_of_its_land(ask: Ask) -> None:
    series = {
        name: {band: only(first(500), values) for band, values in month.items()}
        for name, month in SERIES.items()
    }
    assert _values(ask, "2020-06-15", series=series)[0] == [29.0, 30.0, 294.0]
