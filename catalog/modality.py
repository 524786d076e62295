"""What a modality is: a kind of observation, its bands and the contract its arrays keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError, DataError

TILE_PX = 128
"""Rows and columns of a pixel-level array (MMEarth-Bench §3: 128 × 128 px at 10 m)."""

Level = Literal["pixel", "tile"]
"""`pixel`: an array (band, 128, 128). `tile`: one value a band, an array (band,)."""

Kind = Literal["continuous", "categorical", "cyclic"]
"""`cyclic`: sine and cosine of an angle, in [-1, 1]."""

Timing = Literal["anchor", "nearest", "month", "year", "static"]
"""Which moment of the anchor date a modality shows."""

Resampling = Literal["nearest", "bilinear"]
"""How a source's pixels are brought onto the tile's grid."""


@dataclass(frozen=True, slots=True)
class Band:
    """One channel of a modality."""

    name: str
    """Unique within its modality."""
    unit: str
    """UCUM-like, of the stored value times `scale`: `m`, `dB`, `K`, `1` for none."""
    valid: tuple[float, float]
    """Lowest and highest valid stored value, both included."""
    scale: float = 1.0
    """Stored value × scale + offset = physical value."""
    offset: float = 0.0
    """See `scale`."""
    native_m: float | None = None
    """Ground sampling distance of the instrument or product, in metres."""
    wavelength_nm: float | None = None
    """Centre wavelength of an optical band, in nanometres."""
    common_name: str | None = None
    """STAC's common name of an optical band (`red`, `nir`), if there is one."""


@dataclass(frozen=True, slots=True)
class ClassCode:
    """One class of a categorical modality."""

    code: int
    """Stored value."""
    name: str
    """As its publisher names it."""
    color: str
    """`#rrggbb`, the publisher's where there is one."""


@dataclass(frozen=True, slots=True)
class Modality:
    """A kind of observation over a tile."""

    name: str
    """The name that files, columns and options use."""
    title: str
    """For people."""
    level: Level
    """Whether its array has pixels."""
    kind: Kind
    """What its numbers are."""
    bands: tuple[Band, ...]
    """In the order of the array's first axis."""
    dtype: str
    """NumPy's name of the stored type."""
    nodata: float | None
    """The stored value that means absent; None where a value is always there."""
    timing: Timing
    """How its date follows the anchor date."""
    resampling: Resampling | None
    """Onto the tile's grid; None for tile-level modalities."""
    source: str
    """The product and its version."""
    collection: str
    """Identifier of the Earth Engine collection or asset that the published data came from."""
    licence: str
    """SPDX identifier, or `other` where there is none."""
    citation: str
    """How its users must name it."""
    classes: tuple[ClassCode, ...] = ()
    """All classes, by code, when categorical."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of its array: (band, 128, 128) or (band,)."""
        n_bands = len(self.bands)
        return (n_bands, TILE_PX, TILE_PX) if self.level == "pixel" else (n_bands,)

    @property
    def nbytes(self) -> int:
        """Bytes of one array, without any header."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    def index(self, names: tuple[str, ...]) -> list[int]:
        """Return the positions of bands by name.

        Raises:
            ConfigError: A name is not a band of this modality.
        """
        known = [band.name for band in self.bands]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigError(
                f"{self.name} has no band {unknown[0]!r}; its bands are {', '.join(known)}"
            )
        return [known.index(name) for name in names]

    def empty(self) -> NDArray[np.generic]:
        """Return an array of this modality that holds nothing but no-data.

        Raises:
            ConfigError: The modality has no no-data value.
        """
        if self.nodata is None:
            raise ConfigError(f"{self.name} has no no-data value: it is always there")
        return np.full(self.shape, self.nodata, dtype=self.dtype)

    def valid(self, array: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Return where `array` holds a value: True, of the array's shape."""
        if self.nodata is None:
            return np.ones(array.shape, dtype=np.bool_)
        return np.asarray(array != np.asarray(self.nodata, dtype=array.dtype))

    def check(self, array: NDArray[np.generic]) -> None:
        """Refuse an array that breaks this modality's contract.

        Args:
            array: (band, 128, 128) or (band,), of `dtype`; `nodata` where absent.

        Raises:
            DataError: Its shape, dtype or a valid value differs from the contract.
        """
        if array.shape != self.shape or array.dtype != np.dtype(self.dtype):
            raise DataError(
                f"{self.name}: found {array.dtype} {array.shape}, "
                f"expected {self.dtype} {self.shape}"
            )
        valid = self.valid(array)
        for i, band in enumerate(self.bands):
            values = (
                array[i][valid[i]] if self.level == "pixel" else array[i : i + 1][valid[i : i + 1]]
            )
            if not values.size:
                continue
            low, high = float(values.min()), float(values.max())
            if not (band.valid[0] <= low and high <= band.valid[1]):
                raise DataError(
                    f"{self.name} {band.name}: found values {low:g} to {high:g} {band.unit}, "
                    f"expected {band.valid[0]:g} to {band.valid[1]:g}; "
                    "check the unit, scale and offset"
                )
