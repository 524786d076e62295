"""Layers of each kind and tasks of each kind, on a grid of their own: packed, read back, proved."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from mmearth.catalog.audit import audit_dataset
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import Catalogue, read_catalogue
from mmearth.catalog.checksums import read_dataset, seal
from mmearth.catalog.errors import DataError, FormatError
from mmearth.catalog.executor import Workers
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.observed import open_observed
from mmearth.catalog.observed_sql import LEDGER
from mmearth.catalog.schema import OBSERVATIONS, manifest_path, member_column, write_parts
from mmearth.catalog.store import StoreReader
from mmearth.catalog.targets import target_array
from mmearth.catalog.validate import validate_croissant, validate_stac
from mmearth.curate.ledger import Ledger
from mmearth.packaging.build import build
from mmearth.packaging.codec import decode_tile_level
from mmearth.packaging.rebuild import rebuild
from mmearth.packaging.verify import verify
from mmearth.tests.make_tiny import OWN, make_sealed, make_tiny

Row = dict[str, Any]
Change = Callable[[list[Row]], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five tiles, in all splits, of which each has every layer and every task."""
    root = make_sealed(tmp_path_factory.mktemp("own") / "dataset", 5, OWN)
    rebuild(root)
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "dataset", copy_function=os.link))


def _rows(root: Path, name: str) -> list[Row]:
    rows: list[Row] = pq.read_table(root / name).to_pylist()
    return rows


def _edit(root: Path, name: str, change: Change) -> None:
    table = pq.read_table(root / name)
    rows = table.to_pylist()
    change(rows)
    (root / name).unlink()
    pq.write_table(pa.Table.from_pylist(rows, table.schema), root / name)


def _reseal(root: Path) -> None:
    seal(root, DatasetCard.from_json(read_dataset(root)))


def test_it_is_whole_and_its_catalogues_are_valid(whole: Path, stac_schemas: Path) -> None:
    assert verify(whole) == verify(whole, Workers(2, "threads")) == []
    assert read_catalogue(whole) == OWN
    found = validate_stac(whole, stac_schemas)
    assert (found.problems, found.not_checked) == ((), ())
    item = json.loads(next((whole / "stac/texture/items").rglob("*.json")).read_bytes())
    assert item["properties"]["proj:shape"] == [32, 32]
    assert item["properties"]["mmearth:texture"].keys() == {"sand", "silt", "clay"}
    collection = json.loads((whole / "stac/texture/collection.json").read_bytes())
    classes = collection["mmearth:members"]["soil_map"]["classification:classes"]
    assert [entry["value"] for entry in classes] == [1, 2, 7]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of mlcroissant
def test_croissant_names_every_plain_column(whole: Path) -> None:
    pytest.importorskip("mlcroissant")
    assert validate_croissant(whole).problems == ()
    records = json.loads((whole / "croissant.json").read_bytes())["recordSet"]
    fields = {each["name"]: each for record in records for each in record["field"]}
    assert {"target", "crop", "birds", "zone"} <= fields.keys()
    assert fields["zone"]["dataType"] == "sc:Integer"
    assert fields["zone"]["description"] == "Class code: Own zone (random); null where missing"


def test_splits_are_audited_by_numbers_and_by_labels(whole: Path) -> None:
    found = {audit.task: audit for audit in audit_dataset(whole, 0.0)}
    assert list(found) == list(OWN.tasks)
    assert found["texture"].targets["train"]["sand mean"] == 10.5
    assert found["texture"].targets["val"]["clay mean"] == 2.0
    # train has classes 1 and 2, random_test (tile 3) class 1: half of the mass is elsewhere.
    assert found["crop"].label_imbalance["random_test"] == 0.5
    assert not any(audit.violations for audit in found.values())


def _stored(root: Path, tile: str) -> dict[str, NDArray[Any]]:
    """Return what was collected of a tile, by layer."""
    with open_observed(root, OWN) as observed, StoreReader(root) as reader:
        return {n: seen.read(reader, OWN).array for n, seen in observed.of_tile(tile).items()}


@pytest.mark.parametrize("name", OWN.tasks)
def test_arrays_and_targets_come_back(whole: Path, name: str) -> None:
    task = OWN.tasks[name]
    planned = {row["tile"]: row for row in _rows(whole, "tiles.parquet") if row["task"] == name}
    rows = _rows(whole, manifest_path(name))
    assert len(rows) == 5
    for row in rows:
        shard = (whole / row["shard"]).read_bytes()
        stored = _stored(whole, row["tile"])
        for layer in OWN.members(task):
            at = row[member_column(layer)]
            member = shard[at["byte_offset"] :][: at["byte_length"]]
            array = np.load(io.BytesIO(member)).reshape(layer.shape)
            np.testing.assert_array_equal(array, stored[layer.name])
        at = row["zone_observation"]
        document = json.loads(shard[at["byte_offset"] :][: at["byte_length"]])
        for layer, array in decode_tile_level(document, OWN):
            np.testing.assert_array_equal(array, stored[layer.name])
        assert row["zone"] == stored["zone"][0]
        if not task.is_pixel:
            plain = planned[row["tile"]][task.column]
            assert (row[task.column], document["target"]) == (plain, plain)
            task.check(target_array(task, plain))


def test_statistics_count_codes_with_gaps(whole: Path) -> None:
    found = json.loads((whole / "statistics/landcover.json").read_bytes())["train"]
    rows = [row for row in _rows(whole, manifest_path("landcover")) if row["split"] == "train"]
    soil, labels = Counter[int](), Counter[int]()
    for row in rows:
        stored = _stored(whole, row["tile"])
        soil.update(stored["soil_map"].ravel().tolist())
        target = stored["landcover"]
        labels.update(target[target != 0].tolist())
    by_code = {name: {str(c): n for c, n in sorted(seen.items())} for name, seen in
               (("soil", soil), ("labels", labels))}  # fmt: skip
    assert found["modalities"]["soil_map"]["soil"]["classes"] == by_code["soil"]
    assert found["target"]["class"]["classes"] == by_code["labels"]
    zones = Counter(row["zone"] for row in rows)
    expected = {str(code): n for code, n in sorted(zones.items())}
    assert found["modalities"]["zone"]["zone"]["classes"] == expected


