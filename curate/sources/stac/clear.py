"""Whether a scene shows a tile: its clouds and its absent pixels, on the tile itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import MMEarthError
from mmearth.catalog.tile import Tile
from mmearth.curate.sources.files.shelf import Regions
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
    by = rule.by if entry.probability is not None else "scl"
    urls = [_urls(candidate, entry, by) for _, candidate in asked]
    shelf.look_at(url for some in urls for url in some)
    regions = [shelf.regions(some, tile) for some, (tile, _) in zip(urls, asked, strict=True)]
    errors = shelf.fetch(regions)
    found: list[Verdict | MMEarthError] = []
    for some, region, (tile, _) in zip(urls, regions, asked, strict=True):
        try:
            found.append(_verdict(shelf, some, region, errors, tile, by))
        except MMEarthError as exc:
            found.append(exc)
    return found


def _urls(candidate: Candidate, entry: CollectionEntry, by: str) -> list[str]:
    keys = [entry.scl, *([entry.probability] if by == "probability" else [])]
    return [asset_url(i, k, entry) for k in keys if k for i in candidate.items if k in i.assets]


def _verdict(
    shelf: Assets,
    urls: Sequence[str],
    regions: Regions,
    errors: dict[str, MMEarthError | None],
    tile: Tile,
    by: str,
) -> Verdict:
    for url in urls:
        shelf.header(url)
        if (error := errors.get(url)) is not None:
            raise error
    n_items = len(urls) if by == "scl" else len(urls) // 2
    with shelf.opened([regions]):
        classes = _laid([shelf.codes(url, tile) for url in urls[:n_items]], absent=_ABSENT)
        if by == "scl":
            cloudy = np.isin(classes, CLOUDY)
        else:
            cloudy = _laid([shelf.codes(url, tile) for url in urls[n_items:]]) >= _LEAST_PROBABLE
    seen = ~np.isnan(classes)
    n_seen = int(np.count_nonzero(seen))
    clear = 1.0 - float(np.count_nonzero(cloudy & seen)) / n_seen if n_seen else 0.0
    return Verdict(clear, n_seen / seen.size, by)


def _laid(parts: Sequence[NDArray[np.float64]], absent: int | None = None) -> NDArray[np.float64]:
    """Return codes laid together: the first that is there and not `absent`; NaN for none."""
    result: NDArray[np.float64] = np.full(parts[0].shape, np.nan)
    for part in parts:
        there = part if absent is None else np.where(part == absent, np.nan, part)
        result = np.where(np.isnan(result), there, result)
    return result
