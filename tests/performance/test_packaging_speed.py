"""Packing and proving against plain copies of the same bytes, in interleaved rounds."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from numpy.typing import NDArray

from mmearth.catalog import card as cards
from mmearth.catalog import croissant, stac
from mmearth.catalog.checksums import seal
from mmearth.catalog.codec import NPY
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.packaging.build import build
from mmearth.packaging.shard import ShardWriter
from mmearth.packaging.verify import verify

N_SAMPLES = 240
N_ROUNDS = 7
BLOCK = 1 << 20
Step = Callable[[Path], None]


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def some_arrays() -> list[dict[str, NDArray[Any]]]:
    """Sixteen samples of random numbers, so that no cache of the processor holds them."""
    draw = np.random.default_rng(0)
    samples = []
    for _ in range(16):
        arrays = {}
        for name, modality in MMEARTH_BENCH.layers.items():
            if modality.level == "pixel":
                low, high = (
                    max(modality.bands[0].valid[0], -30),
                    min(modality.bands[0].valid[1], 9e3),
                )
                arrays[name] = draw.uniform(low, high, modality.shape).astype(modality.dtype)
        samples.append(arrays)
    return samples


ARRAYS = some_arrays()


def ours(out: Path) -> None:
    """Arrays → shard with a checksum of every member and of the file, and every range."""
    writer = ShardWriter(out, "ours.tar")
    for i in range(N_SAMPLES):
        members = {f"{name}.npy": NPY.encode(array) for name, array in ARRAYS[i % 16].items()}
        writer.write(f"sample{i:06d}", {"json": b'{"target":1.5}', **members})
    writer.close()


def ours_to_the_disk(out: Path) -> None:
    ours(out)
    to_the_disk(out / "ours.tar")


def stock(out: Path) -> None:
    """What stock webdataset does with the same arrays: no checksum, no range."""
    pattern = str(out / "stock-%06d.tar")
    with webdataset.ShardWriter(pattern, maxcount=10**6, maxsize=1e12, verbose=0) as writer:
        for i in range(N_SAMPLES):
            arrays = {f"{name}.npy": array for name, array in ARRAYS[i % 16].items()}
            writer.write({"__key__": f"sample{i:06d}", "json": {"target": 1.5}, **arrays})


def copy(out: Path) -> None:
    with (out / "from.tar").open("rb", 0) as source, (out / "copy.tar").open("wb", 0) as target:
        while block := source.read(BLOCK):
            target.write(block)


def copy_to_the_disk(out: Path) -> None:
    copy(out)
    to_the_disk(out / "copy.tar")


def copy_with_the_same_checksums(out: Path) -> None:
    """A plain copy that hashes each byte twice: for its member and for its file."""
    whole = hashlib.sha256()
    with (out / "from.tar").open("rb", 0) as source, (out / "copy.tar").open("wb", 0) as target:
        while block := source.read(BLOCK):
            hashlib.sha256(block).digest()
            whole.update(block)
            target.write(block)


def to_the_disk(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def medians(steps: dict[str, Step], out: Path, n_bytes: int) -> dict[str, float]:
    """Return MB/s of each step: medians of rounds in which every step has its turn."""
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(N_ROUNDS):
        for name, step in steps.items():
            for path in out.glob("*.tar"):
                if path.name != "from.tar":
                    path.unlink()
            os.sync()  # what the last step left to be written must not slow this one
            start = time.perf_counter()
            step(out)
            rates[name].append(n_bytes / 1e6 / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in rates.items()}


@pytest.mark.performance
def test_writer_against_copies_of_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours(tmp_path)
    (tmp_path / "ours.tar").rename(tmp_path / "from.tar")
    n_bytes = (tmp_path / "from.tar").stat().st_size
    steps: dict[str, Step] = {
        "ours": ours,
        "stock wds.ShardWriter, no checksums": stock,
        "copy": copy,
        "copy with the same checksums": copy_with_the_same_checksums,
        "ours, to the disk": ours_to_the_disk,
        "copy, to the disk": copy_to_the_disk,
    }
    rates = medians(steps, tmp_path, n_bytes)
    with capsys.disabled():
        say(f"\nShardWriter, {n_bytes / 1e6:.0f} MB, median of {N_ROUNDS} rounds:")
        for name, rate in rates.items():
            base = rates["ours, to the disk" if name.endswith("disk") else "ours"]
            say(f"  {name:38} {rate:7.0f} MB/s   ours is {base / rate:.2f} of it")
    # Loose: on a shared machine the ratio moves between 0.65 and 1.1 from run to run.
    assert rates["ours"] >= 0.5 * rates["copy with the same checksums"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = Path(__file__).resolve().parent.parent / "make_tiny.py"
    spec = importlib.util.spec_from_file_location("make_tiny", path)
    assert spec is not None and spec.loader is not None
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    root = tmp_path_factory.mktemp("large") / "dataset"
    card = tiny.make_tiny(root, n_tiles=240)
    return root, replace(card, shard_bytes=1 << 28)


@pytest.mark.performance
def test_packing_and_proving_a_dataset(
    dataset: tuple[Path, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    root, card = dataset
    start, cpu = time.perf_counter(), time.process_time()
    built = build(root, card)
    packing = built.nbytes / 1e6 / (time.process_time() - cpu)
    packing_wall = built.nbytes / 1e6 / (time.perf_counter() - start)
    cards.write_readme(root, card)
    stac.build(root, card)
    croissant.build(root, card)
    seal(root, card, built.sums)
    n_bytes = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    proving, copying = [], []
    for _ in range(N_ROUNDS):
        cpu = time.process_time()
        assert verify(root) == []
        proving.append(n_bytes / 1e6 / (time.process_time() - cpu))
        cpu = time.process_time()
        shutil.copytree(root / "shards", root.parent / "copy")
        copying.append(built.nbytes / 1e6 / (time.process_time() - cpu))
        shutil.rmtree(root.parent / "copy")
    with capsys.disabled():
        copied, proven = statistics.median(copying), statistics.median(proving)
        say(f"\npackaging.build, store → {built.nbytes / 1e6:.0f} MB of shards, one worker:")
        say(f"  {packing:.0f} MB/s a core, {packing_wall:.0f} MB/s by the clock")
        say(f"  {packing / copied:.3f} of copying the shards ({copied:.0f} MB/s a core)")
        say(f"verify, {n_bytes / 1e6:.0f} MB, one worker: {proven:.0f} MB/s a core (aim 400)")
    assert proven >= 300  # the aim is 400 on a quiet machine
