"""What it costs to have collected files on the disk before the ledger names them."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest

from mmearth.catalog.files import sync_files, write_atomic

pytestmark = pytest.mark.performance
_SIZES = (400_000, 65_536, 65_536, 32_768, 32_768, 32_768, *(600,) * 6)
"""Bytes of a tile's twelve files, about."""
_TILES, _TOGETHER = 200, 20


def _write(root: Path, synced: bool) -> float:
    """Write files of many tiles; return milliseconds a tile."""
    begin = time.perf_counter()
    waiting: list[str] = []
    for tile in range(_TILES):
        for i, size in enumerate(_SIZES):
            name = f"store/32633/{tile}/{i}.tif"
            write_atomic(root / name, bytes(size))
            waiting.append(name)
        if synced and (tile + 1) % _TOGETHER == 0:
            sync_files(root, waiting)
            waiting.clear()
    return (time.perf_counter() - begin) / _TILES * 1e3


def test_what_syncing_costs_a_tile(tmp_path: Path) -> None:
    rounds = [
        (_write(tmp_path / f"a{i}", synced=False), _write(tmp_path / f"b{i}", synced=True))
        for i in range(5)
    ]
    plain, synced = (statistics.median(times) for times in zip(*rounds, strict=True))
    print(f"\nms a tile: {plain:.2f} written, {synced:.2f} written and synced by {_TOGETHER}")
    assert synced < plain + 40  # less than what collecting and packing a tile takes
