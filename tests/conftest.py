"""What all tests share: no network, the real files where they are, one small dataset."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Workers that run side by side share the cores: threads beyond them only wait for each other.
os.environ.setdefault(
    "OMP_NUM_THREADS",
    str(max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))),
)
ROOT = Path(__file__).resolve().parent.parent
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}

SMALL = """
name: small
title: A few tiles to test with
seed: 5
shard_bytes: 4000000
source: {kind: synthetic, seed: 7}
tasks:
  biomass: {labels: {count: 8}}
  soil_pH: {labels: {count: 8}}
  species: {labels: {count: 6}}
"""
"""A build of a few seconds with a pixel-level, a tile-level and a multi-label task."""


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse connections to any other machine, but for tests that are marked `online`."""
    if request.node.get_closest_marker("online"):
        yield
        return
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in _LOOPBACK:
            raise AssertionError(f"a test asked the network for {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield


def _shared(variable: str, name: str) -> Path:
    path = Path(os.environ.get(variable, ROOT.parent / "shared" / name))
    if not path.is_dir():
        pytest.skip(f"{name} is not at hand; set {variable}")
    return path


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Directory of real rasters, vectors and tables."""
    return _shared("MMEARTH_REAL", "real")


@pytest.fixture(scope="session")
def stac_schemas() -> Path:
    """Directory of STAC extension schemas, laid out as host/path."""
    return _shared("MMEARTH_STAC_SCHEMAS", "stac-schemas")


@pytest.fixture(scope="session")
def small_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The YAML file of the small dataset."""
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="session")
def small_dataset(small_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small dataset, built once; tests must not change it."""
    from mmearth.build import Options, build

    out = tmp_path_factory.mktemp("small") / "dataset"
    summary = build(small_config, out, Options(1, "threads", None, False), lambda *_: None)
    assert summary.exit_code == 0, summary
    return out


@pytest.fixture(scope="session")
def compact_dataset(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small dataset with compact members, as loaders read it; tests must not change it."""
    from mmearth.catalog.codec import Codec
    from mmearth.tests.recoded import recoded

    return recoded(small_dataset, tmp_path_factory.mktemp("compact") / "set", Codec("blosc-zstd"))


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process; return exit code, standard output, standard error."""
    import sys

    from mmearth import cli

    def run(*arguments: object) -> tuple[int, str, str]:
        before, sys.argv = sys.argv, ["mmearth", *map(str, arguments)]
        try:
            code = cli.run()
        finally:
            sys.argv = before
            logging.getLogger("mmearth").setLevel(logging.NOTSET)  # as other tests find it
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
