"""Layers and targets from YAML: what each key makes, and what each contradiction is told as."""

from __future__ import annotations

from typing import Any

import pytest

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.layer import Band, Layer
from mmearth.tests.own_config import config_of, task_of

MOST = 3.4028234663852886e38


def _layer(**keys: Any) -> Layer:
    return config_of(layers={"soil": keys}, modalities=["soil"]).catalogue.layers["soil"]


def test_a_layer_that_says_nothing_is_one_band_of_float32() -> None:
    found = _layer()
    assert found.bands == (Band("soil", "1", (-MOST, MOST)),)
    assert (found.title, found.description, found.level, found.kind) == (
        *("soil", "soil"),
        *("pixel", "continuous"),
    )
    assert (found.dtype, found.nodata, found.timing) == ("float32", -9999.0, "static")
    assert (found.resampling, found.licence, found.product) == ("bilinear", "other", "own")
    assert found.shape == (1, 128, 128)


def test_bands_in_full_by_name_and_counted() -> None:
    full = {"name": "red", "unit": "sr", "valid": [0, 9], "scale": 0.1, "offset": -1}
    optics = {"native_m": 20, "wavelength_nm": 665, "common_name": "red"}
    found = _layer(bands=[full | optics, "other"], unit="m", valid=[-5, 5])
    assert found.bands == (
        Band("red", "sr", (0.0, 9.0), 0.1, -1.0, 20.0, 665.0, "red"),
        Band("other", "m", (-5.0, 5.0)),
    )
    counted = _layer(bands={"count": 64, "prefix": "A", "unit": "m", "valid": [-1, 1]})
    assert counted.band_names[:2] == ("A00", "A01")
    assert (len(counted.bands), counted.bands[63]) == (64, Band("A63", "m", (-1.0, 1.0)))
    assert _layer(bands={"count": 10}).band_names == tuple(f"B{i}" for i in range(10))
    assert _layer(bands={"count": 11}).band_names[10] == "B10"


@pytest.mark.parametrize(
    ("dtype", "nodata", "valid"),
    [
        ("uint8", 255.0, (0, 254)),
        ("int8", -128.0, (-127, 127)),
        ("uint16", 65535.0, (0, 65534)),
        ("int16", -32768.0, (-32767, 32767)),
        ("float64", -9999.0, (-MOST, MOST)),
    ],
)
def test_the_end_of_a_type_means_absent(dtype: str, nodata: float, valid: tuple[int, int]) -> None:
    found = _layer(dtype=dtype)
    assert (found.nodata, found.bands[0].valid) == (nodata, valid)


def test_nodata_that_is_said_leaves_the_valid_range() -> None:
    assert _layer(dtype="uint8", nodata=0).bands[0].valid == (1, 255)
    assert _layer(dtype="uint8", nodata=100).bands[0].valid == (0, 255)


@pytest.mark.parametrize(
    ("classes", "codes", "dtype", "nodata"),
    [
        (["a", "b"], (0, 1), "uint8", 255),
        ({10: "a", 20: "b", 254: "c"}, (10, 20, 254), "uint8", 255),
        ({0: "a", 255: "b"}, (0, 255), "uint16", 65535),
        ({-1: "a", 300: "b"}, (-1, 300), "int16", -32768),
        ({30: "b", 5: "a"}, (5, 30), "uint8", 255),
        ({0: "a", 65535: "b"}, (0, 65535), "int32", -2147483648),
    ],
)
def test_classes_by_list_and_by_code(
    classes: Any, codes: tuple[int, ...], dtype: str, nodata: float
) -> None:
    found = _layer(classes=classes)
    assert (found.codes, found.dtype, found.nodata) == (codes, dtype, nodata)
    assert [entry.name for entry in found.classes] == ["a", "b", "c"][: len(codes)]
    assert (found.kind, found.resampling) == ("categorical", "nearest")
    assert found.bands == (Band("soil", "1", (codes[0], codes[-1])),)


