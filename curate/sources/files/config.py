"""The configuration of the `files` source: which of the user's files hold which modality."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.classes import product_codes
from mmearth.catalog.configuration import AnyNumber, Strict
from mmearth.catalog.layer import Layer, Resampling
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.remote.address import is_remote
from mmearth.curate.sources.files.times import Stamps

TEMPLATE = r"\{(lat|lon)([1-9]\d?)\}"
"""What stands in an address for the south-western corner of a square of so many degrees."""
MONTH = "{month}"
"""What stands in an address for the two digits of a month, of a climatology of twelve files."""
_OWN = "own"
_COMPUTED = ("geolocation", "month")  # they follow from the tile and the date
_CLIMATE = ("precipitation", "temperature")
_DATED_BY = {"year": ("year",), "month": ("year", "month")}
"""Timing → groups that a pattern of dates must have; of other timings all three."""


class DateConfig(Strict):
    """Where a file's date is: exactly one of value, tag, name, json."""

    value: datetime.date | None = None
    """The date itself."""
    tag: str | None = None
    """A tag of the raster that begins with YYYY-MM-DD."""
    name: str | None = None
    """A regular expression on the path, with groups year, month and day; for a layer of a year or
    of a month, year, and month, are enough."""
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


class Rasters(Strict):
    """Rasters that hold one modality, or a pixel-level target."""

    path: str
    """Path or pattern, relative to `root`; with `files`, a pattern of directories. Or an address,
    `https://…` or `s3://bucket/…`, in which `{lat3}` and `{lon3}` may stand for the corner of a
    square of so many degrees, and `{month}` for a month (remote.py)."""
    product: str = _OWN
    """What it is: the modality's own product, or another one with `stand_in`. Of a layer or task of
    the user's own it may be left out."""
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
    nodata: AnyNumber | tuple[AnyNumber, ...] | None = None
    """Stored values that mean no data, besides those that the file declares."""
    crs: str | None = None
    """In place of the file's own."""
    resampling: Resampling | None = None
    """The modality's own unless given."""
    classes: dict[int, int | None] | None = None
    """File code → our class code, None for no data. Unless given, a known product's; a layer of the
    user's own has its own codes."""
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
        return _address(path) if is_remote(path) else _relative(path)

    @model_validator(mode="after")
    def _consistent(self) -> Rasters:
        if is_remote(self.path):
            _check_remote(self)
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

    root: str = "."
    """Directory that `path` starts from, relative to the configuration's directory."""
    spacing_m: float | None = Field(default=None, gt=0)
    """Distance of the tiles' centres; side by side unless given."""
    limit: int | None = Field(default=None, gt=0)
    """At most so many places, every n-th of them."""


class Polygons(Strict):
    """Polygons that hold a class: the one that contains a tile's centre counts."""

    path: str
    """A vector file, relative to `root`, or its address; also one in a ZIP."""
    layer: str | None = None
    """Of the file, where it has several."""
    crs: str | None = None
    """Of the polygons, where the file names none or a wrong one."""
    field: str
    """The field with the class's name; of a layer of the user's own, or its code."""
    product: str = _OWN
    """What it is; see `Rasters.product`."""
    stand_in: str | None = None
    """Why another product may stand in for the modality's own."""

    @field_validator("path")
    @classmethod
    def _path(cls, path: str) -> str:
        if is_remote(path) and any(sign in path for sign in "{}*[]"):
            raise ValueError(f"{path!r} is an address with a pattern; expected one file")
        return path if is_remote(path) else _relative(path)


class FilesConfig(Strict):
    """Rasters and vectors that the user has."""

    kind: Literal["files"]
    """Selects this source."""
    root: str = "."
    """Directory that all paths here start from, relative to the configuration's directory."""
    rasters: dict[str, list[Rasters]] = Field(default_factory=dict)
    """By modality, or task with pixel-level targets. Of several entries choose.py takes one."""
    polygons: dict[str, Polygons] = Field(default_factory=dict)
    """By tile-level modality of classes."""

    @model_validator(mode="after")
    def _one_way(self) -> FilesConfig:
        both = [name for name in self.rasters if name in self.polygons]
        if both:
            raise ValueError(f"{both[0]} is named in rasters: and in polygons:; keep one of them")
        return self


def check_files(config: FilesConfig, known: Catalogue) -> None:
    """Refuse entries that have no meaning for what they are named for.

    Args:
        config: With the entries.
        known: All layers and tasks that the configuration may name, in use or not.

    Raises:
        ValueError: There is one; the sentence names the key.
    """
    targets = {name: task.target for name, task in known.tasks.items() if task.is_pixel}
    usable = {n: layer for n, layer in known.layers.items() if n not in _COMPUTED} | targets
    for name, entries in config.rasters.items():
        if name not in usable:
            raise ValueError(f"{name!r} cannot come from rasters; expected {sorted(usable)}")
        for entry in entries:
            check_raster(usable[name], entry)
    classed = [name for name, layer in known.layers.items() if layer.has_code_column]
    for name, polygons in config.polygons.items():
        if name not in classed:
            raise ValueError(
                f"{name!r} cannot come from polygons; expected a tile-level layer of classes: "
                f"{', '.join(classed)}"
            )
        _check_product(known.layers[name], polygons.product, polygons.stand_in)


