"""One request: what each misbehaviour of the service becomes, and how often it is sent."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ee
import numpy as np
import pytest

from mmearth.catalog.errors import (
    MMEarthError,
    QuotaError,
    RefusedError,
    SourceError,
    UnavailableError,
)
from mmearth.catalog.tile import Tile
from mmearth.curate.limit import LocalLimit
from mmearth.curate.meter import EACH, Meter, Price
from mmearth.curate.outage import OutOfReachError, Patience
from mmearth.curate.shared_limit import serve_limit
from mmearth.curate.sources.earthengine import session, sign_in
from mmearth.curate.sources.earthengine.access import VALUE, Access
from mmearth.curate.sources.earthengine.asked import asked
from mmearth.curate.sources.earthengine.service import Service
from mmearth.curate.sources.earthengine.translate import AggregationsError
from mmearth.tests.earthengine.faults import PASSING, Faults
from mmearth.tests.earthengine.model import ServiceError
from mmearth.tests.earthengine.server import TOKEN, Server
from mmearth.tests.earthengine.told import Told

_TILE = Tile(32633, 500000, 4649760)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A loopback service that answers by rote."""
    monkeypatch.setenv(sign_in.TOKEN, TOKEN)
    with Server(Told()).running() as running:
        yield running
    session.close()


def _service(server: Server, tries: int = 4, timeout_s: float = 20.0) -> Service:
    access = Access("demo", server.url, timeout_s=timeout_s, tries=tries, pause_s=0.01)
    return Service(access, LocalLimit(4, 1000.0))


def _three(service: Service) -> Any:
    return service.value(service.made(lambda: ee.Number(1).add(2)))


def test_the_three_questions(server: Server) -> None:
    service = _service(server)
    assert _three(service) == 3
    pixels = service.pixels(service.made(lambda: ee.Image.constant(7).toUint16()), _TILE)
    assert pixels["a"].dtype == np.uint16
    assert (pixels["a"] == 7).all()
    table = service.made(lambda: ee.FeatureCollection("x/y"))
    assert [row["properties"]["page"] for row in service.features(table)] == [None, "second"]
    assert server.crashes == []


@pytest.mark.parametrize("kind", PASSING)
def test_what_passes_is_sent_again(server: Server, kind: str) -> None:
    service = _service(server)
    server.faults = Faults((kind,), share=1.0, times=2)
    assert _three(service) == 3
    assert server.counters.total == 3


@pytest.mark.parametrize(
    ("kind", "error", "sentence"),
    [
        ("expired-token", RefusedError, "the access token has expired"),
        ("forbidden", RefusedError, "does not have permission"),
        ("missing-asset", RefusedError, "leave its modality out"),
        ("quota", QuotaError, "higher tier"),
        ("timed-out", SourceError, "gave up on the request"),
        ("memory", SourceError, "User memory limit exceeded"),
    ],
)
def test_what_does_not_pass_is_sent_once(
    server: Server, kind: str, error: type[MMEarthError], sentence: str
) -> None:
    service = _service(server)
    service.sign_in()
    server.faults = Faults((kind,), share=1.0, times=99)
    with pytest.raises(error, match=sentence) as caught:
        _three(service)
    assert type(caught.value) is error
    assert set(server.counters.bodies.values()) == {1}


@pytest.mark.parametrize("kind", PASSING)
def test_what_never_passes_is_left_for_the_next_run(server: Server, kind: str) -> None:
    service = _service(server, tries=2)
    service.sign_in()
    server.faults = Faults((kind,), share=1.0, times=99)
    with pytest.raises(UnavailableError):
        _three(service)
    assert server.counters.total == 2


def test_a_silent_service_is_not_waited_for(server: Server) -> None:
    service = _service(server, tries=2, timeout_s=0.2)
    service.sign_in()
    server.faults = Faults(("hang",), share=1.0, times=1)
    assert _three(service) == 3
    assert server.counters.total == 2


@pytest.mark.parametrize(
    ("kind", "allowed"), [("500", 4), ("499", 4), ("503", 2), ("429", 2), ("403-rate", 2)]
)
def test_an_internal_error_slows_nobody_down(server: Server, kind: str, allowed: int) -> None:
    """A tile that the service cannot do would leave one request in flight of forty."""
    limit = LocalLimit(4, 1000.0)
    service = Service(Access("demo", server.url, tries=1), limit)
    service.sign_in()
    server.faults = Faults((kind,), share=1.0, times=1)
    with pytest.raises(UnavailableError):
        _three(service)
    assert limit.allowed == allowed


