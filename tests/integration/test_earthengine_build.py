"""Whole builds through the loopback Earth Engine, by the unpatched client, in both recipes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmearth.build import Summary, build
from mmearth.catalog.errors import QuotaError, RefusedError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.schema import member_column
from mmearth.catalog.tile import Tile, tiles_at
from mmearth.curate.config import load_config
from mmearth.curate.source import Visit
from mmearth.curate.sources import make_source
from mmearth.curate.sources.earthengine import granules, session, sign_in
from mmearth.curate.sources.earthengine.source import AHEAD
from mmearth.curate.sources.synthetic import Synthetic
from mmearth.curate.visits import Options
from mmearth.tests.collected import kept
from mmearth.tests.earthengine.evaluate import Evaluate
from mmearth.tests.earthengine.faults import PASSING, Faults
from mmearth.tests.earthengine.planet import Planet
from mmearth.tests.earthengine.planet.places import SEED, TASKS, planet_of, write_places
from mmearth.tests.earthengine.server import TOKEN, Server

_N = 10
_NEAR = np.s_[20:108, 20:108]
"""Pixels that the published circle of 650 m holds, and the default square too."""
_IDS = {
    "sentinel2": r"COPERNICUS/S2_SR_HARMONIZED/2020\w+@\d+",
    "sentinel1": r"COPERNICUS/S1_GRD/S1\w+@\d+",
    "aster_gdem": r"projects/sat-io/open-datasets/ASTER/GDEM@\d+",
    "eth_gch": r"users/nlang/ETH_GlobalCanopyHeight(SD)?_2020_10m_v1@\d+",
    "dynamic_world": r"GOOGLE/DYNAMICWORLD/V1/2020\w+@\d+",
    "esa_worldcover": r"ESA/WorldCover/v100/2020@\d+",
    "precipitation": r"ECMWF/ERA5_LAND/MONTHLY_AGGR/\d{6}@\d+",
    "temperature": r"ECMWF/ERA5_LAND/MONTHLY_AGGR/\d{6}@\d+",
    "geolocation": r"\d{5}_\d+_\d+",
    "month": r"2020-\d\d-\d\d",
    "biome": r"RESOLVE/ECOREGIONS/2017#\d+",
    "ecoregion": r"RESOLVE/ECOREGIONS/2017#\d+",
}
"""What every modality came from: images with the version of the asset, or what stands for one."""
_CLIMATE = {"precipitation": 1e-6, "temperature": 1e-4}
"""Greatest difference: the synthetic source rounds to these digits, the service does not."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with the configurations and the table of places."""
    path = tmp_path_factory.mktemp("earthengine")
    for recipe in ("default", "mmearth-bench-2026"):
        head = f"name: ee\ntitle: Through the loopback\nrecipe: {recipe}\n"
        text = f"{head}source: {{kind: earthengine}}\ntasks:{TASKS}"
        (path / f"{recipe}.yaml").write_text(text)
    return path


@pytest.fixture(scope="module")
def tiles(base: Path) -> list[Tile]:
    """The tiles of all places."""
    return write_places(base / "places.csv", _N)


