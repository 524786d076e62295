"""Validation without a network: what is wrong is named, what cannot be checked is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmearth.catalog import croissant, stac
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.validate import validate_croissant, validate_stac

N_OBJECTS = 10
"""A catalogue, three collections, six items."""


@pytest.fixture
def built(packed: Path, card: DatasetCard) -> Path:
    stac.build(packed, card)
    croissant.build(packed, card)
    return packed


def _spoil(path: Path, change: Callable[[Any], object]) -> None:
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


def _first_item(root: Path) -> Path:
    return min((root / "stac" / "soil_pH" / "items").rglob("*.json"))


def test_the_core_needs_no_schemas_and_extensions_are_said_to_be_unchecked(built: Path) -> None:
    found = validate_stac(built, None)
    assert found.problems == ()
    assert found.n_objects == N_OBJECTS
    assert {url.split("/")[3] for url in found.not_checked} == {
        *("archive", "file", "processing", "projection", "scientific"),
    }


def test_with_all_schemas_nothing_is_unchecked(built: Path, stac_schemas: Path) -> None:
    found = validate_stac(built, stac_schemas)
    assert found.problems == ()
    assert found.not_checked == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["properties"].pop("datetime"), "'datetime' is a required property"),
        (lambda d: d.update(stac_version="1.9.0"), "stac_version is 1.9.0"),
        (lambda d: d.update(type="Banana"), "type is 'Banana'"),
        (lambda d: d["assets"]["shard"].update(href="../gone.tar"), "../gone.tar is not there"),
        (lambda d: d.update(bbox=[1, 2]), "bbox"),
        (lambda d: d["stac_extensions"].append(True), "stac_extensions are no list of URLs"),
    ],
)
def test_core_faults_are_named(built: Path, change: Callable[[Any], object], said: str) -> None:
    path = _first_item(built)
    _spoil(path, change)
    problems = validate_stac(built, None).problems
    assert problems
    assert all(str(path) in text for text in problems)
    assert said in " ".join(problems)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda d: d["assets"]["shard"]["archive"][0].update(range=[1.5, 2]),
            "assets.shard.archive.0.range.0: 1.5 is not of type 'integer'",
        ),
        (
            lambda d: d["assets"]["shard"].update({"file:size": "large"}),
            "assets.shard.file:size: 'large' is not of type 'integer'",
        ),
        (lambda d: d["properties"].update({"proj:code": 32601}), "proj:code"),
    ],
)
def test_extension_faults_are_named(
    built: Path, stac_schemas: Path, change: Callable[[Any], object], said: str
) -> None:
    _spoil(_first_item(built), change)
    assert validate_stac(built, None).problems == ()  # the core allows any extension's field
    assert said in " ".join(validate_stac(built, stac_schemas).problems)


def test_what_is_no_json_is_a_problem_not_a_crash(built: Path) -> None:
    _first_item(built).write_text("[1")
    (built / "stac" / "catalog.json").write_text("[]")
    problems = " ".join(validate_stac(built, None).problems)
    assert problems.count("it is not a JSON object") == 2


def test_no_catalogue_and_no_schema_are_one_sentence(built: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no catalog.json"):
        validate_stac(built / "shards", None)
    schemas = tmp_path / "schemas"
    schemas.mkdir()
    for text in ("<html>", '{"@context": {}}'):
        (schemas / "schema.json").write_text(text)
        with pytest.raises(ConfigError, match="is not a JSON schema"):
            validate_stac(built, schemas)


def test_croissant_faults_are_named(built: Path) -> None:
    pytest.importorskip("mlcroissant")
    assert validate_croissant(built).problems == ()
    (built / "shards/soil_pH/val-000000.tar").write_bytes(b"x" * 35)
    (problem,) = validate_croissant(built).problems
    assert "val-000000.tar is 35 B, expected 29 B" in problem  # its own name, 29 letters
    _spoil(built / "croissant.json", lambda d: d["distribution"][0].pop("sha256"))
    assert "sha256" in validate_croissant(built).problems[0]
    (built / "croissant.json").write_text("{}")
    assert "not Croissant metadata" in validate_croissant(built).problems[0]
    (built / "croissant.json").unlink()
    assert "is not there" in validate_croissant(built).problems[0]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '"\\ud800"',
        '{"type": "Feature", "stac_extensions": 5}',
        '{"type": "Feature", "stac_extensions": [[]]}',
        '{"type": "Feature", "stac_version": "1.1.0", "links": [null], "assets": 3}',
        '{"type": ["Feature"]}',
    ],
)
def test_a_document_of_another_kind_is_a_problem(built: Path, text: str) -> None:
    _first_item(built).write_text(text)
    found = validate_stac(built, None)
    assert found.n_objects == N_OBJECTS
    assert len(found.problems) >= 1
    (built / "croissant.json").write_text(text)
    assert len(validate_croissant(built).problems) >= 1


@pytest.mark.parametrize(
    "context",
    [
        "http://127.0.0.1:9/context",
        ["http://127.0.0.1:9/context", {}],
        {"@vocab": "https://schema.org/", "x": {"@id": "y", "@context": "http://127.0.0.1:9/"}},
        {"@import": "http://127.0.0.1:9/context"},
    ],
)
def test_a_context_of_elsewhere_is_not_asked_for(built: Path, context: Any) -> None:
    pytest.importorskip("mlcroissant")
    _spoil(built / "croissant.json", lambda d: d.update({"@context": context}))
    (problem,) = validate_croissant(built).problems
    assert "its @context is not in the file itself, which would be fetched" in problem
