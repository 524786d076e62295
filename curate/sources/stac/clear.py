"""Whether a scene shows a tile: its clouds and its absent pixels, on the tile itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import MMEarthError
from mmearth.catalog.tile import Tile
from mmearth.curate.remote.threads import read_at_once
from mmearth.curate.sources.stac.assets import Assets, asset_url
from mmearth.curate.sources.stac.choose import Candidate
from mmearth.curate.sources.stac.config import CloudConfig, CollectionEntry

CLOUDY = (3, 8, 9, 10)
"""Scene classes of cloud shadow, clouds of medium and high probability, and cirrus
(sentiwiki.copernicus.eu/web/s2-processing, scene classification)."""
_ABSENT = 0
_LEAST_PROBABLE = 10
"""Per cent of cloud probability from which a pixel is cloudy (MMEarth-Bench §3)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a scene is like on a tile."""

    clear: float
    """Share of the seen pixels that are no cloud and no shadow; 0 where none was seen."""
    seen: float
    """Share of the tile's pixels that were seen."""
    by: str
    """What told clouds: `scl`, or `probability`."""

    def passes(self, rule: CloudConfig) -> bool:
        """Return whether it is clear and whole enough."""
        return self.clear >= rule.least_clear and self.seen >= rule.least_seen


def verdicts(
    shelf: Assets,
    asked: Sequence[tuple[Tile, Candidate]],
    entry: CollectionEntry,
    rule: CloudConfig,
) -> list[Verdict | MMEarthError]:
    """Return what some scenes are like, each on its tile: two requests a scene, or one.

    Args:
        shelf: Gets the assets.
        asked: Tiles, each with a scene that may show it.
        entry: With the assets that tell.
        rule: What counts.
    """
    return read_at_once(
        asked,
        lambda pair: pair[1].key,
        lambda same: _of_one(shelf, same[0][1], [tile for tile, _ in same], entry, rule),
    )


def _of_one(
    shelf: Assets,
    candidate: Candidate,
    tiles: Sequence[Tile],
    entry: CollectionEntry,
    rule: CloudConfig,
) -> list[Verdict]:
    items, key = candidate.items, entry.probability
    classes = [asset_url(item, str(entry.scl), entry) for item in items]
    likely: list[str] = []
    if rule.by == "probability" and key is not None and all(key in i.assets for i in items):
        likely = [asset_url(item, key, entry) for item in items]
    regions = shelf.fetched([*classes, *likely], tiles)
    return shelf.read(regions, lambda: [_verdict(shelf, classes, likely, t) for t in tiles])


def _verdict(shelf: Assets, classes: Sequence[str], likely: Sequence[str], tile: Tile) -> Verdict:
    codes = _laid([shelf.codes(url, tile) for url in classes], absent=_ABSENT)
    cloudy = np.isin(codes, CLOUDY)
    if likely:
        cloudy = _laid([shelf.codes(url, tile) for url in likely]) >= _LEAST_PROBABLE
    seen = ~np.isnan(codes)
    n_seen = int(np.count_nonzero(seen))
    clear = 1.0 - float(np.count_nonzero(cloudy & seen)) / n_seen if n_seen else 0.0
    return Verdict(clear, n_seen / seen.size, "probability" if likely else "scl")


def _laid(parts: Sequence[NDArray[np.float64]], absent: int | None = None) -> NDArray[np.float64]:
    """Return codes laid together: the first that is there and not `absent`; NaN for none."""
    result: NDArray[np.float64] = np.full(parts[0].shape, np.nan)
    for part in parts:
        there = part if absent is None else np.where(part == absent, np.nan, part)
        result = np.where(np.isnan(result), there, result)
    return result
