"""The two questions about a tile: every scalar at once, then every pixel at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ee
import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.layer import Layer
from mmearth.curate.collectors import sentinel2
from mmearth.curate.collectors.collector import Collector, Facts, Place

Collectors = Mapping[str, Collector]
"""By modality, or by task for pixel-level targets; in the order that is asked for."""


def scalars(place: Place, collectors: Collectors, anchor: str | None) -> Any:
    """Return the scalar question about one tile.

    Its answer is `{"counts": {…}, "scene": [] or [{modality: facts}]}`: how many Sentinel-2 scenes
    cover the tile in its season (`Scenes.counts`), and, where one of them is clear, what each
    collector asked for.

    Args:
        place: Where, when and by which rules.
        collectors: Of what is wanted, by name.
        anchor: The date where it is settled; None lets the best scene decide it.
    """

    def describe(image: Any, date: Any) -> Any:
        parts = {name: collector.ask for name, collector in collectors.items()}
        if image is not None:
            parts["sentinel2"] = sentinel2.COLLECTOR.ask
        asked = {name: ask(place, image, date) for name, ask in parts.items() if ask is not None}
        return ee.Dictionary({name: ee.Dictionary(part) for name, part in asked.items()})

    def of_scene(scene: Any) -> Any:
        image = ee.Image(scene)
        # The day, not the moment: a later visit knows only the day, and must choose alike.
        return describe(image, ee.Date(image.date().format("YYYY-MM-dd")))

    if anchor is not None:
        return ee.Dictionary({"counts": {}, "scene": [describe(None, ee.Date(anchor))]})
    found = sentinel2.scenes(place)
    best = found.clear.limit(1).toList(1).map(of_scene)
    return ee.Dictionary({"counts": found.counts, "scene": best})


def drawing(
    place: Place,
    date: str,
    facts: Mapping[str, Facts],
    layers: Sequence[Layer],
    collectors: Collectors,
) -> tuple[Any, dict[str, tuple[str, ...]]]:
    """Return the pixel question: every band that is wanted, as one image.

    It names every scene that the scalar answer chose.

    Returns:
        The image, None when nothing is to be drawn, and the names of its bands by modality, in the
        modality's order.
    """
    images: list[Any] = []
    fields: dict[str, tuple[str, ...]] = {}
    for layer in layers:
        name = layer.name
        draw = collectors[name].draw
        image = draw(place, date, facts.get(name, {})) if draw is not None else None
        if image is not None:
            fields[name] = tuple(f"{name}_{band}" for band in range(len(layer.bands)))
            images.append(image.rename(list(fields[name])))
    return (ee.Image.cat(images) if images else None), fields


def pixels_of(
    layer: Layer, fields: Mapping[str, tuple[str, ...]], reply: NDArray[np.void] | None
) -> NDArray[np.generic] | None:
    """Return one layer's part of the reply, (band, row, column); None where it was not drawn."""
    if reply is None or layer.name not in fields:
        return None
    return np.stack([reply[field] for field in fields[layer.name]])
