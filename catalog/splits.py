"""Splits: which tile trains and which one tests, decided from place and seed before any download.

Two rules. `published` reproduces MMEarth-Bench: Africa is the geographic test, the rest is dealt
70/15/15 at random, so neighbours a kilometre apart may train and test. `default` deals whole blocks
of land instead and leaves out the training tiles at their borders; it looks at nothing but a
tile's own place, so another tile, another order or a failed download never moves it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.africa import touches_africa
from mmearth.catalog.tile import EARTH_RADIUS_KM, Tile, Tiles, centres

SPLITS = ("train", "val", "random_test", "geographic_test")
"""The published names, in the published order."""
TESTS = SPLITS[2:]
"""Those that a model is judged on."""
LEFT_OUT = ""
"""Split of a training tile that is too near a test: it is planned, and not collected."""
SHARES = (0.70, 0.15, 0.15)
"""Of train, val and random_test outside Africa (MMEarth-Bench, generate_splits.py)."""
BLOCK_KM = 50.0
"""Side of the default rule's blocks: large against the buffer, so that few tiles are left out."""
BUFFER_M = 5_000.0
"""Default distance kept between a training tile and any test tile."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The split of every tile."""

    split: NDArray[np.str_]
    """One of SPLITS, or LEFT_OUT, (n,)."""
    train_5: NDArray[np.bool_]
    """In the 5 % subset of train, (n,)."""
    train_50: NDArray[np.bool_]
    """In the 50 % subset of train, which holds the 5 % one, (n,)."""


Rule = Callable[[Sequence[Tile], int, float], Assignment]
"""A rule takes tiles, a seed and a buffer in metres."""


def published(tiles: Sequence[Tile], seed: int = 42, buffer_m: float = 0.0) -> Assignment:
    """Deal the tiles as MMEarth-Bench does; the order of the tiles matters, as it does there.

    Args:
        tiles: In the order of the published ids.
        seed: 42 in the published data.
        buffer_m: Of no account: the published rule keeps no distance.

    Source:
        MMEarth-Bench, `generate_splits.py`: sort, shuffle, cut at int(0.70 n) and int(0.85 n);
        50 % is a sample of round(0.5 n), 5 % one of round(0.1 · that) inside it.
    """
    del buffer_m
    in_africa = touches_africa(tiles)
    generator = random.Random(seed)
    rest = [int(i) for i in np.flatnonzero(~in_africa)]
    generator.shuffle(rest)
    first, second = int(SHARES[0] * len(rest)), int((SHARES[0] + SHARES[1]) * len(rest))
    train = sorted(rest[:first])
    half = generator.sample(train, round(0.5 * len(train)))
    twentieth = generator.sample(half, round(0.1 * len(half)))
    split = np.full(len(tiles), "geographic_test", dtype="<U15")
    split[train] = "train"
    split[rest[first:second]] = "val"
    split[rest[second:]] = "random_test"
    return Assignment(split, _mask(len(tiles), twentieth), _mask(len(tiles), half))


def default(tiles: Sequence[Tile], seed: int, buffer_m: float = BUFFER_M) -> Assignment:
    """Deal blocks of about 50 km by a hash of their place, with a buffer around the tests.

    A training tile is left out when its square, grown by the buffer and the side that a test tile
    may stick out, touches a block dealt to `random_test` or the ring around Africa: then no
    training tile lies within the buffer of any place that could be a test tile, whichever tiles
    there are: nor of a test tile of another task, or of another dataset of the same seed. The price
    is that tiles are left out where no test tile is, about 6 % of evenly spread ones at 5 km.
    `val` keeps no distance.

    Args:
        tiles: In any order.
        seed: Another seed deals the blocks anew.
        buffer_m: The distance kept between train and both tests, in metres.
    """
    if not tiles:
        return Assignment(np.zeros(0, dtype="<U15"), _mask(0, []), _mask(0, []))
    lon, lat = centres(tiles)
    split = np.asarray(SPLITS, dtype="<U15")[_deal(lon, lat, seed)]
    split[touches_africa(tiles)] = "geographic_test"
    train = np.flatnonzero(split == "train")
    side_m = tiles[0].grid.side_m
    split[train[_near_a_test(lon[train], lat[train], seed, buffer_m, side_m)]] = LEFT_OUT
    split[(split == "train") & touches_africa(tiles, buffer_m + side_m)] = LEFT_OUT
    train = split == "train"
    luck = _uniform(Tiles.of(tiles).number.astype(np.uint64), seed, 2)
    return Assignment(split, train & (luck < 0.05), train & (luck < 0.5))


