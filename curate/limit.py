"""Rate limiter: requests in flight and per second, with AIMD; here for the threads of a process."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice
from typing import Protocol

from mmearth.catalog.errors import ConfigError, QuotaError
from mmearth.curate.meter import Meter, Price
from mmearth.curate.outage import Outage, Patience
from mmearth.curate.tempo import Tempo

_LATE_S = 0.25  # a request may reach its service so long after its permit, on a busy machine
_ONE_EVENT_S = 1.0  # refusals so close to one another tell the same thing


@dataclass(frozen=True, slots=True)
class Permit:
    """What goes with the permission to send a request."""

    is_trial: bool = False
    """The service is out of reach: only a small question may be sent, and what becomes of it is
    told with `lost` or `found`. It counts against no budget."""
    is_metered: bool = False
    """What the request costs counts against a budget: a refusal is told with `refused`."""
    is_priced: bool = False
    """Its profile is asked for, and told with `profiled`."""


class Limit(Protocol):
    """Who asks a service asks here first."""

    def permit(self, kind: str = "", n_bytes: int = 0) -> AbstractContextManager[Permit]:
        """Wait until one more request may begin; it counts as in flight until the block ends.

        Args:
            kind: What is asked: requests of one kind cost about the same.
            n_bytes: How long the answer will be, where that is known beforehand.

        Raises:
            QuotaError: The budget of requests, of bytes or of EECU-seconds is spent.
            OutOfReachError: The service was waited for long enough, or nobody waits any more.
        """

    def of(self, name: str, max_in_flight: int, per_second: float) -> Limit:
        """Return the limit of one host or service, with a pace of its own and these budgets.

        Args:
            name: Whose it is: all who ask for a name share its limit.
            max_in_flight: Most requests at one time.
            per_second: Most requests that begin in a second.
        """

    def slow_down(self, retry_after_s: float | None) -> None:
        """Tell that the service refused a request because there were too many.

        Half as many requests may be in flight from now on, but one always. The refusals of one
        second count once: they are answers to the same crowd.

        Args:
            retry_after_s: Nobody begins a request before so many seconds have passed, or until the
                service has been waited for long enough; None where it did not say.
        """

    def answered(self, kind: str = "", seconds: float | None = None) -> None:
        """Tell that a request succeeded: after a round of them one more may be in flight.

        Args:
            kind: What was asked; answers of one kind are compared.
            seconds: How long it took; None where that says nothing.
        """

    def restricted(self) -> None:
        """Tell that the service says it answers slowly on purpose, the month being spent."""

    def lost(self, reason: str) -> None:
        """Tell that a request found nobody: after a few in a row all wait, and one asks.

        Args:
            reason: What the user reads.
        """

    def found(self) -> None:
        """Tell that the small question was answered: all go on."""

    def give_up(self) -> None:
        """Wait no more for a service that is out of reach: the build is being stopped."""

    def is_given_up(self) -> bool:
        """Return whether the build is being stopped, so that nothing is sent again."""

    def refused(self, kind: str) -> None:
        """Tell that a metered request was refused before anything was computed."""

    def profiled(self, kind: str, profile: str) -> list[str]:
        """Tell the profile of a request; return those that are to be priced now, if any."""

    def charge(self, kind: str, n: int, eecu_s: float) -> None:
        """Tell how many EECU-seconds n requests of a kind cost."""


class Purse:
    """Budgets of requests and of bytes, which several limits may share."""

    def __init__(self, requests: int | None = None, n_bytes: int | None = None) -> None:
        """Fill it; None for no limit."""
        self.requests, self.n_bytes = requests, n_bytes
        self._lock = threading.Lock()

    def is_spent(self, n_bytes: int) -> bool:
        """Return whether a request with an answer of so many bytes cannot be paid."""
        return self.requests == 0 or (self.n_bytes is not None and self.n_bytes < n_bytes)

    def take(self, n_bytes: int) -> None:
        """Pay for one request.

        Raises:
            QuotaError: It cannot be paid.
        """
        with self._lock:
            if self.is_spent(n_bytes):
                what = "requests" if self.requests == 0 else "bytes"
                raise QuotaError(
                    f"the budget of {what} is spent; run the same command again with a new one: it "
                    "goes on where it stopped"
                )
            self.requests = None if self.requests is None else self.requests - 1
            self.n_bytes = None if self.n_bytes is None else self.n_bytes - n_bytes


@dataclass(slots=True, eq=False)
class _Ticket:
    turn: threading.Condition
    """Notified when its holder should look again whether it may begin."""


class LocalLimit:
    """A limit for the threads of one process: first come, first served.

    When a request reaches the service nobody here can know: at its permit, at its end, or in
    between. So it counts against the rate from its permit until a second after its end, or, when it
    takes long, until a second after the time by which it must have arrived. No second of the
    service's own clock sees more than the rate then, at the price of some of it: of 100 a second,
    91 where an answer takes 0.1 s, never less than 80.
    """

    def __init__(
        self,
        max_in_flight: int,
        per_second: float,
        budget: int | None = None,
        patience: Patience | None = None,
        meter: Meter | None = None,
        purse: Purse | None = None,
    ) -> None:
        """Make a limit that nobody uses yet.

        Args:
            max_in_flight: Most requests at one time.
            per_second: Most requests that begin in any one second, whenever that second begins;
                below 1, one request in every 1 / per_second seconds.
            budget: Most requests in all; None for no limit.
            patience: How a service that is out of reach is waited for.
            meter: Keeps the budget of EECU-seconds; None for no limit.
            purse: Budgets that others share, in place of `budget`.

        Raises:
            ConfigError: One of them would let nothing through.
        """
        if max_in_flight < 1 or not per_second > 0:
            raise ConfigError(
                f"found a limit of {max_in_flight} requests in flight and {per_second:g} a second; "
                "expected at least 1, and more than 0"
            )
        self._most = max_in_flight
        self._purse = purse or Purse(budget)
        self._parts: dict[str, LocalLimit] = {}
        self._window_s = max(1.0, 1.0 / per_second)
        self._per_window = max(1, int(per_second))
        self._lock = threading.Lock()
        self._allowed = float(max_in_flight)
        self._queue: deque[_Ticket] = deque()
        self._flying: dict[_Ticket, float] = {}  # when each was permitted, in that order
        self._recent: list[float] = []  # a heap: until when each request that has ended counts
        self._not_before = 0.0
        self._slowed = float("-inf")
        self._patience = patience or Patience()
        self._outage = Outage(self._patience)
        self._trial: _Ticket | None = None
        self._tempo = Tempo()
        self._meter = meter

    @property
    def allowed(self) -> int:
        """How many requests may be in flight now."""
        return int(self._allowed)

    @property
    def left(self) -> int | None:
        """How many requests are left of the budget; None where there is none."""
        return self._purse.requests

    @property
    def in_flight(self) -> int:
        """How many requests are in flight now."""
        return len(self._flying)

    @contextmanager
    def permit(self, kind: str = "", n_bytes: int = 0) -> Iterator[Permit]:
        """See `Limit.permit`."""
        ticket = _Ticket(threading.Condition(self._lock))
        try:
            yield self._begin(ticket, kind, n_bytes)
        finally:
            self._end(ticket)

    def of(self, name: str, max_in_flight: int, per_second: float) -> LocalLimit:
        """See `Limit.of`; the first who asks for a name sets its pace."""
        with self._lock:
            if name not in self._parts:
                shared = self._patience, self._meter, self._purse
                self._parts[name] = LocalLimit(max_in_flight, per_second, None, *shared)
                if self._outage.is_given_up:
                    self._parts[name].give_up()
            return self._parts[name]

    def slow_down(self, retry_after_s: float | None) -> None:
        """See `Limit.slow_down`."""
        with self._lock:
            now, pause_s = time.monotonic(), self._outage.pause_s(retry_after_s or 0.0)
            if now + pause_s > self._not_before + _ONE_EVENT_S:
                self._outage.tell_pause(pause_s)
            self._not_before = max(self._not_before, now + pause_s)
            if now - self._slowed >= _ONE_EVENT_S:
                self._allowed = max(1.0, self._allowed / 2)
                self._slowed = now

    def answered(self, kind: str = "", seconds: float | None = None) -> None:
        """See `Limit.answered`."""
        with self._lock:
            self._allowed = min(float(self._most), self._allowed + 1 / self._allowed)
            self._outage.answered()
            if seconds is not None:
                self._tempo.note(kind, seconds)
            self._call()

    def restricted(self) -> None:
        """See `Limit.restricted`."""
        with self._lock:
            self._tempo.restricted()

    def lost(self, reason: str) -> None:
        """See `Limit.lost`."""
        with self._lock:
            self._outage.failed(time.monotonic(), reason)

    def found(self) -> None:
        """See `Limit.found`."""
        with self._lock:
            self._outage.found(time.monotonic())
            self._call()

    def give_up(self) -> None:
        """See `Limit.give_up`."""
        with self._lock:
            self._outage.give_up()
            self._call()
            parts = list(self._parts.values())
        for part in parts:
            part.give_up()

    def is_given_up(self) -> bool:
        """See `Limit.is_given_up`."""
        with self._lock:
            return self._outage.is_given_up

    def refused(self, kind: str) -> None:
        """See `Limit.refused`."""
        with self._lock:
            if self._meter is not None:
                self._meter.refused(kind)

    def profiled(self, kind: str, profile: str) -> list[str]:
        """See `Limit.profiled`."""
        with self._lock:
            return [] if self._meter is None else self._meter.profiled(kind, profile)

    def charge(self, kind: str, n: int, eecu_s: float) -> None:
        """See `Limit.charge`."""
        with self._lock:
            if self._meter is not None:
                self._meter.charge(kind, Price(n, eecu_s))

    def _begin(self, ticket: _Ticket, kind: str, n_bytes: int) -> Permit:
        with self._lock:
            self._queue.append(ticket)
            purse = self._purse
            while not purse.is_spent(n_bytes) and (delay := self._delay(ticket)) != 0:
                ticket.turn.wait(delay)
            is_trial = self._outage.is_on and not purse.is_spent(n_bytes)
            is_priced = not is_trial and self._spend(kind, n_bytes)
            self._flying[ticket] = time.monotonic()
            self._queue.remove(ticket)
            if is_trial:
                self._trial = ticket
            self._call()
            return Permit(is_trial, self._meter is not None, is_priced)

    def _spend(self, kind: str, n_bytes: int) -> bool:
        """Pay one request from the budgets; return whether its price is to be asked for.

        When one is empty, all who wait are told one by one.
        """
        if self._meter is None:
            self._purse.take(n_bytes)
            return False
        if self._purse.is_spent(n_bytes):  # before the other budget is touched
            self._purse.take(n_bytes)
        is_priced = self._meter.begin(kind)
        self._purse.take(n_bytes)
        return is_priced

    def _end(self, ticket: _Ticket) -> None:
        """Forget a ticket, whether it began, waits or was interrupted in between."""
        with self._lock:
            begun = self._flying.pop(ticket, None)
            if self._trial is ticket:
                self._trial = None
            if begun is not None:
                arrived = min(time.monotonic(), begun + _LATE_S)
                heappush(self._recent, arrived + self._window_s)
            if ticket in self._queue:
                self._queue.remove(ticket)
            self._call()

    def _delay(self, ticket: _Ticket) -> float | None:
        """Return how long a ticket has to wait at least, in seconds; None: until it is called."""
        ahead = self._queue.index(ticket)  # they are called too, and may be slower to wake
        now = time.monotonic()
        if self._outage.is_on:  # those in flight may never end: the one that asks does not count
            waits = self._outage.delay(now)
            return None if ahead or self._trial is not None else waits
        if len(self._flying) + ahead >= self.allowed:
            return None
        while self._recent and self._recent[0] <= now:
            heappop(self._recent)
        longest = _LATE_S + self._window_s
        counting = [begun for begun in self._flying.values() if begun + longest > now]
        delay = self._not_before - now
        self._outage.refuse_pause(delay)
        if len(self._recent) + len(counting) + ahead >= self._per_window:
            if ahead:
                return None
            ends = [*self._recent[:1], *(begun + longest for begun in counting[:1])]
            delay = max(delay, min(ends) - now)
        return max(0.0, delay)

    def _call(self) -> None:
        """Wake all for whom there is room, and the first: one that wakes the next is too slow."""
        for ticket in islice(self._queue, max(1, self.allowed - len(self._flying))):
            ticket.turn.notify()
