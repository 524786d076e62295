"""Where the rows of a table lie: degrees, or a refusal that says what to write."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from mmearth.catalog.errors import ConfigError
from mmearth.curate.labels.table import Table
from mmearth.curate.sources.synthetic.planet import coast_km

_WGS84 = CRS(4326)
_NEAR_KM = 60.0  # from the coast: places of small islands, which the map of coasts lacks
_CELL_KM = 15.0  # half of what the map of coasts can tell apart
_LEAST_TURNED = 3  # places on land the other way round; of fewer nobody can tell
Double = NDArray[np.float64]


def locate(table: Table, said: str | None) -> tuple[Double, Double]:
    """Return the longitude and latitude of each row, degrees; NaN where it has no place on Earth.

    Longitudes may count from -360 to 360. At sea at 0° E 0° N lie places whose coordinates are not
    known.

    Args:
        table: With columns `lon` and `lat`, or points.
        said: `crs:` of the configuration: with it nobody asks whether the two are swapped.

    Raises:
        ConfigError: A coordinate is no number, or most places are not on Earth, or at sea and on
            land with longitude and latitude swapped.
    """
    if table.points is None:
        x, y = (_coordinate(table, key) for key in ("lon", "lat"))
    else:
        x, y = shapely.get_x(table.points), shapely.get_y(table.points)
    lon, lat = x, y
    if table.crs is not None and not table.crs.equals(_WGS84, ignore_axis_order=True):
        lon, lat = Transformer.from_crs(table.crs, _WGS84, always_xy=True).transform(x, y)
    _refuse_elsewhere(table, x, y, on_earth(lon, lat))
    if said is None:
        nowhere = (lon == 0.0) & (lat == 0.0)
        lon, lat = np.where(nowhere, np.nan, lon), np.where(nowhere, np.nan, lat)
        _refuse_swapped(table, lon, lat)
    return lon, lat


def on_earth(lon: Double, lat: Double) -> NDArray[np.bool_]:
    """Return which places are on Earth, (n,)."""
    return np.asarray((np.abs(lon) <= 360.0) & (np.abs(lat) <= 90.0))


def _coordinate(table: Table, key: str) -> Double:
    values, text = table.numbers(key)
    table.refuse_text(key, text)
    return values


def _refuse_elsewhere(table: Table, x: Double, y: Double, good: NDArray[np.bool_]) -> None:
    """Refuse a table of which most places are not on Earth: swapped columns, or metres."""
    off = np.isfinite(x) & np.isfinite(y) & ~good
    if np.count_nonzero(off) <= np.count_nonzero(good):
        return
    i = int(np.argmax(off))
    if on_earth(y[off], x[off]).all():
        hint = _how_to_swap(table)
    elif table.crs is None or table.crs.is_geographic:
        hint = "these are no degrees: say crs: with the EPSG code of its grid, as EPSG:32632"
    else:
        hint = f"they are not in {table.crs.name}: say crs: with the EPSG code of its grid"
    raise ConfigError(
        f"{table.path} has most of its places off the Earth, like x {x[i]:.15g} and y {y[i]:.15g}; "
        f"{hint}"
    )


def _refuse_swapped(table: Table, lon: Double, lat: Double) -> None:
    """Refuse places that lie on land only with longitude and latitude swapped.

    Nearly all must lie on land the other way round; as they are, two of three at sea, or one of
    ten off the Earth. Fewer than that are places at sea, on small islands, or wrong one by one.
    """
    placed = np.isfinite(lon) & np.isfinite(lat)
    places = np.unique(lon[placed] + 1j * lat[placed])  # each once: a profile has many layers
    here = _on_land(places.real, places.imag, _NEAR_KM)
    there = _on_land(places.imag, places.real, _CELL_KM)
    n, n_here, n_there = places.size, np.count_nonzero(here), np.count_nonzero(there)
    n_off = n - np.count_nonzero(on_earth(places.real, places.imag))
    at_sea = 3 * n_here <= n
    off = 10 * n_off >= n >= 10 and bool(on_earth(places.imag, places.real).all())
    if not (at_sea or off) or 10 * n_there < 9 * n or n_there < _LEAST_TURNED:
        return
    raise ConfigError(
        f"{table.path} has {n - n_here} of its {n} places at sea or off the Earth, but {n_there} "
        f"on land with longitude and latitude swapped; {_how_to_swap(table)}; if they are right as "
        "they are, say crs: EPSG:4326"
    )


def _on_land(lon: Double, lat: Double, near_km: float) -> NDArray[np.bool_]:
    """Return which places are on Earth and on land, or so near to it, (n,)."""
    land = on_earth(lon, lat)
    land[land] = coast_km(lon[land], lat[land]) > -near_km
    return land


def _how_to_swap(table: Table) -> str:
    if table.points is not None:
        return "swap the coordinates in the file"
    return f"write lon: {table.names['lat']} and lat: {table.names['lon']}"
