"""The store that builds share: what is found again, what is not believed, what is consistent."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.store import PackWriter, StoreReader
from mmearth.catalog.tile import Tile
from mmearth.curate import shared_store
from mmearth.curate.collect import Job
from mmearth.curate.ledger import NOT_KEPT, Record
from mmearth.curate.packs import Packs
from mmearth.curate.shared_store import SharedStore
from mmearth.curate.store_index import IndexWriter, StoreIndex

_TILE = Tile(32633, 500_000, 5_000_000)
_KNOWN = "npy.-.a.b.-.-.-"
Put = Callable[..., None]


def _record(name: str, state: str = "done", **rest: object) -> Record:
    return Record(_TILE.id, name, state, identity=_KNOWN, **rest)  # type: ignore[arg-type]


def _job(*names: str, require: Sequence[str] = (), tile: Tile = _TILE) -> Job:
    return Job(tile, names, None, tuple(require), identities=(_KNOWN,) * len(names))


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Adds records to the store; those that are done have bytes, their layer's name."""

    def run(*records: Record) -> None:
        writer = PackWriter(tmp_path / "out")
        whole = []
        for record in records:
            if record.state != "done":
                whole.append(record)
                continue
            at = writer.add(record.modality.encode())
            place = {"path": at.path, "byte_offset": at.byte_offset, "bytes": at.nbytes}
            whole.append(replace(record, **place, sha256=at.sha256))
        with SharedStore(tmp_path / "store") as store:
            store.put(whole, tmp_path / "out")

    return run


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Callable[[], SharedStore]]:
    """Opens the store; closes it at the end."""
    opened: list[SharedStore] = []

    def run() -> SharedStore:
        opened.append(SharedStore(tmp_path / "store"))
        return opened[-1]

    yield run
    for each in opened:
        each.__exit__()


def test_what_was_put_is_taken_with_its_bytes(
    put: Put, store: Callable[[], SharedStore], tmp_path: Path
) -> None:
    put(_record("sentinel2", acquired="2020-07-01", valid_fraction=1 / 3), _record("biome"))
    packs = Packs(tmp_path / "other", MMEARTH_BENCH)
    records, left = store().take(_job("sentinel2", "month", "biome"), packs)
    assert [(r.modality, r.acquired, r.valid_fraction) for r in records] == [
        ("sentinel2", "2020-07-01", 1 / 3),
        ("biome", None, None),
    ]
    reader = StoreReader(tmp_path / "other")
    for record in records:
        assert reader.read(shared_store._location(record), "x") == record.modality.encode()
    assert left is not None
    assert (left.wanted, left.anchor, left.settled) == (
        ("month",),
        "2020-07-01",
        ("sentinel2", "biome"),
    )


def test_another_identity_is_another_observation(
    put: Put, store: Callable[[], SharedStore]
) -> None:
    put(_record("biome"), _record("month", "missing", kind="NoDataError", reason="nothing"))
    job = _job("biome", "month")
    for identities, names in {
        (_KNOWN, _KNOWN): {"biome", "month"},
        ("npy.-.a.B.-.-.-",) * 2: set(),
        # Why something else is not there is of no account for what is.
        ("npy.-.a.b.-.-.other",) * 2: {"biome"},
    }.items():
        found, _ = store().rest(replace(job, identities=identities))
        assert {record.modality for record in found} == names
        assert {record.identity for record in found} <= set(identities)
    assert store().rest(_job("biome", tile=replace(_TILE, left=0)))[0] == []


def test_damage_is_not_believed_and_is_mended(
    put: Put, store: Callable[[], SharedStore], tmp_path: Path
) -> None:
    put(_record("biome"))
    (pack,) = (tmp_path / "store" / "packs").iterdir()
    pack.write_bytes(b"wrong")
    packs, opened = Packs(tmp_path / "other", MMEARTH_BENCH), store()
    records, left = opened.take(_job("biome"), packs)
    assert (records, left) == ([], _job("biome"))
    at = packs.add(b"biome")
    found = _record("biome", path=at.path, byte_offset=at.byte_offset, bytes=5, sha256=at.sha256)
    opened.put([found, found], tmp_path / "other")
    assert [r.sha256 for r in store().take(_job("biome"), packs)[0]] == [sha256_bytes(b"biome")]


