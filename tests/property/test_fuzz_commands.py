"""Damaged files through the commands, a cache and the compiled copy: a sentence, or what is right.

With tests/unit/packaging/test_verify_damage.py, tests/unit/curate/test_ledger_damage.py and
test_fuzz_loaders.py these are the rows of the table in docs/reliability.md.
"""

from __future__ import annotations

import os
import random
import shutil
import tarfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import mmearth
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import read_catalogue
from mmearth.catalog.checksums import read_dataset, seal
from mmearth.catalog.errors import IntegrityError
from mmearth.catalog.observed import open_observed
from mmearth.catalog.observed_sql import LEDGER
from mmearth.loaders.fetch.gather import IS_COMPILED, copy_one, gather, gather_and_look
from mmearth.loaders.fetch.members import Members
from mmearth.loaders.fetch.root import open_root
from mmearth.packaging.verify import verify
from mmearth.tests.damage import TIMES, damaged_bytes, damaged_json
from mmearth.tests.hand_index import copy_to_read, destinations
from mmearth.tests.range_server import serving

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(600 * TIMES)]
Run = Callable[..., tuple[int, str, str]]
_CONFIG = """
name: few
title: A few tiles
source: {kind: synthetic, seed: 7}
tasks:
  soil_pH: {labels: {count: 3}}
"""


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mmearth.build import Options, build

    folder = tmp_path_factory.mktemp("few")
    (folder / "few.yaml").write_text(_CONFIG)
    options = Options(1, "threads", None, False)
    assert build(folder / "few.yaml", folder / "few", options, lambda *_: None).exit_code == 0
    return folder / "few"


@pytest.fixture
def copy(few: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(few, tmp_path / "few"))


def said(run: Run, *arguments: object) -> int:
    """Return a command's exit code; what it refuses, it refuses in a sentence."""
    code, _, err = run(*arguments)
    assert code in (0, 1, 2, 3, 4), (arguments, code, err)
    assert "Traceback" not in err and "internal error" not in err, (arguments, err)
    return code


def test_shards_that_are_the_store(copy: Path, run_cli: Run, tmp_path: Path) -> None:
    draw, codes = random.Random(1), Counter[tuple[str, int]]()
    hashed = read_dataset(copy)["dataset_hash"]
    catalogue = read_catalogue(copy)
    with open_observed(copy, catalogue) as observed:
        rows = [row for row in observed.here() if row.path is not None]
    for i in range(8 * TIMES):
        row = draw.choice(rows)
        broken = tmp_path / str(i)
        shutil.copytree(copy, broken, copy_function=os.link)
        path, at = broken / row.location.path, row.location
        data = path.read_bytes()
        member = data[at.byte_offset :][: at.nbytes]
        damaged = damaged_bytes(draw, member)
        path.unlink()
        path.write_bytes(data[: at.byte_offset] + damaged + data[at.byte_offset + at.nbytes :])
        drawn = said(run_cli, "curate", "view", broken, row.tile, "-o", tmp_path / "tile.png")
        packed = said(run_cli, "packaging", "build", broken, "--workers", 1)
        codes["view", drawn] += 1
        codes["build", packed] += 1
        assert damaged == member or (drawn != 0 and packed != 0), (row, drawn, packed)
        shutil.rmtree(broken)
    assert said(run_cli, "packaging", "build", copy, "--workers", 1) == 0
    assert read_dataset(copy)["dataset_hash"] == hashed
    assert len(codes) >= 2


def test_the_ledger(copy: Path, run_cli: Run, tmp_path: Path) -> None:
    draw, path, codes = random.Random(2), copy / LEDGER, Counter[int]()
    data = path.read_bytes()
    for _ in range(12 * TIMES):
        for command in (
            ("curate", "status", copy),
            ("curate", "failures", copy),
            ("curate", "retry", copy),
            ("curate", "view", copy, "-o", tmp_path / "tile.png"),
        ):
            path.write_bytes(damaged_bytes(draw, data))
            codes[said(run_cli, *command)] += 1
            for beside in path.parent.glob("ledger.sqlite-*"):
                beside.unlink()
    path.write_bytes(data)
    assert said(run_cli, "curate", "status", copy) == 0
    assert codes[1] > TIMES


def test_validation(copy: Path, run_cli: Run) -> None:
    draw, codes = random.Random(3), Counter[int]()
    files = [*sorted((copy / "stac").rglob("*.json")), copy / "croissant.json"]
    for _ in range(6 * TIMES):
        path = draw.choice(files)
        data = path.read_bytes()
        how = damaged_json if draw.random() < 0.5 else damaged_bytes
        path.write_bytes(how(draw, data))
        codes[said(run_cli, "catalog", "validate", copy)] += 1
        path.write_bytes(data)
    assert said(run_cli, "catalog", "validate", copy) == 0
    assert sum(codes[code] for code in codes if code) > TIMES


def test_headers_of_tars_that_were_sealed_anew(copy: Path) -> None:
    draw, root = random.Random(4), copy
    card = DatasetCard.from_json(read_dataset(root))
    shards = sorted((root / "shards").rglob("*.tar"))
    n_found = 0
    for _ in range(10 * TIMES):
        path = draw.choice(shards)
        data = path.read_bytes()
        with tarfile.open(path) as tar:
            begin = draw.choice(tar.getmembers()).offset
        at, length = draw.choice([(0, 100), (124, 12), (156, 1), (157, 100), (345, 155)])
        path.write_bytes(damaged := _with_header(draw, data, begin, at, length))
        seal(root, card)
        # Where a plain file links to means nothing to anybody.
        n_found += bool(verify(root)) or at == 157 or damaged == data
        path.write_bytes(data)
    seal(root, card)
    assert verify(root) == []
    assert n_found == 10 * TIMES


