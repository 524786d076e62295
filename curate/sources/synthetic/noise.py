"""Noise and elementary functions whose results have the same bits on every machine.

Only IEEE-exact operations are used: + - * / sqrt, comparisons and integers. NumPy's own sin, exp or
power round differently from one processor to the next, and so would everything built on them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Double = NDArray[np.float64]
_M1 = np.uint64(0x9E3779B97F4A7C15)
_M2 = np.uint64(0xBF58476D1CE4E5B9)
_M3 = np.uint64(0x94D049BB133111EB)
_CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]).T[:, :, None]
"""Steps from a cube's first corner to each of its eight, (axis, corner, 1)."""


def mix(*parts: int | NDArray[np.int64]) -> NDArray[np.uint64]:
    """Hash integers (broadcast together) to 64 well-mixed bits.

    Source:
        Steele, Lea & Flood 2014, SplitMix64, doi:10.1145/2660193.2660195 (the finaliser).
    """
    z = np.zeros((1,), dtype=np.uint64)
    for part in parts:
        z = z * _M1 + np.asarray(part, dtype=np.int64).astype(np.uint64) + _M1
        z = (z ^ (z >> np.uint64(30))) * _M2
        z = (z ^ (z >> np.uint64(27))) * _M3
        z = z ^ (z >> np.uint64(31))
    return z


def uniform(*parts: int | NDArray[np.int64]) -> Double:
    """Return numbers in [0, 1), one for each tuple of integers."""
    return (mix(*parts) >> np.uint64(11)).astype(np.float64) / 9007199254740992.0


def bell(bits: NDArray[np.uint64]) -> Float:
    """Return roughly normal numbers of mean 0 and deviation 1: the sum of four 16-bit pieces."""
    total = np.zeros(bits.shape, dtype=np.int64)
    for shift in (0, 16, 32, 48):
        total += ((bits >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64)
    # Four uniforms have the variance 4/12 = 1/3.
    return (total.astype(np.float32) - np.float32(131070.0)) * np.float32(math.sqrt(3.0) / 65536.0)


def cos_deg(degrees: Double) -> Double:
    """Return the cosine of an angle in degrees, to about 1e-9."""
    turn = degrees / 360.0
    folded = np.abs(turn - np.floor(turn + 0.5)) * 360.0  # 0 to 180
    flip = folded > 90.0
    x = np.where(flip, 180.0 - folded, folded) * (math.pi / 180.0)
    square = x * x
    series = 1.0 + 0.0 * x
    for denominator in (182.0, 132.0, 90.0, 56.0, 30.0, 12.0, 2.0):  # Taylor, Horner's form
        series = 1.0 - square / denominator * series
    return np.where(flip, -series, series)


def sin_deg(degrees: Double) -> Double:
    """Return the sine of an angle in degrees, to about 1e-9."""
    return cos_deg(degrees - 90.0)


def planet_noise(lon: Double, lat: Double, seed: int, octaves: int, first: float) -> Double:
    """Return smooth noise over the sphere, mean about 0.5, in [0, 1], (n,).

    Args:
        lon: Degrees east, (n,).
        lat: Degrees north, (n,).
        seed: Another seed, another planet.
        octaves: How many scales are added, each half as large and 0.55 as strong.
        first: Lattice cells per Earth radius in the first octave.
    """
    x = np.stack([cos_deg(lat) * cos_deg(lon), cos_deg(lat) * sin_deg(lon), sin_deg(lat)])
    total, weight, strength, cells = np.zeros(lon.shape), 0.0, 1.0, first
    for octave in range(octaves):
        total = total + strength * _lattice3(x * cells, seed * 64 + octave)
        weight += strength
        strength, cells = strength * 0.55, cells * 2.0
    return total / weight


def _lattice3(x: Double, seed: int) -> Double:
    """Interpolate hashed corner values of a cubic lattice, x (3, n)."""
    corner = np.floor(x)
    part = x - corner
    part = part * part * (3.0 - 2.0 * part)
    at = corner.astype(np.int64)[:, None, :] + _CORNERS  # (axis, corner, n)
    near = np.abs(1 - _CORNERS - part[:, None, :])
    shares = near[0] * near[1] * near[2] * uniform(seed, at[0], at[1], at[2])
    total = shares[0]
    for share in shares[1:]:  # one after the other: np.sum may add in another order
        total = total + share
    return np.asarray(total)


def field(origin: tuple[int, int], size: int, cell_px: int, seed: int) -> Float:
    """Return one octave of smooth noise over pixels, in [0, 1], (row, col).

    Args:
        origin: Column and row of the first pixel on the zone's 10 m grid; rows run south.
        size: Rows and columns.
        cell_px: Distance of the lattice points in pixels.
        seed: Another seed, another field.
    """
    columns, weight_x = _axis(origin[0], size, cell_px)
    rows, weight_y = _axis(origin[1], size, cell_px)
    first_row, first_column = int(rows[0]), int(columns[0])
    lattice_rows = np.arange(first_row, int(rows[-1]) + 2, dtype=np.int64)
    lattice_columns = np.arange(first_column, int(columns[-1]) + 2, dtype=np.int64)
    values = uniform(seed, lattice_rows[:, None], lattice_columns[None, :]).astype(np.float32)
    left = values[:, columns - first_column]
    wide = left + (values[:, columns - first_column + 1] - left) * weight_x  # (lattice row, col)
    upper = wide[rows - first_row]
    return upper + (wide[rows - first_row + 1] - upper) * weight_y[:, None]


def fractal(
    origin: tuple[int, int], size: int, cells_px: Sequence[int], seed: int, fall: float = 0.5
) -> Float:
    """Return several octaves of `field`, each `fall` as strong as the one before, in [0, 1]."""
    total = np.zeros((size, size), dtype=np.float32)
    weight, strength = 0.0, 1.0
    for octave, cell_px in enumerate(cells_px):
        total += np.float32(strength) * field(origin, size, cell_px, seed * 64 + octave)
        weight, strength = weight + strength, strength * fall
    return total / np.float32(weight)


def grain(origin: tuple[int, int], size: int, seed: int) -> NDArray[np.uint64]:
    """Return 64 independent random bits a pixel, (row, col)."""
    columns = np.arange(origin[0], origin[0] + size, dtype=np.int64)
    rows = np.arange(origin[1], origin[1] + size, dtype=np.int64)
    base = mix(seed, rows)[:, None] + mix(seed + 1, columns)[None, :]
    z = (base ^ (base >> np.uint64(30))) * _M2
    return np.asarray(z ^ (z >> np.uint64(31)))


def _axis(start: int, size: int, cell_px: int) -> tuple[NDArray[np.int64], Float]:
    """Return each pixel's lattice index and its eased way to the next lattice point."""
    position = np.arange(start, start + size, dtype=np.int64)
    index = position // cell_px
    part = (position - index * cell_px).astype(np.float32) / np.float32(cell_px)
    return index, part * part * (np.float32(3.0) - np.float32(2.0) * part)
