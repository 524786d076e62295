"""A service out of reach: all wait, one asks, and nobody waits for ever."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmearth.catalog.errors import QuotaError, UnavailableError
from mmearth.curate.limit import Limit, LocalLimit
from mmearth.curate.meter import Meter, Price
from mmearth.curate.outage import LOST_AFTER, Outage, OutOfReachError, Patience, as_text
from mmearth.curate.shared_limit import serve_limit
from mmearth.curate.tempo import N_ANSWERS, Tempo

_QUICK = Patience(0.02, 0.1, 20.0)


def _lost(outage: Outage, now: float = 0.0) -> None:
    for _ in range(LOST_AFTER):
        outage.failed(now, "no route")


def test_a_cut_connection_is_no_outage() -> None:
    outage = Outage(Patience())
    for _ in range(LOST_AFTER - 1):
        outage.failed(0.0, "reset")
    outage.answered()
    outage.failed(0.0, "reset")
    assert not outage.is_on
    assert outage.delay(0.0) == 0.0


def test_it_is_asked_ever_more_seldom() -> None:
    outage = Outage(Patience(1.0, 5.0, 100.0))
    _lost(outage)
    asked, now = [], 0.0
    for _ in range(5):
        now += outage.delay(now)
        asked.append(now)
        outage.failed(now, "no route")
        outage.failed(now, "another that was still on its way")
    assert asked == [1.0, 3.0, 7.0, 12.0, 17.0]
    outage.answered()  # it was on its way
    assert outage.delay(now) > 0.0
    outage.found(now)
    assert outage.delay(now) == 0.0


def test_it_is_waited_for_so_long_and_no_longer() -> None:
    outage = Outage(Patience(1.0, 60.0, 90.0))
    _lost(outage)
    assert outage.delay(89.0) <= 1.0
    with pytest.raises(OutOfReachError, match="no route for 90 s; run the same command again"):
        outage.delay(90.0)


def test_it_is_said_once_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(Patience(1.0, 60.0, 1800.0))
    with caplog.at_level(logging.WARNING, "mmearth"):
        _lost(outage)
        for now in range(1, 100):
            outage.failed(float(now), "no route")
        outage.found(100.0)
        outage.found(101.0)
    begun, over = (record.getMessage() for record in caplog.records)
    assert "no route: all wait" in begun and "for 30 min at most" in begun and "Ctrl-C" in begun
    assert "answers again after 100 s" in over


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5 s"), (60, "60 s"), (1800, "30 min"), (43200, "12 h")]
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert as_text(seconds) == text


class _Network:
    """Something that is there or not, and counts who asks."""

    def __init__(self) -> None:
        self.is_up, self.n_asked, self.n_trials = True, 0, 0
        self._lock = threading.Lock()

    def ask(self, limit: Limit) -> None:
        """Ask until it is answered, as a service does."""
        while True:
            with limit.permit() as permit:
                with self._lock:
                    self.n_asked += 1
                    self.n_trials += permit.is_trial
                time.sleep(0.005)
                if not self.is_up:
                    limit.lost("down")
                elif permit.is_trial:
                    limit.found()
                else:
                    return


@pytest.mark.parametrize("shared", [False, True])
def test_all_hold_while_one_asks(shared: bool) -> None:
    network = _Network()
    network.is_up = False

    def ask_all(limit: Limit) -> None:
        with ThreadPoolExecutor(12) as pool:
            done = [pool.submit(network.ask, limit) for _ in range(60)]
            time.sleep(0.5)
            assert not any(each.done() for each in done)
            assert 3 <= network.n_trials <= 9  # after 0.02, 0.06, 0.14, 0.24, 0.34, 0.44 s
            assert network.n_asked - network.n_trials <= 12 + LOST_AFTER  # on their way
            network.is_up = True
            for each in done:
                each.result(timeout=10)

    if shared:
        with serve_limit(12, 1000.0, "127.0.0.1", patience=_QUICK) as limit:
            ask_all(limit)
    else:
        ask_all(LocalLimit(12, 1000.0, patience=_QUICK))


@pytest.mark.parametrize("shared", [False, True])
def test_whoever_waits_is_let_go(shared: bool) -> None:
    def let_go(limit: Limit) -> None:
        for _ in range(LOST_AFTER):
            limit.lost("down")
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(limit.permit().__enter__) for _ in range(4)]
            time.sleep(0.1)
            limit.give_up()
            begin = time.monotonic()
            for each in waiting:
                with pytest.raises(OutOfReachError):
                    each.result(timeout=5)
            assert time.monotonic() - begin < 2.0

    patience = Patience(30.0, 60.0, 600.0)
    if shared:
        with serve_limit(4, 1000.0, "127.0.0.1", patience=patience) as limit:
            let_go(limit)
    else:
        let_go(LocalLimit(4, 1000.0, patience=patience))


def test_the_small_question_counts_against_no_budget() -> None:
    limit = LocalLimit(4, 1000.0, 1, _QUICK, Meter(1.0, {"": Price(1, 1.0)}))
    for _ in range(LOST_AFTER):
        limit.lost("down")
    for _ in range(5):
        with limit.permit() as permit:
            assert permit.is_trial and not permit.is_priced
            limit.lost("down")
    limit.found()
    assert limit.left == 1
    with limit.permit() as permit:
        assert permit.is_priced and not permit.is_trial
    assert limit.left == 0
    for _ in range(LOST_AFTER):
        limit.lost("down")
    with pytest.raises(QuotaError), limit.permit():
        pass  # nothing is left to be waited for


def test_a_pause_is_not_sat_out_once_the_build_stops() -> None:
    limit = LocalLimit(4, 1000.0)
    limit.slow_down(60.0)
    limit.give_up()
    with pytest.raises(UnavailableError, match="stopped"), limit.permit():
        pass


def test_a_long_pause_is_told_once_and_is_no_longer_than_it_is_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A day, or a date by a clock that is a day off."""
    limit = LocalLimit(4, 1000.0, patience=Patience(0.01, 0.1, 0.5))
    with caplog.at_level(logging.WARNING, "mmearth"):
        limit.slow_down(86_400.0)
        begin = time.monotonic()
        with limit.permit():
            assert 0.4 < time.monotonic() - begin < 3.0
        assert not caplog.records  # half a second is nothing to tell
        limit = LocalLimit(4, 1000.0)
        for _ in range(4):
            limit.slow_down(86_400.0)
    [told] = caplog.records
    assert "asks for a pause: all wait for 30 min; Ctrl-C stops" in told.getMessage()


