"""How many complete tiles a second the synthetic Earth makes on one core."""

from __future__ import annotations

import sys
import time

import pytest

from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import tiles_at
from mmearth.curate.source import Visit
from mmearth.curate.sources.synthetic import Synthetic

N_TILES = 150
LEAST = 15.0
"""Tiles a second a core that the embedded demo is planned on."""


@pytest.mark.performance
def test_synthetic_tiles_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    source = Synthetic(0)
    labels = list(source.labels(MMEARTH_BENCH.tasks["biomass"], N_TILES, 0))
    tiles = tiles_at([label.lon for label in labels], [label.lat for label in labels], DEFAULT_GRID)
    wanted = (*MMEARTH_BENCH.layers, "biomass")
    source.observe(Visit(tiles[0], tuple(wanted), None))  # reads the coasts once
    # Time on the processor, of this process alone: others on the machine do not count.
    start = time.process_time()
    for tile in tiles:
        source.observe(Visit(tile, tuple(wanted), None))
    rate = N_TILES / (time.process_time() - start)
    with capsys.disabled():
        sys.stdout.write(f"\nsynthetic: {rate:.0f} complete tiles/s/core (aim {LEAST:g})\n")
    assert rate >= LEAST
