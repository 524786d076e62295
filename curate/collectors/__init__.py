"""COLLECTORS: how each modality comes out of Earth Engine; one file a modality."""

from __future__ import annotations

from mmearth.curate.collectors import (
    aster_gdem,
    biomass,
    biome,
    dynamic_world,
    ecoregion,
    esa_worldcover,
    eth_gch,
    geolocation,
    month,
    precipitation,
    sentinel1,
    sentinel2,
    temperature,
)
from mmearth.curate.collectors.collector import Collector

COLLECTORS: dict[str, Collector] = {
    "sentinel2": sentinel2.COLLECTOR,
    "sentinel1": sentinel1.COLLECTOR,
    "aster_gdem": aster_gdem.COLLECTOR,
    "eth_gch": eth_gch.COLLECTOR,
    "dynamic_world": dynamic_world.COLLECTOR,
    "esa_worldcover": esa_worldcover.COLLECTOR,
    "precipitation": precipitation.COLLECTOR,
    "temperature": temperature.COLLECTOR,
    "geolocation": geolocation.COLLECTOR,
    "month": month.COLLECTOR,
    "biome": biome.COLLECTOR,
    "ecoregion": ecoregion.COLLECTOR,
    "biomass": biomass.COLLECTOR,
}
"""By modality, and by task for pixel-level targets."""
