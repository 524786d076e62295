"""Datasets of compact members, built, proven, read, exported; and one turned into another."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numcodecs.blosc
import numpy as np
import pyarrow.parquet as pq
import pytest

import mmearth
from mmearth.catalog.catalogue import read_catalogue
from mmearth.catalog.checksums import read_sums
from mmearth.catalog.codec import Codec
from mmearth.catalog.errors import ConfigError, IntegrityError
from mmearth.catalog.executor import Workers
from mmearth.packaging.h5.export_h5 import export_h5
from mmearth.packaging.recode import recode
from mmearth.packaging.verify import verify
from mmearth.tests.conftest import SMALL

ZSTD = Codec("blosc-zstd")
RunCli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small dataset, built with compact members."""
    from mmearth.build import Options, build

    folder = tmp_path_factory.mktemp("built")
    config = folder / "compact.yaml"
    config.write_text(f"{SMALL}members: {{codec: blosc-zstd}}\n")
    summary = build(config, folder / "set", Options(1, "threads", None, False), lambda *_: None)
    assert summary.exit_code == 0, summary
    return folder / "set"


def _members(root: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted((root / "shards").rglob("*.tar")):
        with tarfile.open(path) as tar:
            for entry in tar:
                stream = tar.extractfile(entry)
                assert stream is not None
                found[f"{path.parent.name}/{entry.name}"] = stream.read()
    return found


def _batches(root: Path, task: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for batch in mmearth.open(root).select(task).loader(4, normalise="train"):
        for i, key in enumerate(batch["key"]):
            arrays = {n: v[i].numpy().copy() for n, v in batch.items() if hasattr(v, "numpy")}
            masks = {f"mask {n}": v[i].numpy().copy() for n, v in batch["mask"].items()}
            found[key] = arrays | masks
    return found


def test_it_is_whole_and_holds_what_npy_holds(built: Path, small_dataset: Path) -> None:
    assert read_catalogue(built).codec == ZSTD
    assert verify(built) == []
    catalogue = read_catalogue(small_dataset)
    plain, compact = _members(small_dataset), _members(built)
    assert {name.replace(".blosc", ".npy") for name in compact} == set(plain)
    for name, data in compact.items():
        if name.endswith(".json"):
            assert data == plain[name]
            continue
        layer = name.split(".")[1]
        stored = catalogue.observed(layer).dtype, catalogue.member_shape(layer)
        np.testing.assert_array_equal(
            ZSTD.decode(data, name, *stored),
            Codec().decode(plain[name.replace(".blosc", ".npy")], name, *stored),
        )
    assert sum(map(len, compact.values())) < 0.6 * sum(map(len, plain.values()))


@pytest.mark.parametrize("task", ["biomass", "soil_pH", "species"])
def test_batches_and_statistics_are_the_same(built: Path, small_dataset: Path, task: str) -> None:
    name = f"statistics/{task}.json"
    assert (built / name).read_bytes() == (small_dataset / name).read_bytes()
    ours, theirs = _batches(built, task), _batches(small_dataset, task)
    assert ours.keys() == theirs.keys()
    for key, arrays in theirs.items():
        for each, array in arrays.items():
            np.testing.assert_array_equal(ours[key][each], array, err_msg=f"{key} {each}")


def test_sql_and_stac_say_the_range_of_a_member(built: Path) -> None:
    row = (
        mmearth.open(built).sql("SELECT shard, key, sentinel2 FROM biomass LIMIT 1").to_pylist()[0]
    )
    said = row["sentinel2"]
    with (built / row["shard"]).open("rb") as shard:
        shard.seek(said["byte_offset"])
        data = shard.read(said["byte_length"])
    array = ZSTD.decode(data, "it", "uint16", (12, 128, 128))
    assert array.shape == (12, 128, 128)
    [path] = (built / "stac").rglob(f"{row['key']}.json")
    [entry] = (
        each
        for each in json.loads(path.read_text())["assets"]["shard"]["archive"]
        if each["href"] == f"{row['key']}.sentinel2.blosc"
    )
    assert entry["type"] == "application/octet-stream"
    first = said["byte_offset"]
    assert entry["range"] == [first, first + said["byte_length"] - 1]
    croissant = json.loads((built / "croissant.json").read_text())
    included = {each.get("includes") for each in croissant["distribution"]}
    assert {"*.sentinel2.blosc", "*.json"} <= included


def test_a_flipped_byte_is_found_by_verify(built: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(built, tmp_path / "copy")
    row = pq.read_table(copy / "manifests/biomass.parquet").to_pylist()[0]
    path, at = copy / row["shard"], row["sentinel2"]["byte_offset"] + 999
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert [
        f
        for f in verify(copy)
        if f.problem == "range" and "sentinel2.blosc has sha256" in f.sentence
    ]


def test_hdf5_is_the_same(built: Path, small_dataset: Path, tmp_path: Path) -> None:
    found = []
    for root, out in ((built, tmp_path / "ours"), (small_dataset, tmp_path / "theirs")):
        [path] = export_h5(root, out, ("biomass",), False)
        with h5py.File(path) as file:
            found.append({name: file[name][...] for name in file})
    assert found[0].keys() == found[1].keys()
    for name, values in found[1].items():
        np.testing.assert_array_equal(found[0][name], values, err_msg=name)


def test_the_readme_says_how_a_member_is_read(built: Path, small_dataset: Path) -> None:
    plain, said = (
        (root / "README.md").read_text(encoding="utf-8") for root in (small_dataset, built)
    )
    line = next(each for each in said.split("`") if each.startswith("numpy.frombuffer("))
    assert "numpy.load" in plain and "numpy.load" not in said and line not in plain
    row = _rows(built, "biomass")[0]
    at, n = row["sentinel2"]["byte_offset"], row["sentinel2"]["byte_length"]
    layer = read_catalogue(built).layers["sentinel2"]
    known = {
        "numpy": np,
        "numcodecs": numcodecs,
        "member": (built / row["shard"]).read_bytes()[at : at + n],
        "dtype": layer.dtype,
        "shape": layer.shape,
    }
    twin = _members(small_dataset)[f"biomass/{row['key']}.sentinel2.npy"]
    np.testing.assert_array_equal(eval(line, known), np.load(io.BytesIO(twin)))


def test_one_turned_into_the_other(
    built: Path, small_dataset: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    to = tmp_path / "zstd"
    asked = ("packaging", "recode", small_dataset, "--codec", "blosc-zstd", "-o")
    code, out, _ = run_cli(*asked, to, "--workers", 2, "--executor", "threads", "--json")
    assert code == 0
    assert json.loads(out)["dataset_hash"] == mmearth.open(to).hash
    assert verify(to) == []
    assert read_catalogue(to) == read_catalogue(built)
    assert _members(to) == _members(built)
    observed = pq.read_table(to / "observations.parquet").to_pylist()
    said = {(row["tile"], row["modality"]): (row["bytes"], row["sha256"]) for row in observed}
    for row in _rows(to, "biomass"):
        for name in ("biomass", "sentinel2", "sentinel1"):
            if row[name]["sha256"] is not None:
                at = row[name]["byte_length"], row[name]["sha256"]
                assert said[row["tile"], name] == at
    back = tmp_path / "npy"
    assert recode(to, back, Codec(), Workers(1)) == recode(to, tmp_path / "again", Codec())
    same = ("shards/", "manifests/", "statistics/", "tiles.parquet", "catalogue.json")
    sums = read_sums(small_dataset)
    assert {n: s for n, s in read_sums(back).items() if n.startswith(same)} == {
        n: s for n, s in sums.items() if n.startswith(same)
    }
    with pytest.raises(ConfigError, match="holds something; name a folder"):
        recode(to, back, ZSTD)
    assert run_cli(*asked, to)[0] != 0


def _rows(root: Path, task: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(root / f"manifests/{task}.parquet").to_pylist()
    return found


def test_what_is_damaged_is_not_copied(small_dataset: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(small_dataset, tmp_path / "copy")
    row = _rows(copy, "biomass")[0]
    path = copy / row["shard"]
    data = bytearray(path.read_bytes())
    data[row["sentinel2"]["byte_offset"] + 5000] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"sentinel2\.npy is not what its manifest says"):
        recode(copy, tmp_path / "out", ZSTD)
    assert not (tmp_path / "out" / "dataset.json").exists()
