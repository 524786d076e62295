"""Pixels out of a reply: whole ones only, and one head at a time."""

from __future__ import annotations

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

from mmearth.catalog.errors import UnavailableError
from mmearth.curate.sources.earthengine import reply


def _sent(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


_PIXELS = np.arange(128 * 128).reshape(128, 128).astype([("a", "<u2"), ("b", "<f4")])


def test_pixels_as_sent() -> None:
    found = reply.pixel_array(_sent(_PIXELS), 128)
    assert found.dtype == _PIXELS.dtype
    assert np.array_equal(found, _PIXELS)


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (b"", "0 bytes that are no whole array"),
        (b'{"error": {}}', "13 bytes that are no whole array"),
        (_sent(_PIXELS)[:40], "40 bytes that are no whole array"),
        (_sent(_PIXELS)[:-6], "bytes that are no whole array"),
        (_sent(_PIXELS)[:-1], "bytes that are no whole array"),
        (_sent(_PIXELS) + bytes(6), "bytes that are no whole array"),
        (_sent(_PIXELS["a"].astype(object)), "bytes that are no whole array"),
        (_sent(_PIXELS[:64]), r"an array \(64, 128\); expected \(128, 128\)"),
        (_sent(_PIXELS["a"]), "with a field a band"),
        (_sent(np.asfortranarray(_PIXELS)), "with a field a band"),
    ],
)
def test_what_is_no_whole_array(sent: bytes, sentence: str) -> None:
    with pytest.raises(UnavailableError, match=sentence):
        reply.pixel_array(sent, 128)


def test_two_heads_are_never_parsed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPython 3.11 counts the depth of `ast` for all threads together, and breaks off."""
    alone, crowds = threading.Lock(), []
    parse = reply._HEADS[1, 0]

    def watched(stream: Any) -> Any:
        crowds.append(not alone.acquire(blocking=False))
        try:
            time.sleep(0.001)
            return parse(stream)
        finally:
            if not crowds[-1]:
                alone.release()

    monkeypatch.setitem(reply._HEADS, (1, 0), watched)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(partial(reply.pixel_array, size=128), [_sent(_PIXELS)] * 40))
    assert len(found) == len(crowds) == 40
    assert not any(crowds)
