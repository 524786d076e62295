"""What a configuration may say of layers that Earth Engine has."""

from __future__ import annotations

from typing import Any

import pytest

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import Grid
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.collectors import COLLECTORS
from mmearth.curate.config import BuildConfig
from mmearth.curate.declared import LayerConfig, own_layer
from mmearth.curate.limit import LocalLimit
from mmearth.curate.recipes import QUIRKS, Quirks
from mmearth.curate.sources.earthengine.access import Access
from mmearth.curate.sources.earthengine.config import EarthEngineLayer
from mmearth.curate.sources.earthengine.source import EarthEngine


def _config(layer: dict[str, Any] | None, kind: str = "earthengine", **more: Any) -> BuildConfig:
    return BuildConfig.model_validate(
        {
            "name": "own",
            "title": "Own",
            "layers": {} if layer is None else {"own": layer},
            "source": {"kind": kind},
            "tasks": {"yields": {"points": {"path": "a.csv"}}},
            **more,
        }
    )


@pytest.mark.parametrize(
    ("where", "timing"),
    [
        ({"image": "a/b"}, "static"),
        ({"collection": "a/b"}, "nearest"),
        ({"collection": "a/b", "choose": "month"}, "month"),
        ({"collection": "a/b", "choose": "mode"}, "year"),
        ({"collection": "a/b", "choose": "mosaic"}, "static"),
    ],
)
def test_the_timing_is_that_of_what_is_chosen(where: dict[str, str], timing: str) -> None:
    config = _config({"earthengine": where})
    assert config.catalogue.layers["own"].timing == timing
    assert config.own_earthengine == {"own": EarthEngineLayer.model_validate(where)}
    assert _config({"earthengine": where, "timing": timing}).catalogue == config.catalogue


CLASSES = {"classes": ["a", "b"]}


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        ({}, "own has no earthengine:, and Earth Engine is the source; say where it is, or leave"),
        ({"earthengine": {}}, "expected one of image: and collection:"),
        ({"earthengine": {"image": "a", "collection": "b"}}, "expected one of image: and"),
        ({"earthengine": {"image": "a", "choose": "year"}}, "choose: is for a collection; leave"),
        ({"earthengine": {"image": "a", "scale": 0}}, "scale: 0 would make all values one"),
        (
            {"earthengine": {"image": "a", "bands": ["b", "c"]}},
            r"layers\.own\.earthengine: bands names 2, and the layer has 1: name as many",
        ),
        (
            {"earthengine": {"collection": "a", "choose": "year"}, "timing": "static"},
            "what is chosen has the timing year, and the layer static; leave timing: out",
        ),
        (
            {**CLASSES, "earthengine": {"collection": "a", "choose": "mean"}},
            "choose: mean would blend class codes; use mode",
        ),
        (
            {**CLASSES, "earthengine": {"image": "a", "offset": 1}},
            "scale and offset are for numbers, and these are class codes",
        ),
    ],
)
def test_what_cannot_be_meant(layer: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        _config(layer)


def test_what_is_not_collected_need_not_be_there() -> None:
    assert _config({}, modalities=["sentinel2"]).own_earthengine == {}
    online = {"earthengine": {"image": "a"}}
    assert _config(online, modalities=["sentinel2"]).own_earthengine == {}


def _source(grid: Grid, bands: int, where: str = "a", **layer: Any) -> EarthEngine:
    online = EarthEngineLayer(image=where)
    declared = LayerConfig.model_validate({"bands": {"count": bands}, **layer})
    own = own_layer("own", declared)
    known = Catalogue(grid, {**MMEARTH_BENCH.layers, "own": own}, MMEARTH_BENCH.tasks)
    how = Quirks(), 15, Access("demo", "http://127.0.0.1:1"), LocalLimit(1, 1.0)
    return EarthEngine(known, *how, {"own": online})


def test_a_tile_fits_into_one_request() -> None:
    _source(Grid(256, 10), 64)
    with pytest.raises(ConfigError, match="a tile has 90 bands and 89 MB, of which Earth Engine"):
        _source(Grid(512, 10), 64)
    with pytest.raises(ConfigError, match=r"a tile has 1026 bands and .* take fewer bands"):
        _source(Grid(32, 10), 1000)


def test_the_declaration_is_part_of_the_fingerprint() -> None:
    plain = EarthEngine(MMEARTH_BENCH, Quirks(), 15, Access("demo", "x"), LocalLimit(1, 1.0))
    sources = [
        plain,
        _source(Grid(), 1),
        _source(Grid(), 1, where="b"),
        _source(Grid(), 1, dtype="int16"),
    ]
    prints = [source.fingerprint("own") for source in sources]
    assert len(set(prints[:3])) == 3
    assert prints[3] == prints[1]  # what the layer is is told apart
    assert _source(Grid(), 1).fingerprint("own") == prints[1]
    assert len({source.fingerprint("biome") for source in sources}) == 1


def test_a_quirk_is_in_the_fingerprint_of_what_it_touches() -> None:
    def prints(**quirks: bool) -> dict[str, str]:
        rest = 15, Access("demo", "x"), LocalLimit(1, 1.0)
        source = EarthEngine(MMEARTH_BENCH, Quirks(**quirks), *rest)
        return {name: source.fingerprint(name) for name in COLLECTORS}

    plain = prints()
    touched = {
        name: {layer for layer, found in prints(**{name: True}).items() if found != plain[layer]}
        for name in QUIRKS
    }
    assert touched == {
        "clouds_on_circle": {"sentinel2"},
        "ends_excluded": {"sentinel2", "dynamic_world"},
        "leaf_days_late": {"biomass"},
        "january_looks_ahead": {"precipitation", "temperature"},
        "labels_in_circle": {"biomass"},
        "least_no_data": {"sentinel2"},
        "any_zone": {"sentinel2"},
    }
