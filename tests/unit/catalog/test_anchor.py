"""The day that stands for a date, for intervals and for nothing."""

from __future__ import annotations

import pytest

from mmearth.catalog.anchor import anchor_date, intervals, normalised
from mmearth.catalog.errors import ConfigError


@pytest.mark.parametrize(
    ("when", "day"),
    [
        ("2019-02-28", "2019-02-28"),
        ("2020-06-01/2020-06-01", "2020-06-01"),
        ("2020-06-01/2020-06-02", "2020-06-01"),  # the earlier of the two in the middle
        ("2020-06-01/2020-06-03", "2020-06-02"),
        ("2020-05-01/2020-06-30", "2020-05-31"),  # 61 days: the 31st of them
        ("2020-12-31/2021-01-02", "2021-01-01"),
        ("2020-06-12/2020-08-18,2020-09-01/2020-09-05", "2020-07-15"),  # the longer one decides
        ("2019-01-01/2019-01-05,2020-01-01/2020-01-05", "2019-01-03"),  # the first of equals
    ],
)
def test_the_middle_day_of_the_longest_interval(when: str, day: str) -> None:
    assert anchor_date(when, 50.0) == anchor_date(when, -50.0) == day


def test_without_a_date_the_middle_of_the_leaf_season() -> None:
    # 1 May to 30 September are 153 days, 1 January to 31 March 91.
    assert anchor_date(None, 0.0) == anchor_date(None, 83.0) == "2020-07-16"
    assert anchor_date(None, -0.1) == anchor_date(None, -79.0) == "2020-02-15"


@pytest.mark.parametrize(
    ("when", "written"),
    [
        ("20200601", "2020-06-01"),
        ("2020-06-01/2020-06-30", "2020-06-01/2020-06-30"),
        (
            "20200601/2020-06-30,2021-01-01/2021-01-01",
            "2020-06-01/2020-06-30,2021-01-01/2021-01-01",
        ),
    ],
)
def test_dates_are_written_in_one_way(when: str, written: str) -> None:
    assert normalised(when) == written


def test_what_is_no_date_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"found the date 'June'; expected YYYY-MM-DD or"):
        intervals("June")
    with pytest.raises(ConfigError, match="expected none to end before it begins"):
        anchor_date("2020-06-02/2020-06-01", 1.0)
