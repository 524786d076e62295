"""Members of local shards: the bytes of the tar, once checked, and never those of another build."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mmearth
from mmearth.catalog.errors import ConfigError, FormatError, IntegrityError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.loaders.batch_reader import BatchReader, mask_of
from mmearth.loaders.choose.index import Index
from mmearth.loaders.fetch import digests, shards
from mmearth.loaders.fetch.digests import Verify
from mmearth.loaders.fetch.members import Members
from mmearth.loaders.fetch.root import open_root
from mmearth.loaders.fetch.shards import OPEN_SHARDS, Shards
from mmearth.loaders.pool import allocate, carve, nbytes_of
from mmearth.tests.hand_index import copy_to_read, destinations, hand_index, nbytes, tar_members

PIXEL = tuple(name for name, modality in MMEARTH_BENCH.layers.items() if modality.level == "pixel")


@pytest.fixture(scope="module")
def index(small_dataset: Path) -> Index:
    return hand_index(small_dataset, "biomass", PIXEL)


@pytest.fixture
def place(small_dataset: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return copy_to_read(small_dataset, tmp_path / "set", "biomass")


def _hash(root: Path) -> str:
    return str(json.loads((root / "dataset.json").read_bytes())["dataset_hash"])


def _members(root: Path, index: Index, verify: Verify = "all") -> Members:
    return Members(open_root(root), index, _hash(root), verify)


def _fill(members: Members, index: Index, rows: list[int]) -> dict[str, NDArray[np.uint8]]:
    into = destinations(index, len(rows))
    members.fill(np.array(rows), into)
    return into


def _write_at(path: Path, offset: int, data: bytes) -> None:
    """Change bytes in place, as a bad disk would: the file's times stay as they were."""
    before = path.stat()
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _shard(root: Path, index: Index, row: int) -> Path:
    return root / index.shards[int(index.shard[row])]


@pytest.mark.parametrize("verify", ["all", "sampled", "none"])
def test_the_bytes_are_those_of_the_tar(small_dataset: Path, index: Index, verify: Verify) -> None:
    members, tar = _members(small_dataset, index, verify), tar_members(small_dataset, "biomass")
    rows = [3, 0, 6, 3, 5]
    n_present = 0
    for _ in range(2):  # hashed the first time only
        into = destinations(index, len(rows), fill=171)
        members.fill(np.array(rows), into)
        for slot, key in enumerate(index.keys(np.array(rows))):
            for name, array in into.items():
                expected = tar.get(f"{key}.{name}.npy")
                if expected is None:
                    assert (array[slot] == 171).all(), "an absent member's row was written"
                else:
                    assert array[slot].tobytes() == expected[128:]
                    n_present += 1
    assert n_present > 40, "nearly all of 2 × 5 × 7"
    assert nbytes("sentinel2") == 12 * 128 * 128 * 2


def test_an_absent_member_is_left_alone(small_dataset: Path, index: Index) -> None:
    offset = dict(index.offset)
    offset["sentinel1"] = np.where(np.arange(len(index)) == 2, 0, offset["sentinel1"])
    into = destinations(index, 4, fill=9)
    _members(small_dataset, replace(index, offset=offset)).fill(np.array([1, 2, 3]), into)
    assert (into["sentinel1"][1] == 9).all()
    assert (into["sentinel1"][3] == 9).all(), "beyond the rows"
    assert not (into["sentinel1"][0] == 9).all()


def test_only_what_is_asked_for_is_read(place: Path, index: Index) -> None:
    at = int(index.offset["sentinel1"][0])
    _write_at(_shard(place, index, 0), at + 5000, b"damage")
    into = {"sentinel2": np.empty((1, nbytes("sentinel2")), np.uint8)}
    _members(place, index).fill(np.array([0]), into)