def _poke(root: Path, task: str, name: str, value: float) -> str:
    """Change the first value of a member as if it were right, and seal; return the shard."""
    row, layer = _rows(root, manifest_path(task))[0], OWN.observed(name)
    data = bytearray((root / row["shard"]).read_bytes())
    at = row[member_column(layer)]
    begin, end = at["byte_offset"], at["byte_offset"] + at["byte_length"]
    first = begin + 128
    stored = np.array([value], layer.dtype).tobytes()
    data[first : first + len(stored)] = stored
    (root / row["shard"]).unlink()
    (root / row["shard"]).write_bytes(data)
    digest = sha256_bytes(bytes(data[begin:end]))
    _edit(root, manifest_path(task), lambda rows: rows[0][member_column(layer)].update(
        sha256=digest))  # fmt: skip
    _reseal(root)
    return str(row["shard"])


@pytest.mark.parametrize(
    ("task", "name", "value", "sentence"),
    [
        ("crop", "soil_map", 3, "soil_map soil: found class code 3, expected one of 1, 2, 7"),
        ("crop", "soil_map", 9, "soil_map soil: found values 1 to 9 1, expected 1 to 7"),
        ("crop", "embedding", 1.5, "embedding A00: found values "),
        ("crop", "embedding", np.nan, "embedding A00: found values nan to nan"),
        ("crop", "embedding", -2.0, "valid_fraction"),  # no data, and nobody knew
        ("landcover", "landcover", 3, "landcover class: found class code 3, expected one of 1, 2"),
        ("landcover", "landcover", 0, "valid_fraction"),
        ("height", "height", 61.0, "height m: found values "),
        ("height", "height", 0.125, "its mean is "),
    ],
)
def test_a_value_that_no_class_and_no_limit_allows(
    root: Path, task: str, name: str, value: float, sentence: str
) -> None:
    shard = _poke(root, task, name, value)
    found = [f for f in verify(root) if f.problem == "value"]
    assert [f.path for f in found] == [shard]
    assert sentence in found[0].sentence


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("crop", {"crop": "class 3"}, "'class 3' is no target of it"),
        ("birds", {"birds": ["dodo"]}, "is no target of it"),
        ("texture", {"texture": {"sand": 1.0, "silt": 2.0}}, "is no target of it"),
        (
            "texture",
            {"texture": {"sand": 1.0, "silt": 2.0, "clay": 101.0}},
            "texture clay: found values 101 to 101",
        ),
        ("texture", {"texture": None}, "tiles.parquet has no target for tile"),
        ("yields", {"target": None}, "tiles.parquet has no target for tile"),
        ("birds", {"birds": None}, "tiles.parquet has no target for tile"),
    ],
)
def test_a_plan_of_no_target_is_one_sentence(
    root: Path, name: str, changes: Row, sentence: str
) -> None:
    def change(rows: list[Row]) -> None:
        next(row for row in rows if row["task"] == name).update(changes)

    _edit(root, "tiles.parquet", change)
    card = DatasetCard.from_json(read_dataset(root))
    with pytest.raises((DataError, FormatError), match=sentence) as caught:
        build(root, card)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "column", "path"),
    [
        ("tiles.parquet", "task", "tiles.parquet"),
        ("observations.parquet", "modality", "observations.parquet"),
    ],
)
def test_rows_of_what_the_catalogue_has_not(root: Path, table: str, column: str, path: str) -> None:
    def change(rows: list[Row]) -> None:
        rows.append({**rows[-1], column: "thirteenth"})

    _edit(root, table, change)
    _reseal(root)
    found = [f for f in verify(root) if f.path == path and "thirteenth" in f.sentence]
    sentence = f"its {column} is also thirteenth, of which catalogue.json says nothing"
    assert [f.sentence for f in found] == [sentence]


def test_a_sample_may_do_without_a_target_where_the_task_says_so(tmp_path: Path) -> None:
    tasks = {name: replace(task, optional=True) for name, task in OWN.tasks.items()}
    catalogue = Catalogue(OWN.grid, OWN.layers, tasks)
    card = make_tiny(tmp_path, 2, catalogue)
    first = min(row["tile"] for row in _rows(tmp_path, "tiles.parquet"))

    def unlabelled(rows: list[Row]) -> None:
        for row in rows:
            if row["tile"] == first:
                row.update(dict.fromkeys(("target", "texture", "crop", "birds")))

    _edit(tmp_path, "tiles.parquet", unlabelled)
    with closing(sqlite3.connect(tmp_path / LEDGER)) as database, database:
        unseen = "DELETE FROM observations WHERE tile = ? AND modality IN ('height', 'landcover')"
        database.execute(unseen, [first])
    with Ledger(tmp_path) as ledger:
        write_parts(ledger.export(), tmp_path / "observations.parquet", OBSERVATIONS)
    seal(tmp_path, card, build(tmp_path, card).sums)
    rebuild(tmp_path)
    assert verify(tmp_path) == []
    assert validate_stac(tmp_path, None).problems == ()
    for name, task in tasks.items():
        rows = {row["tile"]: row for row in _rows(tmp_path, manifest_path(name))}
        assert len(rows) == 2
        assert [row[task.column] is None for row in rows.values()].count(True) == 1
        assert rows[first][task.column] is None
