"""Values as the service writes them in JSON, and pages of tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from typing import Any

from mmearth.tests.earthengine.evaluate.elements import identity
from mmearth.tests.earthengine.evaluate.geometry import as_json
from mmearth.tests.earthengine.evaluate.nouns import (
    Date,
    DateRange,
    Elements,
    Layer,
    Picture,
    PixelType,
    Projection,
    Region,
    Row,
    refuse,
)

MOST_FEATURES = 5000
"""Of a page. Source: developers.google.com/earth-engine/guides/usage (elements a page)."""


def _date(date: Date) -> dict[str, Any]:
    return {"type": "Date", "value": date.millis}


def _range(around: DateRange) -> dict[str, Any]:
    return {"type": "DateRange", "dates": [around.start, around.end]}


def _projection(projection: Projection) -> dict[str, Any]:
    transform = list(projection.transform)
    return {"type": "Projection", "crs": projection.crs, "transform": transform}


def _pixel_type(kind: PixelType) -> dict[str, Any]:
    written: dict[str, Any] = {"type": "PixelType", "precision": kind.precision}
    if kind.precision == "int":
        written |= {"min": int(kind.low), "max": int(kind.high)}
    return written


def _band(layer: Layer) -> dict[str, Any]:
    projection = layer.projection
    return {
        "id": layer.name,
        "data_type": _pixel_type(layer.kind),
        "crs": projection.crs,
        "crs_transform": list(projection.transform),
    }


def _image(image: Picture) -> dict[str, Any]:
    written: dict[str, Any] = {"type": "Image", "bands": [_band(one) for one in image.layers]}
    properties = dict(image.properties)
    for name, key in (("id", "system:id"), ("version", "system:version")):
        if key in properties:
            written[name] = properties.pop(key)
    if image.footprint is not None:
        properties["system:footprint"] = image.footprint
    return {**written, "properties": encode(properties)}


def feature(row: Row) -> dict[str, Any]:
    """Return a feature as GeoJSON; its index within the collection is its id."""
    written: dict[str, Any] = {"type": "Feature", "geometry": as_json(row.geometry)}
    if identity(row) is not None:
        written["id"] = str(identity(row))
    ordinary = {key: value for key, value in row.properties.items() if key != "system:index"}
    return {**written, "properties": encode(ordinary)}


def _collection(collection: Elements) -> dict[str, Any]:
    features = [encode(item) for item in islice(collection.items, MOST_FEATURES + 1)]
    if len(features) > MOST_FEATURES:
        raise refuse(f"Collection query aborted after accumulating over {MOST_FEATURES} elements.")
    images = all(item["type"] == "Image" for item in features) if features else collection.images
    kind = {"type": "ImageCollection", "bands": []}
    return {
        **(kind if images else {"type": "FeatureCollection", "columns": {}}),
        "features": features,
    }


ENCODERS: dict[type, Callable[[Any], Any]] = {
    Date: _date,
    DateRange: _range,
    Elements: _collection,
    Picture: _image,
    PixelType: _pixel_type,
    Projection: _projection,
    Region: as_json,
    Row: feature,
}
"""How each kind of value is written."""


def encode(value: Any) -> Any:
    """Return a value as JSON has it.

    Raises:
        ServiceError: It is of a kind that has no JSON, a function or a filter.
    """
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if type(value) in ENCODERS:
        return ENCODERS[type(value)](value)
    if hasattr(value, "item"):
        return encode(value.item())
    raise refuse(f"A {type(value).__name__} cannot be returned.")


def page(collection: Any, size: int, token: str | None) -> dict[str, Any]:
    """Return some features from where the token says, and the token of the next page.

    Raises:
        ServiceError: The expression is no collection, or the token is not one of ours.
    """
    if isinstance(collection, Row):
        items: Any = [collection]
    elif isinstance(collection, Elements):
        items = collection.items
    else:
        raise refuse("The expression is not a FeatureCollection.")
    if token and not token.isdecimal():
        raise refuse(f"Invalid page token '{token}'.")
    start, length = int(token or 0), min(size or 1000, MOST_FEATURES)
    found = list(islice(items, start, start + length + 1))
    if not all(isinstance(item, Row) for item in found):
        raise refuse("The expression is not a FeatureCollection.")
    written: dict[str, Any] = {
        "type": "FeatureCollection",
        "features": [feature(item) for item in found[:length]],
    }
    return {**written, "nextPageToken": str(start + length)} if len(found) > length else written
