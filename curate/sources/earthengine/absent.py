"""What Earth Engine says is not there: one member of a collection, or an asset all tiles need."""

from __future__ import annotations

import re

from mmearth.catalog.errors import MMEarthError, RefusedError, SourceError
from mmearth.curate.collectors import biomass, climate, dynamic_world, sentinel1, sentinel2

_NAMED = re.compile(r"asset '([^']+)' (?:not found|does not exist)", re.IGNORECASE)
"""As the service words it: "Collection.loadTable: Collection asset '…' not found (does not exist or
caller does not have access)."."""
_LACKING = re.compile(r"Band pattern '([^']+)' did not match any bands")
_COLLECTIONS = (
    sentinel2.SCENES,
    sentinel2.CLOUDS,
    sentinel1.SCENES,
    dynamic_world.SCENES,
    climate.MONTHS,
    biomass.TABLES,
)
"""Collections and folders whose members come and go: scenes are processed anew under other names,
and the index of GEDI lists tables that its folder does not have."""


class AbsentError(SourceError):
    """One member of a collection is not there; the others are."""

    asset: str | None = None
    """Its id."""


def lacking_band(message: str) -> str | None:
    """Return the band that an image does not have; None where the message is about none."""
    found = _LACKING.search(message)
    return None if found is None else found[1]


def absence(message: str) -> MMEarthError | None:
    """Return the error of an asset that is not there; None where the message is about none.

    Args:
        message: What the service says, whole.
    """
    found = _NAMED.search(message)
    if found is None:
        return None
    asset = found[1]
    if not any(asset.startswith(f"{collection}/") for collection in _COLLECTIONS):
        return RefusedError(
            f"Earth Engine has no asset {asset}, or not for this account; ask for access, or leave "
            "its modality out of `modalities:`"
        )
    error = AbsentError(
        f"Earth Engine no longer has {asset}; run `mmearth curate retry` to ask for the tile anew"
    )
    error.asset = asset
    return error
