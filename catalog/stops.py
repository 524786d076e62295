"""Ctrl-C and SIGTERM, held back while something must not be left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stops_held() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C and SIGTERM back inside the block.

    Yields:
        What carries out the first that came, if any, inside the block or after it: it raises as
        that signal's handler does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # handlers run in the main thread alone
        return
    found = {stop: signal.getsignal(stop) for stop in STOPS}
    handlers = {stop: handler for stop, handler in found.items() if callable(handler)}
    held: list[tuple[int, FrameType | None]] = []

    def carry_out() -> None:
        if held:
            number, frame = held[0]
            held.clear()
            handlers[signal.Signals(number)](number, frame)

    for stop in handlers:
        signal.signal(stop, lambda number, frame: held.append((number, frame)))
    try:
        yield carry_out
    finally:
        for stop, handler in handlers.items():
            signal.signal(stop, handler)