def test_colours_are_told_or_chosen_apart() -> None:
    found = _layer(classes={1: {"name": "water", "color": "#0000ff"}, 2: "wood", 3: "town"})
    colors = [entry.color for entry in found.classes]
    assert colors[0] == "#0000ff"
    assert len(set(colors)) == 3
    many = _layer(classes=[f"c{i}" for i in range(30)])
    assert len({entry.color for entry in many.classes}) == 30


def test_angles_and_layers_of_tiles() -> None:
    found = _layer(kind="cyclic", bands=["cos", "sin"], level="tile")
    assert found.bands == (Band("cos", "1", (-1, 1)), Band("sin", "1", (-1, 1)))
    assert (found.shape, found.resampling) == ((2,), None)
    assert _layer(level="tile", classes=["a", "b"]).has_code_column


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"dtype": "float16"}, "soil: dtype is 'float16', expected one of uint8, "),
        ({"dtype": "uint8", "nodata": 256}, "nodata 256 is no uint8"),
        ({"nodata": 0.1}, "nodata 0.1 is no float32"),
        ({"nodata": float("nan")}, "nodata: a file's NaN and .* leave it out"),
        ({"valid": [5, 5]}, "band soil: valid is 5 to 5, expected a lowest and a higher highest"),
        ({"valid": [9, 1]}, "valid is 9 to 1, expected"),
        ({"dtype": "uint8", "valid": [0, 300]}, "valid is 0 to 300, which uint8 cannot hold"),
        ({"bands": []}, "it has 0 bands, expected 1 to 1024"),
        ({"bands": {"count": 1025}}, "count: found 1025"),
        ({"bands": ["a", "a"]}, "two bands have one name"),
        ({"bands": [{"name": "a", "scale": 0}]}, "band a: scale is 0"),
        ({"bands": [{"name": "a", "native_m": 0}]}, "native_m or wavelength_nm is not above 0"),
        ({"classes": []}, "classes: names no class"),
        ({"classes": {}}, "classes: names no class"),
        ({"classes": ["a", "a"]}, "'a' and 'a' are one name"),
        ({"classes": ["Dry wood", "dry_wood "]}, "'Dry wood' and 'dry_wood ' are one name"),
        ({"classes": ["a", " "]}, "a class or label has no name"),
        ({"classes": ["1", "2"]}, "class 0 is named '1', which is the code of another"),
        ({"classes": {1: {"name": "a", "color": "red"}}}, "colour is not like #1f77b4"),
        ({"classes": {1: "a"}, "dtype": "float32"}, "it has classes, and dtype float32"),
        ({"classes": {1: "a"}, "kind": "continuous"}, "it has classes, and is continuous"),
        ({"classes": {1: "a"}, "nodata": 1}, "nodata 1 is a class code"),
        ({"classes": {300: "a"}, "dtype": "uint8"}, "which uint8 cannot hold"),
        ({"classes": {1: "a"}, "valid": [0, 9]}, "valid: follows from classes:; leave it out"),
        ({"classes": {1: "a"}, "resampling": "bilinear"}, "bilinear would blend class codes"),
        ({"classes": {2**31: "a"}}, "which int32 cannot hold"),
        ({"kind": "categorical"}, "kind: categorical needs classes:"),
        ({"level": "region"}, "level: found 'region', expected 'pixel' or 'tile'"),
        ({"timing": "daily"}, "timing: found 'daily', expected 'anchor'"),
        ({"colour": 1}, r"layers\.soil\.colour: unknown key"),
    ],
)
def test_a_layer_that_no_array_could_be_of(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        _layer(**keys)


def test_a_target_that_says_nothing_is_one_number_of_unknown_unit() -> None:
    found = task_of()
    assert (found.kind, found.optional, found.metrics) == ("regression", True, ("r2", "rmse"))
    assert found.target.bands == (Band("value", "unknown", (-MOST, MOST)),)
    assert (found.dtype, found.nodata, found.shape) == ("float64", None, (1,))


def test_targets_of_each_kind() -> None:
    several = task_of(outputs=["sand", "clay"], unit="%", valid=[0, 100], optional=False)
    assert (several.kind, several.shape, several.unit) == ("regression", (2,), "%")
    assert not several.optional
    named = task_of(classes=["wheat", "maize"])
    assert (named.kind, named.outputs, named.dtype) == (
        "classification",
        ("wheat", "maize"),
        "uint8",
    )
    assert (named.nodata, named.metrics[0]) == (None, "balanced_accuracy")
    many = task_of(labels=["owl", "jay", "tit"], metrics=["recall"])
    assert (many.kind, many.outputs, many.metrics) == (
        *("multilabel", ("owl", "jay", "tit")),
        ("recall",),
    )
    assert many.target.codes == (0, 1)
    pixels = task_of(level="pixel", classes={1: "crop", 4: "wood"})
    assert (pixels.shape, pixels.nodata, pixels.metrics[0]) == ((32, 32), 255, "miou")
    height = task_of(level="pixel", outputs=["height"], unit="m", valid=[0, 60], nodata=-1)
    assert (height.dtype, height.nodata, height.target.band_names) == ("float32", -1, ("height",))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            {"outputs": ["a"], "labels": ["b"]},
            "own: target: found outputs and labels, expected one",
        ),
        ({"classes": ["a"], "labels": ["b"]}, "found labels and classes"),
        ({"labels": ["a"], "level": "pixel"}, "labels are of a tile"),
        ({"outputs": ["a", "b"], "level": "pixel"}, "a target with pixels has one output"),
        ({"labels": ["a"], "valid": [0, 1]}, "labels are present or not; leave valid: and dtype:"),
        ({"labels": ["Owl", "owl"]}, "'Owl' and 'owl' are one name"),
        ({"labels": []}, r"target\.labels: it is empty"),
        ({"outputs": []}, r"target\.outputs: it is empty"),
        ({"outputs": ["a", "a"]}, "two bands have one name"),
        ({"classes": []}, "classes: names no class"),
        ({"classes": ["a"], "valid": [0, 1]}, "valid: follows from classes:"),
        ({"nodata": -1}, "nodata: is of pixels, and this target has none"),
        ({"valid": [1, 0]}, "own: target: band value: valid is 1 to 0"),
        ({"dtype": "text"}, "dtype is 'text'"),
        ({"metrics": ["miou"]}, "metrics: found 'miou', expected some of r2, rmse"),
        ({"metrics": []}, "metrics: found none"),
        ({"classes": ["a"], "metrics": ["r2"]}, "expected some of balanced_accuracy, accuracy"),
        ({"optional": "maybe"}, "optional: found 'maybe'"),
    ],
)
def test_a_target_that_contradicts_itself(target: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config_of(tasks={"own": {"target": target, "points": {"path": "p.csv"}}})


_POINTS: dict[str, Any] = {"points": {"path": "p.csv"}}
_AREA: dict[str, Any] = {"polygons": {"path": "p.gpkg", "field": "f"}}
_PIXELS: dict[str, Any] = {"target": {"level": "pixel"}}
_FILES = {"kind": "files", "rasters": {}}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"grid": {"pixels": 31}}, r"grid: .*pixels 31; expected a whole number, 32 to 512"),
        ({"grid": {"pixels": 40}}, "pixels 40; expected a multiple of 16"),
        ({"grid": {"pixels": 528}}, "32 to 512"),
        ({"grid": {"resolution_m": 61}}, "resolution_m 61; expected a whole number, 1 to 60"),
        ({"grid": {"resolution_m": 0}}, "resolution_m 0"),
        ({"grid": {"resolution_m": 2.5}}, "resolution_m: found 2.5, expected a whole number"),
        ({"tile_size": 64}, "say grid: { pixels: 128"),
        ({"layers": {"sentinel2": {}}}, "'sentinel2' is a published name; choose another"),
        ({"layers": {"biomass": {}}}, "'biomass' is a published name"),
        ({"layers": {"Sentinel2": {}}}, "'Sentinel2' is no layer .did you mean 'sentinel2'"),
        ({"layers": {"a": {}, "A": {}}}, "two layers or tasks are named 'A'"),
        ({"layers": {"split": {}}}, "cannot be named 'split': a column has that name"),
        ({"layers": {"2d": {}}}, "found the name '2d'"),
        ({"layers": {"own": {}}, "tasks": {"own": _POINTS}}, "two layers or tasks are named 'own'"),
        ({"tasks": {"biome": _POINTS}}, "two layers or tasks are named 'biome'"),
        ({"tasks": {"biomass": {**_POINTS, "target": {}}}}, "biomass is a published task, whose"),
        ({"tasks": {"Soil_ph": _POINTS}}, "'Soil_ph' is no task .did you mean 'soil_pH'"),
        ({"tasks": {"biomas": _POINTS}}, "did you mean 'biomass'.*say target: of a task of your"),
        ({"tasks": {"own": {**_POINTS, **_AREA}}}, "make a target with pixels; say target:"),
        ({"tasks": {"own": {**_PIXELS, **_POINTS}}, "source": _FILES}, "own: nothing makes its"),
        (
            {"tasks": {"own": {**_PIXELS, **_POINTS}}, "source": {"kind": "earthengine"}},
            "own: nothing makes its pixels; add polygons: or raster:",
        ),
        ({"tasks": {"own": {}}}, "expected exactly one of labels, points, grid, .* found none"),
        (
            {"tasks": {"own": {**_PIXELS, **_AREA, "labels": {"count": 1}}}},
            "found labels, polygons",
        ),
        (
            {"tasks": {"own": {"target": {"labels": ["a"]}, "ranges": {"path": "r"}}}},
            "own: ranges: tells the labels of species",
        ),
        (
            {"tasks": {"own": {"target": {"outputs": ["a", "b"]}, "soil": {"path": "s"}}}},
            "own: soil: gives one number at a place",
        ),
        ({"tasks": {"own": {"gedi": {"granules": ["a"]}}}}, "gedi: is a number in pixels"),
        (
            {"tasks": {"own": {**_POINTS, "split": {"column": "s", "rule": "default"}}}},
            "column: keeps the table's splits; leave rule: out",
        ),
        (
            {"tasks": {"own": {"soil": {"path": "s"}, "split": {"column": "s"}}}},
            "split: column: is of points:",
        ),
    ],
)
def test_what_a_configuration_may_not_say(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config_of(**changed)


def test_names_near_to_published_ones_may_be_had_with_a_target() -> None:
    config = config_of(tasks={"soil_p": {**_POINTS, "target": {"unit": "mg/kg"}}})
    assert config.catalogue.tasks["soil_p"].unit == "mg/kg"


def test_modalities_are_published_ones_then_own_ones() -> None:
    config = config_of(layers={"mine": {}}, modalities=["mine", "month"])
    assert list(config.catalogue.layers) == ["month", "mine"]
    assert list(config_of(layers={"mine": {}}).catalogue.layers) == ["month"]
    with pytest.raises(
        ConfigError, match=r"modalities: 'mien' is no modality .did you mean 'mine'"
    ):
        config_of(layers={"mine": {}}, modalities=["mien"])


def test_the_grid_is_of_every_layer_and_target() -> None:
    config = config_of(
        grid={"pixels": 64, "resolution_m": 20},
        layers={"mine": {}},
        modalities=["mine"],
        tasks={"own": {**_PIXELS, **_AREA}},
    )
    assert config.catalogue.grid.side_m == 1280
    assert config.catalogue.layers["mine"].shape == (1, 64, 64)
    assert config.catalogue.tasks["own"].shape == (64, 64)
