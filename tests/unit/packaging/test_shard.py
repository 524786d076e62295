"""Shards: ranges that are true, bytes that repeat, tars that others read."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset

from mmearth.catalog.codec import NPY
from mmearth.packaging.shard import MemberRange, Shard, ShardWriter, shard_name

KEYS = ("32633_500000_4649760_20200615", "32633_501280_4649760_20200615")
ARRAY = np.arange(1000, dtype=np.uint16)


def write(root: Path) -> tuple[Shard, list[dict[str, MemberRange]]]:
    writer = ShardWriter(root, "shards/soil_pH/train-000000.tar")
    ranges = [
        writer.write(key, {"json": b'{"target":1.5}', "sentinel2.npy": NPY.encode(ARRAY + i)})
        for i, key in enumerate(KEYS)
    ]
    return writer.close(), ranges


def test_name_of_a_shard() -> None:
    assert shard_name("soil_pH", "val", 12) == "shards/soil_pH/val-000012.tar"


def test_ranges_are_where_the_members_are(tmp_path: Path) -> None:
    shard, ranges = write(tmp_path)
    data = (tmp_path / shard.name).read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (shard.nbytes, shard.sha256)
    assert shard.n_samples == 2
    for i, members in enumerate(ranges):
        at = members["sentinel2.npy"]
        member = data[at.offset : at.offset + at.length]
        assert hashlib.sha256(member).hexdigest() == at.sha256
        np.testing.assert_array_equal(np.load(io.BytesIO(member)), ARRAY + i)
        here = np.frombuffer(data, np.uint16, count=1000, offset=at.offset + 128)
        np.testing.assert_array_equal(here, ARRAY + i)


def test_the_same_samples_make_the_same_bytes(tmp_path: Path) -> None:
    first, _ = write(tmp_path / "a")
    second, _ = write(tmp_path / "b")
    assert first == second
    with tarfile.open(tmp_path / "a" / first.name) as tar:
        for info in tar:
            assert (info.mtime, info.uid, info.gid, info.mode) == (0, 0, 0, 0o644)
            assert (info.uname, info.gname) == ("mmearth", "mmearth")
            assert info.type == tarfile.REGTYPE and not info.pax_headers


def test_stock_webdataset_reads_a_shard(tmp_path: Path) -> None:
    shard, _ = write(tmp_path)
    samples = list(webdataset.WebDataset(str(tmp_path / shard.name), shardshuffle=False).decode())
    assert [sample["__key__"] for sample in samples] == list(KEYS)
    assert samples[0]["json"] == {"target": 1.5}
    np.testing.assert_array_equal(samples[1]["sentinel2.npy"], ARRAY + 1)


def test_a_shard_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, "shards/soil_pH/train-000000.tar")
    writer.write(KEYS[0], {"json": b"{}"})
    assert [path.suffix for path in (tmp_path / "shards/soil_pH").iterdir()] == [".tmp"]
    writer.abandon()
    assert not list((tmp_path / "shards/soil_pH").iterdir())


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 10_240])
def test_any_length_of_member(tmp_path: Path, size: int) -> None:
    writer = ShardWriter(tmp_path, "one.tar")
    ranges = writer.write(KEYS[0], {"json": b"x" * size, "b.npy": b"y"})
    writer.close()
    with tarfile.open(tmp_path / "one.tar") as tar:
        for info, at in zip(tar, ranges.values(), strict=True):
            assert (info.offset_data, info.size) == (at.offset, at.length)
