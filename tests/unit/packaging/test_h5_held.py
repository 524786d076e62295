"""What the published layout has no place for is refused by its name, before anything is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import Grid
from mmearth.catalog.layer import Layer
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.packaging.h5.layout import check_held

IMAGE = MMEARTH_BENCH.layers["sentinel2"]
COVER = MMEARTH_BENCH.layers["esa_worldcover"]
ACIDITY = MMEARTH_BENCH.tasks["soil_pH"]


def _with(*layers: Layer) -> Catalogue:
    changed = {**MMEARTH_BENCH.layers, **{layer.name: layer for layer in layers}}
    return replace(MMEARTH_BENCH, layers=changed)


def _band(**change: Any) -> Layer:
    return replace(IMAGE, bands=(replace(IMAGE.bands[0], **change), *IMAGE.bands[1:]))


def test_the_published_catalogue_and_each_part_of_it() -> None:
    check_held(Path("d"), MMEARTH_BENCH, MMEARTH_BENCH.tasks.values())
    check_held(Path("d"), MMEARTH_BENCH.only(["biome"], ["species"]), [])
    check_held(Path("d"), Catalogue.from_json(MMEARTH_BENCH.to_json()), [ACIDITY])


def test_what_is_said_in_other_words_means_the_same() -> None:
    said = replace(IMAGE, title="Images", product="S2", licence="MIT", citation="nobody")
    colours = tuple(replace(each, color="#000000") for each in COVER.classes)
    check_held(Path("d"), _with(said, _band(common_name=None)), [])
    check_held(Path("d"), _with(replace(COVER, classes=colours)), [])


@pytest.mark.parametrize(
    ("catalogue", "sentence"),
    [
        (
            replace(MMEARTH_BENCH, grid=Grid(64, 20)),
            "d: found the grid of 64 × 64 pixels of 20 m, expected 128 × 128 pixels of 10 m, as",
        ),
        (_with(replace(IMAGE, name="landsat")), "found the modality landsat, expected some of sen"),
        (
            _with(replace(IMAGE, dtype="int32")),
            "found the modality sentinel2 with the dtype int32, expected uint16, as published",
        ),
        (_with(replace(IMAGE, nodata=0)), "sentinel2 with the nodata 0, expected 65535"),
        (_with(replace(IMAGE, nodata=None)), "sentinel2 with the nodata None, expected 65535"),
        (
            _with(replace(IMAGE, bands=IMAGE.bands[:11])),
            "with the band 11 nothing, expected .'B12'",
        ),
        (_with(replace(IMAGE, bands=IMAGE.bands[::-1])), "the band 0 .'B12'.*, expected .'B1'"),
        (_with(_band(scale=2e-4)), r"band 0 .*0\.0002, 0\.0\), expected .*0\.0001, 0\.0\)"),
        (_with(_band(unit="%")), r"band 0 \('B1', '%'.*, expected \('B1', '1'"),
        (
            _with(replace(COVER, classes=(replace(COVER.classes[0], name="Wood"),))),
            "esa_worldcover with the class 0 Wood, expected Tree cover",
        ),
    ],
)
def test_another_grid_or_modality(catalogue: Catalogue, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        check_held(Path("d"), catalogue, [ACIDITY])
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("share the dataset itself, or build one without it")


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        (replace(ACIDITY, name="yield"), "found the task yield, expected some of biomass, soil_ni"),
        (replace(ACIDITY, optional=True), "soil_pH with the optional True, expected False"),
        (
            replace(ACIDITY, target=replace(ACIDITY.target, dtype="float64")),
            "soil_pH with the dtype float64, expected float32",
        ),
    ],
)
def test_another_task(task: Any, sentence: str) -> None:
    catalogue = replace(MMEARTH_BENCH, tasks={**MMEARTH_BENCH.tasks, task.name: task})
    with pytest.raises(ConfigError, match=f"{sentence}.*, or choose others with --task"):
        check_held(Path("d"), catalogue, [task])
    check_held(Path("d"), catalogue, [MMEARTH_BENCH.tasks["biomass"]])
