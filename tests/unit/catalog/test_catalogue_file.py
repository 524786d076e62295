"""`catalogue.json` keeps what docs/data-format.md promises, and a damaged one is one sentence."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import pytest

from mmearth.catalog.catalogue import CATALOGUE, Catalogue, read_catalogue, write_catalogue
from mmearth.catalog.codec import Codec, CodecName
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.grid import Grid
from mmearth.catalog.layer import Band, ClassCode, Kind, Layer, Level, Resampling, Timing
from mmearth.catalog.layer_rules import DTYPES
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.schema import MEMBER, OBSERVATIONS, tiles_schema
from mmearth.catalog.targets import TARGET_MEMBER
from mmearth.catalog.task import Task, TaskKind

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "data-format.md").read_text("utf-8")
SMALL = MMEARTH_BENCH.only(["sentinel2", "esa_worldcover", "biome"], ["biomass", "species"])
Document = dict[str, Any]


def test_the_page_names_every_field_and_every_choice() -> None:
    nouns = (Grid, Layer, Band, ClassCode, Task)
    names = {field.name for noun in nouns for field in fields(noun)}
    names |= {"layers", "tasks", "grid", "codecs"}
    kinds = (Level, Kind, Timing, Resampling, TaskKind, CodecName)
    choices = {word for kind in kinds for word in get_args(kind)}
    columns = {
        *tiles_schema([]).names,
        *OBSERVATIONS.names,
        *(f.name for f in [*MEMBER, *TARGET_MEMBER]),
    }
    classes = {"code", "name", "color"}
    for name in sorted((names - classes) | choices | columns | set(DTYPES)):
        assert f"`{name}`" in PAGE, name
    assert "`{code, name, color}`" in PAGE


@pytest.mark.parametrize(
    "catalogue", [SMALL, replace(SMALL, grid=Grid(64, 20), codec=Codec("blosc-zstd"))]
)
def test_what_is_written_is_read_back(catalogue: Catalogue, tmp_path: Path) -> None:
    write_catalogue(tmp_path, catalogue)
    found = read_catalogue(tmp_path)
    assert found == catalogue
    assert (list(found.layers), list(found.tasks)) == (list(catalogue.layers), list(SMALL.tasks))
    pixels = catalogue.grid.pixels
    assert found.layers["sentinel2"].shape == (12, pixels, pixels)
    assert found.tasks["biomass"].shape == (pixels, pixels)
    before = (tmp_path / CATALOGUE).read_bytes()
    write_catalogue(tmp_path, found)
    assert (tmp_path / CATALOGUE).read_bytes() == before
    codecs = [] if catalogue.codec.is_npy else ["codecs"]
    assert list(json.loads(before)) == ["grid", "layers", "tasks", *codecs]


def test_fields_of_a_later_version_are_left_out() -> None:
    document = SMALL.to_json()
    document["made_by"] = {"mmearth": "9"}
    document["grid"]["crs"] = "UTM"
    document["layers"][0]["bands"][0]["fwhm_nm"] = 21.0
    document["tasks"][0]["target"]["quality"] = None
    assert Catalogue.from_json(document) == SMALL


def _set(*path: Any) -> Callable[[Document], None]:
    """Return what sets the place of all but the last of `path` to that."""
    *way, last, value = path

    def change(document: Any) -> None:
        for step in way:
            document = document[step]
        if value is KeyError:
            del document[last]
        else:
            document[last] = value

    return change


IMAGE, BAND = ("layers", 0), ("layers", 0, "bands", 0)
HARMS: list[tuple[Callable[[Document], None], str]] = [
    (_set("grid", KeyError), "catalogue.json has no 'grid'"),
    (_set("layers", {}), "catalogue.json: layers is {}, expected a list"),
    (_set("grid", "pixels", 100), "found grid: pixels 100; expected a multiple of 16"),
    (_set("grid", "pixels", 128.0), "grid: pixels is 128.0, expected a whole number"),
    (_set(*IMAGE, "nodata", KeyError), "layers 'sentinel2' has no 'nodata'"),
    (_set(*IMAGE, "level", "voxel"), "'sentinel2': level is 'voxel', expected one of pixel, tile"),
    (_set(*IMAGE, "dtype", "object"), "sentinel2: dtype is 'object', expected one of uint8"),
    (_set(*IMAGE, "nodata", True), "nodata is True, expected a finite number"),
    (_set(*IMAGE, "nodata", float("nan")), "nodata is nan, expected a finite number"),
    (_set("layers", 1, "nodata", 3), "esa_worldcover: .*nodata 3 is a "),
    (_set(*IMAGE, "bands", []), "it has 0 bands, expected 1 to 1024"),
    (_set(*IMAGE, "name", "date"), "cannot be named 'date': a column has that name"),
    (_set(*IMAGE, "name", "../up"), "the name '../up' of a layer or task; expected a letter"),
    (_set(*IMAGE, "name", "Biome"), "two layers or tasks are named 'biome'"),
    (_set(*IMAGE, "name", "biome"), "names a layer or a task twice"),
    (_set(*IMAGE, "title", "\ud800"), "title is .*, expected text"),
    (_set(*BAND, "valid", [0]), "valid is .0., expected a list of 2"),
    (_set(*BAND, "valid", [5, 5]), "valid is 5 to 5, expected a lowest and a higher"),
    (_set(*BAND, "valid", [0, 70000]), "valid is 0 to 70000, which uint16 cannot hold"),
    (_set(*BAND, "scale", 0), "scale is 0, expected another number"),
    (_set(*BAND, "name", "B2"), "two bands have one name"),
    (_set("layers", 1, "classes", 0, "code", 3), "its class codes do not rise"),
    (_set("layers", 1, "classes", 0, "color", "red"), "a class colour is not like #1f77b4"),
    (_set("layers", 1, "classes", []), "it has 0 classes"),
    (_set("tasks", 0, "kind", "ranking"), "kind is 'ranking', expected one of regression"),
    (_set("tasks", 0, "target", None), "target is None, expected an object"),
    (_set("tasks", 0, "kind", "multilabel"), "biomass: it is multilabel, and .* the level pixel"),
    (_set("tasks", 1, "kind", "regression"), "species: it is regression, and its .* 2 classes"),
    (_set("tasks", 1, "kind", "classification"), "species: its target has 100 bands, expected 1"),
    (_set("tasks", 1, "target", "classes", 1, "code", 2), "species: .* are not 0 and 1"),
    (_set("tasks", 0, "target", "name", "height"), "biomass: its target is named 'height', exp"),
    (_set("tasks", 0, "target", "dtype", "float16"), "biomass: dtype is 'float16', expected one"),
    (_set("tasks", 0, "optional", 1), "optional is 1, expected true or false"),
    (_set("codecs", []), r"found the codecs \[\], expected those of npy, blosc-zstd, blosc-lz4"),
]


@pytest.mark.parametrize(("harm", "sentence"), HARMS, ids=[sentence for _, sentence in HARMS])
def test_what_no_array_could_be_is_one_sentence(
    harm: Callable[[Document], None], sentence: str
) -> None:
    document = copy.deepcopy(SMALL.to_json())
    harm(document)
    with pytest.raises(FormatError, match=sentence) as caught:
        Catalogue.from_json(document)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("catalogue.json")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'"text"', b"[" * 100_000, b'{"grid": NaN}'])
def test_what_is_no_catalogue(data: bytes, tmp_path: Path) -> None:
    (tmp_path / CATALOGUE).write_bytes(data)
    with pytest.raises(FormatError, match=r"catalogue\.json"):
        read_catalogue(tmp_path)


def test_a_dataset_without_one(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"catalogue\.json is not there; expected what the data"):
        read_catalogue(tmp_path)


def test_what_is_asked_for_by_name() -> None:
    with pytest.raises(
        ConfigError, match=r"no modality 'sentinel1'.*; expected one of sentinel2, "
    ):
        SMALL.layer("sentinel1")
    with pytest.raises(ConfigError, match="there is no task 'soil_pH'; expected one of biomass, s"):
        SMALL.task("soil_pH")
    assert SMALL.observed("biomass") == SMALL.tasks["biomass"].target
    assert [layer.name for layer in SMALL.members(SMALL.tasks["biomass"])] == [
        *("biomass", "sentinel2", "esa_worldcover"),
    ]
    assert [layer.name for layer in SMALL.members(SMALL.tasks["species"])] == [
        *("sentinel2", "esa_worldcover"),
    ]
