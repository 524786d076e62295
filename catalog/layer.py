"""Layer: one array over a tile, its bands and the contract that its values keep."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError, DataError
from mmearth.catalog.grid import PIXELS

Level = Literal["pixel", "tile"]
"""`pixel`: an array (band, row, column). `tile`: one value per band, an array (band,)."""

Kind = Literal["continuous", "categorical", "cyclic"]
"""`cyclic`: sine and cosine of an angle, in [-1, 1]."""

Timing = Literal["anchor", "nearest", "month", "year", "static"]
"""Which moment of the anchor date a layer shows."""

Resampling = Literal["nearest", "bilinear"]
"""How a source's pixels are brought onto the tile's grid."""


@dataclass(frozen=True, slots=True)
class Band:
    """One channel of a layer."""

    name: str
    """Unique within its layer."""
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
    """One class of a categorical layer."""

    code: int
    """Stored value."""
    name: str
    """As its publisher names it."""
    color: str
    """`#rrggbb`, the publisher's where there is one."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A kind of array over a tile: a modality, or what a task predicts."""

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
    """Onto the tile's grid; None for tile-level layers."""
    description: str
    """The product and its version, for people."""
    product: str
    """Identifier of the product, such as its Earth Engine collection; `none` where it follows from
    the tile and the date alone."""
    licence: str
    """SPDX identifier, or `other` where there is none."""
    citation: str
    """How its users must name it."""
    classes: tuple[ClassCode, ...] = ()
    """All classes, by code, when categorical."""
    pixels: int = field(default=PIXELS, metadata={"written": False})
    """Rows, and columns, of a pixel-level array: the grid's, where a file has it."""

    @property
    def is_pixel(self) -> bool:
        """Whether its array has pixels."""
        return self.level == "pixel"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of its array: (band, row, column) or (band,)."""
        n_bands = len(self.bands)
        return (n_bands, self.pixels, self.pixels) if self.is_pixel else (n_bands,)

    @property
    def nbytes(self) -> int:
        """Bytes of one array, without any header."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names of its bands, in their order."""
        return tuple(band.name for band in self.bands)

    @property
    def codes(self) -> tuple[int, ...]:
        """Codes of its classes; a class's position here is its index for a model."""
        return tuple(entry.code for entry in self.classes)

    @property
    def has_gaps(self) -> bool:
        """Whether a number between its first class code and its last is no class."""
        codes = self.classes
        return bool(codes) and len(codes) <= codes[-1].code - codes[0].code

    @property
    def has_code_column(self) -> bool:
        """Whether its class code is a plain column of the manifest, so that `biome = 12` is SQL."""
        return self.kind == "categorical" and self.level == "tile" and len(self.bands) == 1

    def index(self, names: tuple[str, ...]) -> list[int]:
        """Return the positions of bands by name.

        Raises:
            ConfigError: A name is not a band of this layer.
        """
        known = self.band_names
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigError(
                f"{self.name} has no band {unknown[0]!r}; its bands are {', '.join(known)}"
            )
        return [known.index(name) for name in names]

    def class_indices(self, codes: NDArray[np.generic]) -> NDArray[np.int64]:
        """Return the positions in `classes` of valid class codes, in the shape of `codes`."""
        if self.codes == tuple(range(len(self.codes))):
            return codes.astype(np.int64)
        order = np.argsort(self.codes)
        return np.asarray(order[np.searchsorted(np.sort(self.codes), codes)], dtype=np.int64)

    def empty(self) -> NDArray[np.generic]:
        """Return an array of this layer that holds nothing but no-data.

        Raises:
            ConfigError: The layer has no no-data value.
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
        """Refuse an array that breaks this layer's contract.

        Args:
            array: Of `shape` and `dtype`; `nodata` where absent.

        Raises:
            DataError: Its shape, dtype or a valid value differs from the contract.
        """
        if array.shape != self.shape or array.dtype != np.dtype(self.dtype):
            raise DataError(
                f"{self.name}: found {array.dtype} {array.shape}, "
                f"expected {self.dtype} {self.shape}"
            )
        if not self.is_pixel and self._are_all_right(array.tolist()):
            return
        bands = array.reshape(len(self.bands), -1)
        for band, values, valid in zip(self.bands, bands, self.valid(bands), strict=True):
            self._check_band(band, values[valid])

    def _are_all_right(self, values: list[float]) -> bool:
        """Return whether values, one per band, are valid, where that is seen at once."""
        pairs = zip(self.bands, values, strict=True)
        return not self.has_gaps and all(b.valid[0] <= v <= b.valid[1] for b, v in pairs)

    def _check_band(self, band: Band, values: NDArray[np.generic]) -> None:
        """Refuse valid values, (n,), outside of the band's range or of no class."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        least, most = np.asarray(band.valid, values.dtype).tolist()  # 0.3 of float32 is more
        if not (least <= low and high <= most):
            raise DataError(
                f"{self.name} {band.name}: found values {low:g} to {high:g} {band.unit}, "
                f"expected {band.valid[0]:g} to {band.valid[1]:g}; "
                "check the unit, scale and offset"
            )
        if self.has_gaps:
            unknown = np.setdiff1d(values, self.codes)
            if unknown.size:
                raise DataError(
                    f"{self.name} {band.name}: found class code {unknown[0]:g}, expected one of "
                    f"{', '.join(map(str, self.codes[:20]))}; check classes"
                )
