"""Layers of the user's own from Earth Engine into a sealed dataset, on a grid of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmearth.build import build
from mmearth.catalog.catalogue import read_catalogue
from mmearth.catalog.tile import Tile
from mmearth.curate.sources.earthengine import session, sign_in
from mmearth.curate.visits import Options
from mmearth.tests.collected import kept
from mmearth.tests.earthengine.evaluate import Evaluate
from mmearth.tests.earthengine.server import TOKEN, Server
from mmearth.tests.integration.ee_rules.scenes import (
    Optical,
    Piece,
    World,
    first,
    flat,
    only,
    painted,
)

CONFIG = """
name: own
title: Own layers through the loopback
recipe: mmearth-bench-2026
grid: {pixels: 64, resolution_m: 20}
modalities: [sentinel2, embedding, crops, wood]
layers:
  embedding:
    bands: {count: 64, prefix: A}
    valid: [-1, 1]
    earthengine: {collection: some/embeddings, choose: year}
  crops:
    classes: {2: maize, 9: wheat}
    earthengine: {collection: some/crops, choose: mode, bands: [label]}
  wood:
    level: tile
    unit: m
    earthengine: {image: some/wood, bands: [height]}
source: {kind: earthengine}
tasks:
  yields: {points: {path: places.csv, value: t, id: id}}
"""


def _world() -> World:
    vectors = {f"A{i:02}": flat(i / 64) for i in range(64)}
    half = painted(first(32 * 128, 10.0), 9, 2)
    return World(
        optical=[Optical(4, "2020-07-05T10:00")],
        maps={"some/wood": {"height": only(first(32 * 128), flat(21.5))}},
        series={
            "some/embeddings": [
                Piece(vectors, f"{year}-01-01", version=3) for year in (2019, 2020)
            ],
            "some/crops": [
                Piece({"label": half}, when, kind="uint8")
                for when in ("2020-02-01", "2020-08-01", "2021-01-01")
            ],
        },
    )


def test_a_dataset_of_own_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = _world()
    lon, lat = world.tile.lon, world.tile.lat
    (tmp_path / "places.csv").write_text(f"id,lon,lat,t\na,{lon:.8f},{lat:.8f},7.5\n")
    (tmp_path / "own.yaml").write_text(CONFIG)
    monkeypatch.setenv("EARTHENGINE_PROJECT", "demo")
    monkeypatch.setenv(sign_in.TOKEN, TOKEN)
    out = tmp_path / "out"
    with Server(Evaluate(world.archive())).running() as running:
        monkeypatch.setenv("MMEARTH_EE_URL", running.url)
        summary = build(
            tmp_path / "own.yaml", out, Options(1, "threads", None, False), lambda *_: None
        )
        assert running.crashes == []
        asked = running.counters.requests
        assert (asked["value:compute"], asked["image:computePixels"]) == (1, 1)
    session.close()
    assert (summary.exit_code, summary.failures, summary.samples) == (0, 0, {"yields": 1})
    known = read_catalogue(out)
    assert list(known.layers) == ["sentinel2", "embedding", "crops", "wood"]
    assert [known.layers[n].timing for n in ("embedding", "crops", "wood")] == [
        "year",
        "year",
        "static",
    ]
    [row] = pq.read_table(out / "manifests" / "yields.parquet").to_pylist()
    tile = Tile.parse(row["tile"], known.grid)
    assert tile.grid.pixels == 64
    arrays = kept(out, tile.id)
    assert (arrays["sentinel2"].array == 4).all()
    assert arrays["embedding"].array.shape == (64, 64, 64)
    assert arrays["embedding"].array[:, 30, 40].tolist() == [i / 64 for i in range(64)]
    assert np.unique(arrays["crops"].array[0, :16]).tolist() == [9]
    assert np.unique(arrays["crops"].array[0, 16:]).tolist() == [2]
    assert arrays["wood"].array.tolist() == [21.5]
    assert row["embedding"]["acquired"] == "2020"
    assert row["embedding"]["source_ids"] == ["some/embeddings/P1@3"]
    assert row["crops"]["source_ids"] == ["some/crops/P0", "some/crops/P1"]
    assert row["wood"]["source_ids"] == ["some/wood"]
    assert len({row[name]["expression"] for name in ("embedding", "crops", "wood")}) == 3
    catalogue = json.loads((out / "catalogue.json").read_text())
    assert [layer["name"] for layer in catalogue["layers"]] == list(known.layers)
