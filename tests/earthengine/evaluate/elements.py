"""What images and features share: properties, identity, geometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mmearth.tests.earthengine.evaluate.dates import as_date
from mmearth.tests.earthengine.evaluate.filters import GEOMETRY_FIELDS, prop
from mmearth.tests.earthengine.evaluate.nouns import (
    Date,
    Elements,
    Lambda,
    Picture,
    Region,
    Row,
    refuse,
)

Element = Picture | Row


def with_properties(element: Any, changes: Mapping[str, Any]) -> Any:
    """Return the element with some properties changed."""
    return replace(element, properties={**element.properties, **changes})


def _set(element: Element, key: str, value: Any = None) -> Element:
    if key in GEOMETRY_FIELDS and (value is None or isinstance(value, Region)):
        if isinstance(element, Row):
            return replace(element, geometry=value)
        return replace(element, footprint=value)
    changed: Element = with_properties(element, {key: value})
    return changed


def _set_multi(element: Element, properties: Mapping[str, Any]) -> Element:
    changed: Element = with_properties(element, properties)
    return changed


def _number(element: Element, name: str) -> Any:
    value = prop(element, name)
    if isinstance(value, Date):
        return value.millis
    if value is not None and not isinstance(value, int | float):
        raise refuse(f"Element.getNumber: The property '{name}' is not a number.")
    return value


def _string(element: Element, name: str) -> Any:
    value = prop(element, name)
    if value is not None and not isinstance(value, str):
        raise refuse(f"Element.getString: The property '{name}' is not a string.")
    return value


def _names(element: Element) -> list[str]:
    return list(element.properties)


def _ordinary(element: Element) -> dict[str, Any]:
    return {k: v for k, v in element.properties.items() if not k.startswith("system:")}


def _to_dictionary(element: Element, properties: list[str] | None) -> dict[str, Any]:
    """Return properties by name; those of the system only where they are named."""
    if properties is None:
        return _ordinary(element)
    return {name: prop(element, name) for name in properties}


def _copy(
    destination: Element | None,
    source: Element | None,
    properties: list[str] | None,
    exclude: list[str] | None,
) -> Element | None:
    if destination is None or source is None:
        return destination
    if properties is None:
        left_out = set(exclude or ())
        chosen = {k: v for k, v in _ordinary(source).items() if k not in left_out}
    else:
        chosen = {name: prop(source, name) for name in properties if name in source.properties}
    copied: Element = with_properties(destination, chosen)
    return copied


def _geometry(element: Any, *_: Any) -> Region | None:
    """Return where an element lies; an image without bounds covers everything."""
    if isinstance(element, Row):
        return element.geometry
    if isinstance(element, Picture) and element.footprint is None:
        raise refuse("Image.geometry: The image is unbounded.")
    region: Region | None = prop(element, ".geo")
    return region


def _date(image: Picture) -> Date:
    stamp = image.properties.get("system:time_start")
    if stamp is None:
        raise refuse("Image.date: The image has no 'system:time_start'.")
    return as_date(stamp)


def _feature(geometry: Any, metadata: Mapping[str, Any], key: str | None) -> Any:
    """Return a feature; what is one already, or an image, stays what it is."""
    del key
    if isinstance(geometry, Row | Picture | Elements):
        return geometry
    return Row(geometry, dict(metadata))


def _select(
    element: Element, selectors: list[str], names: list[str] | None, keep_geometry: bool
) -> Element:
    new = selectors if names is None else names
    if len(new) != len(selectors):
        raise refuse("Feature.select: 'newProperties' must match 'propertySelectors' in length.")
    chosen = {
        b: element.properties[a]
        for a, b in zip(selectors, new, strict=True)
        if a in element.properties
    }
    index = element.properties.get("system:index")
    if index is not None:
        chosen["system:index"] = index
    if isinstance(element, Row) and not keep_geometry:
        return Row(None, chosen)
    return replace(element, properties=chosen)


def identity(element: Any) -> Any:
    """Return the id of an element within its collection."""
    return element.properties.get("system:index")


def _set_geometry(feature: Row, geometry: Region | None) -> Row:
    return replace(feature, geometry=geometry)


FUNCTIONS: dict[str, Lambda] = {
    "Element.copyProperties": _copy,
    "Element.geometry": _geometry,
    "Element.get": prop,
    "Element.getNumber": _number,
    "Element.getString": _string,
    "Element.propertyNames": _names,
    "Element.set": _set,
    "Element.setMulti": _set_multi,
    "Element.toDictionary": _to_dictionary,
    "Feature": _feature,
    "Feature.geometry": _geometry,
    "Feature.id": identity,
    "Feature.select": _select,
    "Feature.setGeometry": _set_geometry,
    "Image.copyProperties": _copy,
    "Image.date": _date,
    "Image.geometry": _geometry,
    "Image.id": identity,
}