def check_raster(layer: Layer, raster: Rasters) -> None:
    """Refuse what has no meaning for a layer, or would blend class codes.

    Raises:
        ValueError: There is something; the sentence names the key.
    """
    name = layer.name
    _check_product(layer, raster.product, raster.stand_in)
    if raster.derive_slope and name != "aster_gdem":
        raise ValueError(f"{name}: derive_slope is for aster_gdem only; leave it out")
    if raster.months and name not in _CLIMATE:
        raise ValueError(f"{name}: months is for precipitation and temperature; leave it out")
    if "auto" in (raster.scale, raster.offset) and name != "sentinel2":
        raise ValueError(f"{name}: auto is for scale and offset of sentinel2; give a number")
    if raster.date is not None and raster.date.name is not None:
        _check_groups(raster.date.name, _DATED_BY.get(layer.timing, ("year", "month", "day")))
    if layer.classes:
        _check_classes(layer, raster)
    elif raster.classes is not None:
        raise ValueError(f"{name}: classes is for class codes, and {name} has none; leave it out")


def class_codes(layer: Layer, raster: Rasters) -> dict[int, int | None] | None:
    """Return a raster's class code → the layer's, None for no data; None where they are not known.

    A layer of the user's own has its own codes, and its own no-data value.
    """
    known = raster.classes or product_codes(layer.name, raster.product)
    if known is not None or layer.name in MMEARTH_BENCH.layers:
        return known
    own: dict[int, int | None] = {code: code for code in layer.codes}
    return own if layer.nodata is None else own | {int(layer.nodata): None}


def _check_classes(layer: Layer, raster: Rasters) -> None:
    if raster.resampling == "bilinear":
        raise ValueError(f"{layer.name}: bilinear would blend class codes; use nearest")
    numeric = {"scale": raster.scale, "offset": raster.offset, "unit": raster.unit}
    given = [key for key, value in numeric.items() if value is not None]
    if given or raster.clamp:
        raise ValueError(
            f"{layer.name}: {(given or ['clamp'])[0]} is for numbers, and these are class "
            "codes; give classes: instead"
        )
    codes = class_codes(layer, raster)
    if codes is None:
        raise ValueError(
            f"{layer.name}: the class codes of {raster.product!r} are not known here; give "
            "classes: with one of ours, or null, for each of them"
        )
    wrong = sorted({code for code in codes.values() if code is not None} - set(layer.codes))
    if wrong:
        raise ValueError(
            f"{layer.name} has no class {wrong[0]}; expected {min(layer.codes)} to "
            f"{max(layer.codes)} in classes:"
        )


def _relative(path: str) -> str:
    """Refuse a path whose name would differ from machine to machine."""
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise ValueError(f"{path!r} leaves root:; give it relative to root:, or change root:")
    return path


def _address(path: str) -> str:
    """Refuse an address with a pattern in it: a server tells nobody which files it has."""
    rest = re.sub(TEMPLATE, "", path).replace(MONTH, "")
    if any(sign in rest for sign in "{}*[]"):
        raise ValueError(
            f"{path!r} is an address with a pattern; expected one file, or {{lat3}} and {{lon3}} "
            f"for the corner of a square of 3 degrees, or {MONTH}"
        )
    return path


def _check_remote(entry: Rasters) -> None:
    """Refuse what only a file that is here as a whole can have."""
    where = entry.date
    if where is not None and where.value is None and where.name is None:
        raise ValueError("date: of a file on a server is value:, or name: of its address")
    if MONTH in entry.path and entry.months is not True:
        raise ValueError(f"{MONTH} names the twelve files of a climatology; give months: true, too")
    if entry.variable is not None:
        raise ValueError("variable: is of NetCDF, and of a server GeoTIFFs alone are read in parts")


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as exc:
        raise ValueError(f"date.name {pattern!r} is no regular expression: {exc}") from exc


def _check_groups(pattern: str, needed: tuple[str, ...]) -> None:
    if not set(needed) <= set(re.compile(pattern).groupindex):
        *first, last = needed
        groups = f"groups {', '.join(first)} and {last}" if first else f"a group {last}"
        raise ValueError(f"date.name {pattern!r} needs {groups}")


def _check_product(layer: Layer, product: str, stand_in: str | None) -> None:
    """Refuse another product than a modality's own without a reason."""
    if stand_in or layer.product in (product, _OWN, "none"):
        return
    if product != _OWN:
        raise ValueError(
            f"{layer.name}: product {product!r} is not {layer.product!r}; if it shall be used all "
            'the same, say why with stand_in: "…"'
        )
    if layer.name in MMEARTH_BENCH.layers:
        raise ValueError(
            f"{layer.name}: product: is missing; expected what the files are, such as "
            f"{layer.product!r}"
        )
