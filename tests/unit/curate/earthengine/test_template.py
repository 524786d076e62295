"""A filled form is, to the letter, the question that the client would have made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from mmearth.catalog.layer import Layer
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile
from mmearth.curate.collectors import COLLECTORS
from mmearth.curate.collectors.collector import Collector, Place
from mmearth.curate.collectors.own import own_collector
from mmearth.curate.declared import LayerConfig, own_layer
from mmearth.curate.recipes import RECIPES
from mmearth.curate.seasons import around, season
from mmearth.curate.sources.earthengine import template
from mmearth.curate.sources.earthengine.asked import asked, together
from mmearth.curate.sources.earthengine.config import EarthEngineLayer
from mmearth.curate.sources.earthengine.expressions import drawing, scalars
from mmearth.curate.sources.earthengine.template import pixel_question, scalar_question
from mmearth.tests.earthengine.memory import Memory
from mmearth.tests.earthengine.offline import connected

_ALL = {name: COLLECTORS[name] for name in MMEARTH_BENCH.layers}
_LAYERS = tuple(MMEARTH_BENCH.layers.values())
_PLACES = [
    *((10.1, 45.2, None), (-70.0, -33.0, None), (100.0, 0.5, "2020-07-01"), (179.9, 60.0, None)),
    *((2.9, -79.5, "2020-01-31"), (171.0, -10.0, None), (-177.0, 83.9, None)),
]
_RADAR = [
    {"asc": [{"index": "S1_A", "bands": ["VV", "VH"], "time": 1}], "desc": []},
    {
        "asc": [{"index": "S1_B", "bands": ["HH"], "time": 1}],
        "desc": [{"index": "S1_C", "bands": ["VV", "VH"], "time": 1}],
    },
    {"asc": [], "desc": []},
]


@pytest.fixture(autouse=True)
def _client() -> Iterator[None]:
    with connected(Memory()):
        yield


def _place(lon: float, lat: float, near: str | None, recipe: str) -> Place:
    quirks = RECIPES[recipe]
    intervals = season(lat, quirks) if near is None else around(near, 15)
    return Place(Tile.at(lon, lat), intervals, near, quirks)


def _of(*names: str) -> dict[str, Collector]:
    return {name: COLLECTORS[name] for name in names}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(("lon", "lat", "near"), _PLACES)
def test_both_questions(lon: float, lat: float, near: str | None, recipe: str) -> None:
    place = _place(lon, lat, near, recipe)
    for _ in range(2):  # the second time the form is there already
        assert scalar_question(place, _ALL, None) == asked(scalars(place, _ALL, None))
        for settled in (_of(*list(_ALL)[1:]), _of("precipitation"), _of("biome")):
            later = place, settled, "2020-06-01"
            assert scalar_question(*later) == asked(scalars(*later))
        for n, radar in enumerate(_RADAR):
            facts = {
                "sentinel2": {"index": f"2020_{n}_T{place.tile.epsg % 100}ABC"},
                "sentinel1": radar,
                "dynamic_world": {"indices": ["x"] * n},
            }
            question = place, "2020-06-01", facts, _LAYERS, _ALL
            image, bands = drawing(*question)
            assert pixel_question(*question) == (asked(image), bands)


def test_another_question_is_another_form() -> None:
    place = _place(10.1, 45.2, None, "default")
    one = scalar_question(place, _ALL, None)
    assert one != scalar_question(place, _of("sentinel2", "biome"), None)
    later = _of(*list(_ALL)[1:])  # the scene that settled the date is not asked for again
    assert scalar_question(place, later, None) != scalar_question(place, later, "2020-06-01")
    other = replace(place, quirks=RECIPES["mmearth-bench-2026"])
    assert one != scalar_question(other, _ALL, None)
    assert len({one.sha256, scalar_question(other, _ALL, None).sha256}) == 2


def test_questions_together_keep_their_nodes_apart() -> None:
    import json

    places = [_place(lon, lat, near, "default") for lon, lat, near in _PLACES[:3]]
    questions = [scalar_question(place, _of("biome", "sentinel2"), None) for place in places]
    graph = json.loads(together(questions).text)
    answers = graph["values"][graph["result"]]["arrayValue"]["values"]
    assert [node["valueReference"] for node in answers] == ["0_0", "1_0", "2_0"]
    alone = sum(len(json.loads(question.text)["values"]) for question in questions)
    assert len(graph["values"]) == alone + 1


def test_forms_are_not_kept_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels may each have intervals of their own."""
    monkeypatch.setattr(template, "_forms", {})
    monkeypatch.setattr(template, "_MOST_FORMS", 2)
    place = _place(10.1, 45.2, None, "default")
    for day in range(1, 6):
        own = replace(place, intervals=((f"2020-05-0{day}", "2020-06-01"),))
        month = _of("month")
        assert scalar_question(own, month, None) == asked(scalars(own, month, None))
        assert len(template._forms) <= 2


def _own(name: str, **config: str) -> tuple[Layer, Collector]:
    online = EarthEngineLayer.model_validate({"collection": f"projects/{name}", **config})
    layer = own_layer(name, LayerConfig(earthengine=online))
    return layer, own_collector(layer, online)


def _chosen(first: str, after: str, *indices: str) -> dict[str, Any]:
    return {"chosen": [{"first": first, "after": after, "indices": [*indices], "versions": []}]}


def test_layers_of_the_users_own_in_one_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Days are filled in, also where two layers have the same ones; what is absent is a form."""
    monkeypatch.setattr(template, "_forms", {})
    pairs = [_own("near"), _own("year", choose="year"), _own("mean", choose="mean")]
    layers = [layer for layer, _ in pairs]
    collectors = {layer.name: collector for layer, collector in pairs}
    year = _chosen("2020-01-01", "2021-01-01", "a", "b")
    several = [
        {"near": _chosen("2020-06-07", "2020-06-08", "x"), "year": year, "mean": year},
        {"near": _chosen("2020-08-09", "2020-08-10", "y", "z"), "year": year, "mean": year},
        {"near": {"chosen": []}, "year": year, "mean": _chosen("2019-01-01", "2020-01-01", "c")},
        {"near": {"chosen": []}, "year": _chosen("2020-01-01", "2021-01-01"), "mean": year},
    ]
    forms = []
    for facts in several:
        for lon, lat, near in _PLACES[:2]:
            question = _place(lon, lat, near, "default"), "2020-06-20", facts, layers, collectors
            image, bands = drawing(*question)
            assert pixel_question(*question) == (asked(image), bands)
        forms.append(len(template._forms))
    assert forms == [1, 1, 2, 3]
    place = _place(10.1, 45.2, None, "default")
    assert scalar_question(place, collectors, None) == asked(scalars(place, collectors, None))
    other = {"near": _own("near", choose="month")[1]}
    one = scalar_question(place, {"near": collectors["near"]}, None)
    assert one != scalar_question(place, other, None)
