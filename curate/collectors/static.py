"""What the collectors of maps share: one image a place, the same for every date."""

from __future__ import annotations

from typing import Any

import ee

from mmearth.curate.collectors.collector import Facts


def ask_versions(*assets: str) -> dict[str, Any]:
    """Return the part of the scalar expression that says which versions of maps are in use."""
    return {asset: ee.Image(asset).get("system:version") for asset in assets}


def ids(facts: Facts) -> tuple[str, ...]:
    """Return the maps' ids, `asset@version`, sorted."""
    return tuple(
        sorted(
            asset if version is None else f"{asset}@{version:.0f}"
            for asset, version in facts.items()
        )
    )
