"""Configuration of the Earth Engine source: what decides the data, not how it is reached."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

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
