"""Clouds and missing data of a scene, as functions of world coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mmearth.curate.sources.synthetic.noise import mix, uniform
from mmearth.tests.earthengine.planet.pixels import Double, Mask

NEVER, ALWAYS = 2.0, -2.0
"""Thresholds that no noise and all noise exceeds."""


@lru_cache(maxsize=65536)
def key_of(*parts: int) -> int:
    """Return 62 well-mixed bits of some integers."""
    return int(mix(*parts)[0] >> np.uint64(2))


@lru_cache(maxsize=8192)
def luck(key: int) -> tuple[float, ...]:
    """Return 16 random numbers in [0, 1) that belong to a key."""
    return tuple(uniform(key, np.arange(16, dtype=np.int64)).tolist())


@dataclass(frozen=True, slots=True)
class Sky:
    """What hides the ground in one scene."""

    key: int
    """Of the scene: another key, another sky."""
    mask: float
    """Where the noise of the cloud mask exceeds this, it sees cloud."""
    probability: float
    """The same for the cloud probability."""
    gap: float
    """The same for missing data."""
    unscreened: bool
    """The cloud mask has no data at all."""
    bandless: bool
    """There is no cloud mask, as in some products of the archive."""

    @classmethod
    def of(cls, key: int) -> Sky:
        """Draw the sky of a scene: clear, broken or overcast; the two products may disagree."""
        chance = luck(key)
        state, part = chance[1], chance[2]
        broken = 0.38 + 0.3 * part
        mask = NEVER if state < 0.33 else broken if state < 0.66 else ALWAYS
        probability = mask if mask in (NEVER, ALWAYS) else broken + 0.06 * (chance[3] - 0.5)
        quarrel = chance[4]
        if quarrel < 0.07:
            mask = NEVER
        elif quarrel < 0.14:
            probability = NEVER
        gap = 0.45 + 0.3 * chance[6] if chance[5] < 0.15 else NEVER
        return cls(key, mask, probability, gap, chance[7] < 0.02, 0.02 <= chance[7] < 0.05)

    @property
    def cloudy_percentage(self) -> float:
        """Share of the scene under cloud, about, in percent."""
        return round(float(np.clip((0.85 - self.mask) / 0.7, 0.0, 1.0)) * 100.0, 6)

    def cloud_mask(self, x: Double, y: Double) -> NDArray[np.uint8]:
        """Return the cloud mask's probability, 0 to 100, at metres of the scene's zone."""
        return self._percent(x, y, self.mask)

    def cloud_probability(self, x: Double, y: Double) -> NDArray[np.uint8]:
        """Return the other product's probability, 0 to 100."""
        return self._percent(x, y, self.probability)

    def missing(self, x: Double, y: Double) -> Mask:
        """Return where the scene has no data."""
        if self.gap == NEVER:
            return np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.bool_)
        return blobs(self.key + 3, x, y, 2_500.0) > self.gap

    def _percent(self, x: Double, y: Double, threshold: float) -> NDArray[np.uint8]:
        """Return cloud above the threshold as 10 to 100; haze below it as 0 to 8."""
        if threshold == ALWAYS:
            return np.full(np.broadcast_shapes(x.shape, y.shape), 100, dtype=np.uint8)
        haze = (x // 20.0 + y // 20.0 * 3.0 + self.key % 9) % 9.0
        if threshold == NEVER:
            return haze.astype(np.uint8)
        noise = 0.7 * blobs(self.key, x, y, 2_400.0) + 0.3 * blobs(self.key + 1, x, y, 500.0)
        cloud = 10.0 + 300.0 * (noise - threshold)
        return np.clip(np.where(noise > threshold, cloud, haze), 0.0, 100.0).astype(np.uint8)


def blobs(key: int, x: Double, y: Double, cell_m: float) -> Double:
    """Return smooth noise in [0, 1] at places in metres that broadcast to (row, col)."""
    column, part_x = _eased(x / cell_m)
    row, part_y = _eased(y / cell_m)
    first_column, first_row = int(column.min()), int(row.min())
    columns = np.arange(first_column, int(column.max()) + 2, dtype=np.int64)
    rows = np.arange(first_row, int(row.max()) + 2, dtype=np.int64)
    values = uniform(key, rows[:, None], columns[None, :])
    column, row = column - first_column, row - first_row
    lower = _between(values[row, column], values[row, column + 1], part_x)
    upper = _between(values[row + 1, column], values[row + 1, column + 1], part_x)
    return _between(lower, upper, part_y)


def _between(start: Double, end: Double, part: Double) -> Double:
    return start + (end - start) * part


def _eased(position: Double) -> tuple[NDArray[np.int64], Double]:
    index = np.floor(position)
    part = position - index
    return index.astype(np.int64), part * part * (3.0 - 2.0 * part)