def test_retry_after_is_obeyed(server: Server) -> None:
    service = _service(server)
    service.sign_in()
    server.faults = Faults(("429-wait",), share=1.0, times=1)
    begin = time.monotonic()
    assert _three(service) == 3
    assert time.monotonic() - begin >= 1.0


def test_a_limit_per_minute_passes(server: Server) -> None:
    access = Access("demo", server.url, pause_s=0.01, longest_pause_s=0.4)
    service = Service(access, LocalLimit(4, 1000.0))
    service.sign_in()
    server.faults = Faults(("per-minute",), share=1.0, times=1)
    begin = time.monotonic()
    assert _three(service) == 3
    assert 0.4 <= time.monotonic() - begin < 2.0
    assert server.counters.total == 2


def test_too_many_aggregations_are_split_and_not_repeated(server: Server) -> None:
    service = _service(server)
    service.sign_in()
    server.faults = Faults(("aggregations",), share=1.0, times=1)
    three = service.made(lambda: ee.Number(1).add(2))
    with pytest.raises(AggregationsError):
        service.value(three, can_be_split=True)
    assert server.counters.total == 1
    assert service.value(three) == 3


def test_a_wrong_graph_is_refused_by_the_double(server: Server) -> None:
    service = _service(server)
    service.sign_in()
    call = ee.ApiFunction.lookup("Number.add")
    odd = asked(ee.ComputedObject(call, {"left": "one", "right": 2}))
    with pytest.raises(SourceError, match=r"Number\.add\.left: found 'one', expected Number"):
        service.value(odd)


def test_pixels_of_another_shape_are_no_answer(server: Server) -> None:
    class Short(Told):
        def pixels(self, graph: Any, grid: Any, file_format: str) -> bytes:
            stream = io.BytesIO()
            np.save(stream, np.zeros((64, 64), dtype=[("a", "<u2")]))
            return stream.getvalue()

    server.evaluate = Short()
    service = _service(server, tries=2)
    with pytest.raises(UnavailableError, match=r"an array \(64, 64\); expected \(128, 128\)"):
        service.pixels(service.made(lambda: ee.Image.constant(7)), _TILE)


def test_no_project_is_a_sentence(server: Server) -> None:
    access = Access(None, server.url, pause_s=0.01)
    with pytest.raises(RefusedError, match="set EARTHENGINE_PROJECT"):
        _three(Service(access, LocalLimit(4, 1000.0)))


def test_a_crash_of_the_double_is_seen(server: Server) -> None:
    class Broken(Told):
        def value(self, graph: Any) -> Any:
            raise ServiceError(400, "INVALID_ARGUMENT", "Number.add: no")

    server.evaluate = Broken()
    with pytest.raises(SourceError, match=r"status 400: Number\.add: no"):
        _three(_service(server))


def test_a_cut_network_costs_no_answer(server: Server) -> None:
    """Twelve ask, and none gives up, though each would try only four times."""
    access = Access("demo", server.url, tries=4, pause_s=0.01)
    service = Service(access, LocalLimit(12, 1000.0, patience=Patience(0.02, 0.1, 30.0)))
    service.sign_in()
    server.is_down = True
    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(_three, service) for _ in range(40)]
        time.sleep(0.6)
        assert not any(answer.done() for answer in answers)
        assert server.counters.total == 0
        server.is_down = False
        assert [answer.result(timeout=20) for answer in answers] == [3] * 40
    assert 40 <= server.counters.total <= 42  # and the small question


def test_signing_in_waits_for_the_network_too(server: Server) -> None:
    access = Access("demo", server.url, tries=4, pause_s=0.01)
    service = Service(access, LocalLimit(12, 1000.0, patience=Patience(0.02, 0.1, 30.0)))
    server.is_down = True
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(_three, service) for _ in range(8)]
        time.sleep(0.6)
        assert not any(answer.done() for answer in answers)
        server.is_down = False
        assert [answer.result(timeout=20) for answer in answers] == [3] * 8


@pytest.mark.parametrize("kind", ["503", "500"])
def test_signing_in_is_tried_here_and_not_by_the_client(server: Server, kind: str) -> None:
    """Whose own pauses add up to a minute; and a front end without a service is an outage."""
    access = Access("demo", server.url, tries=4, pause_s=0.01)
    service = Service(access, LocalLimit(12, 1000.0, patience=Patience(0.02, 0.1, 30.0)))
    server.refuses = kind
    begin = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(_three, service)
        time.sleep(0.5)
        assert answer.done() == (kind == "500")
        server.refuses = None
        if kind == "503":
            assert answer.result(timeout=20) == 3
        else:
            with pytest.raises(UnavailableError, match="status 500"):
                answer.result()
    assert time.monotonic() - begin < 10.0


