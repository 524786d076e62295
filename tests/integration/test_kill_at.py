"""A build that is ended at a rename, an unlink or half a write goes on to the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmearth.tests.damage import TIMES
from mmearth.tests.killing import preloaded, published

_CONFIG = """
name: few
title: A few tiles
source: { kind: synthetic, seed: 7 }
tasks:
  biomass: { labels: { count: 3 } }
  soil_pH: { labels: { count: 2 } }
"""
# A fork of what has imported everything begins a second earlier; else it is the command.
_DRIVER = """
import os, sys
import mmearth.build
from mmearth.cli import main
config, errors = sys.argv[1:]
for line in sys.stdin:
    out, os.environ["END_AT"], os.environ["END_COUNTS"] = line.split()
    child = os.fork()
    if child == 0:
        os.environ["END_UNDER"] = out
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(2, 1)
        sys.argv = ["mmearth", "curate", "build", config, "-o", out]
        sys.argv += ["--executor", "threads", "--workers", "1"]
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
Build = Callable[[Path, str], int]


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    """Builds into a directory as far as `KIND:N`; returns the exit code, or the signal below 0."""
    config, errors = tmp_path / "few.yaml", tmp_path / "errors"
    config.write_text(_CONFIG)
    environment = {**os.environ, "LD_PRELOAD": str(preloaded("end_at", tmp_path))}
    command = [sys.executable, "-c", _DRIVER, config, errors]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as driver:
        assert driver.stdin is not None
        assert driver.stdout is not None
        asked, answers = driver.stdin, driver.stdout

        def run(out: Path, point: str) -> int:
            print(out, point, tmp_path / "counts", file=asked, flush=True)
            code = int(answers.readline())
            assert code in (0, -signal.SIGKILL), (point, errors.read_text())
            return code

        yield run


@pytest.mark.fuzz
def test_kills_at_operations_on_files_change_no_byte(build: Build, tmp_path: Path) -> None:
    assert build(tmp_path / "undisturbed", "none") == 0
    undisturbed = published(tmp_path / "undisturbed")
    lines = (tmp_path / "counts").read_text().splitlines()
    counts = {kind: int(count) for kind, count in map(str.split, lines)}
    assert min(counts.values()) > 40
    draw, n_killed, out = random.Random(1), 0, tmp_path / "data"
    while n_killed < 5 * TIMES:
        code = None
        while code != 0:
            kind = draw.choice(list(counts))
            code = build(out, f"{kind}:{draw.randint(1, counts[kind])}")
            n_killed += code != 0
        assert published(out) == undisturbed
        shutil.rmtree(out)
