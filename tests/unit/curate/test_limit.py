"""The limit within one process: its rate, its order, its width, and what an interrupt leaves."""

from __future__ import annotations

import signal
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from mmearth.catalog.errors import ConfigError
from mmearth.curate.limit import Limit, LocalLimit


def _spread(n_threads: int, work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()


def _busiest_second(begun: list[float]) -> int:
    times = sorted(begun)
    return max(bisect_right(times, t + 1.0) - i for i, t in enumerate(times))


def test_no_second_holds_more_than_the_rate() -> None:
    limit, begun, end = LocalLimit(40, 200), [], time.monotonic() + 3.0
    flying, most = 0, 0
    lock = threading.Lock()

    def ask(_: int) -> None:
        nonlocal flying, most
        while time.monotonic() < end:
            with limit.permit():
                begun.append(time.monotonic())
                with lock:
                    flying += 1
                    most = max(most, flying)
                time.sleep(0.02)
                with lock:
                    flying -= 1

    _spread(50, ask)
    assert _busiest_second(begun) <= 200
    assert len(begun) >= 550  # 3 s and the requests that had queued: the rate is used up, too
    assert most == 40
    assert limit.in_flight == 0


def test_a_late_request_still_counts_in_its_second() -> None:
    # Each arrives at the end of its permit, as when a machine is busy or a network is slow.
    limit, arrived = LocalLimit(40, 50), []

    def ask(i: int) -> None:
        for turn in range(3):
            with limit.permit():
                time.sleep(0.2 * ((i + turn) % 2))
                arrived.append(time.monotonic())

    _spread(50, ask)
    assert len(arrived) == 150
    assert _busiest_second(arrived) <= 50


def test_long_requests_do_not_lower_the_rate_further() -> None:
    limit, begun = LocalLimit(20, 5), []

    def ask(_: int) -> None:
        with limit.permit():
            begun.append(time.monotonic())
            time.sleep(3.0)

    _spread(15, ask)
    assert begun[-1] - begun[0] < 2.8  # three groups of five, 1.25 s apart: none waits for an end


def test_first_come_first_served() -> None:
    limit, order = LocalLimit(1, 10_000), []

    def ask(i: int) -> None:
        time.sleep(0.01 * i)
        with limit.permit():
            order.append(i)

    with limit.permit():
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)  # all have queued up
    for thread in threads:
        thread.join()
    assert order == list(range(12))


def test_whoever_waits_is_let_in_at_once() -> None:
    limit, waited = LocalLimit(1, 10_000), []

    def ask() -> None:
        with limit.permit():
            waited.append(time.monotonic() - freed)

    for _ in range(10):
        with limit.permit():
            thread = threading.Thread(target=ask)
            thread.start()
            time.sleep(0.02)
            freed = time.monotonic()
        thread.join()
    assert sorted(waited)[5] < 0.01  # the median: the machine may be busy


def test_a_slow_rate_counts_in_longer_windows() -> None:
    limit, begun = LocalLimit(5, 4.0), []
    for _ in range(6):
        with limit.permit():
            begun.append(time.monotonic())
    assert begun[3] - begun[0] < 0.5
    assert 1.0 <= begun[4] - begun[0] < 1.5
    half = LocalLimit(5, 0.5)
    with half.permit():
        pass
    begin = time.monotonic()
    with half.permit():
        assert 1.9 < time.monotonic() - begin < 2.5


def test_refusals_halve_and_successes_widen() -> None:
    limit = LocalLimit(40, 1000)
    limit.slow_down(None)
    assert limit.allowed == 20
    for _ in range(39):
        limit.slow_down(None)  # answers to the same crowd
    assert limit.allowed == 20
    for _ in range(21):
        limit.answered()  # a round of 20 requests, about
    assert limit.allowed == 21
    for _ in range(2000):
        limit.answered()
    assert limit.allowed == 40


def test_one_may_always_ask() -> None:
    limit = LocalLimit(2, 1000)
    for _ in range(3):
        limit.slow_down(None)
        time.sleep(1.01)
    assert limit.allowed == 1
    with limit.permit():
        assert limit.in_flight == 1


def test_fewer_may_ask_while_more_are_still_in_flight() -> None:
    limit, entered = LocalLimit(4, 1000), threading.Event()

    def ask() -> None:
        with limit.permit():
            entered.set()

    with ExitStack() as three:
        for _ in range(3):
            three.enter_context(limit.permit())
        limit.slow_down(None)
        thread = threading.Thread(target=ask)
        thread.start()
        assert not entered.wait(0.1)  # 3 in flight, 2 allowed
    thread.join()
    assert entered.is_set()


def test_nobody_begins_before_the_time_that_was_asked_for() -> None:
    limit, begun, begin = LocalLimit(10, 1000), [], time.monotonic()
    limit.slow_down(0.5)
    limit.slow_down(0.1)  # the later time holds

    def ask(_: int) -> None:
        with limit.permit():
            begun.append(time.monotonic() - begin)

    _spread(3, ask)
    assert all(0.5 <= t < 1.0 for t in begun)


def test_a_wait_that_has_begun_becomes_longer() -> None:
    limit, begun = LocalLimit(1, 1000), []
    limit.slow_down(0.2)
    thread = threading.Thread(target=lambda: _note(limit, begun))
    begin = time.monotonic()
    thread.start()
    time.sleep(0.05)
    limit.slow_down(0.5)
    thread.join()
    assert begun[0] - begin >= 0.5


def _note(limit: Limit, begun: list[float]) -> None:
    with limit.permit():
        begun.append(time.monotonic())


def test_an_interrupt_while_waiting_leaves_it_whole() -> None:
    limit = LocalLimit(1, 1000)
    begun: list[float] = []

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with limit.permit():
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(KeyboardInterrupt), limit.permit():
                pass
            behind = threading.Thread(target=_note, args=(limit, begun))
            behind.start()
    finally:
        signal.signal(signal.SIGALRM, before)
    behind.join(timeout=5)
    assert len(begun) == 1
    assert limit.in_flight == 0


def test_an_error_gives_the_permit_back() -> None:
    limit = LocalLimit(1, 1000)
    with pytest.raises(ZeroDivisionError), limit.permit():
        raise ZeroDivisionError
    assert limit.in_flight == 0


@pytest.mark.parametrize(("width", "rate"), [(0, 1.0), (1, 0.0), (1, -1.0), (1, float("nan"))])
def test_a_limit_that_lets_nothing_through_is_refused(width: int, rate: float) -> None:
    with pytest.raises(ConfigError, match="expected at least 1, and more than 0"):
        LocalLimit(width, rate)
