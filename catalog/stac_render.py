"""How layers are best drawn: the `render` extension, as tile servers and GIS read it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmearth.catalog.layer import Layer

RENDER = "https://stac-extensions.github.io/render/v2.0.0/schema.json"
_COLOURS = ("red", "green", "blue")
_DEVIATIONS = 2


def renders(layers: Iterable[Layer], statistics: dict[str, Any]) -> dict[str, Any]:
    """Return a picture of each layer with pixels, by its name: true colour, classes, or one band.

    Stored values between the mean of the train samples minus and plus two deviations are stretched
    over all colours; no value that was never seen.

    Args:
        layers: With pixels; a target among them is one band.
        statistics: Band by band, as `statistics/<task>.json` has them.
    """
    return {layer.name: _render(layer, statistics) for layer in layers}


def _render(layer: Layer, statistics: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"title": layer.title, "assets": [layer.name]}
    if layer.nodata is not None:
        found["nodata"] = layer.nodata
    if layer.classes:
        colours = {str(entry.code): [*_rgb(entry.color), 255] for entry in layer.classes}
        return found | {"bidx": [1], "colormap": colours, "resampling": "nearest"}
    named = {band.common_name: i for i, band in enumerate(layer.bands, 1)}
    bands = [named[name] for name in _COLOURS] if set(_COLOURS) <= named.keys() else [1]
    found["bidx"] = bands
    if len(bands) == 1:
        found["colormap_name"] = "viridis"
    train = statistics["train"]
    seen = train["modalities"].get(layer.name) or train["target"]
    ranges = [_range(seen.get(layer.bands[i - 1].name)) for i in bands]
    return found | ({} if None in ranges else {"rescale": ranges})


def _range(seen: dict[str, Any] | None) -> list[float] | None:
    """Return what is dark and what is light; None of a band without a value."""
    if seen is None or not seen["n"]:
        return None
    low, high = (seen["mean"] + sign * _DEVIATIONS * seen["std"] for sign in (-1, 1))
    return [round(max(low, seen["min"]), 4), round(min(high, seen["max"]), 4)]


def _rgb(colour: str) -> bytes:
    return bytes.fromhex(colour.removeprefix("#"))
