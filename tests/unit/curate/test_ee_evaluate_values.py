"""Numbers, strings, lists, dictionaries, dates and conditions, asked by the real client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ee
import pytest

from mmearth.tests.earthengine.evaluate import FUNCTIONS, Evaluate
from mmearth.tests.earthengine.evaluate.coercion import signature
from mmearth.tests.earthengine.memory import Memory
from mmearth.tests.earthengine.model import ServiceError
from mmearth.tests.earthengine.offline import connected


@pytest.fixture(scope="module", autouse=True)
def _client() -> Iterator[None]:
    with connected(Memory()):
        yield


def _call(name: str, **arguments: Any) -> dict[str, Any]:
    given = {key: {"constantValue": value} for key, value in arguments.items()}
    invocation = {"functionName": name, "arguments": given}
    return {"result": "0", "values": {"0": {"functionInvocationValue": invocation}}}


def test_every_operation_is_one_of_the_service() -> None:
    for name in FUNCTIONS:
        assert signature(name) is not None


@pytest.mark.parametrize("name", ["Nonsense.of", "Image.glcmTexture", ""])
def test_an_unknown_operation_is_refused(name: str) -> None:
    with pytest.raises(ServiceError, match=f"Unrecognized function '{name}'") as caught:
        Evaluate(Memory()).value(_call(name))
    assert (caught.value.status, caught.value.reason) == (400, "INVALID_ARGUMENT")


def test_null_where_a_value_is_required_is_the_services_own_error() -> None:
    null = ee.Number(ee.List([None, 1]).get(0))
    message = "Number.add: Parameter 'left' is required and may not be null."
    with pytest.raises(ee.EEException, match=message):
        null.add(1).getInfo()


def test_wrong_types_and_unknown_arguments_are_refused() -> None:
    evaluate = Evaluate(Memory())
    with pytest.raises(ServiceError, match="argument 'left': Invalid type"):
        evaluate.value(_call("Number.add", left="a", right=1))
    with pytest.raises(ServiceError, match="Unrecognized argument 'third'"):
        evaluate.value(_call("Number.add", left=1, right=1, third=1))


def test_numbers() -> None:
    found = ee.List(
        [
            ee.Number(7).divide(2),
            ee.Number(7).divide(0),
            ee.Number(-7).mod(4),
            ee.Number(7).add(1).subtract(2).multiply(3),
            ee.Number(2.5).round(),
            ee.Number(-2.7).toInt(),
            ee.Number(-2.7).floor(),
            ee.Number(-2.7).abs(),
            ee.Number(300).toByte(),
            ee.Number(-1).toUint16(),
            ee.Number(3).gte(3),
            ee.Number(3).And(0),
            ee.Number(3).max(9).min(5),
            ee.Number(2).pow(10),
            ee.Number.parse("12"),
        ]
    ).getInfo()
    assert found == [3.5, 0, -3, 18, 3, -2, -3, 2.7, 255, 0, 1, 0, 5, 1024, 12]


def test_strings() -> None:
    text = ee.String("a").cat("b").cat(ee.Number(7).format("%03d"))
    assert text.getInfo() == "ab007"
    assert text.slice(1, 3).toUpperCase().getInfo() == "B0"
    assert ee.List(["x", "y"]).join("-").getInfo() == "x-y"


def test_lists() -> None:
    start = ee.List([3, 1, 2])
    assert start.sort().getInfo() == [1, 2, 3]
    assert start.sort(ee.List([3, 1, 2])).getInfo() == [1, 2, 3]
    assert start.slice(1).cat([9]).reverse().getInfo() == [9, 2, 1]
    assert start.get(-1).getInfo() == 2
    assert start.zip(["a", "b", "c"]).get(1).getInfo() == [1, "b"]
    assert start.map(lambda x: ee.Number(x).multiply(2)).getInfo() == [6, 2, 4]
    assert start.iterate(lambda x, so_far: ee.Number(so_far).add(x), 10).getInfo() == 16
    assert ee.List.sequence(0, 6, 3).getInfo() == [0, 3, 6]
    assert start.size().getInfo() == 3
    with pytest.raises(ee.EEException, match="List index must be between 0 and 2"):
        start.get(3).getInfo()


def test_lambdas_see_the_arguments_of_the_lambdas_around_them() -> None:
    rows = ee.List([1, 2]).map(
        lambda a: ee.List([10, 20]).map(lambda b: ee.Number(a).multiply(100).add(b))
    )
    assert rows.getInfo() == [[110, 120], [210, 220]]


def test_dictionaries() -> None:
    start = ee.Dictionary({"b": 2, "a": ee.Number(1), "n": None})
    assert start.get("a").getInfo() == 1
    assert start.get("n", 5).getInfo() is None
    assert start.get("z", 5).getInfo() == 5
    assert start.keys().getInfo() == ["a", "b", "n"]
    assert start.combine({"a": 7}).getInfo() == {"a": 7, "b": 2}
    assert start.combine({"a": 7}, False).getInfo() == {"a": 1, "b": 2}
    assert start.set("c", 3).select(["a", "c"]).getInfo() == {"a": 1, "c": 3}
    assert start.select(["b", "a"]).toArray().getInfo() == [1, 2]
    with pytest.raises(ee.EEException, match="Dictionary does not contain key: 'z'"):
        start.get("z").getInfo()


def test_conditions_leave_the_other_case_alone() -> None:
    fails = ee.List([1]).get(5)
    assert ee.Algorithms.If(ee.List([]).size().eq(0), "none", fails).getInfo() == "none"
    assert ee.Algorithms.If("", 1, 2).getInfo() == 2
    assert ee.Algorithms.If([], 1, 2).getInfo() == 2
    assert ee.Algorithms.If(None, 1, 2).getInfo() == 2
    assert ee.Algorithms.If("0", 1, 2).getInfo() == 1


@pytest.mark.parametrize(
    ("start", "delta", "unit", "end"),
    [
        ("2020-01-31", 1, "month", "2020-02-29T00:00:00"),
        ("2020-02-29", -1, "year", "2019-02-28T00:00:00"),
        ("2020-01-15T06:00:00", -1, "month", "2019-12-15T06:00:00"),
        ("2020-01-01", 1.5, "day", "2020-01-02T12:00:00"),
        ("2020-01-01", 2, "weeks", "2020-01-15T00:00:00"),
    ],
)
def test_dates_advance_by_the_calendar(start: str, delta: float, unit: str, end: str) -> None:
    assert ee.Date(start).advance(delta, unit).format().getInfo() == end


def test_fields_of_dates() -> None:
    date = ee.Date("2020-03-01T13:45:10")
    assert date.get("month").getInfo() == 3
    assert date.get("year").getInfo() == 2020
    assert date.getRelative("day", "year").getInfo() == 31 + 29
    assert date.getRelative("month", "year").getInfo() == 2
    assert date.getRelative("hour", "day").getInfo() == 13
    assert date.millis().getInfo() == 1583070310000
    assert ee.Date(1583070310000).format("YYYY-MM-dd'T'HH:mm").getInfo() == "2020-03-01T13:45"
    assert date.difference(ee.Date("2020-02-28"), "day").getInfo() == 2 + 49510 / 86400
    assert ee.Date("2021-01-01").difference("2020-01-01", "year").getInfo() == 366 / 365.2425
    assert ee.Date.fromYMD(2020, 3, 1).getInfo() == {"type": "Date", "value": 1583020800000}
    assert date.getFraction("day").getInfo() == 49510 / 86400


def test_what_is_not_known_of_dates_is_refused() -> None:
    date = ee.Date("2020-01-01")
    with pytest.raises(ee.EEException, match="only UTC is"):
        date.get("day", "Europe/Paris").getInfo()
    with pytest.raises(ee.EEException, match="'EEEE' is not known here"):
        date.format("EEEE").getInfo()
    with pytest.raises(ee.EEException, match=r"0\.5 month is not known here"):
        date.advance(0.5, "month").getInfo()
    with pytest.raises(ee.EEException, match="Bad date/time 'soon'"):
        ee.Date("soon").millis().getInfo()