def test_every_answer_is_timed_wherever_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with serve_limit(4, 1000.0, "127.0.0.1") as limit, caplog.at_level(logging.WARNING, "mmearth"):
        for seconds in (1.0, 30.0):
            for _ in range(N_ANSWERS):
                limit.answered("value:compute", seconds)
        limit.found()  # is answered, so that what was told before has arrived
    [told] = [record.getMessage() for record in caplog.records]
    assert "16 times slower" in told  # half of the last twenty take 30 s: their median is 15.5 s


def test_slow_answers_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    tempo = Tempo()
    with caplog.at_level(logging.WARNING, "mmearth"):
        for _ in range(50):
            tempo.note("value:compute", 2.0)
            tempo.note("image:computePixels", 0.5)
        for _ in range(N_ANSWERS):
            tempo.note("value:compute", 9.0)  # slower, not five times
        for _ in range(N_ANSWERS // 4):
            tempo.note("image:computePixels", 60.0)  # a few are no median
        for _ in range(2):
            for seconds in (0.01, 1.9):
                for _ in range(50):
                    tempo.note("table:computeFeatures", seconds)  # slower, and fast enough
        assert not caplog.records
        for _ in range(50):
            tempo.note("value:compute", 12.0)
            tempo.note("image:computePixels", 3.0)
    [told] = caplog.records
    assert "times slower than at the start" in told.getMessage()
    assert "the build goes on" in told.getMessage()