def test_a_flipped_byte_names_shard_modality_and_sample(place: Path, index: Index) -> None:
    tar = tar_members(place, "biomass")
    key = index.keys(np.array([4]))[0]
    _write_at(
        _shard(place, index, 4),
        int(index.offset["aster_gdem"][4]) + 9000,
        bytes([tar[f"{key}.aster_gdem.npy"][9000] ^ 4]),
    )
    shard = index.shards[int(index.shard[4])]
    said = rf"{shard}: aster_gdem of sample {key}: found SHA-256 .* the manifest says"
    for _ in range(2):  # not remembered as good
        with pytest.raises(IntegrityError, match=said):
            _fill(_members(place, index), index, [1, 4])
    _fill(_members(place, index), index, [1])
    _fill(_members(place, index, verify="none"), index, [4])


@pytest.mark.parametrize("normalise", [None, "train"])
@pytest.mark.parametrize("name", PIXEL)
def test_it_is_in_no_batch_either(
    place: Path, index: Index, name: str, normalise: str | None
) -> None:
    """Whether somebody looks at the member's pixels, or knows of them already, or normalises."""
    chosen = mmearth.open(place).select("biomass", modalities=[name])
    rows = np.flatnonzero(index.offset[name])
    assert len(rows) > 3
    for row in rows.tolist():
        path, at = _shard(place, index, row), int(index.offset[name][row]) + 5000
        with path.open("rb") as stream:
            stream.seek(at)
            byte = stream.read(1)
        _write_at(path, at, bytes([byte[0] ^ 1]))
        key = index.keys(np.array([row]))[0]
        with pytest.raises(IntegrityError, match=f"{name} of sample {key}"):
            list(chosen.loader(batch_size=1, order="sequential", normalise=normalise))
        _write_at(path, at, byte)
    list(chosen.loader(batch_size=4, order="sequential", normalise=normalise))


def test_masks_are_right_where_nothing_is_known(small_dataset: Path, index: Index) -> None:
    """Every pixel is looked at then, of bands too that turn out to have no pixel."""
    known = {name: np.full_like(each, -1) for name, each in index.known.items()}
    guessed = replace(index, known=known)
    reader = BatchReader(guessed, _members(small_dataset, guessed), {})
    rows, layout = np.arange(len(index)), reader.layout(len(index))
    arrays = carve(allocate(nbytes_of(layout)), layout)
    for _ in range(2):  # one by one the first time, as they are copied the second
        arrays[mask_of("sentinel1")][:] = True
        extents = reader.read(rows, arrays, {})
        assert extents["sentinel1"] == "values"
        here = index.offset["sentinel1"][rows] > 0
        stored, mask = arrays["sentinel1"][here], arrays[mask_of("sentinel1")][here]
        assert (stored == -9999).all(axis=(2, 3)).any()
        np.testing.assert_array_equal(mask, stored != -9999)


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return a list that gets the header of each member that is hashed."""
    hashed: list[bytes] = []
    sha256 = digests._sha256

    def count(header: bytes, values: memoryview) -> str:
        hashed.append(header)
        return sha256(header, values)

    monkeypatch.setattr(digests, "_sha256", count)
    return hashed


def test_a_member_is_hashed_once_a_process(
    place: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = _counted(monkeypatch)
    members = _members(place, index)
    _fill(members, index, [0])
    first = len(hashed)
    assert first > 4
    _fill(members, index, [0])
    assert len(hashed) == first


def test_a_shard_that_was_touched_is_hashed_again(
    place: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new link or other permissions change no byte, and nobody is stopped by them."""
    hashed = _counted(monkeypatch)
    members = _members(place, index)
    before = _fill(members, index, [0])
    first = len(hashed)
    os.link(_shard(place, index, 0), place / "linked")
    again = _fill(members, index, [0])
    assert len(hashed) == 2 * first
    assert all((again[name] == before[name]).all() for name in before)
    unverified = _members(place, index, verify="none")
    _fill(unverified, index, [0])
    (place / "linked").unlink()
    with pytest.raises(IntegrityError, match="changed in place"):
        _fill(unverified, index, [0])


