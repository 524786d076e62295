"""Two datasets are compared: each kind of change is named, with its reason, and counted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.checksums import read_dataset, seal
from mmearth.packaging.diff import Change, diff
from mmearth.tests.make_tiny import OWN, make_sealed

RunCli = Callable[..., tuple[int, str, str]]
Row = dict[str, Any]
BOTH = "layer of tiles in both"
PIXELS = OWN.pixel_layers[0].name


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sealed(tmp_path_factory.mktemp("first"), 6, OWN)


@pytest.fixture
def second(first: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(first, tmp_path / "second"))


def _edit(root: Path, name: str, change: Callable[[list[Row]], None]) -> None:
    table = pq.read_table(root / name)
    rows = table.to_pylist()
    change(rows)
    (root / name).unlink()
    pq.write_table(pa.Table.from_pylist(rows, table.schema), root / name)


def test_equal_datasets_and_another_order_of_making(first: Path, second: Path) -> None:
    assert diff(first, first) == diff(first, second) == []


def test_samples_come_go_and_change(first: Path, second: Path) -> None:
    def change(rows: list[Row]) -> None:
        rows[1]["split"] = "val" if rows[1]["split"] != "val" else "train"
        rows[2]["target"] += 1
        del rows[0]

    tiles = [row["tile"] for row in pq.read_table(first / "manifests/yields.parquet").to_pylist()]
    _edit(second, "manifests/yields.parquet", change)
    assert diff(first, second) == [
        Change("samples", "yields", "gone", "", 1, tiles[0]),
        Change("samples", "yields", "changed", "another split", 1, tiles[1]),
        Change("samples", "yields", "changed", "another target", 1, tiles[2]),
    ]
    assert diff(second, first)[0] == Change("samples", "yields", "added", "", 1, tiles[0])


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"source": "elsewhere 1"}, "another source"),
        ({"source": "NAME 2"}, "another version of the source"),
        ({"acquired": "1999-01-01"}, "another date"),
        ({"source_ids": ["x"]}, "other images"),
        ({"expression": "0" * 64}, "another request"),
        ({"stand_in": "COPERNICUS"}, "another product stands in"),
        ({}, "other bytes from the same images"),
    ],
)
def test_why_a_layer_is_another(first: Path, second: Path, said: Row, why: str) -> None:
    tiles = []

    def change(rows: list[Row]) -> None:
        row = next(r for r in rows if r["modality"] == PIXELS and r["state"] == "done")
        name = row["source"].rpartition(" ")[0]
        row |= {"sha256": "f" * 64}
        row |= {k: v.replace("NAME", name) if k == "source" else v for k, v in said.items()}
        tiles.append(row["tile"])

    _edit(second, "observations.parquet", change)
    assert diff(first, second) == [Change(BOTH, PIXELS, "changed", why, 1, tiles[0])]


def test_layers_come_and_go(first: Path, tmp_path: Path) -> None:
    name, *others = OWN.layers
    fewer = replace(OWN, layers={each: OWN.layers[each] for each in others})
    other = make_sealed(tmp_path / "fewer", 6, fewer)
    found = [each for each in diff(first, other) if each.what == "layer"]
    assert found == [Change("layer", name, "gone", "", 1, "")]
    assert [e.change for e in diff(other, first) if e.what == "layer"] == ["added"]


def test_what_the_cards_say(first: Path, second: Path) -> None:
    card = DatasetCard.from_json(read_dataset(second))
    for name in ("SHA256SUMS", "dataset.json"):
        (second / name).unlink()
    seal(second, replace(card, version="2.0.0"))
    assert diff(first, second) == [
        Change("dataset", "version", "changed", "", 1, f"{card.version} → 2.0.0")
    ]


def test_the_command(first: Path, second: Path, run_cli: RunCli) -> None:
    ask = "packaging", "diff", str(first), str(second)
    code, _, err = run_cli(*ask)
    assert (code, err.strip().endswith("are equal")) == (0, True)
    assert json.loads(run_cli(*ask, "--json")[1]) == {"equal": True, "changes": []}
    _edit(second, "manifests/crop.parquet", lambda rows: rows.pop(0) and None)
    code, out, _ = run_cli(*ask)
    assert code == 4 and "gone" in out
    assert json.loads(run_cli(*ask, "--json")[1])["changes"][0]["n"] == 1
    (second / "observations.parquet").write_bytes(b"no table")
    code, _, err = run_cli(*ask)
    assert (code, len(err.strip().splitlines())) == (1, 1)
    assert run_cli("packaging", "diff", str(first), str(second / "stac"))[0] == 2


@pytest.mark.parametrize("name", ["tile=7", "split=val", "climate=1"])
def test_names_of_folders_are_no_columns(first: Path, tmp_path: Path, name: str) -> None:
    there = tmp_path / name / "set"
    shutil.copytree(first, there)
    assert diff(first, there) == []
