"""The dataset that was built when the schema became 2.0: every later version reads it as it is."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import webdataset
from numpy.typing import NDArray

import mmearth
from mmearth.catalog.catalogue import read_catalogue
from mmearth.catalog.executor import Workers
from mmearth.catalog.grid import Grid
from mmearth.catalog.validate import validate_stac
from mmearth.packaging.rebuild import rebuild
from mmearth.packaging.verify import verify

RunCli = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).resolve().parents[1] / "data" / "v2" / "dataset"
HASH = "b75ec0e8e760c61485b61d7d6e16b814a798f4d7c315f8985feba8128cee4a00"
A, B = "32632_666050_5374480_20200716", "32632_703980_5347900_20200716"
"""The samples of the two places of places.csv: train and val."""
MONTHS = {2: (0.5, math.sqrt(0.75)), 7: (-math.sqrt(0.75), -0.5)}
"""Cosine and sine of 2π·month/12."""


def _batch(task: str, **how: Any) -> Any:
    (batch,) = mmearth.open(ROOT).select(task).loader(9, "sequential", **how)
    return batch


def _array(value: Any) -> NDArray[Any]:
    array: NDArray[Any] = value.numpy()
    return array


def test_it_is_small_and_the_one_that_was_built() -> None:
    files = [path for path in ROOT.parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000
    assert mmearth.open(ROOT).hash == HASH
    document = json.loads((ROOT / "dataset.json").read_bytes())
    assert document["schema_version"] == "2.0"


def test_it_is_whole(run_cli: RunCli) -> None:
    assert verify(ROOT) == verify(ROOT, Workers(2, "threads")) == []
    assert run_cli("packaging", "verify", str(ROOT))[0] == 0
    assert validate_stac(ROOT, None).problems == ()
    code, out, _ = run_cli("catalog", "audit", str(ROOT), "--json")
    assert code == 0
    assert [audit["task"] for audit in json.loads(out)] == list(read_catalogue(ROOT).tasks)


def test_the_catalogue_means_what_it_meant() -> None:
    catalogue = read_catalogue(ROOT)
    assert catalogue.grid == Grid(32, 10)
    shapes = {name: (layer.dtype, layer.shape) for name, layer in catalogue.layers.items()}
    assert shapes == {
        "aster_gdem": ("float32", (2, 32, 32)),
        "dynamic_world": ("uint8", (1, 32, 32)),
        "temperature": ("float64", (9,)),
        "month": ("float64", (2,)),
        "biome": ("int16", (1,)),
        "moisture": ("float32", (1, 32, 32)),
        "land_use": ("uint8", (1, 32, 32)),
    }
    land_use = catalogue.layers["land_use"]
    assert land_use.codes == (10, 20, 30, 50, 80)
    assert (land_use.nodata, land_use.classes[4].color) == (255, "#1f78b4")
    assert catalogue.layers["aster_gdem"].nodata == -9999
    facts = {name: (task.kind, task.target.level) for name, task in catalogue.tasks.items()}
    assert facts == {
        "biomass": ("regression", "pixel"),
        "fields": ("classification", "pixel"),
        "harvest": ("regression", "tile"),
        "soil": ("regression", "tile"),
        "grain": ("classification", "tile"),
        "birds": ("multilabel", "tile"),
    }
    assert catalogue.tasks["grain"].target.codes == (3, 5, 9)


@pytest.mark.parametrize(
    ("task", "target"),
    [
        ("harvest", [[5.4], [3.1]]),
        ("soil", [[60.5, 10.0, 29.5], [20.0, 30.0, 50.0]]),
        ("grain", [1, 0]),  # maize and wheat, of wheat, maize and rice
        ("birds", [[1, 1, 0], [0, 0, 0]]),  # wren and rook; none
    ],
)
def test_targets_of_tiles_are_those_of_the_table(task: str, target: Any) -> None:
    batch = _batch(task)
    assert batch["key"] == [A, B]
    found = _array(batch["target"])
    np.testing.assert_array_equal(found.reshape(np.shape(target)), target)


def test_targets_of_pixels() -> None:
    biomass, fields = _batch("biomass"), _batch("fields")
    labelled = _array(biomass["mask"]["target"])
    assert labelled.sum(axis=(1, 2)).tolist() == [5, 5, 5]
    values = _array(biomass["target"])[labelled]
    assert (float(values.min()) >= 0.0) and (float(values.max()) <= 2000.0)
    marks = _array(fields["target"])
    classes, counts = np.unique(marks, return_counts=True)
    # The second sample has no target; 2 is the class of the code 4.
    assert dict(zip(classes.tolist(), counts.tolist(), strict=True)) == {-100: 1700, 2: 348}
    assert (marks[1] == -100).all()


def test_layers_of_each_kind() -> None:
    batch = _batch("biomass")
    assert [key[-8:] for key in batch["key"]] == ["20200215", "20200716", "20200716"]
    np.testing.assert_allclose(batch["month"], [MONTHS[2], MONTHS[7], MONTHS[7]], atol=1e-15)
    assert set(np.unique(_array(batch["land_use"]))) == {10, 50, 80}
    assert _array(batch["dynamic_world"]).max() <= 8
    assert _array(batch["biome"]).ravel().tolist() == [11, 8, 1]
    moisture = _array(batch["moisture"])
    assert moisture.min() >= 0.0
    assert moisture.max() <= 1.0
    kelvin = _array(batch["temperature"])
    assert (kelvin.min() > 150) and (kelvin.max() < 350)
    assert (kelvin[:, 0] >= kelvin[:, 2]).all()  # the highest of last month, and the lowest


def test_train_has_mean_zero_and_deviation_one() -> None:
    stored, normal = _batch("biomass"), _batch("biomass", normalise="train")
    height = _array(stored["aster_gdem"])[:2, 0].astype(np.float64)  # the train samples come first
    there = _array(stored["mask"]["aster_gdem"])[:2, 0]
    expected = (height - height[there].mean()) / height[there].std()
    found = _array(normal["aster_gdem"])[:2, 0]
    np.testing.assert_allclose(found[there], expected[there], atol=1e-5)
    assert (found[~there] == 0.0).all()
    assert np.unique(_array(normal["land_use"])).tolist() == [0, 3, 4]  # of the codes 10, 50, 80


def test_it_is_queried() -> None:
    dataset = mmearth.open(ROOT)
    rows = dataset.sql("SELECT key, target, biome FROM harvest WHERE target > 4").to_pylist()
    assert rows == [{"key": A, "target": 5.4, "biome": 6}]
    rows = dataset.sql("SELECT soil.clay AS clay, label_id FROM soil ORDER BY clay").to_pylist()
    assert rows == [{"clay": 29.5, "label_id": "a"}, {"clay": 50.0, "label_id": "b"}]
    assert len(dataset.select("birds", where="list_contains(birds, 'rook')")) == 1
    assert len(dataset.select("grain", split="val", where="grain = 'wheat'")) == 1
    # With nothing of ours.
    manifests = f"{ROOT}/manifests/*.parquet"
    counted = duckdb.sql(f"SELECT task, count(*) FROM '{manifests}' GROUP BY 1 ORDER BY 1")
    expected = [("biomass", 3), *((task, 2) for task in "birds fields grain harvest soil".split())]
    assert counted.fetchall() == expected


def test_stock_webdataset_streams_it() -> None:
    shards = sorted(str(path) for path in (ROOT / "shards/soil").glob("*.tar"))
    samples = {s["__key__"]: s for s in webdataset.WebDataset(shards, shardshuffle=False).decode()}
    assert set(samples) == {A, B}
    assert samples[A]["json"]["target"] == {"sand": 60.5, "silt": 10.0, "clay": 29.5}
    batch = _batch("soil")
    for i, key in enumerate((A, B)):
        for name in ("aster_gdem", "dynamic_world", "moisture", "land_use"):
            np.testing.assert_array_equal(samples[key][f"{name}.npy"], _array(batch[name])[i])


def test_it_is_packed_again_from_its_store(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(ROOT, tmp_path / "copy"))
    built, _ = rebuild(copy)
    assert built.n_samples == {
        **{"biomass": 3, "fields": 2, "harvest": 2, "soil": 2, "grain": 2, "birds": 2},
    }
    assert verify(copy) == []
