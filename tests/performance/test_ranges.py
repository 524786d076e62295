"""40,000 places in the ranges of a hundred species, drawn in detail."""

from __future__ import annotations

import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely

from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.labels.range_places import range_labels
from mmearth.curate.places import RangePlaces

_VERTICES = 20_000


@pytest.mark.performance
def test_forty_thousand_places(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    shapes = [_coast(rng) for _ in MMEARTH_BENCH.tasks["species"].outputs]
    frame = gpd.GeoDataFrame(
        {"sci_name": MMEARTH_BENCH.tasks["species"].outputs}, geometry=shapes, crs=4326
    )
    frame.to_file(tmp_path / "ranges.gpkg")
    begin = time.perf_counter()
    labels = range_labels(RangePlaces(path="ranges.gpkg"), tmp_path, 42, DEFAULT_GRID)
    seconds = time.perf_counter() - begin
    print(f"\n{len(labels)} places in 100 ranges of {_VERTICES} vertices: {seconds:.0f} s")
    assert len(labels) > 39_000
    assert seconds < 300.0


def _coast(rng: np.random.Generator) -> shapely.Geometry:
    """Return a ragged polygon around the Red Sea: partly in Africa, partly outside."""
    angle = np.linspace(0.0, 2.0 * np.pi, _VERTICES, endpoint=False)
    ragged = sum(rng.normal() / k * np.sin(k * angle + rng.uniform(0, 6)) for k in range(2, 60))
    radius = 12.0 + 0.8 * ragged + rng.uniform(0, 0.01, _VERTICES)
    lon, lat = rng.uniform(33, 45), rng.uniform(12, 26)
    return shapely.make_valid(
        shapely.Polygon(
            np.column_stack([lon + radius * np.cos(angle), lat + radius * np.sin(angle)])
        )
    )
