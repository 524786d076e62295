"""Verification finds what is wrong, names it, and finds nothing in a whole dataset."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmearth.catalog import stac
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.checksums import read_dataset, render, seal
from mmearth.catalog.executor import Workers
from mmearth.catalog.schema import write_table
from mmearth.packaging.findings import Finding
from mmearth.packaging.shard import ShardWriter
from mmearth.packaging.verify import verify

RunCli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def root(small_dataset: Path, tmp_path: Path) -> Path:
    """A copy of the small dataset; files must be replaced, not written into."""
    return Path(shutil.copytree(small_dataset, tmp_path / "dataset", copy_function=os.link))


def overwrite(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def reseal(root: Path) -> None:
    """Write checksums that fit, as a forger or a mistaken build would."""
    card = DatasetCard.from_json(read_dataset(root))
    for name in ("SHA256SUMS", "dataset.json"):
        (root / name).unlink()
    seal(root, card)


def edit_manifest(root: Path, task: str, change: Callable[[list[dict[str, Any]]], None]) -> None:
    path = root / f"manifests/{task}.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    path.unlink()
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path, compression="zstd")


def edit_tiles(root: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    table = pq.read_table(root / "tiles.parquet")
    rows = table.to_pylist()
    change(rows)
    (root / "tiles.parquet").unlink()
    write_table(pa.Table.from_pylist(rows, table.schema), root / "tiles.parquet", table.schema)


def kinds(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(finding.path, finding.problem) for finding in findings}


def a_shard(root: Path, task: str = "soil_pH") -> Path:
    return sorted((root / "shards" / task).glob("train-*.tar"))[0]


def test_a_whole_dataset_has_no_findings(small_dataset: Path, run_cli: RunCli) -> None:
    assert verify(small_dataset) == verify(small_dataset, Workers(3, "threads")) == []
    code, out, err = run_cli("packaging", "verify", str(small_dataset))
    assert (code, out) == (0, "")
    assert "is whole" in err
    code, out, _ = run_cli("packaging", "verify", str(small_dataset), "--json")
    assert (code, json.loads(out)) == (0, {"whole": True, "findings": []})


PUBLISHED = (
    "tiles.parquet",
    "observations.parquet",
    "manifests/soil_pH.parquet",
    "statistics/soil_pH.json",
    "shards/soil_pH/train-000000.tar",
    "stac/items.parquet",
    "stac/catalog.json",
    "croissant.json",
    "README.md",
    "catalogue.json",
    "SHA256SUMS",
    "dataset.json",
)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("where", [0.0, 0.73])
def test_a_flipped_bit_anywhere(root: Path, name: str, where: float) -> None:
    data = bytearray((root / name).read_bytes())
    data[int(where * len(data))] ^= 0x01
    overwrite(root / name, bytes(data))
    findings = verify(root)
    assert name in {finding.path for finding in findings}, findings


def test_a_flipped_bit_in_every_block_of_a_shard(root: Path, run_cli: RunCli) -> None:
    shard = a_shard(root)
    whole = shard.read_bytes()
    name = shard.relative_to(root).as_posix()
    for at in np.random.default_rng(0).integers(0, len(whole), 12).tolist():
        data = bytearray(whole)
        data[at] ^= 0x80
        overwrite(shard, bytes(data))
        assert (name, "checksum") in kinds(verify(root))
    code, out, _ = run_cli("packaging", "verify", str(root), "--json")
    assert code == 4
    assert name in {finding["path"] for finding in json.loads(out)["findings"]}


def test_a_missing_shard(root: Path, run_cli: RunCli) -> None:
    name = a_shard(root).relative_to(root).as_posix()
    (root / name).unlink()
    assert (name, "missing") in kinds(verify(root))
    code, out, _ = run_cli("packaging", "verify", str(root))
    assert code == 4
    assert name in out


@pytest.mark.parametrize("sealed_again", [False, True])
def test_a_shard_of_another_build(root: Path, sealed_again: bool) -> None:
    shard, other = a_shard(root, "soil_pH"), a_shard(root, "species")
    overwrite(shard, other.read_bytes())
    if sealed_again:
        reseal(root)
    name = shard.relative_to(root).as_posix()
    findings = verify(root)
    assert (name, "range") in kinds(findings)
    assert ((name, "checksum") in kinds(findings)) is not sealed_again


@pytest.mark.parametrize("cut", [100, 5_000, 500_000])
def test_a_truncated_shard(root: Path, cut: int) -> None:
    shard = a_shard(root)
    overwrite(shard, shard.read_bytes()[:cut])
    sentences = [str(finding) for finding in verify(root) if finding.problem == "range"]
    assert any("truncated" in sentence or "tar header" in sentence for sentence in sentences)


def test_an_edited_manifest(root: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[0]["target"] = 9.9

    edit_manifest(root, "soil_pH", change)
    assert ("manifests/soil_pH.parquet", "checksum") in kinds(verify(root))
    reseal(root)
    findings = verify(root)
    assert ("manifests/soil_pH.parquet", "table") in kinds(findings)
    assert any("target is 9.9" in str(finding) for finding in findings)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("byte_offset", 1024, "range"),
        ("byte_length", 7, "range"),
        ("sha256", "0" * 64, "range"),
        ("valid_fraction", 0.25, "value"),
        ("band_valid_fraction", [0.0] * 12, "value"),
        ("present", False, "range"),
        ("acquired", "1999-01-01", "table"),
        ("source_ids", ["another"], "table"),
    ],
)
def test_an_edited_member_sealed_again(root: Path, field: str, value: Any, expected: str) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[0]["sentinel2"][field] = value

    edit_manifest(root, "soil_pH", change)
    reseal(root)
    assert expected in {finding.problem for finding in verify(root)}


@pytest.mark.parametrize(("column", "value"), [("bytes", 7), ("sha256", "0" * 64)])
def test_an_observation_of_other_bytes_sealed_again(root: Path, column: str, value: Any) -> None:
    path = root / "observations.parquet"
    table = pq.read_table(path)
    tile = pq.read_table(root / "manifests/soil_pH.parquet")["tile"][0].as_py()
    rows = table.to_pylist()
    (row,) = (r for r in rows if (r["tile"], r["modality"]) == (tile, "sentinel2"))
    row[column] = value
    path.unlink()
    write_table(pa.Table.from_pylist(rows, table.schema), path, table.schema)
    reseal(root)
    (found,) = [each for each in verify(root) if each.path == "manifests/soil_pH.parquet"]
    assert found.sentence.endswith(f", observations.parquet says {value!r}")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("key", "32601_0_0_20200101"),
        ("hilbert", 1),
        ("lon", 0.5),
        ("epsg", 32601),
        ("biome", 3),
        ("geometry", bytes.fromhex("0101000000000000000000f03f0000000000000040")),
        ("shard", "shards/soil_pH/train-000777.tar"),
        ("label_id", "x"),
        ("train_50", None),
    ],
)
def test_an_edited_column_sealed_again(root: Path, column: str, value: Any) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        assert rows[0][column] != value
        rows[0][column] = value

    edit_manifest(root, "soil_pH", change)
    reseal(root)
    assert any("manifest" in str(finding) for finding in verify(root))


def test_a_sample_taken_out_of_the_manifest(root: Path) -> None:
    edit_manifest(root, "soil_pH", lambda rows: rows.pop(0) and None)
    reseal(root)
    found = kinds(verify(root))
    assert (a_shard(root).relative_to(root).as_posix(), "range") in found
    assert ("stac/items.parquet", "stac") in found


def test_a_tile_in_two_splits_of_the_plan(root: Path, run_cli: RunCli) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        row = next(r for r in rows if r["task"] == "soil_pH" and r["split"] == "train")
        rows.append({**row, "split": "val", "train_5": False, "train_50": False})

    edit_tiles(root, change)
    reseal(root)
    code, out, _ = run_cli("packaging", "verify", str(root))
    assert code == 4
    assert "is in two splits" in out and "tiles.parquet" in out


def test_a_tile_in_two_splits_of_the_manifest(root: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows.append({**rows[0], "split": "geographic_test", "train_5": False, "train_50": False})

    edit_manifest(root, "soil_pH", change)
    reseal(root)
    assert ("manifests/soil_pH.parquet", "split") in kinds(verify(root))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train_5": True, "train_50": False}, "in train_5 but not in train_50"),
        ({"split": "val", "train_5": False, "train_50": True}, "in train_50 and in val"),
        ({"split": "test", "train_5": False, "train_50": False}, "expected one of train"),
    ],
)
def test_subsets_that_are_not_nested(root: Path, changes: dict[str, Any], sentence: str) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[0] |= changes

    edit_tiles(root, change)
    reseal(root)
    findings = verify(root)
    assert any(sentence in f.sentence and f.problem == "split" for f in findings)


def test_edited_statistics_sealed_again(root: Path) -> None:
    path = root / "statistics/soil_pH.json"
    document = json.loads(path.read_bytes())
    document["train"]["modalities"]["sentinel2"]["B4"]["mean"] += 1e-9
    overwrite(path, json.dumps(document).encode())
    reseal(root)
    findings = [finding for finding in verify(root) if finding.problem == "statistics"]
    assert [finding.path for finding in findings] == ["statistics/soil_pH.json"]
    assert findings[0].sentence.startswith("train.modalities.sentinel2.B4.mean is ")


def test_edited_item_sealed_again(root: Path) -> None:
    path = sorted((root / "stac/soil_pH/items").rglob("*.json"))[0]
    item = json.loads(path.read_bytes())
    item["assets"]["shard"]["archive"][1]["range"][0] += 512
    overwrite(path, json.dumps(item).encode())
    reseal(root)
    assert kinds(verify(root)) == {(path.relative_to(root).as_posix(), "stac")}


def test_missing_item_sealed_again(root: Path) -> None:
    path = sorted((root / "stac/soil_pH/items").rglob("*.json"))[0]
    path.unlink()
    reseal(root)
    assert kinds(verify(root)) == {(path.relative_to(root).as_posix(), "missing")}


def test_items_in_the_table_alone(root: Path) -> None:
    card = replace(DatasetCard.from_json(read_dataset(root)), stac_items="parquet")
    shutil.rmtree(root / "stac")
    stac.build(root, card)
    seal(root, card)
    assert verify(root) == []

    def change(rows: list[dict[str, Any]]) -> None:
        rows[1]["sentinel2"]["byte_length"] += 1

    edit_manifest(root, "soil_pH", change)
    reseal(root)
    found = [f for f in verify(root) if f.path == "stac/items.parquet"]
    assert len(found) == 1
    assert ".sentinel2.npy is (" in found[0].sentence


def test_checksums_that_contradict_each_other(root: Path) -> None:
    document = json.loads((root / "dataset.json").read_bytes())
    assert document["files"].keys() >= {"catalogue.json", "manifests/soil_pH.parquet"}
    assert not any(name.startswith(("shards/", "stac/soil_pH/items")) for name in document["files"])
    document["files"]["tiles.parquet"] = "0" * 64
    overwrite(root / "dataset.json", render(document))
    (found,) = verify(root)
    assert str(found) == (
        "dataset.json: it gives tiles.parquet another sha256 than SHA256SUMS: one is of another "
        "build"
    )
    document["files"]["tiles.parquet"] = "none"
    overwrite(root / "dataset.json", render(document))
    assert kinds(verify(root)) == {("dataset.json", "unreadable")}


def test_an_unknown_file(root: Path) -> None:
    (root / "shards/soil_pH/train-000777.tar").write_bytes(b"")
    found = kinds(verify(root))
    assert ("shards/soil_pH/train-000777.tar", "unknown") in found


def test_values_outside_their_range_written_and_sealed_as_if_right(root: Path) -> None:
    """A build of wrong units: everything fits together, but no slope has 400 degrees."""
    import io
    import tarfile

    from mmearth.catalog.codec import NPY
    from mmearth.catalog.files import sha256_bytes

    shard = a_shard(root)
    name = shard.relative_to(root).as_posix()
    writer = ShardWriter(root, name)
    places: dict[str, tuple[int, int, str]] = {}
    with tarfile.open(fileobj=io.BytesIO(shard.read_bytes())) as tar:
        for info in tar:
            stream = tar.extractfile(info)
            assert stream is not None
            data = stream.read()
            key, _, suffix = info.name.partition(".")
            if suffix == "aster_gdem.npy" and not places:
                array = np.load(io.BytesIO(data))
                array[1, 5, 5] = 400.0
                data = NPY.encode(array)
                places[key] = (0, len(data), sha256_bytes(data))
            writer.write(key, {suffix: data})
    shard.unlink()
    writer.close()

    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row["key"] in places:
                row["aster_gdem"]["sha256"] = places[row["key"]][2]

    edit_manifest(root, "soil_pH", change)
    reseal(root)
    findings = [finding for finding in verify(root) if finding.problem == "value"]
    assert [finding.path for finding in findings] == [name]
    assert "aster_gdem slope" in findings[0].sentence and "400" in findings[0].sentence


@pytest.mark.parametrize("what", ["manifest", "tiles"])
def test_a_table_that_is_no_table(root: Path, what: str) -> None:
    name = "manifests/soil_pH.parquet" if what == "manifest" else "tiles.parquet"
    overwrite(root / name, b"PAR1 is how such a file begins")
    assert (name, "unreadable") in kinds(verify(root))


def test_a_manifest_without_a_column(root: Path) -> None:
    path = root / "manifests/soil_pH.parquet"
    table = pq.read_table(path).drop_columns(["hilbert"])
    path.unlink()
    pq.write_table(table, path)
    reseal(root)
    assert ("manifests/soil_pH.parquet", "table") in kinds(verify(root))


@pytest.mark.parametrize("what", ["bbox", "species", "no bbox", "of 2.0"])
def test_a_covering_box_and_targets_of_other_tasks(root: Path, what: str) -> None:
    path = root / "manifests/soil_pH.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    if what == "bbox":
        rows[1]["bbox"]["xmin"] = rows[1]["lon"]
    if what == "species":
        rows[1]["species"] = []
    dropped = {"no bbox": ["bbox"], "of 2.0": ["bbox", "species", "biomass"]}.get(what, [])
    path.unlink()
    pq.write_table(pa.Table.from_pylist(rows, table.schema).drop_columns(dropped), path)
    reseal(root)
    expected = {
        "bbox": [f"sample {rows[1]['key']}: bbox does not cover its geometry"],
        "species": [f"sample {rows[1]['key']}: species is of another task, and not null"],
        # As before schema 2.1, when a manifest had no box, and the target of its own task alone.
        "no bbox": ["its column biomass, species is of nothing in catalogue.json"],
    }
    name = "manifests/soil_pH.parquet"
    assert [f.sentence for f in verify(root) if f.path == name] == expected.get(what, [])


def test_what_is_no_dataset(tmp_path: Path, run_cli: RunCli) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        code, out, err = run_cli("packaging", "verify", str(path))
        assert (code, out) == (2, "")
        assert "no complete dataset" in err and "Traceback" not in err
    (tmp_path / "file").write_text("x")
    assert run_cli("packaging", "verify", str(tmp_path / "file"))[0] == 2
