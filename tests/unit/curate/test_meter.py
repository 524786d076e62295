"""A budget is kept by what requests cost, known or reckoned, and not by how many they are."""

from __future__ import annotations

import random

import pytest

from mmearth.catalog.errors import QuotaError
from mmearth.curate.limit import LocalLimit
from mmearth.curate.meter import EACH, EVERY, Meter, Price
from mmearth.curate.shared_limit import serve_limit
from mmearth.curate.visits import spread

_FOUR, _ONE = "value:compute", "image:computePixels"


def test_a_request_for_four_costs_four() -> None:
    meter = Meter(20.0, {_FOUR: Price(2, 16.0), _ONE: Price(4, 4.0)})
    meter.begin(_FOUR)  # 8
    for _ in range(4):
        meter.begin(_ONE)
    assert meter.spent_s == 12.0
    meter.begin(_FOUR)
    assert meter.spent_s == 20.0
    with pytest.raises(QuotaError, match="goes on where it stopped"):
        meter.begin(_ONE)


def test_what_is_known_takes_the_place_of_what_was_reckoned() -> None:
    meter = Meter(100.0, {_ONE: Price(1, 1.0)})
    for _ in range(4):
        assert meter.begin(_ONE)
    meter.charge(_ONE, Price(2, 10.0))
    # Two cost 10; the other two the mean of the three that are known.
    assert meter.spent_s == pytest.approx(10.0 + 2 * 11.0 / 3)
    meter.refused(_ONE)
    assert meter.spent_s == pytest.approx(10.0 + 11.0 / 3)


def test_every_so_many_are_priced_a_few_at_a_time() -> None:
    meter = Meter(1e9, {})
    priced = [meter.begin(_ONE) for _ in range(EACH + 5 * EVERY)]
    assert priced[:EACH] == [True] * EACH
    assert sum(priced[EACH:]) == 5
    assert meter.profiled(_ONE, "a") == ["a"]
    meter.charge(_ONE, Price(30, 30.0))
    assert [meter.profiled(_ONE, name) for name in "bcd"] == [[], [], ["d", "c", "b"]]


@pytest.mark.parametrize("n", [20, 200, 5000])
def test_a_budget_is_kept_within_a_twentieth(n: int) -> None:
    """Costs vary, the first tiles are cheap, forty fly at once, prices come late."""
    luck = random.Random(n)
    for first in (0.2, 1.0, 3.0):
        meter = Meter(5.0 * n, {_FOUR: Price(1, 4.0 * first), _ONE: Price(4, 4.0 * first)})
        true, due = 0.0, []
        with pytest.raises(QuotaError):
            while True:
                for kind, mean in ((_FOUR, 12.0), *[(_ONE, 2.0)] * 4):
                    is_priced = meter.begin(kind)
                    cost = mean * luck.uniform(0.3, 1.7)
                    true += cost
                    if is_priced:
                        due.append((kind, cost))
                for kind, cost in due[: max(0, len(due) - 2)]:
                    meter.charge(kind, Price(1, cost))
                due = due[max(0, len(due) - 2) :]
        assert true <= 1.05 * 5.0 * n
        assert true >= 0.7 * 5.0 * n


def test_without_a_budget_nothing_is_counted() -> None:
    limit = LocalLimit(4, 1000.0)
    with limit.permit(_ONE) as permit:
        assert not permit.is_metered and not permit.is_priced
    assert limit.profiled(_ONE, "a") == []


def test_the_workers_of_a_cluster_share_a_meter() -> None:
    meter = Meter(15.0, {_ONE: Price(1, 4.0)})
    with serve_limit(4, 1000.0, "127.0.0.1", meter=meter) as limit:
        with limit.permit(_ONE) as permit:
            assert permit.is_metered and permit.is_priced
        assert limit.profiled(_ONE, "a") == ["a"]
        limit.charge(_ONE, 1, 6.0)
        with limit.permit(_ONE):
            limit.refused(_ONE)
        assert meter.spent_s == 6.0
        with limit.permit(_ONE):
            pass  # 6 and the mean of 4 and 6
        with pytest.raises(QuotaError, match="budget of EECU-hours"), limit.permit(_ONE):
            pass


@pytest.mark.parametrize(
    ("n", "found"),
    [(1, [0]), (2, [0, 5]), (3, [0, 3, 6]), (10, list(range(10))), (99, list(range(10)))],
)
def test_tried_tiles_are_spread(n: int, found: list[int]) -> None:
    assert spread(range(10), n) == found
    assert spread(iter(range(10)), n, 10) == found
