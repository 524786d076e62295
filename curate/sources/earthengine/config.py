"""Configuration of the Earth Engine source: what decides the data, not how it is reached."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mmearth.curate.recipes import QUIRKS


class EarthEngineConfig(BaseModel):
    """Collections of Google Earth Engine, by the published rules."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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


class EarthEngineLayer(BaseModel):
    """Where Earth Engine has a layer of the user's own: one image, or one of a collection's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str | None = None
    """Identifier of an image."""
    collection: str | None = None
    """Identifier of an image collection."""
    choose: Literal["nearest", "mean", "median", "mode", "year", "month"] = "nearest"
    """What of a collection: the image nearest to the anchor date; the mean, median or most frequent
    value of the images of the anchor's year; the image of that year, or of that month."""
    bands: tuple[str, ...] | None = None
    """Names of the bands there, in the order of the layer's; the layer's own names unless given."""
    scale: float = 1.0
    """Value there × scale + offset = stored value."""
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
