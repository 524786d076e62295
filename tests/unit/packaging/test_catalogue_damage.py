"""catalogue.json damaged or exchanged: found or refused in one sentence, sealed again or not."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import CATALOGUE, Catalogue, read_catalogue
from mmearth.catalog.checksums import read_dataset, seal
from mmearth.catalog.errors import FormatError, MMEarthError
from mmearth.packaging.rebuild import rebuild
from mmearth.packaging.verify import verify
from mmearth.tests.damage import TIMES, damaged_bytes, each_damage
from mmearth.tests.make_tiny import OWN, make_sealed

Document = dict[str, Any]
RunCli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    part = OWN.only(("embedding", "soil_map", "zone"), ("landcover", "texture", "crop"))
    root = make_sealed(tmp_path_factory.mktemp("own") / "dataset", 2, part)
    rebuild(root)
    assert verify(root) == []
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "dataset", copy_function=os.link))


def _write(root: Path, document: Any) -> None:
    (root / CATALOGUE).unlink()
    (root / CATALOGUE).write_text(json.dumps(document))


def _reseal(root: Path) -> None:
    seal(root, DatasetCard.from_json(read_dataset(root)))


@pytest.mark.fuzz
def test_every_changed_byte_is_one_finding(root: Path) -> None:
    draw = random.Random(5)
    data = (root / CATALOGUE).read_bytes()
    for _ in range(25 * TIMES):
        damaged = damaged_bytes(draw, data)
        (root / CATALOGUE).unlink()
        (root / CATALOGUE).write_bytes(damaged)
        found = [(f.path, f.problem) for f in verify(root)]
        assert found == ([] if damaged == data else [(CATALOGUE, "checksum")])


@pytest.mark.fuzz
def test_no_field_that_was_changed_and_sealed_again_ends_in_a_traceback(
    root: Path, tmp_path: Path
) -> None:
    draw, n_found = random.Random(6), 0
    document = json.loads((root / CATALOGUE).read_bytes())
    damages = list(each_damage(document))
    readable = []
    for _, damaged in damages:
        try:
            Catalogue.from_json(damaged)
        except FormatError:
            continue
        readable.append(damaged)
    assert len(readable) < len(damages) / 3
    for i, damaged in enumerate(draw.sample(readable, min(len(readable), 25 * TIMES))):
        _write(root, damaged)
        _reseal(root)
        n_found += bool(verify(root))
        if i % 5 == 0:  # it takes ten times as long
            copy = shutil.copytree(root, tmp_path / str(i), copy_function=os.link)
            try:
                rebuild(copy)
            except MMEarthError as exc:
                assert "\n" not in str(exc)
    assert n_found > 3 * TIMES


def test_what_cannot_be_read_and_was_sealed_again_is_one_finding(root: Path) -> None:
    document = json.loads((root / CATALOGUE).read_bytes())
    del document["layers"][0]["nodata"]
    _write(root, document)
    _reseal(root)
    (finding,) = verify(root)
    assert (finding.path, finding.problem) == (CATALOGUE, "unreadable")
    assert "layers 'embedding' has no 'nodata'; it is damaged" in finding.sentence


def _set(*path: Any) -> Callable[[Document], None]:
    *way, last, value = path

    def change(document: Any) -> None:
        for step in way:
            document = document[step]
        document[last] = value

    return change


def _swap(document: Document) -> None:
    document["layers"][:2] = document["layers"][1::-1]


def _rename(document: Document) -> None:
    document["layers"][0]["name"] = "vector"


def _thirteenth(document: Document) -> None:
    document["layers"].append({**document["layers"][0], "name": "thirteenth"})


def _fewer_classes(document: Document) -> None:
    del document["layers"][1]["classes"][1]


MANIFEST = "manifests/landcover.parquet"
CONTRADICTIONS: dict[str, tuple[Callable[[Document], Any], str, str, str]] = {
    # what contradicts, with which file, of which kind, in which words
    "order": (_swap, "dataset.json", "table", "has the modalities embedding, soil_map"),
    "name": (_rename, MANIFEST, "table", "it has no column vector"),
    "a layer less": (
        lambda d: d["layers"].pop(),
        *(MANIFEST, "table", "its column zone, zone_observation is of nothing in catalogue.json"),
    ),
    "a layer more": (_thirteenth, MANIFEST, "table", "it has no column thirteenth"),
    "a task less": (lambda d: d["tasks"].pop(), "tiles.parquet", "table", "column crop is of no"),
    "a band less": (lambda d: d["layers"][0]["bands"].pop(), "shards", "value", "found float32 (4"),
    "dtype": (_set("layers", 0, "dtype", "float64"), "shards", "value", "expected float64"),
    "nodata": (
        _set("tasks", 0, "target", "nodata", 9),
        *("shards", "value", "landcover class: found values 0 to 7 1, expected 1 to 7"),
    ),
    "valid": (_set("layers", 0, "bands", 0, "valid", [0, 1]), "shards", "value", "expected 0 to 1"),
    "classes": (_fewer_classes, "shards", "value", "found class code 2, expected one of 1, 7"),
    "pixels": (_set("grid", "pixels", 64), MANIFEST, "table", "geometry is not its tile's outline"),
    "resolution": (_set("grid", "resolution_m", 10), MANIFEST, "table", "not its tile's outline"),
    "band": (
        _set("layers", 0, "bands", 0, "name", "first"),
        *("statistics/landcover.json", "statistics", "train.modalities.embedding.A00 is "),
    ),
    "output": (
        _set("tasks", 1, "target", "bands", 0, "name", "gravel"),
        *("manifests/texture.parquet", "table", "its column texture is "),
    ),
    "class name": (
        _set("tasks", 2, "target", "classes", 0, "name", "maize"),
        *("shards", "value", "'class 1' is no target of it"),
    ),
    "code column": (
        _set("layers", 2, "dtype", "int16"),
        *(CATALOGUE, "unreadable", "which int16 cannot hold"),
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_that_was_sealed_again(root: Path, name: str) -> None:
    change, path, problem, words = CONTRADICTIONS[name]
    document = json.loads((root / CATALOGUE).read_bytes())
    change(document)
    _write(root, document)
    _reseal(root)
    findings = verify(root)
    assert [
        f for f in findings if f.path.startswith(path) and f.problem == problem
        and words in f.sentence
    ], findings  # fmt: skip


def test_a_directory_without_one_is_told_what_to_do(root: Path, run_cli: RunCli) -> None:
    (root / CATALOGUE).unlink()
    assert [(f.path, f.problem) for f in verify(root)] == [(CATALOGUE, "missing")]
    code, _, err = run_cli("packaging", "build", str(root))
    assert (code, err.count("\n")) == (1, 1)
    assert "catalogue.json is not there; expected what the dataset's arrays mean: run " in err
    assert "fetch the dataset again" in err
    _reseal(root)
    (finding,) = verify(root)
    assert str(finding) == f"{CATALOGUE}: SHA256SUMS does not list it; a dataset has it"


def test_of_another_dataset_none_is_packed(root: Path, run_cli: RunCli) -> None:
    document = json.loads((root / CATALOGUE).read_bytes())
    _thirteenth(document)
    _write(root, document)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    code, _, err = run_cli("packaging", "build", str(root))
    assert (code, err.count("\n")) == (1, 1)
    assert "catalogue.json has embedding, soil_map, zone, thirteenth: one of them is of" in err
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert "thirteenth" in read_catalogue(root).layers
