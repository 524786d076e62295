"""What visits cost of hosts of rasters, before any request is sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NetworkCost:
    """What is asked of hosts, about."""

    requests: int
    """How many."""
    n_bytes: int
    """Of the answers."""
