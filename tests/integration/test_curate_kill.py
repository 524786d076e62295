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

from mmearth.curate.ledger import Ledger
from mmearth.tests.damage import TIMES
from mmearth.tests.killing import published

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


def _begin(config: Path, out: Path, *more: str, before: str = "") -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-c",
        before + _COMMAND,
        "curate",
        "build",
        str(config),
        "-o",
        str(out),
    ]
    return subprocess.Popen(
        [*command, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _build(config: Path, out: Path, *more: str, before: str = "") -> tuple[int, str, str]:
    process = _begin(config, out, *more, before=before)
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(_CONFIG)
    return path


@pytest.fixture(scope="module")
def undisturbed(config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "data"
    code, _, stderr = _build(config, out, "--executor", "threads", "--workers", "2")
    assert code == 0, stderr
    return published(out)


@pytest.mark.fuzz
@pytest.mark.parametrize("build", range(3 * TIMES))
def test_kills_at_random_moments_change_no_byte(
    build: int, config: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "data"
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
    assert published(out) == undisturbed


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
    config: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    # A file may not grow beyond the limit: first the ledger fails, then the catalogue, then a pack,
    # of which each run has another, with three tiles at least; and when all are there, a shard.
    out, said = tmp_path / "data", [""]
    for limit in (8_000, 100_000, 4_500_000, 4_500_000, *[1_900_000] * 6):
        before = _LIMITED.format(limit)
        code, stdout, stderr = _build(config, out, "--executor", "threads", before=before)
        assert (code, stdout) == (3, ""), stderr
        assert "Traceback" not in stderr
        said.append(stderr.splitlines()[-1])
        assert "no space is left on the disk" in said[-1]
        assert not (out / "dataset.json").exists()
        if "shards/" in said[-1]:
            break
    places = ("", "ledger.sqlite", "catalogue.json", ".curate/packs", ".curate/packs")
    assert all(map(str.__contains__, said, places)), said
    assert "shards/" in said[-1], said
    code, _, stderr = _build(config, out, "--executor", "threads")
    assert code == 0, stderr
    assert published(out) == undisturbed
