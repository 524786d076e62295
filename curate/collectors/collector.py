"""What a collector is: one modality's part of what Earth Engine is asked, and its decoding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ee
import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import DataError, NoDataError
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.recipes import Quirks
from mmearth.curate.seasons import Interval

MARGIN_M = 200
"""A scene must reach this far beyond the tile (MMEarth-Bench §3)."""
CIRCLE_M = 640
"""Radius of the circle that the published recipe judges scenes on (MMEarth-Bench §3)."""

Facts = Mapping[str, Any]
"""What the service answered for one modality, as JSON."""


@dataclass(frozen=True)
class Place:
    """One tile as it is asked for: where, when and by which rules."""

    tile: Tile
    """Where."""
    intervals: tuple[Interval, ...]
    """When the anchor scene may be of; empty where `footprints` decide."""
    near: str | None
    """The date that the anchor scene should be near to, `YYYY-MM-DD`; None for any."""
    quirks: Quirks
    """Which published rules are kept."""
    granules: tuple[str, ...] | None = None
    """Ids of the GEDI tables that touch the tile, where their footprints decide the season."""

    @cached_property
    def region(self) -> Any:
        """The tile's square."""
        return self._square(0)

    @cached_property
    def covered(self) -> Any:
        """What a scene of any other instrument must cover: the square and a margin."""
        return self._square(MARGIN_M)

    @cached_property
    def point(self) -> Any:
        """The tile's centre."""
        return ee.Geometry.Point([self.tile.lon, self.tile.lat])

    def mean(self, image: Any, scale_m: int | None = None) -> Any:
        """Return the mean of every band over the tile, as an expression of a dictionary.

        A pixel counts by how much of it is in the tile, so that a band of 20 m has the same mean on
        its own pixels as on the tile's, at a quarter of the work.

        Args:
            image: An expression of an image.
            scale_m: Metres of the band's own pixels, whose lattice begins at a multiple of them as
                that of Sentinel-2 does; None takes the tile's own pixels, whatever the recipe.
        """
        if scale_m is not None and self.quirks.clouds_on_circle:
            circle = self.point.buffer(CIRCLE_M)
            return image.reduceRegion(ee.Reducer.mean(), circle, scale_m)
        own = [scale_m, 0, 0, 0, -scale_m, 0] if scale_m is not None else self.tile.transform
        return self._reduced(image, ee.Reducer.mean(), own)

    def commonest(self, image: Any) -> Any:
        """Return the most frequent value of every band over the tile, as `mean` does."""
        return self._reduced(image, ee.Reducer.mode(), self.tile.transform)

    def in_season(self, collection: Any) -> Any:
        """Return the images of a collection that begin in the place's season."""
        if self.granules is not None:
            from mmearth.curate.collectors.biomass import in_season

            return in_season(self, collection)
        return collection.filter(ee.Filter.Or(*[ee.Filter.date(*ends) for ends in self.intervals]))

    def _reduced(self, image: Any, reducer: Any, transform: Sequence[float]) -> Any:
        grid = {"crs": f"EPSG:{self.tile.epsg}", "crsTransform": list(transform)}
        return image.reduceRegion(reducer=reducer, geometry=self.region, **grid)

    def _square(self, margin_m: int) -> Any:
        left, bottom, right, top = self.tile.bounds
        corners = [left - margin_m, bottom - margin_m, right + margin_m, top + margin_m]
        return ee.Geometry.Rectangle(corners, proj=f"EPSG:{self.tile.epsg}", geodesic=False)


@dataclass(frozen=True, slots=True)
class Seen:
    """One tile as it was answered: what decoding an observation takes."""

    place: Place
    """As it was asked for."""
    date: str
    """The anchor date, `YYYY-MM-DD`."""
    facts: Facts
    """The modality's own answer; empty where it asks nothing."""
    pixels: NDArray[np.generic] | None
    """(band, row, column) as drawn; None where nothing was drawn."""
    layer: Layer
    """What is decoded."""


@dataclass(frozen=True, slots=True)
class Collector:
    """How one modality, or one pixel-level target, comes out of Earth Engine."""

    ask: Callable[[Place, Any, Any], dict[str, Any]] | None
    """(place, anchor image or None, anchor date) → its part of the scalar expression."""
    draw: Callable[[Place, str, Facts], Any] | None
    """(place, anchor date, facts) → its part of the pixel expression, bands in order; None where
    the facts say that there is nothing to draw."""
    read: Callable[[Seen], Observation]
    """What was answered → the observation; NoDataError when there is none."""
    quirks: tuple[str, ...] = ()
    """Names of the published rules (`recipes.Quirks`) that touch it."""


def of_pixels(seen: Seen, acquired: str | None, source_ids: tuple[str, ...]) -> Observation:
    """Return an observation of what was drawn, unless all of it is no-data.

    Args:
        seen: With pixels.
        acquired: See `Observation.acquired`.
        source_ids: See `Observation.source_ids`.

    Raises:
        DataError: See `as_stored`.
        NoDataError: No pixel is valid.
    """
    assert seen.pixels is not None  # a collector that drew nothing says why before it comes here
    array = as_stored(seen.layer, seen.pixels)
    observation = Observation(seen.layer, array, acquired, "", source_ids)
    if observation.valid_fraction == 0.0:
        raise NoDataError(f"no pixel of {seen.layer.name} is valid in {seen.place.tile.id}")
    return observation


def as_stored(layer: Layer, values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return values in a layer's type.

    Raises:
        DataError: The type is of whole numbers and cannot hold one of them.
    """
    kind = np.dtype(layer.dtype)
    if kind.kind in "iu" and values.dtype != kind and values.size:
        low, high, ends = values.min(), values.max(), np.iinfo(kind)
        if not (ends.min <= low and high <= ends.max):
            raise DataError(
                f"{layer.name}: found values {low:g} to {high:g}, which {kind} cannot hold; check "
                "scale, offset and dtype"
            )
    return values.astype(kind, copy=False)


def image_id(collection: str, image: Facts) -> str:
    """Return `collection/index`, with `@version` where the service said which."""
    version = image.get("version")
    suffix = "" if version is None else f"@{version:.0f}"
    return f"{collection}/{image['index']}{suffix}"


def ask_images(images: Any) -> dict[str, Any]:
    """Return the part of a scalar expression that names the images of a collection."""
    names = {"indices": "system:index", "versions": "system:version"}
    return {name: images.aggregate_array(key) for name, key in names.items()}


def image_ids(collection: str, images: Facts) -> tuple[str, ...]:
    """Return the ids of images that `ask_images` named, sorted; see `image_id`.

    The service leaves out what an image lacks: unless each has a version, none is told.
    """
    indices, versions = images["indices"], images["versions"]
    if len(versions) != len(indices):
        versions = [None] * len(indices)
    named = zip(indices, versions, strict=True)
    return tuple(sorted(image_id(collection, {"index": i, "version": v}) for i, v in named))