def test_a_shard_changed_in_place_with_its_time_put_back_is_noticed(
    place: Path, index: Index
) -> None:
    members = _members(place, index)
    _fill(members, index, [0])
    _write_at(_shard(place, index, 0), int(index.offset["sentinel2"][0]) + 500, b"xyz")
    with pytest.raises(IntegrityError, match=r"sentinel2 of sample .* the manifest says"):
        _fill(members, index, [0])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (os.mkfifo, "is a named pipe"),
        (os.mkdir, "is a directory"),
        (lambda path: path.symlink_to("/etc/hostname"), "outside of"),
    ],
)
def test_what_stands_in_the_place_of_a_shard(
    place: Path, index: Index, make: Callable[[Path], None], said: str
) -> None:
    path = _shard(place, index, 0)
    path.unlink()
    make(path)
    with pytest.raises(FormatError, match=said):
        _fill(_members(place, index), index, [0])


def test_other_loaders_of_the_process_do_not_hash_it_again(
    place: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = _counted(monkeypatch)
    _fill(_members(place, index), index, [0, 2])
    first = len(hashed)
    assert first > 8
    _fill(_members(place, index), index, [0, 2])
    assert len(hashed) == first
    _fill(_members(place, index), index, [0, 3])
    assert first < len(hashed) < 2 * first
    path = _shard(place, index, 0)
    before, status = len(hashed), path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # touched, and the time set back
    _fill(_members(place, index), index, [0])
    assert len(hashed) > before


def test_what_was_checked_for_one_manifest_is_not_for_another(place: Path, index: Index) -> None:
    _fill(_members(place, index), index, [0, 1])
    sha256 = {name: each.copy() for name, each in index.sha256.items()}
    sha256["sentinel2"][[0, 1]] = sha256["sentinel2"][[1, 0]]  # both are of members in that file
    with pytest.raises(IntegrityError, match="the manifest says"):
        other = replace(index, sha256=sha256)
        _fill(_members(place, other), other, [0])


def test_little_is_remembered(place: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_checked", OrderedDict())
    monkeypatch.setattr(shards, "REMEMBERED", 5)
    path = _shard(place, index, 0)
    for i in range(4):  # another file each time, as far as anybody can tell
        os.utime(path, ns=(i, i))
        _fill(_members(place, index), index, [0])
        assert len(shards._checked) == 1
    assert sum(map(len, shards._checked.values())) > 5


def test_without_verifying_the_header_still_must_fit(place: Path, index: Index) -> None:
    members = _members(place, index, verify="none")
    _write_at(_shard(place, index, 0), int(index.offset["sentinel2"][0]) + 20, b"?")
    with pytest.raises(IntegrityError, match=r"sentinel2 of sample .*expected the header"):
        _fill(members, index, [0])


@pytest.mark.parametrize("verify", ["all", "sampled", "none"])
def test_a_truncated_shard(place: Path, index: Index, verify: Verify) -> None:
    last = len(index) - 1
    os.truncate(_shard(place, index, last), int(index.offset["esa_worldcover"][last]) + 100)
    members = _members(place, index, verify)
    with pytest.raises(IntegrityError, match=r"esa_worldcover of sample .* truncated"):
        _fill(members, index, [last])


def test_a_shard_truncated_under_a_running_loader(place: Path, index: Index) -> None:
    members = _members(place, index)
    _fill(members, index, [0])
    os.truncate(_shard(place, index, 0), 4096)
    with pytest.raises(IntegrityError, match=r"changed from \d+ to 4096 bytes while it was read"):
        _fill(members, index, [0])


def test_a_shard_written_to_under_a_running_loader(place: Path, index: Index) -> None:
    members = _members(place, index)
    _fill(members, index, [0])
    os.utime(_shard(place, index, 0), ns=(1, 1))
    with pytest.raises(IntegrityError, match="changed in place while it was read"):
        _fill(members, index, [0])


@pytest.mark.parametrize("verify", ["all", "sampled", "none"])
@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("state", ["another hash", "no dataset.json", "half a dataset.json"])
def test_a_rebuilt_dataset(
    place: Path, index: Index, verify: Verify, begun: bool, state: str
) -> None:
    members = _members(place, index, verify)
    if begun:
        _fill(members, index, [0])
    shard = _shard(place, index, 0)
    shutil.copyfile(shard, shard.with_suffix(".new"))
    shard.with_suffix(".new").replace(shard)
    if state == "another hash":
        (place / "dataset.json").write_text(json.dumps({"dataset_hash": "0" * 64}))
    elif state == "half a dataset.json":
        (place / "dataset.json").write_text('{"datas')
    else:
        (place / "dataset.json").unlink()
    with pytest.raises(IntegrityError, match=r"was rebuilt while it was read.* open it again"):
        _fill(members, index, [0])


def test_a_missing_shard(place: Path, index: Index) -> None:
    _shard(place, index, 0).unlink()
    with pytest.raises(FormatError, match=r"\.tar is not there; the manifest names it"):
        _fill(_members(place, index), index, [0])


def test_an_empty_shard(place: Path, index: Index) -> None:
    _shard(place, index, 0).write_bytes(b"")
    with pytest.raises(IntegrityError, match="is empty"):
        _fill(_members(place, index), index, [0])


def test_what_cannot_be_filled_is_refused(small_dataset: Path, index: Index) -> None:
    members = _members(small_dataset, index)
    good = np.empty((2, nbytes("sentinel2")), np.uint8)
    rows = np.array([0, 1])
    wrong: list[tuple[NDArray[Any], dict[str, NDArray[Any]]]] = [
        (rows, {"sentinel3": good}),
        (rows, {"sentinel2": good[:1]}),
        (rows, {"sentinel2": good[:, 1:]}),
        (rows, {"sentinel2": good.view(np.int8)}),
        (rows, {"sentinel2": np.asfortranarray(good)}),
        (np.array([0, len(index)]), {"sentinel2": good}),
        (np.array([-1, 0]), {"sentinel2": good}),
    ]
    for asked, into in wrong:
        with pytest.raises(ConfigError):
            members.fill(asked, into)
    members.fill(np.array([], np.int64), {"sentinel2": good})
    with pytest.raises(ConfigError, match="found gap -1"):
        Members(open_root(small_dataset), index, "", gap=-1)


def test_an_index_without_hashes_can_be_read_only_without_verifying(
    small_dataset: Path, index: Index
) -> None:
    bare = replace(index, sha256={})
    with pytest.raises(ConfigError, match="the index has no SHA-256 of sentinel2"):
        _fill(_members(small_dataset, bare), bare, [0])
    found = _fill(_members(small_dataset, bare, verify="none"), bare, [0])
    expected = _fill(_members(small_dataset, index), index, [0])
    assert all((found[name] == expected[name]).all() for name in expected)


def test_threads_may_fill_at_once(small_dataset: Path, index: Index) -> None:
    members, tar = _members(small_dataset, index), tar_members(small_dataset, "biomass")
    keys = index.keys(np.arange(len(index)))

    def check(seed: int) -> bool:
        rows = np.random.default_rng(seed).integers(0, len(index), 6).tolist()
        found = _fill(members, index, rows)["sentinel2"]
        return all(
            found[i].tobytes() == tar[f"{keys[row]}.sentinel2.npy"][128:]
            for i, row in enumerate(rows)
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(check, range(24)))


def _sentinel2(members: Members, index: Index) -> bytes:
    return _fill(members, index, [2])["sentinel2"].tobytes()


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_other_processes_read_the_same(small_dataset: Path, index: Index, method: str) -> None:
    members = _members(small_dataset, index)
    here = _sentinel2(members, index)
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(_sentinel2, members, index).result(60) == here


def test_few_of_many_shards_are_open(tmp_path: Path) -> None:
    names = tuple(f"{i}.tar" for i in range(OPEN_SHARDS + 20))
    (tmp_path / "dataset.json").write_text(json.dumps({"dataset_hash": "h"}))
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(i.to_bytes(8, "big"))
    shards = Shards(open_root(tmp_path), names, "h")
    files = Path("/proc/self/fd")
    before = len(list(files.iterdir()))
    for _ in range(2):
        for i in range(len(names)):
            assert shards.at(i).words.tobytes() == i.to_bytes(8, "big")
            assert len(list(files.iterdir())) - before <= OPEN_SHARDS + 1