@pytest.fixture
def server(tiles: list[Tile], monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The planet behind the service's address; whatever it is asked, it must not crash."""
    with Server(Evaluate(planet_of(tiles))).running() as running:
        _use(running, monkeypatch)
        yield running
        assert running.crashes == []
    session.close()


def _use(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMEARTH_EE_URL", server.url)
    monkeypatch.setenv("MMEARTH_EE_PAUSE_S", "0.01")
    monkeypatch.setenv("EARTHENGINE_PROJECT", "demo")
    monkeypatch.setenv(sign_in.TOKEN, TOKEN)


def _build(base: Path, out: Path, recipe: str = "default", **how: object) -> Summary:
    options = Options(
        **{"workers": None, "executor": None, "scheduler": None, "fresh": False, **how}
    )
    return build(base / f"{recipe}.yaml", out, options, lambda *_: None)


@pytest.mark.parametrize("recipe", ["default", "mmearth-bench-2026"])
def test_all_modalities_and_tasks(base: Path, tmp_path: Path, server: Server, recipe: str) -> None:
    out = tmp_path / "out"
    summary = _build(base, out, recipe)
    assert (summary.exit_code, summary.failures, summary.problems) == (0, 0, ())
    assert set(summary.samples) == {
        *("biomass", "soil_nitrogen", "soil_organic_carbon", "soil_pH", "species")
    }
    assert all(count > _N // 2 for count in summary.samples.values())
    assert all(summary.states[name]["done"] > _N // 2 for name in MMEARTH_BENCH.layers)
    n_scalar = server.counters.requests["value:compute"]
    n_pixel = server.counters.requests["image:computePixels"]
    assert n_scalar <= -(-_N // AHEAD) and n_pixel <= _N
    assert set(server.counters.bodies.values()) == {1}
    _agrees_with_the_synthetic_source(out)


def _agrees_with_the_synthetic_source(out: Path) -> None:
    """Every array is the planet's own, bit for bit but for the rounding of climate."""
    rows = pq.read_table(out / "manifests" / "biomass.parquet").to_pylist()
    planet = Synthetic(SEED)
    for row in rows:
        tile, date = Tile.parse(row["tile"], DEFAULT_GRID), row["date"].isoformat()
        truth = planet.observe(Visit(tile, (*MMEARTH_BENCH.layers, "biomass"), date))
        found = kept(out, tile.id)
        [painted] = found["biomass"].array
        np.testing.assert_array_equal(painted[_NEAR], truth["biomass"].array[0][_NEAR])
        for name in MMEARTH_BENCH.layers:
            if not row[member_column(MMEARTH_BENCH.layers[name])]["present"]:
                assert isinstance(truth[name], Exception), (tile.id, name)
                continue
            ours = found[name].array
            theirs = truth[name].array
            if name in _CLIMATE:
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=_CLIMATE[name])
            else:
                np.testing.assert_array_equal(ours, theirs, err_msg=f"{tile.id} {name}")


def test_provenance_is_in_manifest_and_catalogue(
    base: Path, tmp_path: Path, server: Server
) -> None:
    out = tmp_path / "out"
    _build(base, out)
    rows = pq.read_table(out / "manifests" / "biomass.parquet").to_pylist()
    row = next(
        r
        for r in rows
        if all(
            r[member_column(MMEARTH_BENCH.layers[name])]["present"] for name in MMEARTH_BENCH.layers
        )
    )
    found = {name: row[member_column(MMEARTH_BENCH.layers[name])] for name in MMEARTH_BENCH.layers}
    for name, pattern in _IDS.items():
        ids = found[name]["source_ids"]
        assert ids and all(re.fullmatch(pattern, each) for each in ids), (name, ids)
        asked = found[name]["expression"]
        assert asked is None if name in ("geolocation", "month") else len(asked) == 64
    n_ids = {name: len(found[name]["source_ids"]) for name in _IDS}
    assert (n_ids["precipitation"], n_ids["temperature"]) == (12, 12)
    assert (n_ids["sentinel2"], n_ids["aster_gdem"], n_ids["eth_gch"]) == (1, 1, 2)
    assert row["biomass"]["source_ids"][0].startswith("LARSE/GEDI/GEDI04_A_002")
    item = next((out / "stac" / "biomass").rglob(f"{row['key']}.json"))
    shard = json.loads(item.read_text())["assets"]["shard"]
    members = {each["title"]: each for each in shard["archive"]}
    for name in (
        name for name in MMEARTH_BENCH.layers if MMEARTH_BENCH.layers[name].level == "pixel"
    ):
        assert members[name]["mmearth:source_ids"] == found[name]["source_ids"]
        assert members[name]["mmearth:expression"] == found[name]["expression"]
    of_tile = {each["name"]: each for each in shard["mmearth:tile_level"]}
    assert list(of_tile) == [
        name for name in MMEARTH_BENCH.layers if MMEARTH_BENCH.layers[name].level == "tile"
    ]
    for name, each in of_tile.items():
        assert each["source_ids"] == found[name]["source_ids"]
        assert each.get("expression") == found[name]["expression"]


def _unlisted(self: Planet, folder: str) -> list[str]:
    """A folder that nobody may list."""
    raise KeyError(folder)


def test_biomass_places_are_footprints(
    base: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index lists a table that is not there: found in the folder's list, or by asking."""
    config = base / "footprints.yaml"
    config.write_text(
        "name: ee\ntitle: T\nsource: {kind: earthengine}\ntasks: {biomass: {labels: {count: 40}}}"
    )
    source = make_source(load_config(config), base)
    labels = list(source.labels(MMEARTH_BENCH.tasks["biomass"], 40, 1))
    assert labels and labels == list(source.labels(MMEARTH_BENCH.tasks["biomass"], 40, 1))
    assert labels != list(source.labels(MMEARTH_BENCH.tasks["biomass"], 40, 2))
    monkeypatch.setattr(granules, "_indices", {})
    monkeypatch.setattr(Planet, "assets", _unlisted)
    assert labels == list(source.labels(MMEARTH_BENCH.tasks["biomass"], 40, 1))
    for label in labels[:3]:
        [tile] = tiles_at([label.lon], [label.lat], DEFAULT_GRID)
        painted = source.observe(Visit(tile, ("biomass",), None))["biomass"]
        assert isinstance(painted, Observation) and painted.valid_fraction > 0


def test_faults_in_the_replies_change_no_byte(base: Path, tmp_path: Path, server: Server) -> None:
    calm = _build(base, tmp_path / "calm")
    quiet = server.counters.total
    kinds = tuple(kind for kind in PASSING if kind != "429-wait")
    server.faults = Faults(kinds, share=0.2, times=2, seed=3)
    wild = _build(base, tmp_path / "wild")
    assert wild.exit_code == 0
    assert server.faults.seen and server.counters.total > 2 * quiet
    assert wild.dataset_hash == calm.dataset_hash


def test_what_cannot_be_answered_is_asked_once(base: Path, tmp_path: Path, server: Server) -> None:
    server.faults = Faults(("memory",), share=1.0, times=99)
    summary = _build(base, tmp_path / "out")
    assert summary.exit_code == 3
    assert all(states == {"failed": _N} for states in summary.states.values())
    assert set(server.counters.bodies.values()) == {1}


def test_a_missing_asset_stops_the_build(base: Path, tmp_path: Path, server: Server) -> None:
    server.faults = Faults(("missing-asset",), share=1.0, times=99)
    with pytest.raises(RefusedError, match="users/nobody/nothing"):
        _build(base, tmp_path / "out")


def test_a_spent_budget_stops_and_goes_on(base: Path, tmp_path: Path, server: Server) -> None:
    out = tmp_path / "out"
    with pytest.raises(QuotaError, match="goes on where it stopped"):
        _build(base, out, budget_requests=9)
    assert server.counters.total <= 9
    summary = _build(base, out)
    assert summary.exit_code == 0
    assert summary.dataset_hash == _build(base, tmp_path / "whole").dataset_hash


def test_processes_share_one_limit(
    base: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMEARTH_EE_IN_FLIGHT", "2")
    monkeypatch.setenv("MMEARTH_EE_PER_SECOND", "12")
    summary = _build(base, tmp_path / "out", workers=3, executor="processes")
    assert summary.exit_code == 0
    assert server.counters.most_in_flight <= 2
    assert server.counters.most_in_second <= 12


def test_without_sentinel2_the_date_is_settled_beforehand(
    base: Path, tmp_path: Path, server: Server
) -> None:
    (base / "no-images.yaml").write_text(
        "name: ee\ntitle: No images\nmodalities: [temperature, month]\nrequire: []\n"
        "date: 2020-07-01/2020-07-31\nsource: {kind: earthengine}\n"
        "tasks: {soil_pH: {points: {path: places.csv, value: ph}}}\n"
    )
    out = tmp_path / "out"
    summary = _build(base, out, "no-images")
    assert (summary.exit_code, summary.failures, summary.problems) == (0, 0, ())
    rows = pq.read_table(out / "manifests" / "soil_pH.parquet").to_pylist()
    assert len(rows) > _N // 2
    for row in rows:
        assert row["date"].isoformat() == row["month"]["acquired"] == "2020-07-16"
        assert row["temperature"]["acquired"] == "2020-07"
