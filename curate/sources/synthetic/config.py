"""The configuration of the `synthetic` source."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SyntheticConfig(BaseModel):
    """The embedded synthetic Earth."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["synthetic"]
    """Selects this source."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Of the planet."""
