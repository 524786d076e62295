"""Where a task's places come from: the kinds that a configuration may name."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pyproj import CRS
from pyproj.exceptions import CRSError

from mmearth.catalog.configuration import Strict


def _known_crs(crs: str) -> str:
    try:
        CRS.from_user_input(crs)
    except CRSError as exc:
        raise ValueError("expected a CRS that PROJ knows, such as EPSG:32632") from exc
    return crs


def _known_encoding(encoding: str) -> str:
    try:
        "".encode(encoding)
    except LookupError as exc:
        raise ValueError("expected an encoding that Python knows, such as cp1251") from exc
    return encoding


Encoding = Annotated[str, AfterValidator(_known_encoding)]
"""An encoding of text, such as `cp1251`."""
Crs = Annotated[str, AfterValidator(_known_crs)]
"""A CRS, such as `EPSG:32632`."""


class LabelsPlaces(Strict):
    """Places from the source's own label reader."""

    count: int = Field(gt=0)
    """How many places."""


class TableConfig(Strict):
    """A table of places: text, Parquet, GeoParquet, or any vector file that GDAL reads."""

    path: str
    """The file, relative to the configuration's directory."""
    layer: str | None = None
    """Of a vector file, where it has several."""
    crs: Crs | None = None
    """Of the coordinates: EPSG:4326, or what the file says, unless given."""
    encoding: Encoding | None = None
    """Of a table of text; found out unless given."""


class RangesConfig(TableConfig):
    """Polygons of species' ranges, one or more rows a species."""

    wkt: str = "WKT"
    """Column of polygons in WKT, where the file has no geometries of its own."""
    name: str = "sci_name"
    """The field with the species' name; underscores count as blanks, case does not matter."""
    presence: tuple[int, ...] | None = (1, 2, 3, 6, 7)
    """IUCN codes that count, where the file has a field `presence`: all but possibly extinct (4)
    and extinct (5); None for all, as the published recipe does unless codes are given."""
    origin: tuple[int, ...] | None = None
    """IUCN codes of the field `origin` that count; None for all."""
    seasonal: tuple[int, ...] | None = None
    """IUCN codes of the field `seasonal` that count; None for all."""


class PointsPlaces(TableConfig):
    """Places from a table of points."""

    lon: str = "lon"
    """Column of longitudes; ignored where the file has point geometries."""
    lat: str = "lat"
    """Column of latitudes; ignored where the file has point geometries."""
    value: str | None = None
    """Column of the one number of a regression, or of the class: its name or code."""
    values: tuple[str, ...] | None = None
    """Columns of a regression's numbers, in the order of the target's outputs."""
    labels: str | tuple[str, ...] | None = None
    """Column of lists of labels, separated by `;`, `,` or `|`; or a column per label, each named as
    its label, of 1 and 0."""
    species: str | None = None
    """Column of species' names separated by `;`, `,` or `|`."""
    ignore_unknown: bool = False
    """Whether names that the task does not know are left out instead of refused."""
    ranges: RangesConfig | None = None
    """Or the polygons that tell which species are present."""
    date: str | None = None
    """Column of dates, `YYYY-MM-DD`."""
    id: str | None = None
    """Column of identifiers."""


class PolygonTargets(Strict):
    """Polygons whose field is burnt onto each tile; ground without one is unlabelled."""

    path: str
    """Any vector file that GDAL reads, in any CRS."""
    layer: str | None = None
    """Of the file, where it has several."""
    crs: Crs | None = None
    """Of the polygons, where the file names none or a wrong one."""
    field: str
    """With the class, by name or code, or the number."""
    all_touched: bool = False
    """Whether a polygon colours every pixel that it touches, not those whose centre it holds."""
    spacing_m: float | None = Field(default=None, gt=0)
    """Distance of the tiles' centres; side by side unless given."""
    limit: int | None = Field(default=None, gt=0)
    """At most so many places, every n-th of them."""


