"""Manifests that somebody changed: refused by their checksum, or by what cannot be."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mmearth
from mmearth.catalog.checksums import render
from mmearth.catalog.errors import FormatError, IntegrityError
from mmearth.catalog.files import write_atomic
from mmearth.catalog.schema import SCHEMA_VERSION, VERSION_KEY, write_table
from mmearth.loaders.fetch.members import Members
from mmearth.tests.hand_index import destinations, resealed
from mmearth.tests.make_tiny import make_sealed
from mmearth.tests.unit.loaders.crafted import STRUCTURE, VALUES, Change, put

NAME = "manifests/soil_pH.parquet"
KINDS = ("sentinel2", "dynamic_world", "month")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sealed(tmp_path_factory.mktemp("tiny") / "dataset", 12)


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    leave = shutil.ignore_patterns("store")
    return Path(shutil.copytree(tiny, tmp_path / "copy", copy_function=os.link, ignore=leave))


def read(root: Path) -> int:
    """Read every sample; return their number."""
    dataset = mmearth.open(root)
    chosen = dataset.select("soil_pH", modalities=KINDS)
    members = Members(dataset.root, chosen.index, dataset.hash)
    members.fill(np.arange(chosen.count), destinations(chosen.index, chosen.count))
    return chosen.count


def craft(copy: Path, change: Change) -> None:
    """Replace the manifest by a changed one, with the version that every table has."""
    table = change(pq.read_table(copy / NAME))
    stamp = {VERSION_KEY: SCHEMA_VERSION.encode()}
    (copy / NAME).unlink()
    pq.write_table(table.replace_schema_metadata(stamp), copy / NAME)


def test_what_nobody_changed_is_read(copy: Path) -> None:
    n = read(copy)
    assert n == pq.read_metadata(copy / NAME).num_rows > 5
    craft(copy, lambda table: table)
    resealed(copy, NAME)
    assert read(copy) == n


@pytest.mark.parametrize("what", [*VALUES, *STRUCTURE])
def test_a_changed_manifest_is_refused(copy: Path, what: str) -> None:
    craft(copy, {**VALUES, **STRUCTURE}[what])
    for ask in (read, lambda root: mmearth.open(root).sql("FROM soil_pH")):
        with pytest.raises(IntegrityError, match="was changed after the dataset was sealed"):
            ask(copy)


@pytest.mark.parametrize("what", STRUCTURE)
def test_what_cannot_be_is_refused_in_any_case(copy: Path, what: str) -> None:
    craft(copy, STRUCTURE[what])
    resealed(copy, NAME)
    with pytest.raises(FormatError) as raised:
        read(copy)
    assert "\n" not in str(raised.value) and "where None" not in str(raised.value)


def test_the_manifest_of_another_task(copy: Path) -> None:
    data = (copy / "manifests/species.parquet").read_bytes()
    (copy / NAME).unlink()
    (copy / NAME).write_bytes(data)
    with pytest.raises(IntegrityError, match="was changed"):
        read(copy)
    with pytest.raises(FormatError, match=r"found \d samples of another task"):
        read(resealed(copy, NAME))


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" * 100, b"{}", bytes(5000)])
def test_what_is_no_table(copy: Path, data: bytes) -> None:
    (copy / NAME).unlink()
    (copy / NAME).write_bytes(data)
    with pytest.raises(IntegrityError, match="was changed"):
        read(copy)
    resealed(copy, NAME)
    for ask in (read, lambda root: mmearth.open(root).sql("FROM soil_pH")):
        with pytest.raises(FormatError, match="is not a readable Parquet file"):
            ask(copy)


def test_a_table_of_another_version(copy: Path) -> None:
    table = pq.read_table(copy / NAME)
    (copy / NAME).unlink()
    pq.write_table(table.replace_schema_metadata({VERSION_KEY: b"9.0"}), copy / NAME)
    with pytest.raises(FormatError, match=r"schema version 9\.0, this mmearth reads 2\.1"):
        read(resealed(copy, NAME))


@pytest.mark.parametrize("back", [True, False])
def test_a_manifest_changed_in_place_is_noticed(copy: Path, back: bool) -> None:
    """Whether or not its time is set back, by a dataset that is open already."""
    data = (copy / NAME).read_bytes()
    (copy / NAME).unlink()
    (copy / NAME).write_bytes(data)
    dataset = mmearth.open(copy)
    assert dataset.sql("FROM soil_pH").num_rows > 5
    status = (copy / NAME).stat()
    with (copy / NAME).open("r+b") as stream:
        stream.seek(len(data) // 2)
        stream.write(b"\0\1\2\3")
    if back:
        os.utime(copy / NAME, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(IntegrityError, match="was changed after the dataset was sealed"):
        dataset.sql("FROM soil_pH")


@pytest.mark.parametrize("name", ["tiles.parquet", "observations.parquet"])
def test_the_other_tables_are_compared_too(copy: Path, name: str) -> None:
    table = pq.read_table(copy / name)
    write_table(table.slice(1), copy / name, table.schema)
    asked = f"FROM {Path(name).stem}"
    with pytest.raises(IntegrityError, match=name):
        mmearth.open(copy).sql(asked)
    pq.write_table(pa.table({"tile": ["x"]}), copy / name)
    resealed(copy, name)
    with pytest.raises(FormatError, match="has schema version none"):
        mmearth.open(copy).sql(asked)


def test_sums_and_statistics_are_compared(copy: Path) -> None:
    statistics = copy / "statistics/soil_pH.json"
    text = statistics.read_text()
    statistics.unlink()
    statistics.write_text(text.replace("0", "1"))
    with pytest.raises(IntegrityError, match=r"statistics/soil_pH\.json"):
        mmearth.open(copy).statistics("soil_pH")
    document = json.loads((copy / "dataset.json").read_bytes())
    del document["files"]  # as in older datasets
    (copy / "dataset.json").unlink()
    (copy / "dataset.json").write_bytes(render(document))
    sums = (copy / "SHA256SUMS").read_text()
    (copy / "SHA256SUMS").unlink()
    (copy / "SHA256SUMS").write_text(sums.replace("a", "b"))
    with pytest.raises(IntegrityError, match="SHA256SUMS"):
        mmearth.open(copy).statistics("soil_pH")


def test_a_missing_column_is_the_manifests_fault(copy: Path) -> None:
    craft(copy, STRUCTURE["without month"])
    with pytest.raises(FormatError, match=r"soil_pH\.parquet has no column month; it is damaged"):
        mmearth.open(resealed(copy, NAME)).select("soil_pH")


def test_a_name_with_a_newline_stays_in_its_sentence(copy: Path) -> None:
    craft(copy, put("split", "val\nERROR all is well\x1b[2J"))
    with pytest.raises(FormatError) as raised:
        read(resealed(copy, NAME))
    assert "\n" not in str(raised.value) and "\x1b" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "band", "lost"),
    [
        ("sentinel2", None, "sentinel2 B1"),
        ("temperature", None, "temperature "),
        ("sentinel1", "asc_VH", "sentinel1 asc_VH"),
    ],
)
def test_statistics_without_what_the_train_samples_hold(
    copy: Path, name: str, band: str | None, lost: str
) -> None:
    before = mmearth.open(copy).normalisation("soil_pH", "train")
    assert before["sentinel1"].mean[2:4] == (0.0, 0.0)  # bands of no sample, with which all is well
    path = copy / "statistics/soil_pH.json"
    document = json.loads(path.read_bytes())
    held = document["train"]["modalities"]
    if band is None:
        del held[name]
    else:
        held[name][band] = {"n": 0, "mean": None, "std": None, "min": None, "max": None}
    write_atomic(path, json.dumps(document).encode())
    resealed(copy, "statistics/soil_pH.json")
    chosen = mmearth.open(copy).select("soil_pH", "train", modalities=name)
    with pytest.raises(FormatError, match=rf"statistics of train have no mean of {lost}.*build"):
        chosen.loader(normalise="train")
    assert mmearth.open(copy).normalisation("soil_pH", "train_50")[name] is not None
