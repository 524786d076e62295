"""Damaged files through the loader and SQL: a sentence or the right answer, at every byte."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import mmearth
from mmearth.catalog.errors import IntegrityError, MMEarthError
from mmearth.catalog.schema import SCHEMA_VERSION, VERSION_KEY
from mmearth.loaders.fetch.members import Members
from mmearth.loaders.inputs import Normalisation
from mmearth.loaders.selection import Selection
from mmearth.tests.damage import TIMES, damage_table, damaged_bytes, damaged_json
from mmearth.tests.hand_index import destinations, resealed
from mmearth.tests.make_tiny import make_sealed

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(600 * TIMES)]
KINDS = ("sentinel2", "dynamic_world", "month")
Answer = list[bytes]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sealed(tmp_path_factory.mktemp("tiny") / "dataset", 6)


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    leave = shutil.ignore_patterns("store", "stac")
    return Path(shutil.copytree(tiny, tmp_path / "copy", ignore=leave))


def damage(path: Path, data: bytes, draw: random.Random) -> None:
    """Replace a file by one that says something else, mostly in its own form."""
    if draw.random() < 0.3:
        path.write_bytes(damaged_bytes(draw, data))
    elif path.suffix == ".json":
        path.write_bytes(damaged_json(draw, data))
    elif path.suffix == ".parquet":
        path.write_bytes(data)
        # Some columns' types take no such value.
        with suppress(TypeError, ValueError):
            damage_table(draw, path)
            table = pq.read_table(path, partitioning=None)
            stamp = {VERSION_KEY: SCHEMA_VERSION.encode()}
            pq.write_table(table.replace_schema_metadata(stamp), path)
    else:
        path.write_bytes(damaged_bytes(draw, data))


def of_manifest(root: Path) -> Answer:
    """Return every sample's bytes, and what SQL says of them."""
    dataset = mmearth.open(root)
    rows = dataset.sql("SELECT * EXCLUDE (geometry) FROM soil_pH ORDER BY key").to_pylist()
    return [repr(rows).encode(), *read(dataset.select("soil_pH", modalities=KINDS))]


def of_statistics(root: Path) -> Answer:
    """Return what values are normalised with."""
    dataset = mmearth.open(root)
    layers = dataset.catalogue.layers.values()
    found = Normalisation.from_statistics(dataset.statistics("soil_pH"), "train", layers)
    return [repr(found).encode()]


def of_catalogue(root: Path) -> Answer:
    """Return what every array means, and the values and masks of a batch."""
    dataset = mmearth.open(root)
    chosen = dataset.select("soil_pH", modalities=(*KINDS, "biome"))
    [batch] = chosen.loader(chosen.count, "sequential", normalise="train")
    tensors = [*(batch[name] for name in chosen.index.layers), *batch["mask"].values()]
    return [repr(dataset.catalogue).encode(), *(each.numpy().tobytes() for each in tensors)]


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
    "catalogue.json": of_catalogue,
    "dataset.json": of_statistics,
}
"""File → what is asked of a dataset whose file it is."""


@pytest.mark.parametrize("name", ASKED)
def test_fuzz_of_tables(copy: Path, name: str) -> None:
    draw, ask, path = random.Random(name), ASKED[name], copy / name
    data, expected = path.read_bytes(), ask(copy)
    for i in range(160 * TIMES):
        path.write_bytes(broken := damaged_bytes(draw, data))
        found = outcome(lambda: ask(copy), expected)
        # Of dataset.json every byte counts, too.
        assert found == "refused" or broken == data, (name, i)
    path.write_bytes(data)
    assert ask(copy) == expected


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


@pytest.mark.parametrize("name", ASKED)
def test_fuzz_of_what_was_sealed_again(copy: Path, name: str) -> None:
    """Nobody can tell a wrong number then; but there is no traceback, and no end is far."""
    draw, ask = random.Random(name), ASKED[name]
    kept = {each: (copy / each).read_bytes() for each in {name, "SHA256SUMS", "dataset.json"}}
    expected = ask(copy)
    for _ in range(40 * TIMES):
        damage(copy / name, kept[name], draw)
        # What was damaged cannot always be sealed.
        with suppress(MMEarthError, ValueError, KeyError, TypeError, RecursionError):
            resealed(copy, *({name} - {"dataset.json", "SHA256SUMS"}))
        outcome(lambda: ask(copy), expected)
        for each, data in kept.items():
            (copy / each).write_bytes(data)
    assert ask(copy) == expected