class GridPlaces(Strict):
    """Places on a regular grid inside polygons."""

    path: str
    """Vector file of the polygons."""
    layer: str | None = None
    """Of the file, where it has several."""
    crs: Crs | None = None
    """Of the polygons, where the file names none or a wrong one."""
    spacing_m: float = Field(gt=0)
    """Distance between neighbouring places, in metres."""
    limit: int | None = Field(default=None, gt=0)
    """At most so many places, every n-th of them."""
    ranges: RangesConfig | None = None
    """Polygons that tell which species are present."""


GediTest = Literal[
    "degrade_flag",
    "l2_quality_flag",
    "l4_quality_flag",
    "leaf_off_flag",
    "region_class",
    "leaf_doy",
]
"""A published test of a GEDI shot that a configuration may leave out (labels/gedi/quality.py)."""


class GediPlaces(Strict):
    """Places of biomass from GEDI L4A granules on disk, balanced over biomes and ecoregions."""

    granules: tuple[str, ...] = Field(min_length=1)
    """HDF5 files, ZIP archives that hold them, or patterns with `*` and `**`."""
    ecoregions: str | None = None
    """Vector file of RESOLVE Ecoregions 2017, to balance the places; None takes all places."""
    layer: str | None = None
    """Of the ecoregions' file, where it has several."""
    crs: Crs | None = None
    """Of the ecoregions' file, where it does not say it."""
    count: int = Field(default=20_000, gt=0)
    """Places in all: as many from each biome, and within it by the area of its ecoregions."""
    first: datetime.date | None = datetime.date(2020, 1, 1)
    """Granules that begin before this day do not count; None for any."""
    last: datetime.date | None = datetime.date(2020, 12, 31)
    """Granules that end after this day do not count; None for any."""
    skip: tuple[GediTest, ...] = ()
    """Published tests that shall not be made."""

    @model_validator(mode="after")
    def _first_before_last(self) -> GediPlaces:
        if self.first is not None and self.last is not None and self.first > self.last:
            raise ValueError(f"first: {self.first} lies after last: {self.last}")
        return self


class SoilPlaces(TableConfig):
    """Places of a soil property from a table of profiles: WoSIS 2023, or others by column names.

    The defaults are the columns of the WoSIS snapshot of December 2023 and the published rules,
    which read no dates: most profiles are older than the satellites.
    """

    lon: str = "longitude"
    """Column of longitudes, degrees east."""
    lat: str = "latitude"
    """Column of latitudes, degrees north."""
    upper: str | None = "upper_depth"
    """Column of the layer's upper depth, cm; None when every row counts."""
    lower: str | None = "lower_depth"
    """Column of the layer's lower depth, cm; None when every row counts."""
    value: str = "value_avg"
    """Column of the property."""
    scale: float = Field(default=1.0, gt=0)
    """Factor from the table's unit to the task's (per cent to g/kg: 10)."""
    uncertainty: str | None = "positional_uncertainty"
    """Column of the positional uncertainty; None when every row counts."""
    uncertainties: tuple[str, ...] = ("Circa 100 m",)
    """The entries of that column that are kept."""
    max_uncertainty_m: float | None = Field(default=None, gt=0)
    """Instead, where that column holds metres: the greatest that is kept."""
    shallowest_cm: float = 0.0
    """Least upper depth."""
    deepest_cm: float = 5.0
    """Greatest lower depth."""
    date: str | None = None
    """Column of dates, as in `points:`."""
    id: str | None = "profile_id"
    """Column of identifiers; None when there is none."""


class RangePlaces(RangesConfig):
    """Places drawn at random from the ranges themselves, in Africa and outside it."""

    in_africa: int = Field(default=100, ge=0)
    """Places of each species in the African part of its range."""
    outside: int = Field(default=300, ge=0)
    """Places of each species in the rest of its range."""
    select: bool = False
    """Keep only species by the published rule: 6,000 km² in Africa and 6,000 km² outside it, the
    first 100 by name; else every species that the task knows."""
