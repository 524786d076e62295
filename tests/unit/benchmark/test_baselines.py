"""Baselines: what place and climate predict, on places whose answer one can work out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from mmearth.benchmark.baselines import BASELINES, Places, places, predict
from mmearth.benchmark.metrics import METRICS
from mmearth.benchmark.predictions import Predictions, pixel_predictions, tile_predictions
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError, DataError, FormatError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.schema import manifest_schema, member_column
from mmearth.catalog.task import Task
from mmearth.tests.make_tiny import OWN

LAYERS = MMEARTH_BENCH.layers
SOIL, SPECIES, BIOMASS = (MMEARTH_BENCH.tasks[name] for name in ("soil_pH", "species", "biomass"))


def made(
    lon: list[float], target: list[float], split: list[str], weight: list[float] | None = None
) -> Places:
    """Places on the equator."""
    n = len(lon)
    return Places(
        SOIL,
        tuple(f"k{i:03d}" for i in range(n)),
        np.array(split),
        np.array(lon, np.float64),
        np.zeros(n),
        np.zeros((n, 12)),
        np.array(target, np.float64)[:, None],
        np.array(weight or [1] * n, np.float64),
    )


def truth_of(known: Places, split: str) -> Predictions:
    """Return a split's targets as predictions of zero; of tiles, also where a task has pixels."""
    rows = known.rows(known.split == split)
    target = rows.target
    if known.task.kind == "classification":
        target = target.argmax(axis=1)[:, None]
    return tile_predictions(known.task, rows.key, np.zeros_like(rows.target), target)


def answers(name: str, known: Places, seed: int = 0) -> NDArray[np.float32]:
    """Return predictions of the random test split, in the order of the keys."""
    truth = {"random_test": truth_of(known, "random_test")}
    return predict(name, known, truth, seed)["random_test"].prediction


def many(n: int = 300, seed: int = 0, task: Task = SOIL) -> Places:
    """Targets that climate explains well, and place a little."""
    generator = np.random.default_rng(seed)
    climate = generator.normal(size=(n, 12))
    lon, lat = generator.uniform(-180, 180, n), generator.uniform(-60, 70, n)
    value = 6 + climate[:, 0] + 0.3 * np.sin(np.radians(lon))
    target = value[:, None] if task is SOIL else value[:, None] > np.linspace(5, 9, 100)
    split = np.array(["train", "train", "val", "random_test"])[np.arange(n) % 4]
    keys = tuple(f"k{i:03d}" for i in range(n))
    return Places(task, keys, split, lon, lat, climate, target.astype(np.float64), np.ones(n))


def test_mean_weighs_tiles_by_their_labelled_pixels() -> None:
    known = made([0, 1, 2], [10, 40, 0], ["train", "train", "random_test"], [3, 1, 1])
    assert answers("mean", known).tolist() == [[17.5]]  # (3 × 10 + 40) / 4


def test_neighbours_look_across_the_date_line() -> None:
    known = made(
        [-179, 170, 0, 179, -179.5],
        [5, 7, 100, 0, 5],
        ["train", "train", "train", "random_test", "val"],
    )
    # Validation lies beside the sample of its own value: one neighbour is best there.
    assert answers("neighbours", known).tolist() == [[5]]


def test_validation_chooses_how_many_neighbours() -> None:
    generator = np.random.default_rng(0)
    n = 120
    noise = generator.normal(0, 1, n)  # nothing but noise: the more neighbours, the better
    split = ["train"] * 80 + ["val"] * 39 + ["random_test"]
    known = made(list(generator.uniform(-90, 90, n)), list(noise), split)
    found = answers("neighbours", known)
    assert abs(found[0, 0] - noise[:80].mean()) < 0.2


@pytest.mark.parametrize("task", [SOIL, SPECIES], ids=lambda task: task.name)
def test_boosting_learns_from_climate_and_repeats(task: Task) -> None:
    known = many(task=task)
    if task is SPECIES:  # three labels are enough to see all its branches
        known.target[:, 3:] = 0
    found = answers("boosting", known)
    truth = known.target[known.split == "random_test"]
    if task is SPECIES:
        assert (found[:, 3:] == 0).all()
        assert found[:, :3].min() >= 0 and found[:, :3].max() <= 1
        assert np.abs(found[:, 2] - truth[:, 2]).mean() < 0.2
        return
    error = ((found - truth) ** 2).mean()
    assert error < 0.3 * truth.var()
    assert np.array_equal(found, answers("boosting", known))


