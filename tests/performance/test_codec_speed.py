"""Members of each codec: bytes, speed on real and synthetic tiles, and epochs from slow places.

A disk of 200 MB/s is the machine's own under a limit of its block controller (cgroup v1, as root),
with the shards out of the page cache; a network of 100 MB/s is a server of another process that
sends no faster. MMEARTH_PERF_TILES and MMEARTH_PERF_ROUNDS change how much is measured.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

import mmearth
from mmearth.catalog.codec import NPY, Codec, CodecName
from mmearth.tests.performance.loader_samples import make_samples
from mmearth.tests.recoded import recoded

N_TILES = int(os.environ.get("MMEARTH_PERF_TILES", "384"))
N_ROUNDS = int(os.environ.get("MMEARTH_PERF_ROUNDS", "3"))
DISK_BYTES_S, HTTP_BYTES_S = 200_000_000, 100_000_000
GROUP = Path("/sys/fs/cgroup/blkio/mmearth-perf")
CODECS = [Codec(name) for name in get_args(CodecName)]
Say = Callable[[str], None]
Tiles = dict[str, list[NDArray[Any]]]
pytestmark = [pytest.mark.performance, pytest.mark.timeout(3600)]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def out(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)

    return out


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the same samples in each codec."""
    folder = tmp_path_factory.mktemp("codecs")
    plain = make_samples(folder, N_TILES).root
    return {
        codec.name: plain if codec == NPY else recoded(plain, folder / codec.name, codec)
        for codec in CODECS
    }


