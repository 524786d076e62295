"""Which GEDI granules touch a tile: their index and their folder, read once a process."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any

import ee
import shapely
from shapely.geometry import shape

from mmearth.catalog.anchor import YEAR
from mmearth.catalog.errors import MMEarthError, RefusedError, UnavailableError
from mmearth.catalog.tile import Tile
from mmearth.curate.collectors.biomass import INDEX, TABLES
from mmearth.curate.sources.earthengine.service import Service

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_indices: dict[str, GranuleIndex | MMEarthError] = {}


@dataclass(frozen=True, slots=True)
class GranuleIndex:
    """Outlines of a year's granules."""

    tables: tuple[str, ...]
    """Ids of their tables, sorted."""
    tree: Any
    """STRtree of their outlines, in that order."""

    def without(self, table: str) -> GranuleIndex:
        """Return the index without one table."""
        kept = [place for place, name in enumerate(self.tables) if name != table]
        outlines = self.tree.geometries.take(kept)
        return GranuleIndex(tuple(self.tables[i] for i in kept), shapely.STRtree(outlines))

    def touching(self, outline: shapely.Geometry) -> tuple[str, ...]:
        """Return the tables whose outline touches a geometry in EPSG:4326, sorted."""
        found = self.tree.query(outline, predicate="intersects")
        return tuple(self.tables[i] for i in sorted(found.tolist()))


def granules_at(tile: Tile, service: Service) -> tuple[str, ...]:
    """Return the tables that touch a tile, sorted.

    Raises:
        SourceError: See `Service.features`.
    """
    return granule_index(service).touching(tile.geometry)


def granule_index(service: Service) -> GranuleIndex:
    """Return the index of the published year; fetched by the first that asks in this process.

    Raises:
        SourceError: See `Service.features`.
    """
    with _lock:
        url = service.access.url
        if url not in _indices:
            try:
                _indices[url] = _read(service)
            except (UnavailableError, RefusedError):
                raise
            except MMEarthError as exc:
                _indices[url] = exc  # it would fail for every other tile too
        found = _indices[url]
    if isinstance(found, MMEarthError):
        raise type(found)(str(found))
    return found


def drop_granule(service: Service, table: str) -> None:
    """Forget a table that is not there after all, for the rest of this process."""
    with _lock:
        found = _indices.get(service.access.url)
        if isinstance(found, GranuleIndex) and table in found.tables:
            _indices[service.access.url] = found.without(table)


def _read(service: Service) -> GranuleIndex:
    rows = sorted(
        (feature["properties"]["table_id"], feature["geometry"])
        for feature in service.features(service.made(_expression))
    )
    there = _there(service, {table for table, _ in rows})
    kept = [(table, shape(geometry)) for table, geometry in rows if table in there]
    outlines = shapely.STRtree([outline for _, outline in kept])
    return GranuleIndex(tuple(table for table, _ in kept), outlines)


def _there(service: Service, indexed: set[str]) -> set[str]:
    """Return which tables of the index their folder holds; all of them where it does not say.

    Each that is not there is then found out, and dropped, by the first tile that asks for it.

    Source:
        utils.py of github.com/lgordon99/mmearth-bench asks for each table of the index by itself
        and leaves out those that are "not found".
    """
    try:
        found = indexed.intersection(service.assets(TABLES))
    except MMEarthError as exc:
        _log.info("the folder of GEDI's tables cannot be listed: %s", exc)
        return indexed
    return found or indexed


def _expression() -> Any:
    """Return the granules that lie in the published year as a whole (MMEarth-Bench §3)."""
    index = ee.FeatureCollection(INDEX)
    begun = index.filter(ee.Filter.gte("time_start", f"{YEAR}-01-01"))
    return begun.filter(ee.Filter.lte("time_end", f"{YEAR}-12-31")).select(["table_id"])
