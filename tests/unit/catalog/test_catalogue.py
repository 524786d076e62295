"""Catalogue: names, order, parts of it, and every field of its file damaged."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mmearth.catalog.catalogue import Catalogue, catalogue_bytes, parse_catalogue
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.grid import Grid
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.schema import manifest_schema, tiles_schema
from mmearth.tests.damage import each_damage
from mmearth.tests.make_tiny import OWN, own_layer, own_task


def _of(*names: str, task: str = "yields") -> Catalogue:
    layers = {name: own_layer(name, {"a": (0, 1)}) for name in names}
    return Catalogue(Grid(), layers, {task: own_task(task, "regression", {"value": (0, 1)})})


@pytest.mark.parametrize("catalogue", [OWN, MMEARTH_BENCH])
def test_there_and_back(catalogue: Catalogue) -> None:
    data = catalogue_bytes(catalogue)
    found = parse_catalogue(data, "x.json")
    assert found == catalogue
    assert (list(found.layers), list(found.tasks)) == (
        list(catalogue.layers),
        list(catalogue.tasks),
    )
    assert catalogue_bytes(found) == data
    assert json.loads(data) == catalogue.to_json()


@pytest.mark.parametrize("name", ["a", "A1_b", "x" * 63, "Landsat8"])
def test_names_that_may_be(name: str) -> None:
    assert list(_of(name).layers) == [name]


@pytest.mark.parametrize("name", ["", "1a", "_a", "a-b", "a b", "ä", "x" * 64, "a/b", "a.b", "a\n"])
def test_names_that_cannot_be_columns(name: str) -> None:
    with pytest.raises(ConfigError, match="expected a letter, then letters, digits or _"):
        _of(name)


def test_names_of_columns_are_taken_in_any_case() -> None:
    ours = {field.name for field in manifest_schema(OWN.tasks["yields"], [])}
    ours |= {*tiles_schema([OWN.tasks["yields"]]).names}
    for name in (*ours, "samples", "observations", "mask", "Date", "KEY"):
        with pytest.raises(ConfigError, match=f"cannot be named '{name}': a column has that name"):
            _of(name)
        with pytest.raises(ConfigError, match="a column has that name"):
            _of("a", task=name)


@pytest.mark.parametrize(
    ("names", "task"),
    [(("a", "A"), "b"), (("a",), "A"), (("zone", "zone_observation"), "b"), (("a",), "a")],
)
def test_names_are_used_once_and_sql_does_not_tell_case(names: tuple[str, ...], task: str) -> None:
    with pytest.raises(ConfigError, match="two layers or tasks are named"):
        _of(*names, task=task)


def test_a_part_keeps_the_order() -> None:
    part = OWN.only(("zone", "embedding"), ("birds", "height"))
    assert (list(part.layers), list(part.tasks)) == (["embedding", "zone"], ["height", "birds"])
    assert part.grid == OWN.grid
    with pytest.raises(ConfigError, match=r"no modality 'zones'.*; expected one of embedding, "):
        OWN.only(("zones",), ())


def test_layers_have_the_pixels_of_the_grid() -> None:
    large = replace(OWN, grid=Grid(96, 10))
    assert large.layers["embedding"].shape == (4, 96, 96)
    assert large.tasks["height"].shape == (96, 96)
    assert [layer.name for layer in large.members(large.tasks["height"])] == [
        *("height", "embedding", "soil_map", "landsat"),
    ]
    assert [layer.name for layer in large.tile_layers] == ["climate", "season", "zone"]


def test_every_field_that_is_damaged_is_named_or_is_another_value() -> None:
    part = OWN.only(("embedding", "zone"), ("landcover", "birds"))
    document, n_refused, n_read = part.to_json(), 0, 0
    for what, damaged in each_damage(document):
        *_, field = (part for part in what.partition(" ")[0].split(".") if not part.isdigit())
        try:
            found = Catalogue.from_json(damaged)
        except FormatError as exc:
            sentence = str(exc)
            nouns = [noun for noun in (*part.layers, *part.tasks) if noun in sentence]
            assert field in sentence or nouns, f"{what}: {sentence}"
            assert sentence.startswith("catalogue.json"), f"{what}: {sentence}"
            assert "\n" not in sentence
            n_refused += 1
        else:
            assert found != part, what
            n_read += 1
    assert n_refused > 1_500
    assert n_read > 100  # such as another title
