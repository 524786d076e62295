"""The nearest point of a tree is the nearest of all."""

from __future__ import annotations

import numpy as np
import pytest

from mmearth.catalog.nearest import nearest


def test_three_points() -> None:
    points = np.array([[0.0, 0.0], [3.0, 4.0], [10.0, 0.0]])
    asked = np.array([[0.0, 0.0], [3.0, 0.0], [11.0, 0.0]])
    assert nearest(asked, points).tolist() == [0.0, 3.0, 1.0]
    assert nearest(asked[:0], points).shape == (0,)


@pytest.mark.parametrize("n", [1, 32, 33, 1000, 4097])
def test_as_comparing_with_each(n: int) -> None:
    draw = np.random.default_rng(n)
    points = draw.normal(size=(n, 3)) ** 3  # dense in the middle, empty far out
    points[: n // 2] = points[0]  # many at one place
    asked = np.concatenate([draw.normal(size=(200, 3)) * 3, points[:5]])
    expected = np.sqrt(((asked[:, None] - points) ** 2).sum(axis=2)).min(axis=1)
    assert np.allclose(nearest(asked, points), expected, rtol=1e-12, atol=0.0)
