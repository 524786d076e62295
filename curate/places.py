"""Where a task's places come from: the kinds that a configuration may name."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """A part of the configuration: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelsPlaces(Strict):
    """Places from the source's own label reader."""

    count: int = Field(gt=0)
    """How many places."""


class RangesConfig(Strict):
    """Polygons of species' ranges, one or more features a species."""

    path: str
    """Any vector file that GDAL reads, in any CRS."""
    name: str = "sci_name"
    """The field with the species' name; underscores count as blanks."""


class PointsPlaces(Strict):
    """Places from a table of points: CSV, Parquet, GeoParquet, GeoJSON or any GDAL vector file."""

    path: str
    """The file, relative to the configuration's directory."""
    lon: str = "lon"
    """Column of longitudes; ignored where the file has point geometries."""
    lat: str = "lat"
    """Column of latitudes; ignored where the file has point geometries."""
    value: str | None = None
    """Column of the target of a tile-level regression."""
    species: str | None = None
    """Column of species' names separated by `;`."""
    ranges: RangesConfig | None = None
    """Or the polygons that tell which species are present."""
    date: str | None = None
    """Column of dates, `YYYY-MM-DD`."""
    id: str | None = None
    """Column of identifiers."""


class GridPlaces(Strict):
    """Places on a regular grid inside polygons."""

    path: str
    """Vector file of the polygons."""
    spacing_m: float = Field(gt=0)
    """Distance between neighbouring places, in metres."""
    limit: int | None = Field(default=None, gt=0)
    """At most so many places, every n-th of them."""
    ranges: RangesConfig | None = None
    """Polygons that tell which species are present."""


class GediPlaces(Strict):
    """Places of biomass from GEDI L4A granules on disk, balanced over biomes and ecoregions."""

    granules: tuple[str, ...] = Field(min_length=1)
    """HDF5 files, ZIP archives that hold them, or patterns with `*` and `**`."""
    ecoregions: str | None = None
    """Vector file of RESOLVE Ecoregions 2017, to balance the places; None takes all places."""
    count: int = Field(default=20_000, gt=0)
    """Places in all: as many from each biome, and within it by the area of its ecoregions."""
    first: str | None = "2020-01-01"
    """First day of the granules that count, `YYYY-MM-DD`; None for any."""
    last: str | None = "2020-12-31"
    """Last day, included."""


class SoilPlaces(Strict):
    """Places of a soil property from a table of profiles: WoSIS TSV, or CSV by column names."""

    path: str
    """The table: comma- or tab-separated."""
    lon: str = "longitude"
    """Column of longitudes."""
    lat: str = "latitude"
    """Column of latitudes."""
    upper: str | None = "upper_depth"
    """Column of the layer's upper depth, cm; None when there is none."""
    lower: str | None = "lower_depth"
    """Column of the layer's lower depth, cm."""
    value: str = "value_avg"
    """Column of the property."""
    scale: float = 1.0
    """Factor from the table's unit to the task's (per cent to g/kg: 10)."""
    uncertainty: str | None = "positional_uncertainty"
    """Column of the positional uncertainty; None when there is none."""
    uncertainties: tuple[str, ...] = ("Circa 100 m",)
    """The uncertainties that are kept."""
    shallowest_cm: float = 0.0
    """Least upper depth."""
    deepest_cm: float = 5.0
    """Greatest lower depth."""
    id: str | None = "profile_id"
    """Column of identifiers."""


class RangePlaces(Strict):
    """Places drawn at random from species' ranges, in Africa and outside it."""

    ranges: RangesConfig
    """The polygons."""
    in_africa: int = Field(default=100, ge=0)
    """Places of each species in its African range."""
    outside: int = Field(default=300, ge=0)
    """Places of each species in the rest of its range."""
    select: bool = True
    """Choose the species by the published rule; else take those the task knows."""
