"""A source of another package: made by name, and held to what a source promises."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmearth.catalog.errors import ConfigError, MMEarthError, NoDataError, SourceError
from mmearth.catalog.plugins import SOURCES
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.config import load_config
from mmearth.curate.source import Source, Visit
from mmearth.curate.sources import make_source
from mmearth.tests.installed import install

TILE = Tile(32633, 500_000, 4_649_760)
_CONFIG = """
name: case
title: Case
modalities: [moisture]
require: []
layers: {moisture: {valid: [0, 1]}}
tasks:
  crop: {target: {classes: [wheat, maize]}, labels: {count: 2}}
  texture: {target: {outputs: [sand, clay]}, labels: {count: 2}}
"""
_CODE = """
import numpy as np
from mmearth.catalog.errors import NoDataError, RefusedError
from mmearth.catalog.sample import Observation
from mmearth.curate.source import Label

class Wet:
    name = "wet 1"

    def fingerprint(self, name):
        return "0" * 64

    def __init__(self, catalogue, share=0.5, answer="values", unpicklable=lambda: 0):
        self.layer, self.share, self.answer = catalogue.layers["moisture"], share, answer
        self.unpicklable = unpicklable

    def observe(self, visit):
        array = np.full(self.layer.shape, self.share, self.layer.dtype)
        answers = {
            "values": {"moisture": Observation(self.layer, array, None, self.name)},
            "nothing": {"moisture": NoDataError("dry")},
            "forgotten": {},
            "array": {"moisture": array},
            "no dict": None,
        }
        return answers[self.answer]

    def labels(self, task, count, seed):
        if self.answer == "refused":
            raise RefusedError("sign in")
        kinds = {"crop": {"labels": ("maize",)}, "texture": {"values": (1.0, 2.0)}}
        kind = kinds[self.answer if self.answer in kinds else task.name]
        while True:
            yield "here" if self.answer == "text" else Label(10.0, 50.0, **kind)

class Base:
    name, fingerprint, labels = "base 1", "0" * 64, None

    def __init__(self, base):
        self.base = base

    def observe(self): ...

class Mute:
    name = "mute 1"
"""


def _source(tmp_path: Path, **keys: Any) -> Source:
    (tmp_path / "wet.py").write_text(_CODE)
    source = {"kind": "wet.py:Wet", **keys}
    path = tmp_path / "case.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(_CONFIG), "source": source}))
    return make_source(load_config(path), path.parent)


def _moisture(source: Source) -> Observation | MMEarthError:
    return source.observe(Visit(TILE, ("moisture",), None))["moisture"]


def test_it_answers_as_any_other(tmp_path: Path) -> None:
    source = _source(tmp_path, share=0.25)
    assert source.name == "wet 1"
    prints = [each.fingerprint("moisture") for each in (source, _source(tmp_path, share=0.5))]
    assert prints == [
        '0000 {"share": 0.25}'.replace("0000", "0" * 64),
        "0" * 64 + ' {"share": 0.5}',
    ]
    seen = _moisture(source)
    assert isinstance(seen, Observation) and float(seen.array.max()) == 0.25
    assert isinstance(_moisture(_source(tmp_path, answer="nothing")), NoDataError)


def test_it_travels_to_other_processes_though_its_class_may_not(tmp_path: Path) -> None:
    again = pickle.loads(pickle.dumps(_source(tmp_path, share=0.25)))
    seen = _moisture(again)
    assert isinstance(seen, Observation) and float(seen.array.max()) == 0.25


def test_a_name_of_an_installed_package_is_a_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "wetness", {SOURCES: {"wet": "plugged_wet:Wet"}}, plugged_wet=_CODE)
    assert _source(tmp_path, kind="wet").name == "wet 1"
    assert _source(tmp_path, kind="plugged_wet:Wet").name == "wet 1"
    with pytest.raises(ConfigError, match=r"'wet' or 'module:Class' \(did you mean 'wet'\?\)"):
        _source(tmp_path, kind="wett")


def test_the_folder_of_the_configuration_is_given_to_who_asks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"wet.py:Base has no labels; expected name, f"):
        _source(tmp_path, kind="wet.py:Base")
    code = _CODE.replace('labels = "base 1", "0" * 64, None', "labels = 1, 2, 3")
    (tmp_path / "based.py").write_text(code)
    made: Any = _source(tmp_path, kind="based.py:Base")
    assert made._made.base == tmp_path


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"kind": "wet.py:Dry"}, "cannot be imported .*no attribute 'Dry'"),
        ({"kind": "dry.py:Wet"}, "cannot be imported .there is no file .*dry.py"),
        (
            {"kind": "wet.py:Mute"},
            "has no fingerprint; expected name, fingerprint, observe, la",
        ),
        ({"shar": 1}, r"cannot be made \(TypeError: .*unexpected keyword argument 'shar'\); its "),
        ({"catalogue": 1}, "cannot be made .TypeError: .*'catalogue'"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(
    keys: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        _source(tmp_path, **keys)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            "forgotten",
            "gave None for moisture; expected an Observation of the catalogue's m",
        ),
        ("array", r"gave array\(.* for moisture; expected"),
    ],
)
def test_what_is_no_outcome_is_an_error_of_that_layer(
    answer: str, said: str, tmp_path: Path
) -> None:
    outcome = _moisture(_source(tmp_path, answer=answer))
    with pytest.raises(SourceError, match=said):
        raise outcome  # type: ignore[misc]  # an Observation fails here


def test_an_observation_of_a_layer_of_its_own_is_refused(tmp_path: Path) -> None:
    source: Any = _source(tmp_path)
    source._made.layer = source.catalogue.tasks["crop"].target
    with pytest.raises(SourceError, match="gave one of crop for moisture; expected an Observation"):
        raise _moisture(source)  # type: ignore[misc]


def test_what_it_raises_is_one_sentence_with_its_line(tmp_path: Path) -> None:
    source = _source(tmp_path, answer="moon")
    line = 1 + _CODE.splitlines().index("        return answers[self.answer]")
    said = (
        rf"observe of the source wet.py:Wet failed \(KeyError: 'moon', line {line} of /.*wet.py\)"
    )
    with pytest.raises(SourceError, match=said):
        _moisture(source)
    with pytest.raises(SourceError, match=r"failed \(TypeError"):
        _moisture(_source(tmp_path, answer="no dict"))


def test_labels_are_as_many_as_asked_for_and_of_the_task(
    tmp_path: Path, run_cli: Callable[..., tuple[int, str, str]]
) -> None:
    source: Any = _source(tmp_path)
    crop, texture = source.catalogue.tasks.values()
    assert [label.labels for label in source.labels(crop, 3, 0)] == [("maize",)] * 3
    assert [label.values for label in source.labels(texture, 1, 0)] == [(1.0, 2.0)]
    said = r"gave Label.* for texture; expected a Label with values of sand, clay"
    with pytest.raises(SourceError, match=said):
        list(_source(tmp_path, answer="crop").labels(texture, 1, 0))
    with pytest.raises(
        SourceError, match="gave 'here' for crop; expected a Label with labels of wheat, m"
    ):
        list(_source(tmp_path, answer="text").labels(crop, 1, 0))
    _source(tmp_path, answer="refused")
    code, _, err = run_cli("curate", "plan", tmp_path / "case.yaml")
    assert (code, err.strip().endswith("sign in")) == (6, True)
