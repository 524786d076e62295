"""Damaged files through the loader and SQL: a sentence or the right answer, at every byte.

`make fuzz` runs the same with thirty times as many.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import mmearth
from mmearth.catalog.errors import IntegrityError, MMEarthError
from mmearth.loaders.fetch.members import Members
from mmearth.loaders.inputs import Normalisation
from mmearth.loaders.selection import Selection
from mmearth.tests.hand_index import destinations, resealed
from mmearth.tests.make_tiny import make_sealed

TIMES = int(os.environ.get("MMEARTH_FUZZ", "1"))
KINDS = ("sentinel2", "dynamic_world", "month")
_WAYS = ("bit", "cut", "zeros", "noise", "left out", "doubled", "longer", "digit", "swapped")
Answer = list[bytes]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sealed(tmp_path_factory.mktemp("tiny") / "dataset", 6)


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    leave = shutil.ignore_patterns("store", "stac")
    return Path(shutil.copytree(tiny, tmp_path / "copy", ignore=leave))


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Return bytes with one thing wrong: what disks, networks, editors and attackers do."""
    at, n = draw.randrange(len(data)), draw.choice((1, 4, 64, 4096))
    piece = data[at : at + n]
    return {
        "bit": data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :],
        "cut": data[:at],
        "zeros": data[:at] + bytes(len(piece)) + data[at + n :],
        "noise": data[:at] + draw.randbytes(len(piece)) + data[at + n :],
        "left out": data[:at] + data[at + n :],
        "doubled": data[:at] + piece + data[at:],
        "longer": data + draw.randbytes(n),
        "digit": data[:at] + draw.choice((b"0", b"9", b"-", b"null", b"[" * 9)) + data[at + 1 :],
        "swapped": data[at:] + data[:at],
    }[draw.choice(_WAYS)]


def of_manifest(root: Path) -> Answer:
    """Return every sample's bytes, and what SQL says of them."""
    dataset = mmearth.open(root)
    rows = dataset.sql("SELECT * EXCLUDE (geometry) FROM soil_pH ORDER BY key").to_pylist()
    return [repr(rows).encode(), *read(dataset.select("soil_pH", modalities=KINDS))]


def of_statistics(root: Path) -> Answer:
    """Return what values are normalised with."""
    document = mmearth.open(root).statistics("soil_pH")
    return [repr(Normalisation.from_statistics(document, "train")).encode()]


def of_tiles(root: Path) -> Answer:
    """Return what was planned."""
    answer = mmearth.open(root).sql("SELECT * FROM tiles ORDER BY task, tile")
    return [repr(answer.to_pylist()).encode()]


def read(chosen: Selection) -> Answer:
    """Return every sample's bytes."""
    index, dataset = chosen.index, chosen.dataset
    into = destinations(index, chosen.count)
    Members(dataset.root, index, dataset.hash).fill(np.arange(chosen.count), into)
    assert index.target is not None
    return [chosen.hash.encode(), index.target.tobytes(), *(a.tobytes() for a in into.values())]


def outcome(do: Callable[[], Answer], expected: Answer) -> str:
    """Return how it ended; anything but our own sentence is a traceback, and raised."""
    try:
        return "right" if do() == expected else "wrong"
    except MMEarthError as exc:
        assert "\n" not in str(exc)
        return "refused"


ASKED: dict[str, Callable[[Path], Answer]] = {
    "manifests/soil_pH.parquet": of_manifest,
    "statistics/soil_pH.json": of_statistics,
    "tiles.parquet": of_tiles,
    "dataset.json": of_statistics,
    "SHA256SUMS": of_statistics,
}
"""File → what is asked of a dataset whose file it is."""


@pytest.mark.timeout(600 * TIMES)
@pytest.mark.parametrize("name", ASKED)
def test_fuzz_of_tables(copy: Path, name: str) -> None:
    draw, ask, path = random.Random(name), ASKED[name], copy / name
    data, expected = path.read_bytes(), ask(copy)
    for i in range(160 * TIMES):
        path.write_bytes(broken := damaged(data, draw))
        found = outcome(lambda: ask(copy), expected)
        # Of SHA256SUMS and dataset.json every byte counts, too.
        assert found == "refused" or broken == data, (name, i)
    path.write_bytes(data)
    assert ask(copy) == expected


@pytest.mark.timeout(600 * TIMES)
def test_fuzz_of_shards(copy: Path) -> None:
    chosen = mmearth.open(copy).select("soil_pH", modalities=KINDS)
    draw, expected = random.Random(0), read(chosen)
    shards = {path: path.read_bytes() for path in (copy / "shards/soil_pH").glob("*.tar")}
    n_refused = 0
    for i in range(500 * TIMES):
        path = draw.choice(sorted(shards))
        at, n = draw.randrange(len(shards[path])), draw.choice((1, 8, 4096))
        piece = shards[path][at : at + n]
        write(path, at, draw.choice((bytes(len(piece)), draw.randbytes(len(piece)))))
        found = outcome(lambda: read(chosen), expected)
        assert found != "wrong", (path, i)
        n_refused += found == "refused"
        write(path, at, piece)
    assert n_refused > 100 * TIMES
    for path, data in shards.items():
        for end in (0, 1, 511, len(data) // 2):
            path.write_bytes(data[:end])
            with pytest.raises(IntegrityError):
                read(chosen)
        path.write_bytes(data)


def write(path: Path, at: int, data: bytes) -> None:
    """Write into a file where it is."""
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(data)


@pytest.mark.timeout(600 * TIMES)
@pytest.mark.parametrize("name", ASKED)
def test_fuzz_of_what_was_sealed_again(copy: Path, name: str) -> None:
    """Nobody can tell a wrong number then; but there is no traceback, and no end is far."""
    draw, ask = random.Random(name), ASKED[name]
    kept = {each: (copy / each).read_bytes() for each in {name, "SHA256SUMS", "dataset.json"}}
    expected = ask(copy)
    for _ in range(40 * TIMES):
        (copy / name).write_bytes(damaged(kept[name], draw))
        # What was damaged cannot always be sealed.
        with suppress(MMEarthError, ValueError, KeyError, TypeError, RecursionError):
            resealed(copy, *({name} - {"dataset.json", "SHA256SUMS"}))
        outcome(lambda: ask(copy), expected)
        for each, data in kept.items():
            (copy / each).write_bytes(data)
    assert ask(copy) == expected
