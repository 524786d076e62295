"""A build that dies, is stopped or runs out of disk ends in the bytes of one that does not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmearth.catalog.store import PACKS
from mmearth.curate.ledger import Ledger
from mmearth.tests.damage import TIMES
from mmearth.tests.killing import published

_CODECS = ("npy", "blosc-zstd")
_CONFIG = """
name: small
title: A small dataset
source: { kind: synthetic, seed: 7 }
tasks:
  biomass: { labels: { count: 5 } }
  species: { labels: { count: 4 } }
"""
_COMMAND = "from mmearth.cli import main; main()"
_LIMITED = (
    "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, resource.RLIM_INFINITY)); "
)


def _start(*command: str | Path, before: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", before + _COMMAND, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _begin(config: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    return _start("curate", "build", config, "-o", out, *more)


def _build(config: Path, out: Path, *more: str, before: str = "") -> tuple[int, str, str]:
    return _run("curate", "build", config, "-o", out, *more, before=before)


def _run(*command: str | Path, before: str = "") -> tuple[int, str, str]:
    process = _start(*command, before=before)
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The configuration by codec."""
    paths = {name: tmp_path_factory.mktemp("config") / f"{name}.yaml" for name in _CODECS}
    for name, path in paths.items():
        path.write_text(f"{_CONFIG}members: {{ codec: {name} }}\n")
    return paths


@pytest.fixture(scope="module")
def config(configs: dict[str, Path]) -> Path:
    return configs["npy"]


@pytest.fixture(scope="module")
def undisturbed(
    configs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, bytes]]:
    """The files of a whole build by codec."""
    found = {}
    for name, path in configs.items():
        out = tmp_path_factory.mktemp("undisturbed") / "data"
        code, _, stderr = _build(path, out, "--executor", "threads", "--workers", "2")
        assert code == 0, stderr
        found[name] = published(out)
    return found


@pytest.mark.fuzz
@pytest.mark.parametrize("build", range(3 * TIMES))
def test_kills_at_random_moments_change_no_byte(
    build: int,
    configs: dict[str, Path],
    undisturbed: dict[str, dict[str, bytes]],
    tmp_path: Path,
) -> None:
    codec, out = _CODECS[build % len(_CODECS)], tmp_path / "data"
    config = configs[codec]
    draw = random.Random(20 + build)
    for how in draw.sample(["processes", "threads"], 2):
        process = _begin(config, out, "--executor", how, "--workers", "2")
        assert process.stderr is not None
        process.stderr.readline()  # the plan has begun
        time.sleep(draw.uniform(0.0, 1.5))
        if draw.random() < 0.5:
            process.kill()
        else:  # and all that it started
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    code, _, stderr = _build(config, out, "--executor", "threads", "--workers", "2")
    assert code == 0, stderr
    assert published(out) == undisturbed[codec]


@pytest.mark.parametrize("how", ["processes", "threads"])
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_build_saves_what_it_has(
    sign: signal.Signals, code: int, how: str, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "data"
    process = _begin(config, out, "--executor", how, "--workers", "2")
    assert process.stderr is not None
    while not process.stderr.readline().startswith("collect"):
        assert process.poll() is None
    # To the whole group, as a terminal and a scheduler do it, while the workers are starting.
    os.killpg(process.pid, sign)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert not (out / "dataset.json").exists()
    with Ledger.reading(out) as ledger:
        assert {state for _, state, _, _ in ledger.counts()} <= {"done", "missing"}


def test_a_full_disk_is_one_sentence_and_the_build_goes_on_later(
    config: Path, undisturbed: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    # A file may not grow beyond the limit: first the ledger fails, then the catalogue, then a pack
    # in the middle of a tile; and when all is there and packed anew, a shard.
    out, threads = tmp_path / "data", ("--executor", "threads")
    for limit, place in ((8_000, "ledger.sqlite"), (100_000, "catalogue.json"), (900_000, PACKS)):
        before = _LIMITED.format(limit)
        _is_full(place, *_build(config, out, *threads, before=before))
        assert not (out / "dataset.json").exists()
    assert _build(config, out, *threads)[0] == 0
    before = _LIMITED.format(1_900_000)
    _is_full("shards/", *_run("packaging", "build", out, *threads, before=before))
    assert not (out / "dataset.json").exists()
    code, _, stderr = _build(config, out, *threads)
    assert code == 0, stderr
    assert published(out) == undisturbed["npy"]


def _is_full(place: str, code: int, stdout: str, stderr: str) -> None:
    assert (code, stdout) == (3, ""), stderr
    assert "Traceback" not in stderr
    said = stderr.splitlines()[-1]
    assert place in said and "no space is left on the disk" in said
