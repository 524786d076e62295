"""What a build is charged: known of the requests that were priced, reckoned of all others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from mmearth.catalog.errors import QuotaError

EACH = 100
"""Requests of each kind at the start whose price is asked for."""
EVERY = 10
"""Afterwards, the price of one in so many is."""
_AT_ONCE = 20  # prices asked for in one request, at most


@dataclass(frozen=True, slots=True)
class Price:
    """What requests of one kind cost."""

    n: int
    """How many are known."""
    eecu_s: float
    """EECU-seconds of all of them."""


class Meter:
    """Keeps a build within its EECU-seconds; a request counts from when it begins.

    Not safe between threads: whoever has it has a lock.
    """

    def __init__(self, eecu_s: float, known: Mapping[str, Price]) -> None:
        """Make the meter of a build that has asked nothing yet.

        Args:
            eecu_s: Most EECU-seconds that may be charged.
            known: What requests cost by kind, found out before; they tell the price, and are not
                charged again.
        """
        self._most = eecu_s
        self._known = dict(known)
        self._n_begun: Counter[str] = Counter()
        self._n_priced: Counter[str] = Counter()
        self._charged: defaultdict[str, float] = defaultdict(float)
        self._profiles: defaultdict[str, list[str]] = defaultdict(list)

    @property
    def spent_s(self) -> float:
        """EECU-seconds of all requests that have begun."""
        return sum(map(self._spent, self._n_begun))

    def begin(self, kind: str) -> bool:
        """Count a request that begins; return whether its price is to be asked for.

        Raises:
            QuotaError: It would go beyond the budget.
        """
        if self.spent_s + self._price(kind) > self._most:
            raise QuotaError(
                f"the budget of EECU-hours is spent, {self.spent_s / 3600:.3g} by what the "
                "service says of its answers; run the same command again with a new one: it goes "
                "on where it stopped"
            )
        self._n_begun[kind] += 1
        return self._n_begun[kind] <= EACH or self._n_begun[kind] % EVERY == 0

    def refused(self, kind: str) -> None:
        """Take back a request that the service refused before it computed anything."""
        self._n_begun[kind] -= 1

    def profiled(self, kind: str, profile: str) -> list[str]:
        """Keep a profile; return those that are to be priced now, none or several."""
        waiting = self._profiles[kind]
        waiting.append(profile)
        if len(waiting) < min(_AT_ONCE, max(1, self._n_priced[kind] // 10)):
            return []
        return [waiting.pop() for _ in range(len(waiting))]

    def charge(self, kind: str, price: Price) -> None:
        """Take note of what some requests cost."""
        before = self._known.get(kind, Price(0, 0.0))
        self._known[kind] = Price(before.n + price.n, before.eecu_s + price.eecu_s)
        self._n_priced[kind] += price.n
        self._charged[kind] += price.eecu_s

    def _spent(self, kind: str) -> float:
        n_unknown = self._n_begun[kind] - self._n_priced[kind]
        return self._charged[kind] + n_unknown * self._price(kind)

    def _price(self, kind: str) -> float:
        known = self._known.get(kind)
        return 0.0 if known is None or not known.n else known.eecu_s / known.n
