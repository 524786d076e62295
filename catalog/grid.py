"""Grid: how many pixels a tile has, and how large they are."""

from __future__ import annotations

from dataclasses import dataclass

from mmearth.catalog.arguments import whole
from mmearth.catalog.errors import ConfigError

PIXELS, RESOLUTION_M = 128, 10
"""Of a published tile (MMEarth-Bench §3: 128 × 128 px at 10 m)."""
_STEP = 16  # patches of encoders are of 8 or 16 pixels, and masks are compared 8 pixels at once


@dataclass(frozen=True, slots=True, order=True)
class Grid:
    """The pixels of a tile: as many down as across, north up.

    Raises:
        ConfigError: `pixels` is not 32 to 512 in steps of 16, or `resolution_m` not 1 to 60.
    """

    pixels: int = PIXELS
    """Rows, and columns, of a pixel-level array."""
    resolution_m: int = RESOLUTION_M
    """Side of a pixel in metres."""

    def __post_init__(self) -> None:
        whole("grid: resolution_m", self.resolution_m, 1, 60)
        if whole("grid: pixels", self.pixels, 32, 512) % _STEP:
            raise ConfigError(
                f"found grid: pixels {self.pixels}; expected a multiple of {_STEP}, 32 to 512"
            )

    @property
    def side_m(self) -> int:
        """Side of a tile in metres."""
        return self.pixels * self.resolution_m


DEFAULT_GRID = Grid()
"""The published grid."""
