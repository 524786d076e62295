"""A service that is out of reach: everybody waits, one asks, ever more seldom, until it answers."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from mmearth.catalog.errors import UnavailableError

LOST_AFTER = 3
"""Requests in a row that find nobody: fewer are a connection that was cut."""
WAIT_S = 1800.0
"""How long a service is waited for unless told otherwise."""
_LONG_PAUSE_S = 60.0
_LOG = logging.getLogger(__name__)


class OutOfReachError(UnavailableError):
    """The service was out of reach for longer than it is waited for."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How a service that is out of reach is waited for."""

    first_pause_s: float = 0.5
    """Before it is asked again for the first time; each later pause is twice as long."""
    longest_pause_s: float = 60.0
    """Between two questions at most."""
    wait_s: float = WAIT_S
    """In all; then what is left to ask fails for now."""


class Outage:
    """Whether the service is out of reach, and when it is asked again; times are of one clock.

    Not safe between threads: whoever has it has a lock.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._in_a_row = 0
        self._since: float | None = None
        self._next, self._pause_s = 0.0, patience.first_pause_s
        self._given_up, self._reason = False, ""

    @property
    def is_on(self) -> bool:
        """Whether the service is out of reach."""
        return self._since is not None

    @property
    def is_given_up(self) -> bool:
        """Whether nobody waits any more."""
        return self._given_up

    def failed(self, now: float, reason: str) -> None:
        """Take note of a request that found nobody."""
        self._in_a_row, self._reason = self._in_a_row + 1, reason
        if self._since is None and self._in_a_row >= LOST_AFTER:
            self._since, self._next, self._pause_s = now, now, self._patience.first_pause_s
            _LOG.warning(
                "%s: all wait and one small question is asked until it is answered, for %s at most "
                "(--wait); Ctrl-C stops, what was done is kept",
                reason,
                as_text(self._patience.wait_s),
            )
        if self._since is not None and now >= self._next:
            self._next = now + self._pause_s
            self._pause_s = min(2 * self._pause_s, self._patience.longest_pause_s)

    def answered(self) -> None:
        """Take note of an answer, which may have been on its way when an outage began."""
        self._in_a_row = 0

    def found(self, now: float) -> None:
        """Take note that the small question was answered: the service is back."""
        self._in_a_row = 0
        if self._since is not None:
            _LOG.warning("the service answers again after %s: going on", as_text(now - self._since))
            self._since = None

    def give_up(self) -> None:
        """Wait no more."""
        self._given_up = True

    def delay(self, now: float) -> float:
        """Return how many seconds nobody may ask yet.

        Raises:
            OutOfReachError: It was waited for long enough.
        """
        if self._since is None:
            return 0.0
        last = self._since + self._patience.wait_s
        if self._given_up or now >= last:
            raise OutOfReachError(
                f"{self._reason} for {as_text(now - self._since)}; run the same command again when "
                "it is there, or with a longer --wait"
            )
        return max(0.0, min(self._next, last) - now)

    def pause_s(self, asked_s: float) -> float:
        """Return how long a pause is that the service asks for: no longer than it is waited for."""
        return min(asked_s, max(self._patience.longest_pause_s, self._patience.wait_s))

    def tell_pause(self, seconds: float) -> None:
        """Tell the user of a long pause."""
        if seconds > _LONG_PAUSE_S:
            _LOG.warning(
                "the service asks for a pause: all wait for %s; Ctrl-C stops, what was done is "
                "kept",
                as_text(seconds),
            )

    def refuse_pause(self, seconds: float) -> None:
        """Refuse to sit out a pause that the service asked for, once nobody waits any more.

        Raises:
            OutOfReachError: The pause is a long one.
        """
        if self._given_up and seconds > 1.0:
            raise OutOfReachError("the build was stopped while the service asked for a pause")


def as_text(seconds: float) -> str:
    """Return a length of time as it is read: `90 s`, `30 min`, `12 h`."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