def _with_header(draw: random.Random, data: bytes, begin: int, at: int, length: int) -> bytes:
    """Return a tar of which a field of a header is another, its sum mended."""
    values = [draw.randbytes(length), b"0" * length, b"\xff" * length, b"7" * length, b"\x80"]
    header = bytearray(data[begin : begin + 512])
    header[at : at + length] = draw.choice(values).ljust(length, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return data[:begin] + bytes(header) + data[begin + 512 :]


def _damage_entry(draw: random.Random, path: Path) -> None:
    """Replace an entry of a cache by something else, or write into it."""
    data, how = path.read_bytes(), draw.randrange(5)
    if how < 2:
        path.write_bytes(damaged_bytes(draw, data))
        return
    path.unlink()
    if how == 2:
        os.mkfifo(path)
    elif how == 3:
        path.symlink_to("/etc/hostname")
    else:
        path.symlink_to(path.name)


def _values(url: str, cache: Path) -> list[bytes]:
    chosen = mmearth.open(url, cache=cache).select("soil_pH", modalities=["sentinel2", "month"])
    return [batch["sentinel2"].numpy().tobytes() for batch in chosen.loader(2, "sequential")]


def test_entries_of_the_cache(few: Path, tmp_path: Path) -> None:
    draw, cache = random.Random(5), tmp_path / "cache"
    place = copy_to_read(few, tmp_path / "set", "soil_pH")
    with serving(place) as server:
        expected = _values(server.url, cache)
        entries = sorted(path for path in cache.rglob("*") if path.is_file())
        assert len(entries) > 3
        for _ in range(6 * TIMES):
            for path in draw.sample(entries, 2):
                _damage_entry(draw, path)
            assert _values(server.url, cache) == expected
            assert all(path.is_file() and not path.is_symlink() for path in entries)


def test_the_compiled_copy() -> None:
    """What lies outside is refused, whatever the numbers are, and nothing else is written."""
    draw = np.random.default_rng(6)
    source, n_refused = np.arange(4096, dtype=np.uint64), 0
    large = [0, 1, -1, 8, 2**31, 2**62, -(2**63), 2**63 - 1]
    for _ in range(4000 * TIMES):
        nbytes = int(draw.choice([8, 64, 1 << 14, 1 << 15, 1 << 40, 0, -8, 12]))
        begins = draw.choice([*range(0, 1 << 15, 4096), *large], 2).astype(np.int64)
        slots = draw.choice([0, 1, 2, 3, *large], 2).astype(np.int64)
        whole = np.full((6, 2048), 7, np.uint64)
        into, valid = whole[2:4], np.zeros((2, 1, 128, 128), np.bool_)
        try:
            how = draw.integers(3)
            if how == 0:
                gather(source, begins, into, slots, nbytes)
            elif how == 1:
                copy_one(source, int(begins[0]), into[0, : nbytes >> 3])
            else:
                gather_and_look(source, begins, into, slots, nbytes, np.uint8(7), valid)
        except (ValueError, OverflowError, TypeError):
            n_refused += 1
        assert (whole[:2] == 7).all() and (whole[4:] == 7).all()
    assert 0 < n_refused < 4000 * TIMES


def test_shards_that_are_cut_between_two_batches(few: Path, tmp_path: Path) -> None:
    draw = random.Random(7)
    place = copy_to_read(few, tmp_path / "set", "soil_pH")
    shards = sorted((place / "shards").rglob("*.tar"))
    whole = {path: path.read_bytes() for path in shards}
    for i in range(20 * TIMES):
        chosen = mmearth.open(place).select("soil_pH")
        members = Members(chosen.dataset.root, chosen.index, chosen.dataset.hash)
        rows = np.arange(chosen.count)
        for _ in range(i % 3):  # never read, read and compared, read again
            members.fill(rows, destinations(chosen.index, chosen.count))
        for path, data in whole.items():
            os.truncate(path, draw.randrange(len(data)))
        with pytest.raises(IntegrityError):
            members.fill(rows, destinations(chosen.index, chosen.count))
        for path, data in whole.items():
            path.write_bytes(data)


@pytest.mark.skipif(not IS_COMPILED, reason="NumPy's copy ends the process")
def test_shards_that_are_cut_while_they_are_copied(few: Path, tmp_path: Path) -> None:
    draw, found = random.Random(8), Counter[str]()
    place = copy_to_read(few, tmp_path / "set", "soil_pH")
    index = mmearth.open(place).select("soil_pH").index
    shard = place / index.shards[0]
    whole = shard.read_bytes()
    rows = np.tile(np.flatnonzero(index.shard == 0), 60)
    into = destinations(index, len(rows))
    members = Members(open_root(place), index, mmearth.open(place).hash)
    members.fill(rows, into)
    expected = {name: array.copy() for name, array in into.items()}
    begun = time.perf_counter()
    members.fill(rows, into)
    took = time.perf_counter() - begun

    def cut(size: int, after: float) -> None:
        time.sleep(after)
        os.truncate(shard, size)

    with ThreadPoolExecutor(1) as pool:
        for _ in range(20 * TIMES):
            members = Members(open_root(place), index, mmearth.open(place).hash)
            members.fill(rows[:1], destinations(index, 1))
            done = pool.submit(cut, draw.randrange(len(whole)), draw.uniform(0, took))
            try:
                members.fill(rows, into)
                assert all((into[name] == expected[name]).all() for name in into)
                found["right"] += 1
            except IntegrityError:
                found["refused"] += 1
            done.result()
            shard.write_bytes(whole)
    assert found["refused"] > 2 * TIMES
