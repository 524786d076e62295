"""How long a plan of 100,000 places takes: tiles, overlap, splits."""

from __future__ import annotations

import time

import numpy as np
import pytest

from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.splits import default
from mmearth.catalog.tile import tiles_at
from mmearth.curate.overlap import keep_apart


@pytest.mark.performance
@pytest.mark.parametrize(("what", "span_deg"), [("over the Earth", 60.0), ("crowded", 3.0)])
def test_plan_of_100_000_places(what: str, span_deg: float) -> None:
    generator = np.random.default_rng(1)
    lons = generator.uniform(100 - span_deg, 100 + span_deg, 100_000)
    lats = generator.uniform(30 - span_deg / 2, 30 + span_deg / 2, 100_000)
    begin = time.perf_counter()
    tiles = tiles_at(lons, lats, DEFAULT_GRID)
    placed = time.perf_counter()
    kept = keep_apart(tiles)
    apart = time.perf_counter()
    default([tile for tile, keep in zip(tiles, kept, strict=True) if keep], 42)
    end = time.perf_counter()
    print(
        f"\n100,000 places {what}: tiles {placed - begin:.2f} s, overlap {apart - placed:.2f} s "
        f"({int(kept.sum())} kept), splits {end - apart:.2f} s"
    )
    assert end - begin < 60.0
