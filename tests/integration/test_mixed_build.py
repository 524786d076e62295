"""A build whose layers come from several sources: all of one date, each with its own provenance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mmearth.build import build
from mmearth.catalog.tile import Tile
from mmearth.curate.config import load_config
from mmearth.curate.estimate import estimate
from mmearth.curate.plan_text import costs
from mmearth.curate.source import Visit
from mmearth.curate.sources import make_source
from mmearth.curate.sources.earthengine import session, sign_in
from mmearth.curate.sources.earthengine.source import AHEAD
from mmearth.curate.visits import Options
from mmearth.tests.collected import kept
from mmearth.tests.earthengine.evaluate import Evaluate
from mmearth.tests.earthengine.planet.places import planet_of, write_places
from mmearth.tests.earthengine.server import TOKEN, Server

N = 6
CONFIG = """
name: mixed
title: Two sources
modalities: [sentinel2, sentinel1, temperature, month, biome]
source: {kind: earthengine}
sources:
  temperature: &files
    kind: files
    root: REAL
    rasters:
      temperature:
        - path: climate/era5_monthly_climatology_2000_2025_1deg.nc
          product: ERA5 climatology 2000-2025
          stand_in: a climatology
          variable: t2m
          crs: EPSG:4326
          unit: degC
          months: true
    polygons:
      biome:
        path: vector/resolve_ecoregions2017_simplified/Ecoregions2017.shp
        field: BIOME_NAME
        product: RESOLVE/ECOREGIONS/2017
  biome: *files
tasks:
  soil_pH: {points: {path: places.csv, value: ph}}
"""


@pytest.fixture
def config(tmp_path: Path, real_data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    tiles = write_places(tmp_path / "places.csv", N)
    path = tmp_path / "mixed.yaml"
    path.write_text(CONFIG.replace("REAL", real_data.as_posix()))
    with Server(Evaluate(planet_of(tiles))).running() as running:
        monkeypatch.setenv("MMEARTH_EE_URL", running.url)
        monkeypatch.setenv("EARTHENGINE_PROJECT", "demo")
        monkeypatch.setenv(sign_in.TOKEN, TOKEN)
        yield path
        assert running.crashes == []
        n_asked = sum(
            running.counters.requests[r] for r in ("value:compute", "image:computePixels")
        )
        assert n_asked <= N + -(-N // AHEAD) + 1
    session.close()


def test_each_layer_comes_from_its_source_at_one_date(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = build(config, out, Options(None, None, None, False), lambda *_: None)
    assert (summary.exit_code, summary.failures, summary.problems) == (0, 0, ())
    rows = pq.read_table(out / "observations.parquet").to_pylist()
    made_by = {row["modality"]: row["source"] for row in rows if row["state"] == "done"}
    assert made_by == {
        "sentinel2": "earthengine 2",
        "sentinel1": "earthengine 2",
        "month": made_by["month"],
        "temperature": "files",
        "biome": "files",
    }
    assert "earthengine 2, files" in (out / "dataset.json").read_text()
    # The climatology's month is that of the scene, which only Earth Engine knows.
    loaded = load_config(config)
    dates = {row["tile"]: row["acquired"] for row in rows if row["modality"] == "sentinel2"}
    files = make_source(
        loaded.model_copy(update={"source": loaded.sources["biome"], "sources": {}}), config.parent
    )
    for name, date in dates.items():
        tile = Tile.parse(name, loaded.catalogue.grid)
        held = kept(out, tile.id)["temperature"].array
        alone = files.observe(Visit(tile, ("temperature",), None, date))["temperature"]
        assert held.tolist() == alone.array.tolist()  # type: ignore[union-attr]


def test_a_plan_says_what_comes_from_where(config: Path) -> None:
    found = estimate(config)
    assert found.requests == N + -(-N // AHEAD)
    first = costs(found, 100.0)[0]
    assert "earthengine: sentinel2, sentinel1, month; files: temperature, biome" in first
