"""What a raster says of itself, and whether it can be placed on the Earth."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.transform import Affine
from rasterio.warp import transform_bounds

from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.curate.sources.files.axes import is_rotated, is_transposed, says_degrees
from mmearth.curate.sources.files.classic import fault_of_classic
from mmearth.curate.sources.files.config import Rasters
from mmearth.curate.sources.files.times import Month, is_ambiguous, months_of, of_times

# A raster without a grid is refused in a sentence of ours. This is said for the whole process, for
# `catch_warnings` in one thread restores what another has set.
warnings.simplefilter("ignore", NotGeoreferencedWarning)

RASTER_ERRORS = (RasterioError, CPLE_BaseError, CRSError, ValueError, OSError, IndexError)
"""What rasterio raises for a file that it cannot use; GDAL's own errors are in no tree of its."""

Bounds = tuple[float, float, float, float]

_FLIPPED = Affine(1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
"""What some writers keep in place of no grid, besides the identity."""

_DESCRIBING_TAGS = ("tifftag_imagedescription", "description", "long_name", "unit", "units")


@dataclass(frozen=True, slots=True)
class BandHeader:
    """What a raster says of one of its bands."""

    number: int
    """From 1, alpha bands counted too."""
    description: str | None
    """Its name, as the file gives it."""
    unit: str | None
    """Of its values, as the file spells it."""
    scale: float
    """Stored value × scale + offset = the value."""
    offset: float
    """See `scale`."""
    nodata: tuple[float, ...]
    """Stored values that mean no data."""
    dtype: str
    """NumPy's name of the stored type."""
    month: Month | None
    """Of what month it is, where the file says so."""


@dataclass(frozen=True, slots=True)
class PixelGrid:
    """Where pixels lie."""

    crs: CRS
    """Of the coordinates."""
    transform: Affine
    """From (column, row) to coordinates."""
    height: int
    """Rows."""
    width: int
    """Columns."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a raster says of itself."""

    path: Path
    """The file."""
    bounds: Bounds
    """West, south, east, north in degrees, west ≤ east; may lie beyond 180."""
    bands: tuple[BandHeader, ...]
    """In the file's order, without alpha bands."""
    tags: dict[str, str]
    """Those of the whole file that tell of baselines and descriptions."""
    of_times: bool
    """Its bands are moments in time."""
    crs_told: str | None
    """The `crs:` of the entry, where the file declares another."""
    grid: PixelGrid
    """Where its pixels lie, by the CRS that counts."""
    beside: tuple[Path, ...]
    """Other files that decide what it holds: a mask, no-data values, what a VRT points to."""


def read_header(path: Path, entry: Rasters) -> Header:
    """Return what a raster says of itself.

    Raises:
        ConfigError: It holds several variables and the entry names none of them, or months of which
            nothing tells whether their moments are their starts or ends.
        FormatError: It cannot be opened, is complex, or does not say where on the Earth it lies.
    """
    with opened(path, entry.variable) as dataset:
        if dataset.count == 0:
            raise ConfigError(_several(path, dataset.subdatasets))
        if any(dtype.startswith("complex") for dtype in dataset.dtypes):
            raise FormatError(
                f"{path} holds complex numbers; expected real ones: convert it first, such as to "
                "calibrated backscatter"
            )
        _check_transform(dataset, path)
        crs, told = _crs(dataset, entry, path)
        _check_axes(dataset, crs, path)
        if entry.months and entry.stamps is None and is_ambiguous(dataset):
            raise ConfigError(
                f"{path} has a moment a month, each where one month becomes the next, and does not "
                "say whether they are their starts or their ends; say stamps: start, or stamps: end"
            )
        months = months_of(dataset, entry.stamps)
        return Header(
            path,
            _bounds(dataset, crs, path),
            tuple(_band(dataset, i, months) for i in _data_bands(dataset)),
            {key: text for key, text in dataset.tags().items() if _telling(key, text)},
            dataset.count > 1 and of_times(dataset),
            told,
            PixelGrid(crs, dataset.transform, dataset.height, dataset.width),
            _beside(dataset, path),
        )


@contextmanager
def opened(path: Path, variable: str | None) -> Iterator[rasterio.DatasetReader]:
    """Open a raster, or a variable of it.

    Raises:
        ConfigError: The variable is not there.
        FormatError: It cannot be opened, or what it says of itself cannot be read.
    """
    try:
        fault = fault_of_classic(path) if path.is_file() else None
        if fault is not None:
            raise FormatError(f"{path} cannot be opened as a raster: {fault}; replace it")
        with rasterio.open(dataset_name(path, variable)) as dataset:
            yield dataset
    except (ConfigError, FormatError):
        raise
    except RASTER_ERRORS as exc:
        names = _variables(path) if variable is not None else []
        if names and variable not in names:
            raise ConfigError(
                f"{path} has no variable {variable!r}; it has {', '.join(names)}"
            ) from exc
        if _is_cdf5(path):
            raise FormatError(
                f"{path} is NetCDF of the kind CDF-5, which GDAL cannot read here; convert it, "
                f"such as with nccopy -k nc4 {path.name} new.nc"
            ) from exc
        reason = " ".join(str(exc).split())
        raise FormatError(
            f"{path} cannot be opened as a raster ({reason}); correct path: or replace it"
        ) from exc


def dataset_name(path: Path, variable: str | None) -> str:
    """Return what GDAL opens: the path, or the variable of a NetCDF file."""
    return str(path) if variable is None else f'netcdf:"{path}":{variable}'


def crs_of(dataset: rasterio.DatasetReader, entry: Rasters) -> CRS:
    """Return the CRS to read a raster by: the entry's, or the file's own.

    A NetCDF file whose axes are degrees north and east needs no other word of it.
    """
    if entry.crs is not None:
        return CRS.from_user_input(entry.crs)
    return dataset.crs or (CRS.from_epsg(4326) if says_degrees(dataset) else dataset.crs)


def in_degrees(crs: CRS) -> bool:
    """Return whether coordinates are degrees east and north of Greenwich."""
    if not crs.is_geographic:
        return False
    text = crs.to_wkt()
    return bool(re.search(r'UNIT\["degree', text) and re.search(r'PRIMEM\["Greenwich', text))


def _crs(dataset: rasterio.DatasetReader, entry: Rasters, path: Path) -> tuple[CRS, str | None]:
    """Return the CRS, and the entry's text where the file declares another."""
    own = dataset.crs or None
    try:
        crs = crs_of(dataset, entry)
    except CRSError as exc:
        raise ConfigError(f"crs: {entry.crs!r} is not known; expected such as EPSG:32633") from exc
    if not crs:
        raise FormatError(f"{path} has no CRS; expected one in the file, or crs: in its entry")
    if not (crs.is_geographic or crs.is_projected):
        raise FormatError(
            f"{path} has a CRS that is no map of the Earth (local or geocentric); give the true "
            "one with crs:"
        )
    return crs, entry.crs if own is not None and entry.crs is not None and own != crs else None


def _check_axes(dataset: rasterio.DatasetReader, crs: CRS, path: Path) -> None:
    if is_rotated(dataset, crs):
        raise FormatError(
            f"{path} has longitudes and latitudes of a rotated pole, expected those of the Earth; "
            "bring it to them first, such as with cdo remapbil"
        )
    if is_transposed(dataset):
        raise FormatError(
            f"{path} has longitudes along its rows and latitudes along its columns, expected the "
            "other way round; turn it first, such as with ncpdq -a lat,lon"
        )


def _check_transform(dataset: rasterio.DatasetReader, path: Path) -> None:
    found = dataset.transform
    if found.is_identity or found == _FLIPPED or _counts_pixels(dataset):
        have = "only ground control points or a sensor model" if _has_points(dataset) else "none"
        raise FormatError(
            f"{path} says not where its pixels lie: expected a grid, found {have}; make one first, "
            "such as with gdalwarp, or by interpolating 2-D longitudes and latitudes to a grid"
        )
    numbers = tuple(found)[:6]
    flat = abs(found.determinant) < 1e-300
    if flat or not all(math.isfinite(number) for number in numbers):
        raise FormatError(f"{path} has the grid {numbers}, whose pixels have no area; replace it")


def _counts_pixels(dataset: rasterio.DatasetReader) -> bool:
    """Return whether a NetCDF file's axes only number its rows and columns, from 0 or 1."""
    if dataset.driver != "netCDF" or tuple(map(abs, dataset.transform[:6:4])) != (1.0, 1.0):
        return False
    if any(key.endswith("#units") and "degree" in text for key, text in dataset.tags().items()):
        return False
    box = dataset.bounds
    starts = (-0.5, 0.0, 0.5)
    return box.left in starts and min(box.bottom, box.top) in starts


def _has_points(dataset: rasterio.DatasetReader) -> bool:
    return bool(dataset.gcps[0]) or dataset.rpcs is not None


def _bounds(dataset: rasterio.DatasetReader, crs: CRS, path: Path) -> Bounds:
    box = dataset.bounds
    south, north = sorted((box.bottom, box.top))  # rows may run north
    west, east = sorted((box.left, box.right))
    if in_degrees(crs):
        slack = max(abs(n) for n in (dataset.transform.a, dataset.transform.e))
        if max(north, -south) > 90.0 + slack or max(east, -west) > 540.0 + slack:
            raise FormatError(
                f"{path} reaches from {west:g} to {east:g}° E and {south:g} to {north:g}° N; "
                "expected degrees on the Earth: its CRS or its grid is wrong, correct it or give "
                "crs:"
            )
        return west, south, east, north
    try:
        west, south, east, north = transform_bounds(
            crs, 4326, west, south, east, north, densify_pts=21
        )
    except (CPLE_BaseError, RasterioError, CRSError) as exc:
        raise FormatError(f"{path} lies outside what its CRS can show; correct crs:") from exc
    if not all(math.isfinite(number) for number in (west, south, east, north)):
        raise FormatError(f"{path} lies outside what its CRS can show; correct crs:")
    return west, south, east + (360.0 if east < west else 0.0), north


def _beside(dataset: rasterio.DatasetReader, path: Path) -> tuple[Path, ...]:
    """Return the files that GDAL reads besides a raster; overviews are not looked at."""
    found = {Path(name) for name in dataset.files if not name.endswith(".ovr")} - {path}
    return tuple(sorted(file for file in found if file.is_file() and path not in file.parents))


def _data_bands(dataset: rasterio.DatasetReader) -> list[int]:
    return [i for i, kind in enumerate(dataset.colorinterp) if kind != ColorInterp.alpha]


def _band(dataset: rasterio.DatasetReader, i: int, months: list[Month | None]) -> BandHeader:
    tags = dataset.tags(i + 1)
    units = [t for k, t in tags.items() if k.lower() in ("unit", "units")]
    told = [dataset.units[i] or "", tags.get("GRIB_UNIT", "").strip("[]-"), *units]
    found = [dataset.nodatavals[i]] + [_number(tags, k) for k in ("_FillValue", "missing_value")]
    nodata = tuple(dict.fromkeys(n for n in found if n is not None and not math.isnan(n)))
    return BandHeader(
        number=i + 1,
        description=dataset.descriptions[i] or None,
        unit=next((text.strip() for text in told if text.strip()), None),
        scale=dataset.scales[i],
        offset=dataset.offsets[i],
        nodata=nodata,
        dtype=str(np.dtype(dataset.dtypes[i])),
        month=months[i],
    )


def _number(tags: dict[str, str], key: str) -> float | None:
    try:
        return float(tags[key])
    except (KeyError, ValueError):
        return None


def _telling(key: str, text: str) -> bool:
    """Return whether a tag is one that baseline.py or reading.py looks at."""
    line = f"{key}={text}".lower()
    told = re.search(r"baseline[\w:]*=|offset_applied=|_add_offset", line)
    return key.lower() in _DESCRIBING_TAGS or told is not None


def _several(path: Path, subdatasets: list[str]) -> str:
    names = _names(subdatasets)
    if not names:
        return f"{path} holds no raster; correct path:"
    return (
        f"{path} holds several variables: {', '.join(names)}; say which with variable: {names[0]}"
    )


def _variables(path: Path) -> list[str]:
    """Return the variables of a NetCDF file, none of a file of another format."""
    try:
        with rasterio.open(path) as dataset:
            return _names(dataset.subdatasets or ([_only(dataset)] if dataset.count else []))
    except RASTER_ERRORS:
        return []


def _only(dataset: rasterio.DatasetReader) -> str:
    """Return the variable of a NetCDF file that has but one, with its group; else nothing."""
    name: str = dataset.tags(1).get("NETCDF_VARNAME", "")
    described = [key.partition("#")[0] for key in dataset.tags()]
    return next((key for key in described if key.rpartition("/")[2] == name), name)


def _names(subdatasets: list[str]) -> list[str]:
    """Return the variables of a container that are no coordinates."""
    names = [name.rpartition(":")[2].lstrip("/") for name in subdatasets]
    axes = r"(.*/)?(|lat|lon|latitude|longitude|time|.*_bnds)"
    return [name for name in names if not re.fullmatch(axes, name)]


def _is_cdf5(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as stream:
        return stream.read(4) == b"CDF\x05"
    return False
