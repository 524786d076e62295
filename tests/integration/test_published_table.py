"""A code base whose published table has changed since reads an old dataset as it was built."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mmearth
from mmearth.catalog import card as cards
from mmearth.catalog import croissant, stac
from mmearth.catalog.checksums import seal
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.packaging.build import build
from mmearth.packaging.verify import verify
from mmearth.tests.make_tiny import CATALOGUE, make_sealed, make_tiny

RunCli = Callable[..., tuple[int, str, str]]

READ = """
import hashlib, json, sys
from dataclasses import replace
from pathlib import Path
from mmearth.catalog import published

KNOWN = published.MMEARTH_BENCH


def changed():
    layers = dict(KNOWN.layers)
    layers["aster_gdem"] = replace(layers["aster_gdem"], nodata=-32768)
    layers["eth_gch"] = replace(layers["eth_gch"], nodata=0, dtype="uint8")
    layers["sentinel2"] = replace(layers["sentinel2"], bands=layers["sentinel2"].bands[::-1])
    land = layers["esa_worldcover"]
    bands = (replace(land.bands[0], valid=(0, 9)),)
    layers["esa_worldcover"] = replace(land, bands=bands, classes=land.classes[:-1])
    layers["jrc_water"] = replace(layers["dynamic_world"], name="jrc_water")
    tasks = {name: task for name, task in KNOWN.tasks.items() if name != "species"}
    target = replace(tasks["soil_pH"].target, dtype="float64")
    tasks["soil_pH"] = replace(tasks["soil_pH"], target=target)
    return replace(KNOWN, layers=dict(reversed(layers.items())), tasks=tasks)


if sys.argv[2] == "changed":
    published.MMEARTH_BENCH = changed()

import mmearth
from mmearth.catalog.catalogues import catalogue_named
from mmearth.packaging.rebuild import rebuild
from mmearth.packaging.verify import verify

root = Path(sys.argv[1])
dataset = mmearth.open(root)


def plain(value):
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if hasattr(value, "numpy"):
        value = value.numpy()
        digest = hashlib.sha256(value.tobytes()).hexdigest()
        return [str(value.dtype), list(value.shape), digest]
    return str(value)


batches = {
    f"{task} {normalise}": [
        plain(batch)
        for batch in dataset.select(task).loader(3, "sequential", normalise=normalise)
    ]
    for task in ("biomass", "soil_pH", "species")
    for normalise in (None, "train")
}
said = {
    "catalogue": list(catalogue_named().layers),
    "verify": [str(finding) for finding in verify(root)],
    "batches": batches,
}
if sys.argv[2] == "changed":
    said["rebuilt"] = rebuild(root)[1]
sys.stdout.write(json.dumps(said))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All twelve modalities and three tasks, with a STAC catalogue."""
    root = tmp_path_factory.mktemp("old") / "dataset"
    card = make_tiny(root, 6)
    built = build(root, card)
    cards.write_readme(root, card)
    stac.build(root, card)
    croissant.build(root, card, built.sums)
    seal(root, card, built.sums)
    return root


def _read(root: Path, table: str) -> Any:
    command = [sys.executable, "-c", READ, str(root), table]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_changed_table_changes_nothing_of_a_dataset_that_is_there(root: Path) -> None:
    before = json.loads((root / "dataset.json").read_bytes())["dataset_hash"]
    as_it_was, changed = _read(root, "as it was"), _read(root, "changed")
    assert as_it_was.pop("catalogue") == list(MMEARTH_BENCH.layers)
    assert changed.pop("catalogue")[0] == "jrc_water"
    assert changed.pop("rebuilt") == before  # packed again by it, every byte is the same
    assert as_it_was["verify"] == changed["verify"] == []
    assert as_it_was == changed
    for name, batches in as_it_was["batches"].items():
        assert batches, name
        assert batches[0]["sentinel2"][1][1:] == [12, 128, 128]
        assert {"aster_gdem", "month", "ecoregion", "mask"} <= batches[0].keys()


def test_no_data_is_what_it_was(root: Path) -> None:
    """The experiment that moved a z-score from -0.98 to -2730.8: no-data of the elevation."""
    layer = CATALOGUE.layers["aster_gdem"]
    loader = mmearth.open(root).select("soil_pH", modalities="aster_gdem").loader(
        20, "sequential", normalise="train")  # fmt: skip
    (batch,) = loader
    assert layer.nodata == -9999.0
    z_scores = batch["aster_gdem"].numpy()
    assert np.abs(z_scores).max() < 5.0
    assert batch["mask"]["aster_gdem"].numpy().mean() == 0.75  # a quarter is no data


def test_a_dataset_of_two_modalities_hands_out_two(tmp_path: Path, run_cli: RunCli) -> None:
    part = MMEARTH_BENCH.only(("esa_worldcover", "month"), ("soil_pH",))
    root = make_sealed(tmp_path / "two", 5, part)
    selection = mmearth.open(root).select("soil_pH")
    assert selection.query.modalities == ("esa_worldcover", "month")
    batch = next(iter(selection.loader(5)))
    assert set(batch["mask"]) == {"esa_worldcover", "month", "target"}
    assert not batch.keys() & (MMEARTH_BENCH.layers.keys() - {"esa_worldcover", "month"})
    code, out, _ = run_cli("loaders", "peek", str(root), "--task", "soil_pH")
    assert code == 0
    assert "sentinel2" not in out
    code, _, err = run_cli("loaders", "peek", str(root), "--task", "soil_pH",
                           "--modalities", "sentinel2")  # fmt: skip
    assert (code, err.count("\n")) == (2, 1)
    assert "expected one of esa_worldcover, month" in err
    assert not [f for f in verify(root) if not f.path.startswith("stac")]
