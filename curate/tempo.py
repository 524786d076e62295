"""Whether a service answers as fast as it did: what is slowed down on purpose is not refused."""

from __future__ import annotations

import logging
from collections import deque
from statistics import median

N_ANSWERS = 20
"""Of one kind, that make a median."""
SLOWER = 5.0
"""So many times slower than at the start is told …"""
SLOW_S = 2.0
"""… unless the answers are faster than this still."""
_LOG = logging.getLogger(__name__)


class Tempo:
    """The median of the first answers of each kind and of the last ones.

    Not safe between threads: whoever has it has a lock.
    """

    def __init__(self) -> None:
        self._first: dict[str, float] = {}
        self._last: dict[str, deque[float]] = {}
        self._was_told = False

    def note(self, kind: str, seconds: float) -> None:
        """Take note of an answer; the user is told once when they have become slow."""
        last = self._last.setdefault(kind, deque(maxlen=N_ANSWERS))
        last.append(seconds)
        if self._was_told or len(last) < N_ANSWERS:
            return
        now = median(last)
        first = self._first.setdefault(kind, now)
        if now >= max(SLOWER * first, SLOW_S):
            self._was_told = True
            _LOG.warning(
                "the service answers %.0f times slower than at the start (%s: %.2g s, before "
                "%.2g s): a project whose EECU-hours of the month are spent is slowed down, not "
                "refused; see console.cloud.google.com/earth-engine; the build goes on",
                now / first,
                kind,
                now,
                first,
            )

    def restricted(self) -> None:
        """Take note that the service says itself that it is slow on purpose; likewise told once."""
        if not self._was_told:
            self._was_told = True
            _LOG.warning(
                "the project's EECU-hours of the month are spent: Earth Engine slows it down from "
                "now on (restricted mode, see console.cloud.google.com/earth-engine); the build "
                "goes on, slowly"
            )
