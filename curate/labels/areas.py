"""Tables of polygons: any vector file, or a table with a column of well-known text (WKT)."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from mmearth.catalog.errors import ConfigError
from mmearth.curate.labels.delimited import check_columns, found_of, read_rows
from mmearth.curate.labels.located import locate
from mmearth.curate.labels.table import Table, is_text, refuse_encoding, text_columns, trimmed
from mmearth.curate.places import RangesConfig
from mmearth.curate.vector import Layer, crs_of, polygons_of, read_layer

_WKT = re.compile(r'\s*"?\s*(multi)?(polygon|point|linestring)', re.IGNORECASE)
"""How a cell that holds a geometry looks."""


def read_areas(
    path: Path, config: RangesConfig, optional: Collection[str] = ()
) -> gpd.GeoDataFrame:
    """Return a table's polygons with their names; see `vector.read_polygons`.

    Args:
        path: Text (CSV, TSV and the like) or Parquet with a column of WKT, or any vector file.
        config: Says how the file is read, and the columns.
        optional: Names, in small letters, of columns that are read where they are there.

    Raises:
        ConfigError: The file cannot be read, a column is missing, a cell is no WKT, or most of the
            polygons are not on Earth, or at sea and on land with longitude and latitude swapped.
    """
    names = {"name": config.name, "wkt": config.wkt}
    if is_text(path):
        rows = read_rows(path, [*names.items()], {config.wkt: _WKT}, optional, config.encoding)
        text, lines, malformed = text_columns(rows), rows.lines, tuple(rows.malformed)
    else:
        refuse_encoding(path, config.encoding)
        found = read_layer(path, config.layer, config.crs)
        if found.shapes is not None:
            return polygons_of(path, found, config.name)
        fields = found.fields
        names |= found_of(fields.column_names, optional)
        check_columns(path, fields.column_names, [*names.items()])
        text = {key: trimmed(key, fields[name]) for key, name in names.items()}
        lines, malformed = [*range(1, len(fields) + 1)], ()
    said = None if config.crs is None else crs_of(path, None, config.crs)
    table = Table(
        path, names, text, np.array(lines), is_text(path), False, malformed, 0, None, said
    )
    columns = {config.name: text["name"], **{key: text[key] for key in optional if key in text}}
    return polygons_of(path, Layer(pa.table(columns), _shapes(table, config), said or CRS(4326)))


def _shapes(table: Table, config: RangesConfig) -> NDArray[np.object_]:
    """Return the geometries of a table's column of WKT, None where a cell is empty.

    Raises:
        ConfigError: A cell is something else, or they are elsewhere; see `read_areas`.
    """
    text = np.array(table.text["wkt"].to_pylist(), dtype=object)
    shapes = np.asarray(shapely.force_2d(shapely.from_wkt(text, on_invalid="ignore")))
    broken = np.array([cell is not None for cell in text]) & shapely.is_missing(shapes)
    if broken.any():
        raise ConfigError(
            f"{table.cell('wkt', int(np.argmax(broken)))}, expected a polygon in WKT, such as "
            "POLYGON ((30 10, 40 40, 20 40, 30 10)), without SRID; correct the cell, or name "
            "another column with wkt:"
        )
    locate(replace(table, points=shapely.centroid(shapes)), config.crs)
    return shapes
