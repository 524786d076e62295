"""Seasons, dates of labels, and the two recipes, without a service."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmearth.catalog.errors import ConfigError
from mmearth.curate.recipes import QUIRKS, RECIPES, SPLIT_RULES, Quirks, quirks_of
from mmearth.curate.seasons import around, days_of, days_off, season

MENDED, PUBLISHED = RECIPES["default"], RECIPES["mmearth-bench-2026"]


def test_season_of_each_half_of_the_earth() -> None:
    assert season(45.0, MENDED) == (("2020-05-01", "2020-10-01"),)
    assert season(-45.0, MENDED) == (("2020-01-01", "2020-04-01"), ("2020-11-01", "2021-01-01"))
    assert season(0.0, MENDED) == season(-0.0, MENDED) == season(1e-7, MENDED)
    assert season(-1e-7, MENDED) == season(-80.0, MENDED)


def test_last_days_are_left_out_as_published() -> None:
    assert season(45.0, PUBLISHED) == (("2020-05-01", "2020-09-30"),)
    south = (("2020-01-01", "2020-03-31"), ("2020-11-01", "2020-12-31"))
    assert season(-45.0, PUBLISHED) == south
    assert season(45.0, Quirks(ends_excluded=True)) == season(45.0, PUBLISHED)


def test_another_year() -> None:
    assert season(1.0, MENDED, 2023) == (("2023-05-01", "2023-10-01"),)


@pytest.mark.parametrize(
    ("asked", "days", "expected"),
    [
        ("2020-03-01", 0, (("2020-03-01", "2020-03-02"),)),
        ("2020-03-01", 1, (("2020-02-29", "2020-03-03"),)),
        ("2020-01-05", 15, (("2019-12-21", "2020-01-21"),)),
        ("2020-05-01/2020-05-31", 15, (("2020-05-01", "2020-06-01"),)),
        (
            "2018-12-31/2018-12-31,2020-02-01/2020-02-29",
            15,
            (("2018-12-31", "2019-01-01"), ("2020-02-01", "2020-03-01")),
        ),
    ],
)
def test_intervals_of_a_date(asked: str, days: int, expected: tuple[tuple[str, str], ...]) -> None:
    assert around(asked, days) == expected


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("", ""),
        ("June", "June"),
        ("2020-02-30", "2020-02-30"),
        ("2020-06-01/", ""),
        ("/2020-06-01", ""),
        ("2020-06-01/2020-06-31", "2020-06-31"),
        ("2020-06-01/2020-06-02,", ""),
        ("2020-06-01/2020-06-02/2020-06-03", "2020-06-02/2020-06-03"),
    ],
)
def test_what_is_no_date(asked: str, found: str) -> None:
    with pytest.raises(ConfigError) as caught:
        around(asked, 3)
    sentence = f"found the date {found!r}; expected YYYY-MM-DD or YYYY-MM-DD/YYYY-MM-DD"
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "asked", ["2020-06-02/2020-06-01", "2020-01-01/2020-02-01,2020-03-02/2020-03-01"]
)
def test_an_interval_that_ends_before_it_begins(asked: str) -> None:
    with pytest.raises(ConfigError, match="expected none to end before it begins"):
        around(asked, 3)


@pytest.mark.parametrize("asked", ["0001-01-10", "9999-12-20", "9999-12-01/9999-12-31"])
def test_the_ends_of_the_calendar(asked: str) -> None:
    with pytest.raises(ConfigError, match="expected one of the years 2 to 9998"):
        around(asked, 15)


@pytest.mark.parametrize(
    ("date", "asked", "days"),
    [
        ("2020-06-15", "2020-06-15", 0),
        ("2020-06-14", "2020-06-15", 1),
        ("2020-06-16", "2020-06-15", 1),
        ("2020-03-01", "2020-02-28", 2),
        ("2020-06-01", "2020-06-01/2020-06-30", 0),
        ("2020-06-30", "2020-06-01/2020-06-30", 0),
        ("2020-07-01", "2020-06-01/2020-06-30", 1),
        ("2020-05-31", "2020-06-01/2020-06-30", 1),
        ("2020-07-10", "2020-06-01/2020-06-30,2020-07-15/2020-07-20", 5),
        ("2020-07-04", "2020-06-01/2020-06-30,2020-07-15/2020-07-20", 4),
    ],
)
def test_days_off(date: str, asked: str, days: int) -> None:
    assert days_off(date, asked) == days


def test_days_of_intervals_that_overlap() -> None:
    assert days_of("2020-02-29") == ["2020-02-29"]
    asked = "2020-03-01/2020-03-02,2020-02-28/2020-03-01"
    assert days_of(asked) == ["2020-02-28", "2020-02-29", "2020-03-01", "2020-03-02"]


_DAYS = st.dates(datetime.date(1999, 1, 1), datetime.date(2030, 1, 1))


@given(_DAYS, st.integers(0, 183), st.integers(-200, 200))
def test_a_day_is_in_its_interval_when_it_is_near(
    middle: datetime.date, days: int, off: int
) -> None:
    ((begin, after),) = around(middle.isoformat(), days)
    day = (middle + datetime.timedelta(off)).isoformat()
    assert (begin <= day < after) == (abs(off) <= days)
    assert days_off(day, middle.isoformat()) == abs(off)


def test_the_recipes() -> None:
    assert set(RECIPES) == set(SPLIT_RULES) == {"default", "mmearth-bench-2026"}
    assert [getattr(MENDED, name) for name in QUIRKS] == [False] * 7
    assert [getattr(PUBLISHED, name) for name in QUIRKS] == [True] * 7


@pytest.mark.parametrize("name", QUIRKS)
def test_one_quirk_is_switched(name: str) -> None:
    switched = quirks_of("default", {name: True})
    assert [quirk for quirk in QUIRKS if getattr(switched, quirk)] == [name]
    mended = quirks_of("mmearth-bench-2026", {name: False})
    assert [quirk for quirk in QUIRKS if not getattr(mended, quirk)] == [name]
    assert RECIPES["default"] == Quirks()
