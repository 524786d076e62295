"""How far a long work has come: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from mmearth.catalog.talk import is_wanted, say

Progress = Callable[[str, int | None], None]
"""Called with a step's name and its size when it begins, then with the name and None per unit."""
_UNITS = {
    "plan": "task",
    "collect": "tile",
    "package": "sample",
    "verify shards": "sample",
    "verify files": "file",
    "send files": "file",
    "predict batches": "batch",
}
"""What the larger steps are counted in."""
_EVERY_S = 30.0
"""Seconds between two lines of a log file."""
_WAITED_S = 5.0
"""Seconds of a step whose end has a line of its own in a log file."""


def silent(step: str, total: int | None) -> None:
    """Say nothing."""


def duration(seconds: float) -> str:
    """Return a time as people say it: `12 s`, `3 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


@contextmanager
def shown(every_s: float = _EVERY_S) -> Iterator[Progress]:
    """Yield a progress function that says on standard error how much is done and left.

    Args:
        every_s: Seconds between two lines, where standard error is no terminal.
    """
    step_now: _Lines | _Bar | None = None

    def progress(step: str, total: int | None) -> None:
        nonlocal step_now
        if total is None:
            if step_now is not None:
                step_now.tick()
            return
        if step_now is not None:
            step_now.close()
        step_now = None
        if step not in _UNITS or not total:
            say(f"{step} …")
        elif sys.stderr.isatty() and is_wanted():
            step_now = _Bar(step, total)
        else:
            step_now = _Lines(step, total, every_s)

    try:
        yield progress
    finally:
        if step_now is not None:
            step_now.close()


class _Bar:
    """On a terminal."""

    def __init__(self, step: str, total: int) -> None:
        # A terminal of no size, such as that of `script`, shows nothing of a bar that fits it.
        size = os.get_terminal_size(sys.stderr.fileno())
        self._bar = tqdm(
            total=total,
            desc=step,
            unit=f" {_many(_UNITS[step])}",
            file=sys.stderr,
            ncols=size.columns or 80,
            nrows=size.lines or 24,
        )

    def tick(self) -> None:
        """Count one more."""
        self._bar.update()

    def close(self) -> None:
        """Leave the last state on the screen."""
        self._bar.close()


class _Lines:
    """In a file: one when it begins, one now and then, one at the end."""

    def __init__(self, step: str, total: int, every_s: float) -> None:
        self._step, self._total, self._every_s = step, total, every_s
        self._done, self._begin = 0, time.monotonic()
        self._said = self._begin
        say(f"{step}: {_counted(total, _UNITS[step])}")

    def tick(self) -> None:
        """Count one more; say so where the last line is long ago."""
        self._done += 1
        now = time.monotonic()
        if now - self._said < self._every_s or self._done == self._total:
            return
        self._said = now
        rate = self._done / (now - self._begin)
        left = duration((self._total - self._done) / rate)
        speed = f"{rate:.3g} {_many(_UNITS[self._step])}/s"
        say(f"{self._step}: {self._done} of {self._total}, {speed}, about {left} left")

    def close(self) -> None:
        """Say how long it took, if one had to wait for it."""
        took = time.monotonic() - self._begin
        if took >= _WAITED_S:
            say(f"{self._step}: {self._done} of {self._total} in {duration(took)}")


def _counted(n: int, unit: str) -> str:
    return f"{n} {unit}" if n == 1 else f"{n} {_many(unit)}"


def _many(unit: str) -> str:
    return f"{unit}es" if unit.endswith("ch") else f"{unit}s"
