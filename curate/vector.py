"""Reading vector files: one way, whatever the format, in longitude and latitude."""

from __future__ import annotations

import logging
import re
import warnings
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from mmearth.catalog.errors import ConfigError
from mmearth.curate.antimeridian import CrossingError, single_polygons, to_lonlat
from mmearth.curate.texts import as_text

_PARQUET = {".parquet", ".geoparquet", ".pq"}
_BOOK, _BOOK_BYTES = "xl/workbook.xml", 1 << 24
_UNREADABLE = (OSError, ValueError, pa.ArrowException)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One layer of a vector file, as it is there."""

    fields: pa.Table
    """Its attributes as text, null where empty."""
    shapes: NDArray[np.object_] | None
    """Its geometries in two dimensions, None where one is absent, (n,); None in a plain table."""
    crs: CRS | None
    """Of the coordinates; None in a plain table of which nobody says it."""


def read_layer(path: Path, layer: str | None = None, crs: str | None = None) -> Layer:
    """Read one layer of a vector file.

    Args:
        path: Parquet, GeoParquet, or any file that GDAL reads.
        layer: Its name; None where only one has geometries.
        crs: What to take for the CRS, where the file names none or a wrong one.

    Raises:
        ConfigError: The file cannot be read, has several layers or not this one, or has geometries
            and names no CRS.
    """
    if path.suffix.lower() in _PARQUET:
        return _of_parquet(path, crs)
    meta, table = _opened(path, layer)
    if meta["geometry_type"] is None:
        return Layer(as_text(path, table), None, _said(path, crs))
    name = meta["geometry_name"] or "wkb_geometry"
    return Layer(
        as_text(path, table.drop_columns([name])),
        _shapes(path, table[name]),
        crs_of(path, meta["crs"], crs),
    )


def _opened(path: Path, layer: str | None) -> tuple[dict[str, Any], pa.Table]:
    """Return what pyogrio says of a layer, and its table; what GDAL warns of is logged.

    Raises:
        ConfigError: It cannot be read, or only in part.
    """
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            options = _sheet_options(path)
            # Times stay as they are written, with their offsets from UTC.
            found = pyogrio.read_arrow(
                path, layer=_chosen(path, layer), datetime_as_string=True, **options
            )
    # pyogrio stumbles over some damaged files: it looks up what is not there.
    except (*_UNREADABLE, DataSourceError, DataLayerError, LookupError, NameError) as exc:
        if isinstance(exc, ConfigError):
            raise
        why = " ".join(str(exc).partition("; It might help")[0].split())
        raise ConfigError(
            f"{path} cannot be read as a vector file ({why}); save it as GeoPackage, or a table as "
            "CSV"
        ) from exc
    for said in dict.fromkeys(str(warning.message) for warning in told):
        if "parsed incompletely" in said:  # a number of a shapefile, with other characters in it
            raise ConfigError(f"{path} has a cell that is no number ({said}); correct it")
        _log.warning("%s: %s", path, said)
    meta, table = found
    return meta, table


def _sheet_options(path: Path) -> dict[str, str]:
    """Return how GDAL shall open a spreadsheet: its first row is names, even where all is text.

    Raises:
        ConfigError: Its days are counted from 1904, which GDAL takes for 1900.
    """
    if path.suffix.lower() not in (".xlsx", ".xlsm", ".ods"):
        return {}
    with suppress(OSError, KeyError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        if archive.getinfo(_BOOK).file_size < _BOOK_BYTES and re.search(
            rb'date1904="(1|true)"', archive.read(_BOOK)
        ):
            raise ConfigError(f"{path} counts its days from 1904; save it as CSV")
    return {"HEADERS": "FORCE"}


def _of_parquet(path: Path, crs: str | None) -> Layer:
    try:
        table = pq.read_table(path, partitioning=None)
        if b"geo" not in (table.schema.metadata or {}):
            return Layer(as_text(path, table), None, _said(path, crs))
        frame = gpd.read_parquet(path, partitioning=None)
    # What a file says of itself is JSON, in which pandas and geopandas look up what may not be.
    except (*_UNREADABLE, LookupError, TypeError, AttributeError) as exc:
        if isinstance(exc, ConfigError):
            raise
        raise ConfigError(
            f"{path} cannot be read as Parquet ({' '.join(str(exc).split())})"
        ) from exc
    shapes = list(frame.columns[frame.dtypes == "geometry"])
    return Layer(
        as_text(path, table.drop_columns(shapes)),
        np.asarray(shapely.force_2d(frame.geometry.to_numpy())),
        crs_of(path, frame.crs, crs),
    )


def _said(path: Path, crs: str | None) -> CRS | None:
    return None if crs is None else crs_of(path, None, crs)


def crs_of(path: Path, found: object, said: str | None) -> CRS:
    """Return the CRS of a file's coordinates.

    Args:
        path: The file.
        found: What it says itself, as pyproj reads it; None where it says nothing.
        said: `crs:` of the configuration; the file's own gives way to it, with a warning.

    Raises:
        ConfigError: Neither says one, or it is none.
    """
    if found is None and said is None:
        raise ConfigError(f"{path} names no CRS; write it into the file, or say crs: EPSG:4326")
    try:
        own = None if found is None else CRS.from_user_input(found).to_2d()
        crs = CRS.from_user_input(found if said is None else said).to_2d()
        Transformer.from_crs(crs, CRS(4326))
    except ProjError as exc:
        raise ConfigError(
            f"{path} has the CRS {said or found!r}, which PROJ cannot bring to longitude and "
            "latitude; write the EPSG code of its coordinates into the file"
        ) from exc
    if own is not None and not own.equals(crs, ignore_axis_order=True):
        _log.warning("%s says that it is in %s; taken for %s, as crs: says", path, own.name, said)
    return crs


def read_polygons(
    path: Path, *fields: str, layer: str | None = None, crs: str | None = None
) -> gpd.GeoDataFrame:
    """Return a vector file's polygons in EPSG:4326, one row a polygon of one part.

    They are valid, and lie between 180° W and 180° E: those that cross the antimeridian, in
    whatever CRS, are cut there. Other geometries are left out with a warning.

    Args:
        path: Any file that GDAL reads.
        fields: Columns that must be there.
        layer: See `read_layer`.
        crs: See `read_layer`.

    Returns:
        The columns as text, in the order of the file.

    Raises:
        ConfigError: As `read_layer`; a field is missing, the file holds no polygon, or one of them
            may cross the antimeridian or not.
    """
    return polygons_of(path, read_layer(path, layer, crs), *fields)


def polygons_of(path: Path, found: Layer, *fields: str) -> gpd.GeoDataFrame:
    """Return a layer's polygons, as `read_polygons` does.

    Raises:
        ConfigError: A field is missing, it holds no polygon, or one of them may cross the
            antimeridian or not.
    """
    if found.shapes is None or found.crs is None:
        raise ConfigError(f"{path} has no geometries; expected a vector file")
    names = found.fields.column_names
    for field in fields:
        if names.count(field) != 1:
            raise ConfigError(
                f"{path} has {'several fields' if field in names else 'no field'} {field!r}; its "
                f"fields are {', '.join(names)}"
            )
    parts, row = single_polygons(found.shapes)
    n_other = found.shapes.size - np.count_nonzero(_absent(found.shapes)) - np.unique(row).size
    if n_other:
        _log.warning("%s: %d features are no polygons: left out", path, n_other)
    _refuse_metres(path, parts, found.crs)
    try:
        parts, of_part = to_lonlat(parts, found.crs)
    except CrossingError as exc:
        raise ConfigError(f"{path} {exc}") from exc
    except shapely.errors.GEOSException as exc:  # of coordinates, or a unit, far out of bounds
        raise ConfigError(
            f"{path} has polygons that cannot be brought to longitude and latitude ({exc})"
        ) from exc
    lost = np.setdiff1d(np.arange(row.size), of_part)
    if lost.size:
        _log.warning("%s: %d polygons have a vertex that is no place: left out", path, lost.size)
    if not parts.size:
        raise ConfigError(f"{path} holds no polygon; expected an area")
    columns = found.fields.take(pa.array(row[of_part])).to_pandas()
    return gpd.GeoDataFrame(columns, geometry=parts, crs=4326)


def _refuse_metres(path: Path, polygons: NDArray[np.object_], crs: CRS) -> None:
    """Refuse polygons in degrees that are none: the CRS is missing or wrong."""
    if not crs.is_geographic:
        return
    west, south, east, north = shapely.bounds(polygons).reshape(-1, 4).T
    off = np.maximum(np.abs(west), np.abs(east)) > 2 * 360.0
    off |= np.maximum(np.abs(south), np.abs(north)) > 100.0  # a grad at the pole
    if off.any():
        i = int(np.argmax(off))
        raise ConfigError(
            f"{path} has a polygon at x {west[i]:.15g} and y {south[i]:.15g}, which are no degrees;"
            " say crs: with the EPSG code of its grid, as EPSG:32632"
        )


def _chosen(path: Path, layer: str | None) -> str:
    """Return the name of the layer to read.

    Raises:
        ConfigError: There are several, or none of this name.
    """
    layers = pyogrio.list_layers(path).tolist()
    if not layers:
        raise ConfigError(f"{path} has no layer; expected a vector file")
    names = sorted(name for name, _ in layers)
    if layer is not None:
        if layer not in names:
            raise ConfigError(
                f"{path} has no layer {layer!r}; say layer: with one of {', '.join(names)}"
            )
        return layer
    # Programs keep styles and the like in further layers, without geometries.
    shaped = sorted(name for name, kind in layers if kind is not None) or names
    if len(shaped) > 1:
        raise ConfigError(
            f"{path} has {len(shaped)} layers; say layer: with one of {', '.join(shaped)}"
        )
    return str(shaped[0])


def _shapes(path: Path, column: pa.ChunkedArray) -> NDArray[np.object_]:
    wkb = np.array(column.to_pylist(), dtype=object)
    with np.errstate(invalid="ignore"):  # some writers leave NaN in a coordinate
        shapes = np.asarray(shapely.force_2d(shapely.from_wkb(wkb, on_invalid="ignore")))
    n_damaged = column.length() - column.null_count - int(np.count_nonzero(~_absent(shapes)))
    if n_damaged:
        _log.warning("%s: %d geometries are damaged: left out", path, n_damaged)
    return shapes


def _absent(shapes: NDArray[np.object_]) -> NDArray[np.bool_]:
    return np.asarray(shapely.is_missing(shapes))