def given(tiles: Sequence[Tile], split: Sequence[str], seed: int) -> Assignment:
    """Keep splits that are known already; train's subsets are drawn as by the default rule.

    Args:
        tiles: The places.
        split: Of each, one of SPLITS.
        seed: Another seed draws the subsets anew.
    """
    splits = np.array(split, dtype="<U15")
    luck = _uniform(Tiles.of(tiles).number.astype(np.uint64), seed, 2)
    train = splits == "train"
    return Assignment(splits, train & (luck < 0.05), train & (luck < 0.5))


RULES: dict[str, Rule] = {"published": published, "default": default}
"""By the name that a configuration uses."""


def _mask(n: int, chosen: Sequence[int]) -> NDArray[np.bool_]:
    mask = np.zeros(n, dtype=np.bool_)
    mask[list(chosen)] = True
    return mask


def _deal(lon: NDArray[np.float64], lat: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """Return the index in SPLITS of each place's block, Africa not considered."""
    luck = _uniform(_block(lon, lat), seed, 1)
    cuts: NDArray[np.int64] = np.searchsorted(np.cumsum(SHARES[:2]), luck, side="right")
    return cuts


def _block(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return the number of each place's block: bands of latitude, cut about as wide as high."""
    n_rows = round(np.pi * EARTH_RADIUS_KM / BLOCK_KM)
    row = np.clip(((lat + 90.0) / 180.0 * n_rows).astype(np.int64), 0, n_rows - 1)
    middle = np.radians((row + 0.5) / n_rows * 180.0 - 90.0)
    n_columns = np.maximum(1, np.round(2 * n_rows * np.cos(middle)).astype(np.int64))
    column = (((lon + 180.0) % 360.0) / 360.0 * n_columns).astype(np.int64)
    block: NDArray[np.int64] = row * 4 * n_rows + np.minimum(column, n_columns - 1)
    return block.astype(np.uint64)


def _near_a_test(
    lon: NDArray[np.float64], lat: NDArray[np.float64], seed: int, buffer_m: float, side_m: int
) -> NDArray[np.bool_]:
    """Return which places lie so near a test block that a tile in it could be within the buffer.

    Two squares are within the buffer only if their centres are within the buffer and a diagonal,
    1.41 sides. Points on rings around the place are looked up, 1.17 sides apart; the reach of two
    sides makes up for the corner of a block that may hide between two of them. The inner rings,
    10 km apart at most, find the blocks that lie within the outer one.
    """
    reach_m = buffer_m + 2 * side_m
    near = np.zeros(lon.shape, dtype=np.bool_)
    degree_m = np.pi * EARTH_RADIUS_KM * 1000.0 / 180.0
    narrow = np.maximum(np.cos(np.radians(lat)), 1e-6)
    n_rings = max(4, math.ceil(reach_m / 10_000.0))
    n_angles = math.ceil(2 * math.pi * reach_m / (1.171875 * side_m))
    for step in np.arange(1, n_rings + 1) / n_rings:
        for angle in np.linspace(0.0, 2 * np.pi, n_angles, endpoint=False):
            north = np.clip(lat + step * reach_m * np.sin(angle) / degree_m, -90.0, 90.0)
            east = lon + step * reach_m * np.cos(angle) / degree_m / narrow
            near |= _deal(east, north, seed) == SPLITS.index("random_test")
    return near


def _uniform(numbers: NDArray[np.uint64], seed: int, stream: int) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each of `numbers`, the same on every machine.

    Source:
        Steele, Lea & Flood 2014, SplitMix64, doi:10.1145/2660193.2660195 (the finaliser).
    """
    z = numbers + np.uint64((seed * 2654435761 + stream * 0x9E3779B97F4A7C15) % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**53
