"""Plain JSON → dataclasses: each type, and the sentence for each other value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.plain import from_plain, written


@dataclass(frozen=True)
class Part:
    name: str
    size: float = 1.0


@dataclass(frozen=True)
class Whole:
    text: str
    count: int
    share: float | None
    flag: bool
    choice: Literal["a", "b"]
    pair: tuple[float, float]
    parts: tuple[Part, ...]
    derived: int = field(default=7, metadata={"written": False})

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ConfigError(f"found count {self.count}; expected 0 or more")


GOOD: dict[str, Any] = {
    "text": "x",
    "count": 3,
    "share": None,
    "flag": True,
    "choice": "b",
    "pair": [0, 1.5],
    "parts": [{"name": "one", "size": 2}, {"name": "two", "size": 0.5}],
}


def test_every_type_comes_back() -> None:
    found = from_plain(Whole, GOOD, "file.json")
    parts = (Part("one", 2), Part("two", 0.5))
    assert found == Whole("x", 3, None, True, "b", (0, 1.5), parts)
    assert from_plain(Whole, {**GOOD, "share": 0.25}, "file.json").share == 0.25


def test_unknown_keys_are_left_out_and_what_is_not_written_is_not_read() -> None:
    more = {**GOOD, "later": [1], "derived": 9, "parts": [{"name": "a", "size": 1, "new": {}}]}
    found = from_plain(Whole, more, "file.json")
    assert (found.derived, found.parts) == (7, (Part("a"),))
    assert [name for name, _ in written(Whole)] == list(GOOD)


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_field_is_named(name: str) -> None:
    document = {key: value for key, value in GOOD.items() if key != name}
    with pytest.raises(FormatError, match=f"^file.json has no '{name}'; it is damaged, or from"):
        from_plain(Whole, document, "file.json")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"text": 5}, "file.json: text is 5, expected text"),
        ({"text": "\ud800"}, "expected text"),
        ({"count": 3.0}, "file.json: count is 3.0, expected a whole number"),
        ({"count": True}, "count is True, expected a whole number"),
        ({"count": (1 << 53) + 1}, "expected a whole number"),
        ({"share": (1 << 53) + 1}, "expected a finite number"),
        ({"count": -1}, "file.json: found count -1; expected 0 or more"),
        ({"share": "1"}, "file.json: share is '1', expected a finite number"),
        ({"share": float("inf")}, "share is inf, expected a finite number"),
        ({"share": float("nan")}, "share is nan, expected a finite number"),
        ({"share": True}, "share is True, expected a finite number"),
        ({"flag": 1}, "file.json: flag is 1, expected true or false"),
        ({"choice": "c"}, "file.json: choice is 'c', expected one of a, b"),
        ({"choice": ["a"]}, "choice is ['a'], expected one of a, b"),
        ({"pair": [1]}, "file.json: pair is [1], expected a list of 2"),
        ({"pair": [1, None]}, "file.json: pair is None, expected a finite number"),
        ({"parts": {"name": "a"}}, "parts is {'name': 'a'}, expected a list"),
        ({"parts": ["a"]}, "file.json: parts is 'a', expected an object"),
        ({"parts": [{"name": "a"}]}, "file.json: parts 'a' has no 'size'"),
        (
            {"parts": [{"name": "a", "size": []}]},
            "file.json: parts 'a': size is [], expected a fi",
        ),
        ({"text": ["x" * 500]}, "expected text"),
    ],
)
def test_another_value_is_named_with_what_was_expected(
    changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(FormatError, match=re.escape(sentence)) as caught:
        from_plain(Whole, {**GOOD, **changes}, "file.json")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("document", [None, [], "x", 5])
def test_what_is_no_object(document: Any) -> None:
    with pytest.raises(FormatError, match=r"^file\.json is .*, expected an object"):
        from_plain(Whole, document, "file.json")