def test_a_line_that_is_cut_short_or_changed_is_none(tmp_path: Path) -> None:
    writer = IndexWriter(tmp_path)
    writer.add([_record("biome"), _record("month")])
    index = StoreIndex(tmp_path)
    (path,) = (tmp_path / "index").iterdir()
    whole = path.read_bytes()

    def names(some: StoreIndex) -> list[int]:
        return [len(r) for r in some.find(_TILE.id, ["biome", "month"], [_KNOWN] * 2)]

    assert names(index) == [1, 1]
    path.write_bytes(whole[:-1])
    assert names(StoreIndex(tmp_path)) == [1, 0]
    path.write_bytes(whole.replace(b'"done"', b'"dOne"', 1))
    assert names(StoreIndex(tmp_path)) == [0, 1]
    path.write_bytes(whole)
    writer.add([_record("biome", acquired="2020-01-01")])
    IndexWriter(tmp_path).add([_record("month"), _record("month")])
    index.refresh()
    assert names(index) == [2, 3]
    assert index.find(_TILE.id, ["biome"], [_KNOWN])[0][0].acquired == "2020-01-01"


def test_another_directory_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ConfigError, match=r"holds photo\.jpg.* choose an empty directory"):
        SharedStore(tmp_path)


def test_what_a_visit_would_not_have_kept_is_not_taken(
    put: Put, store: Callable[[], SharedStore]
) -> None:
    nothing = {"kind": "NoDataError", "reason": "no scene"}
    put(_record("sentinel2", "missing", **nothing), _record("biome"))
    # Another dataset does not require the scene: it has both.
    found, left = store().rest(_job("sentinel2", "biome"))
    assert ([r.state for r in found], left) == (["missing", "done"], None)
    found, left = store().rest(_job("sentinel2", "biome", require=["sentinel2"]))
    reasons = ["no scene", f"{NOT_KEPT}the tile has no sentinel2"]
    assert ([r.reason for r in found], left) == (reasons, None)
    # What nobody has asked for may be missing for its own reason.
    job = _job("sentinel2", "biome", "month", require=["sentinel2"])
    assert store().rest(job) == ([], job)


def test_what_was_not_kept_is_asked_for_where_nothing_is_lacking(
    put: Put, store: Callable[[], SharedStore]
) -> None:
    reason = f"{NOT_KEPT}the tile has no sentinel1"
    put(_record("biome", "missing", kind="NoDataError", reason=reason), _record("sentinel2"))
    found, left = store().rest(_job("sentinel2", "biome"))
    assert [r.modality for r in found] == ["sentinel2"]
    assert left is not None
    assert left.wanted == ("biome",)


_HOLD = """
import sys
from pathlib import Path
from mmearth.curate.shared_store import SharedStore
store = SharedStore(Path(sys.argv[1]))
assert store._claim(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


def test_a_tile_that_another_build_asks_for_is_waited_for(
    put: Put,
    store: Callable[[], SharedStore],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened, other = store(), replace(_TILE, left=0)
    command = [sys.executable, "-c", _HOLD, str(tmp_path / "store"), _TILE.id]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    kept: list[Record] = []
    with subprocess.Popen(command, **pipes) as holder:  # type: ignore[call-overload]
        assert holder.stdout.readline() == b"held\n"

        def wait(_: float) -> None:
            put(_record("biome"))
            holder.kill()
            holder.wait()

        monkeypatch.setattr(shared_store.time, "sleep", wait)
        packs = Packs(tmp_path / "other", MMEARTH_BENCH)
        jobs = [_job("biome"), _job("biome", tile=other)]
        visited = [[job.tile for job in some] for some in opened.rounds(jobs, packs, kept.extend)]
    assert visited == [[other], [], []]
    assert [record.tile for record in kept] == [_TILE.id]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_no_obstacle(
    store: Callable[[], SharedStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refused(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(shared_store.fcntl, "lockf", refused)
    opened, packs = store(), Packs(tmp_path / "out", MMEARTH_BENCH)
    visited = [[job.tile for job in some] for some in opened.rounds([_job("biome")], packs, list)]
    assert visited == [[_TILE]]
    opened.release([_record("biome")])
