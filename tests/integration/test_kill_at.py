"""A build that ends at a rename, an unlink, half a write or a sync goes on to the same bytes.

Killed there, or told by the system that the disk fails or is full; with a clock that jumps.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
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
import json, os, sys
import mmearth.build
from mmearth.cli import main
errors = sys.argv[1]
for line in sys.stdin:
    said = json.loads(line)
    child = os.fork()
    if child == 0:
        os.environ.update(said["environment"])
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(2, 1)
        sys.argv = ["mmearth", *said["command"], "--executor", "threads", "--workers", "1"]
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
_YEARS = 365 * 86400


class Builds:
    """Runs the same build, as far as something happens."""

    def __init__(self, folder: Path, codec: str) -> None:
        self.errors, self._counts = folder / "errors", folder / "counts"
        self._config, self.whole = folder / "few.yaml", folder / "undisturbed"
        self._config.write_text(f"{_CONFIG}members: {{ codec: {codec} }}\n")
        self._driver = subprocess.Popen(
            [sys.executable, "-c", _DRIVER, self.errors],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "LD_PRELOAD": str(preloaded("end_at", folder))},
        )
        self.counts = self.count(self.whole)
        self.undisturbed = published(self.whole)

    def run(self, out: Path, *command: str, **environment: str) -> int:
        """Build, or do what is said; return the exit code, or minus the signal."""
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        command = command or ("curate", "build", str(self._config), "-o", str(out))
        said = {"command": command, "environment": {"END_UNDER": str(out), **environment}}
        print(json.dumps(said), file=self._driver.stdin, flush=True)
        return int(self._driver.stdout.readline())

    def count(self, out: Path, *command: str) -> dict[str, int]:
        """Do it undisturbed; return how many operations of each kind it took."""
        assert self.run(out, *command, END_COUNTS=str(self._counts)) == 0, self.errors.read_text()
        lines = self._counts.read_text().splitlines()
        return {kind: int(count) for kind, count in map(str.split, lines)}

    def point(self, draw: random.Random, *kinds: str) -> str:
        """Return an operation of an undisturbed build."""
        kind = draw.choice(kinds)
        return f"{kind}:{draw.randint(1, self.counts[kind])}"

    def close(self) -> None:
        with self._driver:
            self._driver.kill()


@pytest.fixture(scope="module", params=["npy", "blosc-zstd"])
def builds(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Builds]:
    builds = Builds(tmp_path_factory.mktemp("builds"), request.param)
    yield builds
    builds.close()


@pytest.mark.fuzz
def test_kills_at_operations_on_files_change_no_byte(builds: Builds, tmp_path: Path) -> None:
    assert min(builds.counts.values()) > 15
    draw, n_killed, out = random.Random(1), 0, tmp_path / "data"
    while n_killed < 3 * TIMES:
        code = None
        while code != 0:
            point = builds.point(draw, "rename", "unlink", "write")
            code = builds.run(out, END_AT=point, END_CLOCK=str(draw.choice([0, -20, 20]) * _YEARS))
            assert code in (0, -signal.SIGKILL), (point, builds.errors.read_text())
            n_killed += code != 0
        assert published(out) == builds.undisturbed
        shutil.rmtree(out)


@pytest.mark.fuzz
@pytest.mark.parametrize("is_downloaded", [False, True])
def test_kills_while_a_dataset_is_packed_anew(
    is_downloaded: bool, builds: Builds, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(builds.whole, tmp_path / "data"))
    if is_downloaded:
        shutil.rmtree(out / ".curate")
    pack = "packaging", "build", str(out)
    counts = builds.count(out, *pack)
    assert published(out) == builds.undisturbed
    draw, n_killed = random.Random(3), 0
    while n_killed < 4 * TIMES:
        kind = draw.choice(["rename", "unlink", "write"])
        point = f"{kind}:{draw.randint(1, counts[kind])}"
        code = builds.run(out, *pack, END_AT=point)
        assert code in (0, -signal.SIGKILL), (point, builds.errors.read_text())
        n_killed += code != 0
    assert builds.run(out, *pack) == 0, builds.errors.read_text()
    assert published(out) == builds.undisturbed
    assert not (out / ".curate/before").exists()


@pytest.mark.fuzz
def test_what_a_disk_refuses_is_a_sentence(builds: Builds, tmp_path: Path) -> None:
    draw, n_refused, out = random.Random(2), 0, tmp_path / "data"
    while n_refused < 2 * TIMES:
        code = None
        while code != 0:
            point = builds.point(draw, "rename", "write", "sync")
            error = draw.choice([errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS])
            code = builds.run(out, END_AT=point, END_ERROR=str(error))
            said = builds.errors.read_text()
            assert code in (0, 3), (point, error, said)
            assert "Traceback" not in said, (point, error, said)
            is_full = error in {errno.ENOSPC, errno.EDQUOT}
            assert not is_full or code == 0 or "no space is left on the disk" in said
            n_refused += code != 0
        assert published(out) == builds.undisturbed
        shutil.rmtree(out)