def test_missing_climate_is_no_obstacle() -> None:
    known = many(80)
    known.climate[::3] = np.nan
    for name in BASELINES:
        assert np.isfinite(answers(name, known)).all()


def test_what_cannot_be_is_said() -> None:
    known = made([0], [1], ["random_test"])
    with pytest.raises(ConfigError, match="expected one of mean, neighbours, boosting"):
        answers("median", known)
    with pytest.raises(ConfigError, match="no labelled train sample"):
        answers("mean", known)


def test_no_asked_and_no_val_row() -> None:
    known = made([0, 1], [1, 2], ["train", "train"])
    for name in BASELINES:
        assert answers(name, known).shape == (0, 1)
    alone = made([0, 1, 2], [1, 2, 0], ["train", "train", "random_test"])
    for name in BASELINES:
        assert np.isfinite(answers(name, alone)).all()


def manifest(
    task: Task, columns: dict[str, list[object]], n: int, catalogue: Catalogue = MMEARTH_BENCH
) -> pa.Table:
    schema = manifest_schema(task, catalogue.layers.values())
    rows = [
        {name: columns[name][i] if name in columns else None for name in schema.names}
        for i in range(n)
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def test_pixels_get_their_tile_s_prediction() -> None:
    known = replace(made([0, 1, 2], [10, 40, 0], ["train", "train", "val"]), task=BIOMASS)
    mask = np.zeros((1, 128, 128), np.bool_)
    mask[0, 0, :3] = True
    target = np.full((1, 128, 128), 30.0)
    truth = pixel_predictions(BIOMASS, ["k002"], target, target, mask)
    found = predict("mean", known, {"val": truth}, 0)["val"]
    assert found.prediction.ravel().tolist() == [25, 25, 25]
    assert METRICS["rmse"].value(found) == 5
    with pytest.raises(DataError, match="sample k002 has no prediction"):
        predict("mean", known, {"random_test": truth}, 0)


def test_an_old_manifest_is_refused() -> None:
    table = manifest(SOIL, {"key": ["a"], "split": ["train"]}, 1)
    old = pa.array([{"present": True}])
    place = table.schema.names.index("precipitation")
    with pytest.raises(FormatError, match="no values of precipitation"):
        places(table.set_column(place, "precipitation", old), SOIL, LAYERS)


def test_places_read_a_manifest() -> None:
    shared: dict[str, list[object]] = {
        "key": ["a", "b", "c"],
        "split": ["train", "train", "val"],
        "train_5": [False, True, None],
        "lon": [1.0, 2.0, 3.0],
        "lat": [4.0, 5.0, 6.0],
        member_column(MMEARTH_BENCH.layers["precipitation"]): [
            {"values": [0.1, -9999.0, 0.3]},
            None,
            {"values": None},
        ],
        member_column(MMEARTH_BENCH.layers["temperature"]): [
            {"values": [float(i) for i in range(9)]}
        ]
        * 3,
    }
    biomass = {**shared, "biomass": [{"valid_fraction": 3 / 16384, "mean": m} for m in (7, 8, 9)]}
    read = places(manifest(BIOMASS, biomass, 3), BIOMASS, LAYERS)
    assert read.target.ravel().tolist() == [7, 8, 9] and read.weight.tolist() == [3, 3, 3]
    assert read.climate[0, :3].tolist() == [0.1, pytest.approx(np.nan, nan_ok=True), 0.3]
    assert np.isnan(read.climate[1:, :3]).all() and read.climate[1, 11] == 8
    few = places(manifest(BIOMASS, biomass, 3), BIOMASS, LAYERS, fraction=5)
    assert few.key == ("b", "c")
    soil = {**shared, "target": [5.0, None, 6.0]}
    assert places(manifest(SOIL, soil, 3), SOIL, LAYERS).key == ("a", "c")  # b is unlabelled
    names = {**shared, "species": [["Canis lupus"], [], ["Mus musculus", "Canis lupus"]]}
    labels = places(manifest(SPECIES, names, 3), SPECIES, LAYERS).target
    assert labels[:, :2].tolist() == [[0, 1], [0, 0], [1, 1]] and labels.sum() == 3


def of_classes(classes: list[int], split: list[str], lon: list[float]) -> Places:
    """Places of a tile's class on the equator, warm in the east."""
    known = replace(made(lon, [0] * len(lon), split), task=OWN.tasks["crop"])
    return replace(known, target=np.eye(3)[classes], climate=np.array(lon)[:, None])


def test_classes_are_the_most_frequent_of_all_or_of_neighbours() -> None:
    known = of_classes(
        [0, 0, 0, 1, 1, 1, 1, 2],
        ["train"] * 6 + ["val", "random_test"],
        [-60, -59, -58, 58, 59, -57, 60, 60.5],
    )
    assert answers("mean", known).tolist() == [[0.5, 0.5, 0.0]]
    # Validation lies in the east, where both of the nearest two are of the second class.
    assert answers("neighbours", known).argmax(axis=1).tolist() == [1]


def test_boosting_tells_classes_apart_and_gives_none_to_those_it_never_saw() -> None:
    generator = np.random.default_rng(0)
    lon = list(generator.uniform(-90, 90, 200))
    split = ["train", "train", "val", "random_test"] * 50
    known = of_classes([int(x > 0) for x in lon], split, lon)
    val = np.flatnonzero(known.split == "val")
    known.target[val[0]] = (0, 0, 1)  # a third: train has none
    found = answers("boosting", known)
    assert (found.argmax(axis=1) == [int(x > 0) for x in lon[3::4]]).mean() > 0.9
    assert (found[:, 2] == 0).all() and found.sum(axis=1) == pytest.approx(np.ones(50))
    alone = of_classes([1] * 3, ["train", "val", "random_test"], [0, 1, 2])
    assert answers("boosting", alone).tolist() == [[0, 1, 0]]


def test_pixels_of_classes_get_their_tile_s_most_frequent() -> None:
    landcover, n = OWN.tasks["landcover"], 4
    shape = (n, 32, 32)
    target, mask = np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
    mask[:, 0, :10] = True
    target[0, 0, :7] = 1  # 7 of the second class, 3 of the first
    target[1, 0, :4] = 2  # 4 of the third, 6 of the first
    keys = ["a", "b", "c", "d"]
    seen = pixel_predictions(landcover, keys, np.zeros(shape), target, mask)
    columns: dict[str, list[object]] = {
        "key": [*keys, "e"],
        "split": ["train", "train", "val", "random_test", "train"],
        "lon": [0.0, 40.0, 1.0, 41.0, 2.0],
        "lat": [0.0] * 5,
        "landcover": [{"valid_fraction": 0.01, "mean": None}] * 5,
    }
    known = places(manifest(landcover, columns, 5, OWN), landcover, OWN.layers, seen=[seen])
    assert known.key == tuple(keys)  # e has no labelled pixel
    assert known.target[:2].tolist() == [[0.3, 0.7, 0], [0.6, 0, 0.4]]
    assert known.weight.tolist() == [10] * 4 and known.climate.shape == (4, 2)
    truth = {
        "random_test": pixel_predictions(landcover, ["d"], *(a[3:] for a in (target, target, mask)))
    }
    for name, expected in (("mean", 0), ("neighbours", 0), ("boosting", 0)):
        found = predict(name, known, truth, 0)["random_test"]
        assert found.prediction.tolist() == [[expected]] * 10
    second = replace(known, weight=np.array([30.0, 10, 10, 10]))
    assert predict("mean", second, truth, 0)["random_test"].prediction[0] == 1  # 21 of 40 pixels


def test_places_read_a_manifest_of_own_tasks() -> None:
    shared: dict[str, list[object]] = {
        "key": ["a", "b", "c"],
        "split": ["train", "train", "val"],
        "lon": [1.0, 2.0, 3.0],
        "lat": [4.0, 5.0, 6.0],
        "climate": [{"values": [280.0, -9999.0]}, None, {"values": [290.0, 5.0]}],
    }
    texture, crop = OWN.tasks["texture"], OWN.tasks["crop"]
    three = [
        {"sand": 1.0, "silt": 2.0, "clay": 3.0},
        None,
        {"sand": 4.0, "silt": 5.0, "clay": 6.0},
    ]
    read = places(manifest(texture, {**shared, "texture": three}, 3, OWN), texture, OWN.layers)
    assert read.key == ("a", "c") and read.target.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert read.climate[1].tolist() == [290, 5]
    assert read.climate[0].tolist() == [280, pytest.approx(np.nan, nan_ok=True)]
    named = {**shared, "crop": ["class 2", None, "class 7"]}
    read = places(manifest(crop, named, 3, OWN), crop, OWN.layers)
    assert read.key == ("a", "c") and read.target.tolist() == [[0, 1, 0], [0, 0, 1]]
