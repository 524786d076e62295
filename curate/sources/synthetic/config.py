"""The configuration of the `synthetic` source."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from mmearth.catalog.configuration import Strict
from mmearth.curate.sources.synthetic.shifts import Shifts


class SyntheticConfig(Strict):
    """The embedded synthetic Earth, and the shifts of what is seen and labelled in Africa."""

    kind: Literal["synthetic"]
    """Selects this source."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Of the planet."""
    atmosphere: float = Field(default=0.0, ge=0, le=2)
    """As `Shifts.atmosphere`."""
    sensor: float = Field(default=0.0, ge=0, le=2)
    """As `Shifts.sensor`."""
    season: float = Field(default=0.0, ge=0, le=1)
    """As `Shifts.season`."""
    label_shift: float = Field(default=1.0, ge=0, le=2)
    """As `Shifts.label_shift`."""

    @property
    def shifts(self) -> Shifts:
        """All four."""
        return Shifts(self.atmosphere, self.sensor, self.season, self.label_shift)

    @model_serializer(mode="wrap")
    def _set(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A shift as by default is as if there were no such key, so that a dataset's hash stays.
        usual = {name: field.default for name, field in type(self).model_fields.items()}
        return {
            name: value
            for name, value in plain(self).items()
            if name in ("kind", "seed") or value != usual[name]
        }