@pytest.mark.parametrize("shared", [False, True])
def test_nothing_is_sent_again_once_the_build_stops(server: Server, shared: bool) -> None:
    access = Access("demo", server.url, tries=10_000, pause_s=0.01, longest_pause_s=0.02)
    with serve_limit(4, 1000.0, "127.0.0.1") as limit, ThreadPoolExecutor(1) as pool:
        service = Service(access, limit if shared else LocalLimit(4, 1000.0))
        service.sign_in()
        server.faults = Faults(("500",), share=1.0, times=10_000)
        answer = pool.submit(_three, service)
        time.sleep(0.2)
        service.limit.give_up()
        with pytest.raises(UnavailableError, match="status 500"):
            answer.result(timeout=5)


def test_a_network_that_stays_away_ends_in_a_sentence(server: Server) -> None:
    access = Access("demo", server.url, tries=9, pause_s=0.01)
    service = Service(access, LocalLimit(12, 1000.0, patience=Patience(0.02, 0.1, 0.4)))
    service.sign_in()
    server.is_down = True
    begin = time.monotonic()
    with pytest.raises(OutOfReachError, match="longer --wait"):
        _three(service)
    assert 0.3 < time.monotonic() - begin < 3.0


def test_a_small_question_that_is_cut_short_is_asked_ever_more_seldom(server: Server) -> None:
    service = Service(
        Access("demo", server.url, pause_s=0.01),
        LocalLimit(4, 1000.0, patience=Patience(0.02, 0.1, 30.0)),
    )
    service.sign_in()
    for _ in range(3):
        service.limit.lost("no route")
    server.faults = Faults(("truncated",), share=1.0, times=10_000)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(_three, service)
        time.sleep(0.6)
        assert server.counters.total <= 9  # after 0.02, 0.06, 0.14, 0.24 … s
        server.faults = Faults()
        assert answer.result(timeout=20) == 3


def _metered(server: Server, meter: Meter) -> Service:
    access = Access("demo", server.url, pause_s=0.01)
    service = Service(access, LocalLimit(4, 10_000.0, meter=meter))
    service.sign_in()
    return service


def test_a_refused_question_about_prices_takes_back_no_other(server: Server) -> None:
    meter = Meter(100.0, {VALUE: Price(1, 1.0)})
    service = _metered(server, meter)
    server.faults = Faults(("429",), share=1.0, times=1)
    assert _three(service) == 3
    assert server.counters.total == 4  # each of the two is refused once
    assert meter.spent_s == 1.0  # the table of the loopback is empty: no price is not no cost


def test_a_profile_is_read_as_the_service_writes_it(server: Server) -> None:
    class Priced(Told):
        def value(self, graph: Any) -> Any:
            return (
                " EECU·s PeakMem Count  Description\n  0.072     47k    44  (plumbing)\n"
                "  1.500    124k    14  Algorithm Image.reduceRegion\n"
                "   -        59k    12  Loading assets: COPERNICUS/S2_SR_HARMONIZED\n"
                "  1.25k    2.1M     1  Algorithm Collection.map\n"
            )

    server.evaluate = Priced()
    assert _service(server).eecu_s(["one"]) == pytest.approx(1251.572)
    server.evaluate = Told()
    assert _service(server).eecu_s(["one"]) is None


@pytest.mark.parametrize(("kind", "spent"), [("timed-out", 1.0), ("forbidden", 0.0)])
def test_what_fails_after_it_was_computed_is_charged(
    server: Server, kind: str, spent: float
) -> None:
    meter = Meter(1000.0, {VALUE: Price(1, 1.0)})
    service = _metered(server, meter)
    for _ in range(EACH):
        with service.limit.permit(VALUE):
            pass
    server.faults = Faults((kind,), share=1.0, times=1)
    with pytest.raises(MMEarthError):
        _three(service)
    assert meter.spent_s == EACH + spent


def test_a_month_that_is_spent_is_told_once(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    service = _service(server)
    with caplog.at_level(logging.WARNING, "mmearth"):
        assert _three(service) == 3
        assert not caplog.records
        server.is_restricted = True
        for _ in range(3):
            assert _three(service) == 3
    [told] = [record.getMessage() for record in caplog.records]
    assert "EECU-hours of the month are spent" in told and "the build goes on" in told


@pytest.mark.parametrize("content", [b"[]", b"null", b"<html>"])
def test_what_is_no_document_is_no_answer(server: Server, content: bytes) -> None:
    service = _service(server, tries=2)
    three = service.made(lambda: ee.Number(1).add(2))
    server.answer = lambda *_: content  # type: ignore[method-assign]
    with pytest.raises(UnavailableError, match="no JSON object"):
        service.value(three)
