"""A layer of the user's own: one image, or what is chosen of a collection, as it is declared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import ee
import numpy as np

from mmearth.catalog.errors import NoDataError
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.curate.collectors.collector import (
    Collector,
    Facts,
    Place,
    Seen,
    as_stored,
    ask_images,
    image_ids,
    of_pixels,
)
from mmearth.curate.collectors.static import ids
from mmearth.curate.sources.earthengine.config import EarthEngineLayer

_WIDE = {
    **dict.fromkeys(("uint8", "int8"), "Int16"),
    **dict.fromkeys(("uint16", "int16"), "Int32"),
    **dict.fromkeys(("uint32", "int32", "float64"), "Double"),
    "float32": "Float",
}
"""Stored type → that of what is asked for: a cast of the service's brings what does not fit to the
end of the type, where nobody could tell it from a value."""
_DATED = {"nearest": 10, "month": 7, "mosaic": 0}
"""How much of the first day of what was chosen is its date; of any other choice the year."""


@cache
def own_collector(layer: Layer, config: EarthEngineLayer) -> Collector:
    """Return the collector of a layer of the user's own: the same one for equal declarations."""
    own = _Own(layer, config)
    return Collector(own.ask, own.draw if layer.is_pixel else None, own.read)


def sent_bytes(layer: Layer) -> int:
    """Return the bytes of a layer with pixels as the service sends it, or a few more."""
    item = {"Int16": 2, "Int32": 4, "Float": 4, "Double": 8}[_WIDE[layer.dtype]]
    return int(np.prod(layer.shape)) * item


