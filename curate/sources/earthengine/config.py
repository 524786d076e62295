"""Configuration of the Earth Engine source: what decides the data, not how it is reached."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from mmearth.catalog.configuration import Strict
from mmearth.catalog.layer import Layer, Timing
from mmearth.curate.recipes import QUIRKS

Choice = Literal["nearest", "year", "month", "mosaic", "mean", "median", "mode"]
TIMINGS: dict[Choice, Timing] = {
    "nearest": "nearest",
    "month": "month",
    "mosaic": "static",
    **dict.fromkeys(("year", "mean", "median", "mode"), "year"),
}
"""Which moment what is chosen shows."""


class EarthEngineConfig(Strict):
    """Collections of Google Earth Engine, by the published rules."""

    kind: Literal["earthengine"]
    """Names this source."""
    days: int = Field(default=15, ge=0, le=183)
    """How far from the date of a label the anchor scene may be."""
    quirks: dict[str, bool] = Field(default_factory=dict)
    """Published quirks switched on or off, against the recipe (docs/differences.md)."""

    @field_validator("quirks")
    @classmethod
    def _known(cls, quirks: dict[str, bool]) -> dict[str, bool]:
        unknown = [name for name in quirks if name not in QUIRKS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no quirk; expected some of {', '.join(QUIRKS)}")
        return quirks


class EarthEngineLayer(Strict):
    """Where Earth Engine has a layer of the user's own: one image, or one of a collection's."""

    image: str | None = None
    """Identifier of an image."""
    collection: str | None = None
    """Identifier of an image collection."""
    choose: Choice = "nearest"
    """What of a collection: the images of the day nearest to the anchor date, of the anchor's year,
    of its month, or all of them, laid together (mosaic); the mean, the median or the most frequent
    value of the images of the anchor's year."""
    bands: tuple[str, ...] | None = None
    """Names of the bands there, in the order of the layer's; the layer's own names unless given."""
    scale: float = 1.0
    """Value there × scale + offset = stored value; of numbers."""
    offset: float = 0.0
    """See `scale`."""

    @model_validator(mode="after")
    def _one(self) -> EarthEngineLayer:
        if (self.image is None) == (self.collection is None):
            raise ValueError("expected one of image: and collection:")
        if self.image is not None and "choose" in self.model_fields_set:
            raise ValueError("choose: is for a collection; leave it out")
        if self.scale == 0.0:
            raise ValueError("scale: 0 would make all values one; correct it")
        return self

    @property
    def timing(self) -> Timing:
        """How the layer's date follows the anchor date."""
        return "static" if self.image is not None else TIMINGS[self.choose]


def check_layer(layer: Layer, config: EarthEngineLayer) -> None:
    """Refuse what has no meaning for a layer.

    Raises:
        ValueError: There is something; the sentence names the key.
    """
    where, bands = f"layers.{layer.name}.earthengine", config.bands
    if bands is not None and len(bands) != len(layer.bands):
        raise ValueError(
            f"{where}: bands names {len(bands)}, and the layer has {len(layer.bands)}: name as many"
        )
    if layer.timing != config.timing:
        raise ValueError(
            f"{where}: what is chosen has the timing {config.timing}, and the layer "
            f"{layer.timing}; leave timing: out"
        )
    if layer.classes and config.choose in ("mean", "median"):
        raise ValueError(f"{where}: choose: {config.choose} would blend class codes; use mode")
    if layer.classes and (config.scale, config.offset) != (1.0, 0.0):
        raise ValueError(f"{where}: scale and offset are for numbers, and these are class codes")
