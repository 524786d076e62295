"""What tiles cost of open collections, by arithmetic: requests and bytes, before any is sent.

A block of a GeoTIFF is fetched as a whole, however little of it a tile needs: bytes, not requests,
are what a build waits for, and tiles that share blocks share them.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmearth.catalog.tile import Tile
from mmearth.curate.source import Price, Visit
from mmearth.curate.sources.stac.config import StacConfig

_BLOCK_M, _GRANULE_M = 10_240, 109_800
"""Sides of a block of 1024 pixels, and of a granule, of Sentinel-2."""
_HEADER_BYTES = 8_192
_LOOKS = 1.5
"""Scenes that are looked at for clouds until one is clear: measured where three a season were."""


def cost(config: StacConfig, visits: Sequence[Visit]) -> Price:
    """Return about what visits cost where nothing is in the cache.

    Args:
        config: Of each layer the first collection is reckoned with.
        visits: Tiles near each other share headers, blocks and searches.
    """
    requests, n_bytes = 0.0, 0.0
    for name in config.layers:
        tiles = [visit.tile for visit in visits if name in visit.wanted]
        entry = next(c.collections[name] for c in config.catalogs if name in c.collections)[0]
        n_cells = len(
            {tile.cell for tile in tiles}
        )  # rather more than searches: regions are larger
        n_granules = len({square for tile in tiles for square in _squares(tile, _GRANULE_M)})
        n_blocks = len({square for tile in tiles for square in _squares(tile, _BLOCK_M)})
        n_files = len(entry.keys)
        requests += n_cells + n_files * (n_granules + n_blocks)
        n_bytes += n_files * (n_granules * _HEADER_BYTES + n_blocks * entry.megabytes * 1e6)
        if entry.scl is not None:
            requests += _LOOKS * (n_granules + n_blocks)
            n_bytes += _LOOKS * (n_granules + n_blocks) * _HEADER_BYTES
    return Price(round(requests), round(n_bytes))


def _squares(tile: Tile, side: int) -> set[tuple[int, int, int]]:
    """Return the squares of a zone that a tile touches."""
    left, bottom, right, top = tile.bounds
    columns = range(left // side, -(-right // side))
    rows = range(bottom // side, -(-top // side))
    return {(tile.epsg, column, row) for column in columns for row in rows}
