"""What a published file says twice must agree: places, months, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.documents import parse_json
from mmearth.catalog.errors import FormatError
from mmearth.catalog.layer import Layer
from mmearth.catalog.tile import EARTH_RADIUS_KM, Tile, centres
from mmearth.packaging.h5.layout import FOLLOWS, FORMAT, KEY_OF, KEYS

Columns = dict[str, NDArray[Any]]
"""Published key → the datasets that have no pixels."""
_PIXEL = FORMAT.grid.resolution_m / (1000 * EARTH_RADIUS_KM)  # in radians
_MONTH = 1e-3  # of cos and sin; those of two months differ by 0.13 at least


def check_places(path: Path, tiles: Sequence[Tile], dates: list[str], columns: Columns) -> None:
    """Compare transform, geolocation and geolocation_encoding, and month_encoding and the date.

    A row of nothing but NaN says nothing.

    Raises:
        FormatError: Two are more than a pixel apart, or of another month.
    """
    lon, lat = centres(tiles)
    x, y = np.radians(lon), np.radians(lat)
    if "geolocation" in columns:
        found = np.radians(columns["geolocation"].astype(np.float64))
        east = (found[:, 0] - x + np.pi) % (2 * np.pi) - np.pi
        apart = np.column_stack([east * np.cos(y), found[:, 1] - y])
        row = _first(apart, _PIXEL + 4 * _step(columns["geolocation"]), columns["geolocation"])
        _refuse_place(path, "geolocation", columns["geolocation"], row, lon, lat)
    key = KEY_OF["geolocation"]
    # A pixel of longitude is more of a turn, the nearer the pole.
    allowed = _PIXEL / np.column_stack([np.cos(y)] * 2 + [np.ones_like(y)] * 2)
    expected = np.column_stack([np.cos(x), np.sin(x), np.cos(y), np.sin(y)])
    row = _first(columns[key] - expected, allowed + _step(columns[key]), columns[key])
    _refuse_place(path, key, columns[key], row, lon, lat)
    key = KEY_OF["month"]
    angle = np.pi / 6 * np.array([int(date[5:7]) for date in dates])
    expected = np.column_stack([np.cos(angle), np.sin(angle)])
    row = _first(columns[key] - expected, _MONTH, columns[key])
    if row is not None:
        raise FormatError(
            f"{path}: row {row} has the {key} {columns[key][row].tolist()}, its sentinel2_date is "
            f"{dates[row]}, which gives {expected[row].round(6).tolist()}; fetch the file again"
        )


def missing_of(path: Path, columns: Columns, values: Columns) -> list[frozenset[str]] | None:
    """Return what each row's missing_modalities names, after comparing it with tile-level values.

    Args:
        path: Of the file, for the sentence.
        columns: As published.
        values: Key of a tile-level modality → its values in our dtype.

    Returns:
        Modalities of each row; None where the file has no such column.

    Raises:
        FormatError: It is no list of modalities, or names one that is there, or not one that is
            all no-data.
    """
    if "missing_modalities" not in columns:
        return None
    found = [_listed(path, row, text) for row, text in enumerate(columns["missing_modalities"])]
    for key, column in values.items():
        is_valid = valid_values(KEYS[key], column).reshape(len(found), -1)
        check_missing(path, KEYS[key].name, found, np.count_nonzero(is_valid, axis=1) == 0)
    return found


def check_missing(
    path: Path, name: str, missing: list[frozenset[str]], absent: NDArray[np.bool_]
) -> None:
    """Refuse rows whose missing_modalities and values of a modality are not of one mind.

    Raises:
        FormatError: There is such a row.
    """
    listed = np.array([name in each for each in missing])
    wrong = listed != absent
    if name in FOLLOWS:
        wrong &= ~absent
    if wrong.any():
        row = int(np.argmax(wrong))
        says = "lists" if listed[row] else "does not list"
        are = "all no-data" if absent[row] else "there"
        raise FormatError(
            f"{path}: row {row}: missing_modalities {says} {name}, and its values are {are}; "
            "expected a modality to be listed where all of it is no-data: fetch the file again"
        )


def check_unsaid(path: Path, absent: NDArray[np.bool_]) -> None:
    """Refuse rows without Sentinel-2 in a file that does not say what is missing.

    Raises:
        FormatError: There is such a row.
    """
    if absent.any():
        raise FormatError(
            f"{path}: row {int(np.argmax(absent))} has a sentinel2_date, and its Sentinel2 is all "
            "no-data, 65535; expected values, or sentinel2 in a column missing_modalities"
        )


def check_reflectances(path: Path, largest: NDArray[np.float64]) -> None:
    """Refuse Sentinel-2 as reflectances of 0 to 1: rounded, they would be 0 and 1.

    Args:
        path: Of the file, for the sentence.
        largest: (n,) the largest value of a row that has fractions, else infinity.

    Raises:
        FormatError: There is such a row.
    """
    if (largest <= 2).any():
        row = int(np.argmax(largest <= 2))
        raise FormatError(
            f"{path}: row {row} of Sentinel2 has values up to {largest[row]:g}, which are "
            "reflectances; expected reflectance times 10000 as published: multiply them"
        )


def valid_values(layer: Layer, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a tile-level modality has a value; NaN where it has no no-data value is none."""
    return np.asarray(~np.isnan(values)) if layer.nodata is None else layer.valid(values)


def _listed(path: Path, row: int, text: str) -> frozenset[str]:
    where = f"{path}: row {row} has the missing_modalities {text[:60]!r}"
    names = parse_json(text.encode(), where)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FormatError(f"{where}; expected a JSON list of names")
    # Lower-case names as published; a name of a dataset is meant alike.
    listed = frozenset(KEYS[name].name if name in KEYS else name.lower() for name in names)
    if listed - FORMAT.layers.keys():
        raise FormatError(f"{where}; expected names of {', '.join(FORMAT.layers)}")
    return listed


def _first(apart: NDArray[Any], allowed: Any, said: NDArray[Any]) -> int | None:
    """Return the first row that is further apart than allowed; a row of NaN says nothing."""
    silent = np.isnan(said).all(axis=1)
    wrong = ~(np.abs(apart) <= allowed).all(axis=1) & ~silent
    return int(np.argmax(wrong)) if wrong.any() else None


def _step(values: NDArray[Any]) -> float:
    """Return how exact a dtype is near one."""
    return float(np.finfo(values.dtype).eps) if values.dtype.kind == "f" else 0.0


def _refuse_place(
    path: Path, key: str, said: NDArray[Any], row: int | None, lon: Any, lat: Any
) -> None:
    if row is not None:
        raise FormatError(
            f"{path}: row {row} has the {key} {said[row].tolist()}, its crs and transform say "
            f"lon {lon[row]:.6f}, lat {lat[row]:.6f}, which is more than a pixel away; fetch the "
            "file again"
        )
