"""An open world that disturbs whoever builds from it, and builds that are killed on the way."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmearth.tests.open_data.world import World
from mmearth.tests.range_server import Fault

_FAULTS = (
    Fault("truncate"),
    Fault("reset"),
    Fault("status", status=503, retry_after_s=0),
    Fault("status", status=429, retry_after_s=0),
    Fault("status", status=500),
)
_ONE_IN, _SIGNATURE_ENDS_EVERY = 5, 151
_MOST_BUILDS = 4
"""Until one is complete: what failed six times in a row is left to the next."""


@contextmanager
def disturbed(planet: World, life_s: float) -> Iterator[None]:
    """Let one reply in five fail, and signatures end while they are used, until the block ends.

    Args:
        planet: The world.
        life_s: Of a signature; some end before they say.
    """
    count = itertools.count()

    def fault(path: str) -> Fault | None:
        i = next(count)
        if i % _SIGNATURE_ENDS_EVERY == 0:
            planet.valid = "ended"
        return None if i % _ONE_IN else _FAULTS[i // _ONE_IN % len(_FAULTS)]

    planet.server.take_fault = fault  # type: ignore[method-assign]
    before, planet.life_s = planet.life_s, life_s
    try:
        yield
    finally:
        del planet.server.take_fault
        planet.life_s = before


def built_though_killed(
    config: Path, out: Path, planet: World, kills: Sequence[int], cache: Path
) -> dict[str, Any]:
    """Build in processes of their own, kill some of them; return what the last one tells.

    Args:
        config: What is built.
        out: Where.
        planet: Of what world.
        kills: After how many requests each build is killed; then it is built to the end.
        cache: Of the blocks.
    """
    for n_requests in kills:
        begun = _begun(config, out, cache)
        until = planet.server.n_requests + n_requests
        while planet.server.n_requests < until and begun.poll() is None:
            time.sleep(0.01)
        begun.send_signal(signal.SIGKILL)
        _, told = begun.communicate()
        assert begun.returncode == -signal.SIGKILL, told
    for _ in range(_MOST_BUILDS):
        begun = _begun(config, out, cache)
        summary, told = begun.communicate()
        if begun.returncode == 0:
            break
    assert begun.returncode == 0, told
    found: dict[str, Any] = json.loads(summary)
    return found


def _begun(config: Path, out: Path, cache: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"MMEARTH_CACHE": str(cache)}
    command = [sys.executable, "-m", "mmearth", "curate", "build", str(config), "-o", str(out)]
    return subprocess.Popen(
        [*command, "--json"],
        env=environment,
        cwd=config.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
