"""Over HTTP: bytes and requests of one row and of a map of a manifest, and of one tile.

Tables are read by a reader that is not ours, which `cd catalog/explorer && npm ci` fetches.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import mmearth
from mmearth.tests.make_tiny import make_sealed
from mmearth.tests.performance.make_manifest import make_manifest
from mmearth.tests.range_server import serving

_DRIVER = Path(__file__).with_name("table_http.mjs")
_MODULES = Path(__file__).parents[2] / "catalog/explorer/node_modules"
ROW_BYTES = 1_500_000
"""Most for one row with all columns, all modalities present, every checksum random."""
MAP_BYTES_A_ROW = 25
"""Most for lon, lat and split of all rows."""


@pytest.mark.performance
@pytest.mark.parametrize("n", [100_000, 1_000_000])
def test_a_row_and_a_map(tmp_path: Path, n: int, capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("node") is None or not (_MODULES / "hyparquet").is_dir():
        pytest.skip("hyparquet is not at hand")
    path = tmp_path / "manifest.parquet"
    make_manifest(path, n, is_sorted=True, is_whole=True)
    key = pq.read_table(path, columns=["key"])["key"][n // 2].as_py()
    told = [f"{n} rows, {path.stat().st_size / n:.0f} bytes a row"]
    for name, asked, expected, most in (
        ("one row", ("row", str(n // 2)), key, ROW_BYTES),
        ("a map", ("columns", "lon,lat,split"), str(3 * n), MAP_BYTES_A_ROW * n),
    ):
        with serving(tmp_path) as server:
            command = ["node", str(_DRIVER), str(_MODULES), f"{server.url}/{path.name}", *asked]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
        told.append(f"{name}: {server.n_bytes / 1e6:.2f} MB in {server.n_requests} requests")
        assert server.n_bytes < most
    with capsys.disabled():
        print("\n" + "; ".join(told))


@pytest.mark.performance
@pytest.mark.parametrize("modalities", [None, ["sentinel2"]])
def test_a_tile(
    tmp_path: Path, modalities: list[str] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_sealed(tmp_path / "dataset")
    with serving(root) as server:
        chosen = mmearth.open(server.url, cache=tmp_path / "cache").select(
            "soil_pH", modalities=modalities, limit=1
        )
        opened = server.n_bytes, server.n_requests
        (batch,) = chosen.loader(1, "sequential")
        nbytes, n_requests = server.n_bytes - opened[0], server.n_requests - opened[1]
    assert len(batch["key"]) == 1
    wanted = sum(chosen.counts.nbytes.values())
    with capsys.disabled():
        print(
            f"\nto open {opened[0] / 1e3:.0f} kB in {opened[1]} requests; a tile of "
            f"{wanted / 1e3:.0f} kB: {nbytes / 1e3:.0f} kB in {n_requests}"
        )
    assert nbytes < 1.05 * wanted