def _crops(path: Path, side: int, dtype: str) -> list[NDArray[Any]]:
    with rasterio.open(path) as source:
        whole = source.read().astype(dtype)
    rows, columns = (n // side * side for n in whole.shape[1:])
    return [
        np.ascontiguousarray(whole[:, i : i + side, j : j + side])
        for i in range(0, rows, side)
        for j in range(0, columns, side)
    ]


def _real(folder: Path) -> Tiles:
    scenes = folder / "scenes"
    optical = [
        c for p in sorted(scenes.glob("terramesh/*/S2L2A.tif")) for c in _crops(p, 112, "u2")
    ]
    radar = [
        np.concatenate(
            [_crops(vv, 120, "f4")[0], _crops(Path(str(vv).replace("VV", "VH")), 120, "f4")[0]]
        )
        for vv in sorted(scenes.glob("bigearthnet_s1/**/*VV.tif"))
    ]
    empty = np.full((2, 120, 120), -9999, "f4")
    one_pass = [np.concatenate([each, empty, empty, empty]) for each in radar]
    elevation = [c for p in sorted((folder / "dem").glob("*.tif")) for c in _crops(p, 128, "f4")]
    return {
        "Sentinel-2 L2A, uint16": optical,
        "Sentinel-1 VV, VH, float32": radar,
        "Sentinel-1, 8 bands of which one pass": one_pass,
        "ASTER elevation, float32": elevation,
    }


def _synthetic(root: Path) -> Tiles:
    [task] = mmearth.open(root).tasks
    chosen = mmearth.open(root).select(task, limit=32)
    [batch] = chosen.loader(32, "sequential")
    layers = chosen.catalogue.pixel_layers
    return {f"synthetic {each.name}": list(batch[each.name].numpy()) for each in layers}


def _rate(work: Callable[[], Any], nbytes: int) -> float:
    """Return MB a CPU second, the best of three."""
    best = 0.0
    for _ in range(3):
        begin, n = time.process_time(), 0
        while time.process_time() - begin < 0.1:
            work()
            n += 1
        best = max(best, n * nbytes / 1e6 / (time.process_time() - begin))
    return best


def test_bytes_and_speed(real_data: Path, sets: dict[str, Path], say: Say) -> None:
    say("\n| tiles | codec | stored | encode MB/s | decode MB/s |\n| --- | --- | --- | --- | --- |")
    for kind, tiles in {**_real(real_data), **_synthetic(sets["npy"])}.items():
        assert tiles, kind
        nbytes, out = sum(tile.nbytes for tile in tiles), np.empty_like(tiles[0])
        for codec in CODECS:
            stored = [codec.encode(tile) for tile in tiles]
            encode = _rate(lambda c=codec, t=tiles: [c.encode(each) for each in t], nbytes)
            decode = _rate(
                lambda c=codec, s=stored, o=out: [c.decode_into(each, "it", o) for each in s],
                nbytes,
            )
            share = sum(map(len, stored)) / nbytes
            say(f"| {kind} | {codec.name} | {share:.3f} | {encode:,.0f} | {decode:,.0f} |")


def _child(
    place: str, n: int, verify: str = "all", group: Path | None = None
) -> list[dict[str, float]]:
    command = [sys.executable, "-m", "mmearth.tests.performance.epochs", place, str(n), verify]
    command += [] if group is None else [str(group)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: list[dict[str, float]] = json.loads(done.stdout)
    return found


def _forget(root: Path) -> None:
    """Take a dataset out of the page cache."""
    os.sync()
    for path in root.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


@contextmanager
def _slow_disk(root: Path) -> Iterator[Path]:
    """Return a control group whose processes read a dataset's disk at DISK_BYTES_S."""
    device = root.stat().st_dev
    try:
        GROUP.mkdir(exist_ok=True)
        limit = GROUP / "blkio.throttle.read_bps_device"
        limit.write_text(f"{os.major(device)}:{os.minor(device) & ~15} {DISK_BYTES_S}")
    except OSError as exc:
        pytest.skip(f"no block controller of cgroup v1 here ({exc})")
    try:
        yield GROUP
    finally:
        with suppress(OSError):
            GROUP.rmdir()


@contextmanager
def _slow_server(root: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "mmearth.tests.range_server", str(root), str(HTTP_BYTES_S)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def _table(title: str, found: dict[str, list[list[dict[str, float]]]], say: Say) -> None:
    load = os.getloadavg()[0]
    say(f"\n### {title}: {N_TILES} tiles, {N_ROUNDS} rounds, load {load:.1f}\n")
    say("| codec | first epoch, tiles/s | tiles/CPU-s | ÷ npy | later, tiles/s | tiles/CPU-s |")
    say("| --- | --- | --- | --- | --- | --- |")
    for name, rounds in found.items():
        ratio = [
            npy[0]["wall"] / ours[0]["wall"] for npy, ours in zip(found["npy"], rounds, strict=True)
        ]
        cells = [
            _spread([each[i]["tiles"] / each[i][by] for each in rounds])
            for i in (0, -1)
            for by in ("wall", "cpu")
        ]
        cells.insert(2, f"{statistics.median(ratio):.2f} [{min(ratio):.2f}–{max(ratio):.2f}]")
        say(f"| {name} | {' | '.join(cells)} |")


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} [{min(values):,.0f}–{max(values):,.0f}]"


@pytest.mark.parametrize("verify", ["all", "sampled", "none"])
def test_epochs_from_memory(sets: dict[str, Path], verify: str, say: Say) -> None:
    found: dict[str, Any] = {name: [] for name in sets}
    for _ in range(N_ROUNDS):
        for name, root in sets.items():
            found[name].append(_child(str(root), 4, verify))
    _table(f"from the page cache, verify={verify}", found, say)


def test_epochs_from_a_slow_disk(sets: dict[str, Path], say: Say) -> None:
    found: dict[str, Any] = {name: [] for name in sets}
    with _slow_disk(sets["npy"]) as group:
        for _ in range(N_ROUNDS):
            for name, root in sets.items():
                _forget(root)
                found[name].append(_child(str(root), 2, "all", group))
    _table("from a disk of 200 MB/s", found, say)


def test_epochs_from_a_slow_network(sets: dict[str, Path], say: Say) -> None:
    found: dict[str, Any] = {name: [] for name in sets}
    for _ in range(N_ROUNDS):
        for name, root in sets.items():
            with _slow_server(root) as url:
                found[name].append(_child(url, 2))
    _table("over HTTP at 100 MB/s, later epochs from the cache", found, say)
