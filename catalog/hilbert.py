"""Places on a Hilbert curve: neighbours on Earth become neighbours in a file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ORDER = 20
"""Bits per axis: cells of 38 m × 19 m at the equator, finer than a tile."""
KEY_BITS = 24
"""Low bits of a row key, from the sample's key: tells apart samples of one place."""


def hilbert_index(
    lon: NDArray[np.float64], lat: NDArray[np.float64], order: int = ORDER
) -> NDArray[np.uint64]:
    """Return each place's position on a Hilbert curve over longitude and latitude, (n,).

    Args:
        lon: Degrees east, (n,), -180 to 180.
        lat: Degrees north, (n,).
        order: Bits per axis; positions run from 0 to 4**order - 1.

    Source:
        The classic loop of quadrant rotations: Warren, Hacker's Delight, chapter 16.
    """
    side = np.int64(1) << np.int64(order)
    x = np.clip(((lon + 180.0) / 360.0 * side).astype(np.int64), 0, side - 1)
    y = np.clip(((lat + 90.0) / 180.0 * side).astype(np.int64), 0, side - 1)
    index = np.zeros(x.shape, dtype=np.int64)
    for bit in range(order - 1, -1, -1):
        s = np.int64(1) << np.int64(bit)
        rx, ry = (x & s) > 0, (y & s) > 0
        index += s * s * ((3 * rx.astype(np.int64)) ^ ry.astype(np.int64))
        flip = rx & ~ry
        x, y = (
            np.where(flip, s - 1 - (x & (s - 1)), x & (s - 1)),
            np.where(flip, s - 1 - (y & (s - 1)), y & (s - 1)),
        )
        x, y = np.where(ry, x, y), np.where(ry, y, x)
    return index.astype(np.uint64)


def row_key(
    lon: NDArray[np.float64], lat: NDArray[np.float64], keys: Sequence[str]
) -> NDArray[np.uint64]:
    """Return the manifest's `hilbert` column: place in the high bits, sample in the low 24, (n,).

    Anyone who knows a sample's key and place can compute it, so that a look-up of one sample by
    this number reads one row group.
    """
    digests = [int.from_bytes(hashlib.sha256(key.encode()).digest()[:3], "big") for key in keys]
    low = np.array(digests, dtype=np.uint64)
    return (hilbert_index(lon, lat) << np.uint64(KEY_BITS)) | low
