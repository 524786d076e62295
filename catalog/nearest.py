"""The nearest of many points, by a tree of boxes: a million in seconds, and nothing but NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_LEAF = 32  # points that are compared one by one
_AT_ONCE = 4096  # points asked for together: some MB
Points = NDArray[np.float64]


def nearest(asked: Points, points: Points) -> Points:
    """Return the distance of each point asked for to the nearest of others, (n,).

    Args:
        asked: (n, axis).
        points: One or more, (m, axis).
    """
    leaves = _leaves(points)
    boxes = [(leaves.min(axis=1), leaves.max(axis=1))]
    while len(boxes[0][0]) > 1:
        low, high = (corner.reshape(-1, 2, corner.shape[1]) for corner in boxes[0])
        boxes.insert(0, (low.min(axis=1), high.max(axis=1)))
    parts = [_squares(part, leaves, boxes) for part in _parts(asked)]
    return np.asarray(np.sqrt(np.concatenate([np.empty(0), *parts])))


def _parts(asked: Points) -> Iterator[Points]:
    for begin in range(0, len(asked), _AT_ONCE):
        yield asked[begin : begin + _AT_ONCE]


def _leaves(points: Points) -> Points:
    """Return points in boxes, halved again and again across their longest side, (box, k, axis)."""
    depth = max(0, math.ceil(math.log2(len(points) / _LEAF)))
    padding = -len(points) % (1 << depth)
    blocks = np.concatenate([points, points[:1].repeat(padding, axis=0)])[None]
    for _ in range(depth):
        longest = np.ptp(blocks, axis=1).argmax(axis=1)
        along = np.take_along_axis(blocks, longest[:, None, None], axis=2)
        order = along.argsort(axis=1)
        blocks = np.take_along_axis(blocks, order, axis=1)
        blocks = blocks.reshape(2 * len(blocks), -1, blocks.shape[2])
    return blocks


def _squares(asked: Points, leaves: Points, boxes: list[tuple[Points, Points]]) -> Points:
    """Return the squared distance of each point asked for, (n,)."""
    box = np.zeros(len(asked), np.int64)
    for low, high in boxes[1:]:  # down to one leaf, for a distance that no nearer box exceeds
        left, right = (_outside(asked, low[b], high[b]) for b in (2 * box, 2 * box + 1))
        box = 2 * box + (right < left)
    least = _inside(asked, leaves[box])
    rows, box = np.arange(len(asked)), np.zeros(len(asked), np.int64)
    for low, high in boxes[1:]:
        rows, box = rows.repeat(2), (2 * box[:, None] + (0, 1)).ravel()
        near = _outside(asked[rows], low[box], high[box]) < least[rows]
        rows, box = rows[near], box[near]
    np.minimum.at(least, rows, _inside(asked[rows], leaves[box]))
    return least


def _outside(asked: Points, low: Points, high: Points) -> Points:
    """Return each point's squared distance to its box, 0 inside, (n,)."""
    return np.asarray((np.maximum(0.0, np.maximum(low - asked, asked - high)) ** 2).sum(axis=1))


def _inside(asked: Points, leaves: Points) -> Points:
    """Return each point's squared distance to the nearest point of its leaf, (n,)."""
    return np.asarray(((leaves - asked[:, None]) ** 2).sum(axis=2).min(axis=1))
