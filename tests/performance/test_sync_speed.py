"""What it costs to have collected packs on the disk before the ledger names what is in them."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest

from mmearth.catalog.files import sync_files
from mmearth.catalog.store import PackWriter

pytestmark = pytest.mark.performance
_SIZES = (393_344, 524_416, 131_200, 131_200, 16_512, 16_512)
"""Bytes of a tile's six members."""
_TILES, _TOGETHER = 200, 20


def _write(root: Path, synced: bool) -> float:
    """Add members of many tiles; return milliseconds a tile."""
    begin = time.perf_counter()
    writer = PackWriter(root)
    for tile in range(_TILES):
        paths = {writer.add(bytes(size)).path for size in _SIZES}
        if synced and (tile + 1) % _TOGETHER == 0:
            sync_files(root, paths)
    return (time.perf_counter() - begin) / _TILES * 1e3


def test_what_syncing_costs_a_tile(tmp_path: Path) -> None:
    rounds = [
        (_write(tmp_path / f"a{i}", synced=False), _write(tmp_path / f"b{i}", synced=True))
        for i in range(5)
    ]
    plain, synced = (statistics.median(times) for times in zip(*rounds, strict=True))
    print(f"\nms a tile: {plain:.2f} written, {synced:.2f} written and synced by {_TOGETHER}")
    assert synced < plain + 40  # less than what collecting and packing a tile takes
