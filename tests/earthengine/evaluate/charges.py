"""What a request is charged: by the pixels that it reads, of every band of every image.

The true service tells EECU-seconds by profile and no formula. This is the simplest one that grows
with what is computed, so that a request for four tiles costs four.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

EECU_S_PER_PIXEL = 1e-6
"""EECU-seconds of one pixel of one band of one image: about 4 for a tile and all its modalities."""


@dataclass
class Charge:
    """What one request has read so far."""

    costs: Mapping[str, float] = field(default_factory=dict)
    """EECU-seconds of earlier requests by the id of their profile."""
    pixels: int = 0
    """Pixels, once for each band of each image."""

    @property
    def eecu_s(self) -> float:
        """EECU-seconds."""
        return self.pixels * EECU_S_PER_PIXEL


_charge: ContextVar[Charge | None] = ContextVar("charge", default=None)


@contextmanager
def charging(costs: Mapping[str, float]) -> Iterator[Charge]:
    """Count what is read in this thread until the block ends."""
    charge = Charge(costs)
    token = _charge.set(charge)
    try:
        yield charge
    finally:
        _charge.reset(token)


def count(pixels: int) -> None:
    """Count pixels that were read of one band of one image."""
    charge = _charge.get()
    if charge is not None:
        charge.pixels += pixels


def cost_of(profile: str) -> float:
    """Return the EECU-seconds of a request; 0 for one that nobody knows."""
    charge = _charge.get()
    return 0.0 if charge is None else charge.costs.get(profile, 0.0)
