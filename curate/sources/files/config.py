"""The configuration of the `files` source: which of the user's files hold which modality."""

from __future__ import annotations

import datetime
import math
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mmearth.catalog.classes import product_codes
from mmearth.catalog.layer import Layer, Resampling
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.sources.files.times import Stamps


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DateConfig(_Strict):
    """Where a file's date is: exactly one of value, tag, name, json."""

    value: datetime.date | None = None
    """The date itself."""
    tag: str | None = None
    """A tag of the raster that begins with YYYY-MM-DD."""
    name: str | None = None
    """A regular expression on the path, with groups year, month and day."""
    json_key: str | None = None
    """A key of a JSON document beside the raster, whose value begins with YYYY-MM-DD."""
    file: str | None = None
    """For `tag` and `json_key`: pattern of the file to look in, in the raster's own directory."""

    @model_validator(mode="after")
    def _one(self) -> DateConfig:
        given = [k for k in ("value", "tag", "name", "json_key") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of value, tag, name, json_key; found {given}")
        if self.json_key is not None and self.file is None:
            raise ValueError("json_key needs file: the pattern of the JSON document's name")
        if self.name is not None:
            _check_pattern(self.name)
        return self


class Rasters(_Strict):
    """Rasters that hold one modality, or a pixel-level target."""

    path: str
    """Path or pattern, relative to `root`; with `files`, a pattern of directories."""
    product: str
    """What it is: the modality's own collection, or another product with `stand_in`."""
    stand_in: str | None = None
    """Why another product may stand in for the modality's own."""
    files: dict[str, str] | None = None
    """Band → pattern of its own file in the directory, for products of one file a band."""
    bands: dict[str, int | str] | None = None
    """Band → number from 1 or description in the file; found by bands.py unless given."""
    variable: str | None = None
    """Variable of a NetCDF file."""
    months: bool | int = False
    """Its twelve bands are the months of a climatology, or those of this year are: precipitation,
    or mean temperature."""
    stamps: Stamps | None = None
    """With `months`: what of a month its moment on the file's time axis is, where that is told by
    nothing else; see times.py."""
    scale: float | Literal["auto"] | None = None
    """File value × scale + offset = value in `unit`; `auto`: Sentinel-2 by its greatest value."""
    offset: float | Literal["auto"] | None = None
    """See `scale`; `auto`: Sentinel-2 by its processing baseline."""
    unit: str | dict[str, str] | None = None
    """Of the scaled values, of all bands or by band; the bands' own unless given."""
    nodata: float | tuple[float, ...] | None = None
    """Stored values that mean no data, besides those that the file declares."""
    crs: str | None = None
    """In place of the file's own."""
    resampling: Resampling | None = None
    """The modality's own unless given."""
    classes: dict[int, int | None] | None = None
    """File code → our class code, None for no data; the known product's unless given."""
    clamp: bool = False
    """Bring values a little outside the band's valid range to its end (reflectance below 0)."""
    derive_slope: bool = False
    """Compute aster_gdem's slope from its elevation."""
    date: DateConfig | None = None
    """When it was acquired; undated unless given."""

    @property
    def told_nodata(self) -> tuple[float, ...]:
        """The entry's no-data values."""
        if self.nodata is None:
            return ()
        return self.nodata if isinstance(self.nodata, tuple) else (self.nodata,)

    @field_validator("path")
    @classmethod
    def _path(cls, path: str) -> str:
        return _relative(path)

    @model_validator(mode="after")
    def _consistent(self) -> Rasters:
        for key in ("scale", "offset"):
            if isinstance(number := getattr(self, key), float) and not math.isfinite(number):
                raise ValueError(f"{key}: {number} is no number to reckon with; correct it")
        for key in ("files", "bands"):
            if getattr(self, key) == {}:
                raise ValueError(f"{key}: names no band; name one, or leave it out")
        if self.scale == 0.0:
            raise ValueError("scale: 0 would make all values one; correct it")
        if self.files is not None and (self.bands is not None or self.months):
            raise ValueError("files: names each band's own file; leave out bands: and months:")
        if self.stamps is not None and not self.months:
            raise ValueError("stamps: tells which month a moment is of; give months:, too")
        if self.bands is not None and self.months:
            raise ValueError("months: takes twelve bands by their months; leave out bands:")
        return self


class RasterTargets(Rasters):
    """A raster that is a task's target, and perhaps says where its tiles are."""

    product: str = "own"
    """What it is."""
    root: str = "."
    """Directory that `path` starts from, relative to the configuration's directory."""
    spacing_m: float | None = Field(default=None, gt=0)
    """Distance of the tiles' centres; side by side unless given."""
    limit: int | None = Field(default=None, gt=0)
    """At most so many places, every n-th of them."""


class Polygons(_Strict):
    """Polygons that hold a class: the one that contains a tile's centre counts."""

    path: str
    """A vector file, relative to `root`."""
    layer: str | None = None
    """Of the file, where it has several."""
    crs: str | None = None
    """Of the polygons, where the file names none or a wrong one."""
    field: str
    """The field with the class's name."""
    product: str
    """What it is: the modality's own collection, or another product with `stand_in`."""
    stand_in: str | None = None
    """Why another product may stand in for the modality's own."""

    @field_validator("path")
    @classmethod
    def _path(cls, path: str) -> str:
        return _relative(path)


class FilesConfig(_Strict):
    """Rasters and vectors that the user has."""

    kind: Literal["files"]
    """Selects this source."""
    root: str = "."
    """Directory that all paths here start from, relative to the configuration's directory."""
    rasters: dict[str, list[Rasters]] = Field(default_factory=dict)
    """By modality, or task with pixel-level targets. Of several entries choose.py takes one."""
    polygons: dict[str, Polygons] = Field(default_factory=dict)
    """By modality: biome, ecoregion."""

    @field_validator("rasters")
    @classmethod
    def _rasters(cls, entries: dict[str, list[Rasters]]) -> dict[str, list[Rasters]]:
        usable = {n for n, m in MMEARTH_BENCH.layers.items() if m.level == "pixel"}
        usable |= {n for n, t in MMEARTH_BENCH.tasks.items() if t.is_pixel}
        usable |= {"precipitation", "temperature"}
        for name, rasters in entries.items():
            if name not in usable:
                raise ValueError(f"{name!r} cannot come from rasters; expected {sorted(usable)}")
            for raster in rasters:
                _check_product(name, raster.product, raster.stand_in)
                _check_options(name, raster)
        return entries

    @field_validator("polygons")
    @classmethod
    def _polygons(cls, entries: dict[str, Polygons]) -> dict[str, Polygons]:
        for name, entry in entries.items():
            if name not in ("biome", "ecoregion"):
                raise ValueError(f"{name!r} cannot come from polygons; expected biome or ecoregion")
            _check_product(name, entry.product, entry.stand_in)
        return entries


def _check_options(name: str, raster: Rasters) -> None:
    """Refuse what has no meaning for a modality, or would blend class codes."""
    modality = MMEARTH_BENCH.layers.get(name)
    if raster.derive_slope and name != "aster_gdem":
        raise ValueError(f"{name}: derive_slope is for aster_gdem only; leave it out")
    if raster.months and (modality is None or modality.level != "tile"):
        raise ValueError(f"{name}: months is for precipitation and temperature; leave it out")
    if "auto" in (raster.scale, raster.offset) and name != "sentinel2":
        raise ValueError(f"{name}: auto is for scale and offset of sentinel2; give a number")
    if modality is not None and modality.kind == "categorical":
        _check_classes(modality, raster)
    elif raster.classes is not None:
        raise ValueError(f"{name}: classes is for class codes, and {name} has none; leave it out")


def _check_classes(modality: Layer, raster: Rasters) -> None:
    if raster.resampling == "bilinear":
        raise ValueError(f"{modality.name}: bilinear would blend class codes; use nearest")
    numeric = {"scale": raster.scale, "offset": raster.offset, "unit": raster.unit}
    given = [key for key, value in numeric.items() if value is not None]
    if given or raster.clamp:
        raise ValueError(
            f"{modality.name}: {(given or ['clamp'])[0]} is for numbers, and these are class "
            "codes; give classes: instead"
        )
    codes = raster.classes or product_codes(modality.name, raster.product)
    if codes is None:
        raise ValueError(
            f"{modality.name}: the class codes of {raster.product!r} are not known here; give "
            "classes: with one of ours, or null, for each of them"
        )
    ours = {found.code for found in modality.classes}
    wrong = sorted({code for code in codes.values() if code is not None} - ours)
    if wrong:
        raise ValueError(
            f"{modality.name} has no class {wrong[0]}; expected {min(ours)} to {max(ours)} in "
            "classes:"
        )


def _relative(path: str) -> str:
    """Refuse a path whose name would differ from machine to machine."""
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise ValueError(f"{path!r} leaves root:; give it relative to root:, or change root:")
    return path


def _check_pattern(pattern: str) -> None:
    try:
        groups = re.compile(pattern).groupindex
    except re.error as exc:
        raise ValueError(f"date.name {pattern!r} is no regular expression: {exc}") from exc
    if not {"year", "month", "day"} <= set(groups):
        raise ValueError(f"date.name {pattern!r} needs groups year, month and day")


def _check_product(name: str, product: str, stand_in: str | None) -> None:
    """Refuse another product than the modality's own without a reason."""
    if (
        name not in MMEARTH_BENCH.layers
        or product == MMEARTH_BENCH.layers[name].product
        or stand_in
    ):
        return
    raise ValueError(
        f"{name}: product {product!r} is not {MMEARTH_BENCH.layers[name].product!r}; if it shall "
        'be used all the same, say why with stand_in: "…"'
    )
