"""What a model declares: taken as it says, or refused where it contradicts the modalities."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest

from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.loaders.inputs import Normalisation

RGB = {"bands": ["B4", "B3", "B2"], "unit": "1", "scale": 1e-4}
STORED = {**RGB, "mean": [1353.0, 1117.0, 1042.0], "std": [900.0, 700.0, 600.0]}
PHYSICAL = {**RGB, "scale": 1, "mean": [0.1353, 0.1117, 0.1042], "std": [0.09, 0.07, 0.06]}
DEM = {"bands": ["elevation"], "unit": "m", "mean": 670.665, "std": 951.272}


def declared(name: str, fields: dict[str, Any]) -> Normalisation:
    return declared_all({name: fields})


def declared_all(document: Any) -> Normalisation:
    return Normalisation.from_model(document, MMEARTH_BENCH)


def of_statistics(document: Any, subset: str) -> Normalisation:
    return Normalisation.from_statistics(document, subset, MMEARTH_BENCH.layers.values())


def test_stored_and_physical_numbers_mean_the_same() -> None:
    for fields in (STORED, PHYSICAL):
        wanted = declared("sentinel2", fields)["sentinel2"]
        assert wanted.bands == ("B4", "B3", "B2")
        assert [wanted.stored(i, MMEARTH_BENCH.layer("sentinel2")) for i in range(3)] == [
            (pytest.approx(1353, rel=1e-12), pytest.approx(900, rel=1e-12)),
            (pytest.approx(1117, rel=1e-12), pytest.approx(700, rel=1e-12)),
            (pytest.approx(1042, rel=1e-12), pytest.approx(600, rel=1e-12)),
        ]


def test_one_band_and_classes_are_short_to_write() -> None:
    found = declared_all({"esa_worldcover": {}, "month": {}, "aster_gdem": DEM})
    assert list(found) == ["esa_worldcover", "month", "aster_gdem"]
    assert found["aster_gdem"].stored(0, MMEARTH_BENCH.layer("aster_gdem")) == (670.665, 951.272)
    assert found["month"].bands == ("cos_month", "sin_month")
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize(
    ("name", "changed", "sentence"),
    [
        ("sentinel2", {"unit": "DN"}, r"sentinel2 B4: the model declares the unit 'DN', ours is"),
        ("sentinel1", {"unit": "1"}, r"sentinel1 asc_VV: .* unit '1', ours is 'dB'; convert"),
        ("sentinel2", {"scale": 1 / 255}, r"B4: .* scale 0.00392157; expected 0.0001 for stored"),
        ("sentinel2", {"bands": ["B4", "B10", "B2"]}, r"sentinel2 has no band 'B10'"),
        ("sentinel2", {"bands": ["B4", "B4", "B2"]}, r"bands B4, B4, B2; expected .* each once"),
        ("sentinel2", {"bands": []}, r"sentinel2: found bands none; expected one or more"),
        ("sentinel2", {"mean": [1353.0]}, r"found 1 of mean for 3 bands; give one a band"),
        ("sentinel2", {"unit": ["1", "1"]}, r"found 2 of units for 3 bands"),
        ("sentinel2", {"std": [900, 0, 600]}, r"B3: found mean 1117 and std 0; expected finite"),
        ("sentinel2", {"mean": [1, "nan", 3]}, r"B3: found mean nan"),
        ("sentinel2", {"std": ["a", 1, 2]}, r"where numbers are expected"),
        ("sentinel2", {"scale": []}, r"found 0 of scale; expected one for all bands"),
        ("sentinel2", {"scale": [1e-4, 1]}, r"found 2 of scale; expected one for all bands"),
        ("sentinel2", {"means": [1, 2, 3]}, r"sentinel2 has no field 'means'; expected bands"),
        # Numbers of one scale under the name of the other.
        ("sentinel2", {"scale": 1}, r"1353 with scale 1 is 1.353e\+07 as stored, .* 0 to 65534"),
        ("sentinel2", {"std": [0.2, 0.1, 0.1]}, r"a std of 0.2 .* is 0.2 as stored, less than one"),
    ],
)
def test_a_contradiction_is_refused(name: str, changed: dict[str, Any], sentence: str) -> None:
    fields = dict(STORED)
    if name == "sentinel1":
        fields = {"bands": ["asc_VV"], "unit": "dB", "mean": [-12.0], "std": [5.0]}
    declared(name, fields)
    with pytest.raises(ConfigError, match=sentence):
        declared(name, {**fields, **changed})


@pytest.mark.parametrize("field", ["unit", "scale", "mean", "std"])
def test_what_decides_the_numbers_must_be_declared(field: str) -> None:
    fields = {name: value for name, value in STORED.items() if name != field}
    with pytest.raises(ConfigError, match=f"sentinel2: the model does not declare its {field};"):
        declared("sentinel2", fields)


def test_degrees_celsius_are_refused() -> None:
    fields = {"unit": "K", "mean": [15.0] * 9, "std": [10.0] * 9}
    with pytest.raises(ConfigError, match=r"a mean of 15 .* where values are 150 to 350"):
        declared("temperature", fields)


def test_classes_have_no_mean() -> None:
    with pytest.raises(ConfigError, match="categorical modality, which is not normalised"):
        declared("dynamic_world", {"mean": 4.0, "std": 2.0})


@pytest.mark.parametrize("document", [{"sentinel3": {}}, {"sentinel2": None}, {3: {}}])
def test_what_is_no_modality_is_refused(document: Any) -> None:
    with pytest.raises(ConfigError, match="expected a modality of the dataset"):
        declared_all(document)


def test_a_file_says_the_same_as_yaml_and_as_json(tmp_path: Path) -> None:
    yaml, as_json = tmp_path / "model.yaml", tmp_path / "model.json"
    yaml.write_text(
        "sentinel2: {bands: [B4, B3, B2], unit: 1, scale: 1e-4,\n"
        "  mean: [1353, 1117, 1042], std: [900, 700, 600]}\n"
    )
    as_json.write_text(json.dumps({"sentinel2": STORED}))
    expected = declared("sentinel2", STORED)
    assert (
        Normalisation.from_file(yaml, MMEARTH_BENCH)
        == expected
        == Normalisation.from_file(as_json, MMEARTH_BENCH)
    )


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "\0"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"model\.yaml"):
        Normalisation.from_file(path, MMEARTH_BENCH)
    with pytest.raises(ConfigError, match="cannot be read"):
        Normalisation.from_file(tmp_path / "none.yaml", MMEARTH_BENCH)


def statistics(**bands: Any) -> dict[str, Any]:
    empty = {"n_samples": 0, "modalities": {}}
    return {
        "train": {"n_samples": 2, "modalities": {"aster_gdem": bands}},
        "train_50": {"n_samples": 1, "modalities": {"aster_gdem": {}}},
        "train_5": empty,
    }


def test_statistics_without_a_number_leave_a_band_as_it_is() -> None:
    document = statistics(
        elevation={"mean": None, "std": None}, slope={"mean": 5.0, "std": 0.0, "n": 3}
    )
    found = of_statistics(document, "train")
    assert list(found) == list(MMEARTH_BENCH.layers)
    assert found["aster_gdem"].stored(0, MMEARTH_BENCH.layers["aster_gdem"]) == (0.0, 1.0)
    assert found["aster_gdem"].stored(1, MMEARTH_BENCH.layers["aster_gdem"]) == (5.0, 1.0)
    assert found["sentinel2"].mean == (0.0,) * 12
    assert found["sentinel2"].scale is None  # values as they are stored


def test_the_subset_in_use_decides(small_dataset: Path) -> None:
    document = json.loads((small_dataset / "statistics" / "soil_pH.json").read_text())
    found = of_statistics(document, "train")
    for name in ("sentinel2", "temperature"):
        layer = MMEARTH_BENCH.layers[name]
        for i, band in enumerate(layer.bands):
            published = document["train"]["modalities"][name][band.name]
            assert found[name].stored(i, layer) == (published["mean"], published["std"])
    document["train_50"] = {**document["train"], "modalities": {}}
    half = of_statistics(document, "train_50")
    assert half["temperature"].mean == (0.0,) * 9
    assert found["geolocation"].mean == (0.0,) * 4  # encodings are in [-1, 1] already


def test_statistics_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="statistics of train_5 are of no sample"):
        of_statistics(statistics(), "train_5")
    with pytest.raises(ConfigError, match="found subset 'val'; expected one of train, train_50"):
        of_statistics(statistics(), "val")
    for broken in ({}, {"train": []}, {"train": {"n_samples": 1, "modalities": []}}):
        with pytest.raises(FormatError, match="build them again"):
            of_statistics(broken, "train")


@pytest.mark.parametrize(
    "slope",
    [
        {"mean": None, "std": 0, "n": 3, "min": 1.0, "max": 2.0},
        {"mean": None, "std": None, "n": 3},
        {"mean": 5.0, "std": 0.0, "n": 3, "min": 1.0, "max": 9.0},
        {"mean": 10.0, "std": 1.0, "n": 3, "min": 1.0, "max": 9.0},
        {"mean": 5.0, "std": 10.0, "n": 3, "min": 1.0, "max": 9.0},
        {"mean": "5", "std": 1.0},
        {"mean": 5.0, "std": -1.0},
        {"mean": math.nan, "std": 1.0},
        {"mean": 5.0, "std": math.inf},
        {"mean": 5.0, "std": 1e-300},
        {"mean": 5.0, "std": True},
        {"mean": 1e30, "std": 1.0},
        {"mean": [], "std": 1.0},
        [],
        None,
    ],
)
def test_statistics_that_contradict_themselves_are_refused(slope: Any) -> None:
    with pytest.raises(FormatError, match="statistics of train are not as expected"):
        of_statistics(statistics(elevation={}, slope=slope), "train")


def test_statistics_that_lack_a_band_are_refused() -> None:
    good = {"mean": 5.0, "std": 1.0}
    of_statistics(statistics(elevation=good, slope=good), "train")
    with pytest.raises(FormatError, match="KeyError: 'elevation'"):
        of_statistics(statistics(slope=good), "train")
