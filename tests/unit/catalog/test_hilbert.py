"""The Hilbert curve: every cell once, neighbours adjacent."""

from __future__ import annotations

import hashlib

import numpy as np

from mmearth.catalog.hilbert import hilbert_index, row_key


def test_curve_visits_every_cell_and_never_jumps() -> None:
    side = 32
    x, y = (a.ravel() for a in np.meshgrid(np.arange(side), np.arange(side)))
    lon, lat = (x + 0.5) / side * 360 - 180, (y + 0.5) / side * 180 - 90
    index = hilbert_index(lon, lat, order=5)
    order = np.argsort(index)
    assert index[order].tolist() == list(range(side * side))
    steps = np.abs(np.diff(x[order])) + np.abs(np.diff(y[order]))
    assert (steps == 1).all()


def test_edges_of_the_world_are_in() -> None:
    lon, lat = np.array([-180.0, 180.0, 0.0, 0.0]), np.array([0.0, 0.0, -90.0, 90.0])
    assert (hilbert_index(lon, lat) < 4**20).all()


def test_row_key_is_place_then_sample() -> None:
    lon, lat = np.array([10.0, 10.0]), np.array([50.0, 50.0])
    keys = row_key(lon, lat, ["a", "b"])
    assert (keys >> np.uint64(24)).tolist() == hilbert_index(lon, lat).tolist()
    low = int.from_bytes(hashlib.sha256(b"a").digest()[:3], "big")
    assert int(keys[0]) & 0xFFFFFF == low
