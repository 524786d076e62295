"""Merging of ranges: what one request covers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mmearth.loaders.fetch.ranges import Span, merged


def test_ranges_that_touch_are_one_request() -> None:
    found = merged([(20, 30), (0, 10), (10, 20), (31, 40)], gap=0)
    assert found == [Span(0, 30, (1, 2, 0)), Span(31, 40, (3,))]
    assert merged([(20, 30), (0, 10), (31, 40)], gap=1) == [
        Span(0, 10, (1,)),
        Span(20, 40, (0, 2)),
    ]
    assert merged([(20, 30), (0, 10), (31, 40)], gap=10) == [Span(0, 40, (1, 0, 2))]
    assert merged([], gap=10) == []


def test_a_range_wanted_twice_is_one_request() -> None:
    assert merged([(5, 9), (5, 9), (6, 8)], gap=0) == [Span(5, 9, (0, 1, 2))]


def test_no_merged_request_is_too_large() -> None:
    assert merged([(0, 6), (6, 12), (12, 18)], gap=0, largest=12) == [
        Span(0, 12, (0, 1)),
        Span(12, 18, (2,)),
    ]
    assert merged([(0, 50)], gap=0, largest=12) == [Span(0, 50, (0,))]


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=12),
    st.integers(0, 12),
    st.integers(9, 40),
)
def test_every_range_is_covered_once(found: list[tuple[int, int]], gap: int, largest: int) -> None:
    ranges = [(begin, begin + length) for begin, length in found]
    spans = merged(ranges, gap, largest)
    assert sorted(at for span in spans for at in span.members) == list(range(len(ranges)))
    for span in spans:
        assert span.end - span.begin <= largest
        for at in span.members:
            assert span.begin <= ranges[at][0]
            assert ranges[at][1] <= span.end
        wanted = {byte for at in span.members for byte in range(*ranges[at])}
        holes = sorted(set(range(span.begin, span.end)) - wanted)
        longest = run = 0
        for i, byte in enumerate(holes):
            run = run + 1 if i and byte == holes[i - 1] + 1 else 1
            longest = max(longest, run)
        assert longest <= gap
