"""Compact members: the batches of `.npy` ones, from fewer bytes, and as little believed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset as wds

import mmearth
from mmearth.catalog.catalogue import Catalogue, read_catalogue, write_catalogue
from mmearth.catalog.codec import Codec
from mmearth.catalog.errors import FormatError, IntegrityError, StorageError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.loaders.choose.index import Index
from mmearth.loaders.fetch import digests, members_compact
from mmearth.loaders.fetch.digests import SHARE, Verify
from mmearth.loaders.fetch.members import Members
from mmearth.loaders.fetch.root import open_root
from mmearth.loaders.speed import _by_epoch
from mmearth.loaders.webdataset import compact, pipeline
from mmearth.tests.hand_index import (
    copy_to_read,
    destinations,
    hand_index,
    nbytes,
    resealed,
    tar_members,
)
from mmearth.tests.make_tiny import OWN, make_sealed
from mmearth.tests.range_server import Fault, serving
from mmearth.tests.recoded import recoded

PIXEL = tuple(name for name, layer in MMEARTH_BENCH.layers.items() if layer.is_pixel)
TASKS = ("biomass", "soil_pH", "species")


@pytest.fixture(scope="module")
def index(compact_dataset: Path) -> Index:
    return hand_index(compact_dataset, "biomass", PIXEL)


@pytest.fixture
def place(compact_dataset: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return copy_to_read(compact_dataset, tmp_path / "set", "biomass")


def _members(root: Path, index: Index, verify: Verify = "all", threads: int = 1) -> Members:
    return Members(open_root(root), index, mmearth.open(root).hash, verify, threads=threads)


def _fill(members: Members, index: Index, rows: list[int], epoch: int = 0) -> dict[str, Any]:
    into = destinations(index, len(rows), fill=171)
    members.fill(np.array(rows), into, epoch=epoch)
    return into


def _shard(root: Path, index: Index, row: int) -> Path:
    return root / index.shards[int(index.shard[row])]


def _flip(root: Path, index: Index, row: int, name: str, at: int) -> None:
    """Change a byte of a member in place, as a bad disk would: the file's time stays as it was."""
    path = _shard(root, index, row)
    before = path.stat()
    with path.open("r+b") as stream:
        stream.seek(int(index.offset[name][row]) + at)
        [byte] = stream.read(1)
        stream.seek(int(index.offset[name][row]) + at)
        stream.write(bytes([byte ^ 4]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _by_key(batches: Any) -> dict[str, dict[str, Any]]:
    """Return every sample's values and masks, copied."""
    found: dict[str, dict[str, Any]] = {}
    for batch in batches:
        for i, key in enumerate(batch["key"]):
            values = {name: batch[name][i] for name in (*MMEARTH_BENCH.layers, "target")}
            masks = {f"mask of {name}": each[i] for name, each in batch["mask"].items()}
            found[key] = {name: each.numpy().copy() for name, each in (values | masks).items()}
    return found


@pytest.mark.parametrize("normalise", [None, "train"])
@pytest.mark.parametrize("task", TASKS)
def test_batches_are_those_of_npy(
    small_dataset: Path,
    compact_dataset: Path,
    task: str,
    normalise: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    truth = _by_key(mmearth.open(small_dataset).select(task).loader(3, normalise=normalise))
    for n_threads in (1, 3):
        monkeypatch.setattr("mmearth.loaders.selection.decoders", lambda n=n_threads: n)
        loader = mmearth.open(compact_dataset).select(task).loader(3, normalise=normalise)
        for _ in range(2):  # each member was compared by the second time
            found = _by_key(loader)
            assert found.keys() == truth.keys()
            for key, arrays in truth.items():
                for name, array in arrays.items():
                    np.testing.assert_array_equal(found[key][name], array, err_msg=name)


def test_processes_and_lz4_give_the_same(small_dataset: Path, tmp_path: Path) -> None:
    root = recoded(small_dataset, tmp_path / "lz4", Codec("blosc-lz4"))
    truth = _by_key(mmearth.open(small_dataset).select("biomass").loader(4))
    found = _by_key(mmearth.open(root).select("biomass").loader(4, workers=2))
    assert found.keys() == truth.keys()
    for key, arrays in truth.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[key][name], array, err_msg=name)


def test_bytes_are_those_that_are_stored(compact_dataset: Path, small_dataset: Path) -> None:
    chosen = mmearth.open(compact_dataset).select("biomass", modalities=["sentinel2", "month"])
    tar = tar_members(compact_dataset, "biomass")
    expected = {
        name: sum(len(data) for member, data in tar.items() if member.endswith(f".{name}.blosc"))
        for name in ("biomass", "sentinel2")
    }
    assert chosen.bytes_by_member == expected
    plain = mmearth.open(small_dataset).select("biomass", modalities=["sentinel2", "month"])
    assert 0.2 * plain.nbytes < chosen.nbytes < 0.7 * plain.nbytes
    assert plain.bytes_by_member["sentinel2"] == plain.counts.present["sentinel2"] * 393_344


def test_the_index_knows_lengths(compact_dataset: Path, tmp_path: Path) -> None:
    chosen = mmearth.open(compact_dataset).select("biomass")
    hand = hand_index(compact_dataset, "biomass", PIXEL)
    for index in (chosen.index, chosen.build_index(memory_bytes=0, directory=tmp_path)):
        assert index.codec == Codec("blosc-zstd")
        assert index.length.keys() == index.offset.keys() == hand.length.keys()
        for name, lengths in index.length.items():
            assert lengths.dtype == np.uint32
            np.testing.assert_array_equal(lengths, hand.length[name])


@pytest.mark.parametrize("length", [0, 16, nbytes("sentinel2") + 17, 2**31, 2**40])
def test_a_length_that_no_member_has_is_refused(place: Path, length: int) -> None:
    path = place / "manifests" / "biomass.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[2]["sentinel2"]["byte_length"] = length
    path.unlink()
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    resealed(place, "manifests/biomass.parquet")
    chosen = mmearth.open(place).select("biomass")
    with pytest.raises(FormatError, match=rf"sentinel2 of a sample has {length} bytes at .* 17 to"):
        _ = chosen.index


@pytest.mark.parametrize("threads", [1, 3])
def test_a_flipped_byte_names_shard_modality_and_sample(
    place: Path, index: Index, threads: int
) -> None:
    rows = [1, 4, 5]
    for name in PIXEL:
        if not index.offset[name][4]:
            continue
        _flip(place, index, 4, name, int(index.length[name][4]) - 3)
        key = index.keys(np.array([4]))[0]
        said = rf"{index.shards[int(index.shard[4])]}: {name} of sample {key}: found SHA-256"
        for _ in range(2):  # not remembered as good
            with pytest.raises(IntegrityError, match=said):
                _fill(_members(place, index, threads=threads), index, rows)
        _flip(place, index, 4, name, int(index.length[name][4]) - 3)
        _fill(_members(place, index, threads=threads), index, rows)


@pytest.mark.parametrize("at", range(16))
def test_without_verifying_a_damaged_header_is_a_sentence(
    place: Path, index: Index, at: int
) -> None:
    """The third byte has the shuffle and the compressor: another shuffle gives other values."""
    _flip(place, index, 0, "sentinel2", at)
    try:
        _fill(_members(place, index, "none"), index, [0])
    except IntegrityError as exc:
        assert "sentinel2 of sample" in str(exc) and "it is damaged" in str(exc)
    else:
        assert at in {1, 2}
    with pytest.raises(IntegrityError, match="the manifest says"):
        _fill(_members(place, index), index, [0])


def test_without_verifying_damaged_blocks_are_a_sentence_or_pixels(
    place: Path, index: Index
) -> None:
    refused = 0
    for at in range(40, int(index.length["sentinel2"][0]), 20_011):
        _flip(place, index, 0, "sentinel2", at)
        try:
            _fill(_members(place, index, "none"), index, [0])
        except IntegrityError as exc:
            refused += 1
            assert "is not a whole Blosc buffer" in str(exc)
        _flip(place, index, 0, "sentinel2", at)
    assert refused


@pytest.mark.parametrize("verify", ["all", "none"])
def test_a_truncated_shard(place: Path, index: Index, verify: Verify) -> None:
    last = len(index) - 1
    name = next(name for name in reversed(PIXEL) if index.offset[name][last])
    os.truncate(_shard(place, index, last), int(index.offset[name][last]) + 100)
    with pytest.raises(IntegrityError, match=rf"{name} of sample .* truncated"):
        _fill(_members(place, index, verify), index, [last])


def test_a_page_that_has_gone_is_an_error_of_the_disk(
    place: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = _members(place, index, threads=2)
    _fill(members, index, [0, 1])

    def gone(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(members_compact, "copy_one", gone)
    with pytest.raises(StorageError, match="cannot read all of"):
        _fill(members, index, [0, 1])


def test_a_shard_that_was_touched_is_compared_again(
    place: Path, index: Index, counted: list[Any]
) -> None:
    members = _members(place, index)
    before = _fill(members, index, [0])
    first = len(counted)
    assert first > 4
    _fill(members, index, [0])
    assert len(counted) == first
    os.link(_shard(place, index, 0), place / "linked")
    again = _fill(members, index, [0])
    assert len(counted) == 2 * first
    assert all((again[name] == before[name]).all() for name in before)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that gets something for each member that is hashed."""
    found: list[Any] = []
    sha256: Callable[[bytes, memoryview], str] = digests._sha256

    def count(header: bytes, values: memoryview) -> str:
        found.append(len(values))
        return sha256(header, values)

    monkeypatch.setattr(digests, "_sha256", count)
    return found


@pytest.mark.parametrize("is_compact", [True, False])
def test_sampled_compares_a_sixteenth_each_epoch(
    small_dataset: Path, compact_dataset: Path, is_compact: bool, counted: list[Any], tmp_path: Path
) -> None:
    source = compact_dataset if is_compact else small_dataset
    root = copy_to_read(source, tmp_path / "set", "biomass")
    index = hand_index(root, "biomass", PIXEL)
    members, rows = _members(root, index, "sampled"), list(range(len(index)))
    n_of = [sum(bool(at[row]) for at in index.offset.values()) for row in rows]
    for epoch in range(2 * SHARE):
        before = len(counted)
        _fill(members, index, rows, epoch)
        drawn = [row for row in rows if (row + epoch) % SHARE == 0]
        n_new = sum(n_of[row] for row in drawn) if epoch < SHARE else 0
        assert len(counted) - before == n_new, epoch
    assert len(counted) == sum(n_of)
    _flip(root, index, 3, "sentinel2", 5000)
    fresh = _members(root, index, "sampled")
    with pytest.raises(IntegrityError, match=r"sentinel2 of sample .* the manifest says"):
        _fill(fresh, index, [3], SHARE - 3)


def test_over_http_from_the_cache_and_from_a_damaged_one(
    compact_dataset: Path, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMEARTH_CACHE", str(tmp_path / "cache"))
    truth = _by_key(mmearth.open(compact_dataset).select("biomass").loader(4))

    def same(found: dict[str, dict[str, Any]]) -> bool:
        return found.keys() == truth.keys() and all(
            np.array_equal(found[key][name], array)
            for key, arrays in truth.items()
            for name, array in arrays.items()
        )

    with serving(compact_dataset) as server:
        server.faults.append(Fault("flip", match=".tar", times=2))
        chosen = mmearth.open(server.url).select("biomass")
        assert same(_by_key(chosen.loader(4)))
        server.forget()
        assert same(_by_key(chosen.loader(4))), "from the cache"
        assert not [path for path, _ in server.asked if path.endswith(".tar")]
        kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in kept) < 1.1 * chosen.nbytes + 2e5
        largest = max(kept, key=lambda path: path.stat().st_size)
        data = bytearray(largest.read_bytes())
        data[len(data) // 2] ^= 1
        largest.write_bytes(data)
        assert same(_by_key(chosen.loader(4))), "one member is fetched again"
        assert len([path for path, _ in server.asked if path.endswith(".tar")]) == 1


def test_what_a_manifest_seals_and_is_no_member(
    place: Path, compact_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right by its SHA-256, and another layer's: of a sealed dataset that somebody made wrong."""
    path = place / "manifests" / "biomass.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[0]["sentinel2"] |= {
        name: rows[0]["aster_gdem"][name] for name in ("byte_offset", "byte_length", "sha256")
    }
    path.unlink()
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    resealed(place, "manifests/biomass.parquet")
    said = "sentinel2 of sample .* begins as a Blosc buffer of 131072 bytes in 4, .* of another cod"
    with pytest.raises(IntegrityError, match=said):
        list(mmearth.open(place).select("biomass").loader(4))
    monkeypatch.setenv("MMEARTH_CACHE", str(tmp_path / "cache"))
    with serving(place) as server, pytest.raises(IntegrityError, match=said):
        list(mmearth.open(server.url).select("biomass").loader(4))


@pytest.mark.parametrize("task", TASKS)
def test_the_pipeline_gives_what_stock_webdataset_gives(compact_dataset: Path, task: str) -> None:
    chosen = mmearth.open(compact_dataset).select(task)
    shards = [str(compact_dataset / name) for name in chosen.index.shards]
    ours, theirs = list(pipeline(chosen, block=3)), list(wds.WebDataset(shards, shardshuffle=False))
    assert [sample["__key__"] for sample in ours] == [sample["__key__"] for sample in theirs]
    n_compact = 0
    for mine, other in zip(ours, theirs, strict=True):
        assert set(mine) <= set(other)
        for name in mine:
            if name.endswith(".blosc"):
                assert mine[name] == other[name]
                n_compact += 1
    assert n_compact > 5 * len(ours)


def test_one_line_decodes_them_in_stock_webdataset(
    compact_dataset: Path, small_dataset: Path
) -> None:
    decode = compact(read_catalogue(compact_dataset))
    both = []
    for root, handlers in ((compact_dataset, [decode]), (small_dataset, [])):
        shards = sorted(map(str, (root / "shards" / "biomass").glob("*.tar")))
        both.append(list(wds.WebDataset(shards, shardshuffle=False).decode(*handlers)))
    for mine, other in zip(*both, strict=True):
        for name in (*PIXEL, "biomass"):
            if f"{name}.npy" in other:
                np.testing.assert_array_equal(mine[f"{name}.blosc"], other[f"{name}.npy"])
                assert mine[f"{name}.blosc"].dtype == other[f"{name}.npy"].dtype
        assert mine["json"] == other["json"]


def test_a_catalogue_of_another_codec_than_the_shards(place: Path) -> None:
    catalogue = read_catalogue(place)
    (place / "catalogue.json").unlink()
    write_catalogue(place, replace(catalogue, codec=Codec("blosc-lz4")))
    resealed(place, "catalogue.json")
    with pytest.raises(IntegrityError, match="expected one of blosc-lz4"):
        list(mmearth.open(place).select("biomass").loader(4))
    (place / "catalogue.json").unlink()
    write_catalogue(place, replace(catalogue, codec=Codec()))
    resealed(place, "catalogue.json")
    chosen = mmearth.open(place).select("biomass")
    with pytest.raises(FormatError, match=r"biomass of a sample has \d+ bytes .* expected"):
        _ = chosen.index


def test_the_first_epoch_is_told_beside_later_ones(
    compact_dataset: Path, run_cli: Callable[..., tuple[int, str, str]]
) -> None:
    assert _by_epoch((2, 1.0), (30, 3.0), (10, 2.0)) == (4.0, 20.0)
    assert _by_epoch((1, 1.0), (5, 2.0), None) == (2.0, None)
    asked = ("loaders", "speed", compact_dataset, "--task", "species", "--seconds", "0.2")
    code, out, _ = run_cli(*asked, "--verify", "sampled", "--json")
    found = json.loads(out)
    assert code == 0 and found["first_epoch_per_s"] > 0 and found["later_per_s"] > 0
    assert "; first epoch " in run_cli(*asked)[1]
    assert run_cli(*asked, "--verify", "yes")[0] == 2


def test_names_with_capitals_are_decoded_in_stock_webdataset(tmp_path: Path) -> None:
    layer = replace(OWN.layers["landsat"], name="Landsat_8")
    catalogue = Catalogue(OWN.grid, {layer.name: layer}, {"crop": OWN.tasks["crop"]})
    plain = make_sealed(tmp_path / "plain", 4, catalogue)
    packed = recoded(plain, tmp_path / "compact", Codec("blosc-zstd"))
    shard, decode = "shards/crop/train-000000.tar", compact(read_catalogue(packed))
    a = next(iter(wds.WebDataset(str(plain / shard), shardshuffle=False).decode()))
    b = next(iter(wds.WebDataset(str(packed / shard), shardshuffle=False).decode(decode)))
    np.testing.assert_array_equal(a["landsat_8.npy"], b["landsat_8.blosc"])