@dataclass(frozen=True, slots=True)
class _Own:
    layer: Layer
    config: EarthEngineLayer

    def ask(self, place: Place, image: Any, date: Any) -> dict[str, Any]:
        """Return its part of the scalar expression: a list with what is chosen, or an empty one."""
        if self.config.image is not None:
            found = ee.Image(self.config.image)
            told: dict[str, Any] = {"image": {self.config.image: found.get("system:version")}}
            if not self.layer.is_pixel:
                told["values"] = [self._over(place, self._picked(found))]
            return {"chosen": [told]}
        images, choose = self._images(place), self.config.choose
        if choose == "mosaic":
            return {"chosen": [self._told(place, images, {})]}
        if choose == "nearest":
            near = images.map(lambda one: _with_distance(one, date)).sort(_FAR).limit(1)
            return {
                "chosen": near.toList(1).map(
                    lambda one: self._of_span(place, _midnight(ee.Image(one)), "day")
                )
            }
        span = "month" if choose == "month" else "year"
        month = date.get("month") if choose == "month" else 1
        return {"chosen": [self._of_span(place, ee.Date.fromYMD(date.get("year"), month, 1), span)]}

    def draw(self, place: Place, date: str, facts: Facts) -> Any:
        """Return its part of the pixel expression, None where nothing was chosen."""
        if not _is_there(facts):
            return None
        if self.config.image is not None:
            return self._finished(self._picked(ee.Image(self.config.image)))
        images = self._images(place)
        [chosen] = facts["chosen"]
        if "first" in chosen:
            images = images.filterDate(chosen["first"], chosen["after"])
        return self._finished(self._one(images))

    def read(self, seen: Seen) -> Observation:
        """Return what was chosen; NoDataError where nothing was, or all of it is no-data."""
        if not _is_there(seen.facts):
            raise NoDataError(f"no image of {self.config.collection}{self._then(seen)} is here")
        [chosen] = seen.facts["chosen"]
        if self.config.image is not None:
            acquired, source_ids = None, ids(chosen["image"])
        else:
            assert self.config.collection is not None
            acquired = chosen.get("first", "")[: _DATED.get(self.config.choose, 4)] or None
            source_ids = image_ids(self.config.collection, chosen)
        if self.layer.is_pixel:
            return of_pixels(seen, acquired, source_ids)
        return self._of_tile(chosen["values"][0], acquired, source_ids)

    def _of_tile(
        self, values: Facts, acquired: str | None, source_ids: tuple[str, ...]
    ) -> Observation:
        found = [values.get(name) for name in self._names]
        if all(value is None for value in found):
            raise NoDataError(f"no pixel of {self.layer.name} is valid on the tile")
        nodata = self.layer.nodata
        array = np.array([nodata if v is None else v for v in found], dtype=np.float64)
        if np.dtype(self.layer.dtype).kind in "iu":
            array = np.floor(array + 0.5)
        return Observation(self.layer, as_stored(self.layer, array), acquired, "", source_ids)

    @property
    def _names(self) -> list[str]:
        """What the bands are called in expressions: any name may be the layer's."""
        return [f"b{i}" for i in range(len(self.layer.bands))]

    def _images(self, place: Place) -> Any:
        return ee.ImageCollection(self.config.collection).filterBounds(place.region)

    def _of_span(self, place: Place, first: Any, unit: str) -> Any:
        """Return what is told of the images from a day on, for a day, a month or a year."""
        after = first.advance(1, unit)
        ends = {"first": first.format("YYYY-MM-dd"), "after": after.format("YYYY-MM-dd")}
        return self._told(place, self._images(place).filterDate(first, after), ends)

    def _told(self, place: Place, images: Any, ends: dict[str, Any]) -> Any:
        """Return the names of images, and of a tile's layer the values of the one they make.

        An image that was made of none has no bands, and the service refuses to reduce it.
        """
        told = {**ask_images(images), **ends}
        if not self.layer.is_pixel:
            first = images.limit(1).toList(1)
            told["values"] = first.map(lambda _: self._over(place, self._one(images)))
        return ee.Dictionary(told)

    def _over(self, place: Place, image: Any) -> Any:
        over: Callable[[Any], Any] = place.commonest if self.layer.classes else place.mean
        return over(self._scaled(image))

    def _one(self, images: Any) -> Any:
        """Return the image that is made of several."""
        picked = images.map(self._picked)
        reduced = {"mean": picked.mean, "median": picked.median, "mode": picked.mode}
        return reduced.get(self.config.choose, picked.mosaic)()

    def _picked(self, image: Any) -> Any:
        """Return the bands of one image, as they are brought to another grid."""
        bands = list(self.config.bands or self.layer.band_names)
        picked = ee.Image(image).select(bands, self._names)
        if self.layer.resampling != "bilinear":
            return picked
        is_double = _WIDE[self.layer.dtype] == "Double"
        return (picked.toDouble() if is_double else picked.toFloat()).resample("bilinear")

    def _scaled(self, image: Any) -> Any:
        scaled = image if self.config.scale == 1.0 else image.multiply(self.config.scale)
        return scaled if self.config.offset == 0.0 else scaled.add(self.config.offset)

    def _finished(self, image: Any) -> Any:
        """Return the stored values, no-data where the image is masked."""
        scaled = self._scaled(image)
        whole = scaled.round() if np.dtype(self.layer.dtype).kind in "iu" else scaled
        filled = whole.unmask(self.layer.nodata, False)
        return getattr(filled, f"to{_WIDE[self.layer.dtype]}")()

    def _then(self, seen: Seen) -> str:
        if self.config.choose in ("nearest", "mosaic"):
            return ""
        return f" of {seen.date[: _DATED.get(self.config.choose, 4)]}"


_FAR = "mmearth_far"


def _with_distance(image: Any, date: Any) -> Any:
    """Set how far an image's day is from the anchor date; of two as far, the earlier is nearer."""
    days = _midnight(ee.Image(image)).difference(date, "day")
    return image.set(_FAR, days.abs().multiply(2).add(days.gt(0)))


def _midnight(image: Any) -> Any:
    return ee.Date(image.date().format("YYYY-MM-dd"))


def _is_there(facts: Facts) -> bool:
    """Return whether an image was chosen."""
    chosen = facts["chosen"]
    return bool(chosen) and ("image" in chosen[0] or bool(chosen[0]["indices"]))
