"""A power cut loses what was never synced; the build goes on from the rest, to the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmearth.curate.ledger import Ledger
from mmearth.tests.killing import preloaded, published

_CONFIG = """
name: small
title: A small dataset
source: { kind: synthetic, seed: 7 }
shard_bytes: 2000000
tasks:
  biomass: { labels: { count: 14 } }
  species: { labels: { count: 10 } }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that stands before the C library's fsync."""
    return preloaded("power_cut", tmp_path_factory.mktemp("power"))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(_CONFIG)
    return path


def _begin(config: Path, out: Path, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mmearth", "curate", "build", str(config), "-o", str(out)]
    return subprocess.Popen(
        [*command, "--executor", "threads", "--workers", "2"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def _identity(path: Path) -> str:
    born = subprocess.run(
        ["stat", "-c", "%i %.9W", path], capture_output=True, text=True, check=True
    )
    inode, seconds, nanoseconds = born.stdout.replace(".", " ").split()
    return f"{inode}.{seconds}.{int(nanoseconds)}"


def _restore(kept: Path, identity: str, seen: Path, to: Path) -> None:
    """Make at `to` what the disk still knows of the directory that was `seen`.

    A file whose name came to the disk and whose bytes did not has its length, and zeros.
    """
    to.mkdir()
    names = kept / f"names.{identity}"
    for line in names.read_text().splitlines() if names.exists() else ():
        inside, _, name = line.partition("/")
        if (kept / f"bytes.{inside}").exists():
            shutil.copyfile(kept / f"bytes.{inside}", to / name)
        elif (kept / f"names.{inside}").exists():
            _restore(kept, inside, seen / name, to / name)
        elif (seen / name).is_file():
            (to / name).write_bytes(bytes((seen / name).stat().st_size))


def test_a_power_cut_loses_a_second_of_work(config: Path, library: Path, tmp_path: Path) -> None:
    whole, kept = tmp_path / "whole", tmp_path / "kept"
    kept.mkdir()
    process = _begin(config, whole, LD_PRELOAD=str(library), POWER_CUT=str(kept))
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    undisturbed = published(whole)

    # Right after the end: a sealed dataset is on the disk, every byte of it.
    after = tmp_path / "after"
    _restore(kept, _identity(whole), whole, after)
    assert published(after) == undisturbed

    # In the middle of the collecting.
    out, kept, left = tmp_path / "out", tmp_path / "kept-half", tmp_path / "left"
    kept.mkdir()
    process = _begin(config, out, LD_PRELOAD=str(library), POWER_CUT=str(kept))
    assert process.stderr is not None
    while not process.stderr.readline().startswith("collect"):
        assert process.poll() is None
    _wait_for_rows(out)
    process.kill()
    process.communicate()
    _restore(kept, _identity(out), out, left)
    with Ledger(left) as ledger:
        assert ledger.paths(), "what was collected a second ago is lost"
        assert ledger.drop_lost() == 0  # every byte that a row names has survived
    process = _begin(config, left)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert published(left) == undisturbed


def _wait_for_rows(out: Path) -> None:
    """Wait until the ledger has rows: their files have been synced."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with Ledger.reading(out) as ledger:
            if not ledger.is_empty():
                return
        time.sleep(0.05)
    raise AssertionError("nothing was collected within a minute")
