"""MMEARTH_BENCH: twelve modalities and five tasks (arXiv 2602.06285, §3), as data.

In the published order. No-data values and class codes are the published ones; class colours are
their publishers'. Only collecting reads it: a dataset carries its own catalogue.
"""

from __future__ import annotations

import csv
from importlib import resources

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.classes import (
    ABSENT_PRESENT,
    BIOME_CLASSES,
    DYNAMIC_WORLD,
    ECOREGION_CLASSES,
    WORLDCOVER,
)
from mmearth.catalog.grid import Grid
from mmearth.catalog.layer import Band, ClassCode, Layer, Level
from mmearth.catalog.task import METRICS, Task, TaskKind

COPERNICUS = "LicenseRef-Copernicus-Sentinel"
"""Free, full and open access; credit "Contains modified Copernicus Sentinel data [year]"."""

# Centre wavelengths of Sentinel-2A, nm: ESA Sentinel-2 Spectral Response Functions (S2-SRF) 3.2.
_SENTINEL2 = (
    ("B1", 60, 442.7, "coastal"),
    ("B2", 10, 492.7, "blue"),
    ("B3", 10, 559.8, "green"),
    ("B4", 10, 664.6, "red"),
    ("B5", 20, 704.1, "rededge071"),
    ("B6", 20, 740.5, "rededge075"),
    ("B7", 20, 782.8, "rededge078"),
    ("B8", 10, 832.8, "nir"),
    ("B8A", 20, 864.7, "nir08"),
    ("B9", 60, 945.1, "nir09"),
    ("B11", 20, 1613.7, "swir16"),
    ("B12", 20, 2202.4, "swir22"),
)

_ERA5_PERIODS = ("last_month", "month", "year")
_RESOLVE = (
    "Dinerstein et al. 2017, An Ecoregion-Based Approach to Protecting Half the Terrestrial Realm, "
    "doi:10.1093/biosci/bix014"
)
_ERA5 = (
    "Muñoz-Sabater et al. 2021, ERA5-Land: a state-of-the-art global reanalysis dataset for land "
    "applications, doi:10.5194/essd-13-4349-2021"
)

_MODALITIES = (
    Layer(
        name="sentinel2",
        title="Sentinel-2 surface reflectance",
        level="pixel",
        kind="continuous",
        bands=tuple(
            Band(name, "1", (0, 65534), 1e-4, 0.0, float(native), wavelength, common)
            for name, native, wavelength, common in _SENTINEL2
        ),
        dtype="uint16",
        nodata=65535,
        timing="anchor",
        resampling="bilinear",
        description="Sentinel-2 MSI Level-2A, harmonised (no baseline offset)",
        product="COPERNICUS/S2_SR_HARMONIZED",
        licence=COPERNICUS,
        citation="Contains modified Copernicus Sentinel data",
    ),
    Layer(
        name="sentinel1",
        title="Sentinel-1 backscatter, ascending and descending",
        level="pixel",
        kind="continuous",
        bands=tuple(
            Band(f"{orbit}_{polarisation}", "dB", (-200, 100), native_m=10.0)
            for orbit in ("asc", "desc")
            for polarisation in ("VV", "VH", "HH", "HV")
        ),
        dtype="float32",
        nodata=-9999,
        timing="nearest",
        resampling="bilinear",
        description="Sentinel-1 IW GRD, sigma0, terrain-corrected",
        product="COPERNICUS/S1_GRD",
        licence=COPERNICUS,
        citation="Contains modified Copernicus Sentinel data",
    ),
    Layer(
        name="aster_gdem",
        title="Elevation and slope",
        level="pixel",
        kind="continuous",
        bands=(
            Band("elevation", "m", (-500, 9000), native_m=30.0),
            Band("slope", "deg", (0, 90), native_m=30.0),
        ),
        dtype="float32",
        nodata=-9999,
        timing="static",
        resampling="bilinear",
        description="ASTER GDEM version 3",
        product="projects/sat-io/open-datasets/ASTER/GDEM",
        licence="LicenseRef-ASTER-GDEM",
        citation="ASTER GDEM is a product of METI and NASA, doi:10.5067/ASTER/ASTGTM.003",
    ),
    Layer(
        name="eth_gch",
        title="Canopy height and its standard deviation",
        level="pixel",
        kind="continuous",
        bands=(
            Band("height", "m", (0, 254), native_m=10.0),
            Band("uncertainty", "m", (0, 254), native_m=10.0),
        ),
        dtype="float32",
        nodata=255,
        timing="static",
        resampling="bilinear",
        description="ETH Global Canopy Height 2020, version 1",
        product="users/nlang/ETH_GlobalCanopyHeight_2020_10m_v1",
        licence="CC-BY-4.0",
        citation=(
            "Lang et al. 2023, A high-resolution canopy height model of the Earth, "
            "doi:10.1038/s41559-023-02206-6"
        ),
    ),
    Layer(
        name="dynamic_world",
        title="Dynamic World land cover, mode of the year",
        level="pixel",
        kind="categorical",
        bands=(Band("label", "1", (0, 8), native_m=10.0),),
        dtype="uint8",
        nodata=9,
        timing="year",
        resampling="nearest",
        description="Dynamic World version 1",
        product="GOOGLE/DYNAMICWORLD/V1",
        licence="CC-BY-4.0",
        citation=(
            "Brown et al. 2022, Dynamic World, Near real-time global 10 m land use land cover "
            "mapping, doi:10.1038/s41597-022-01307-4"
        ),
        classes=DYNAMIC_WORLD,
    ),
    Layer(
        name="esa_worldcover",
        title="ESA WorldCover land cover 2020",
        level="pixel",
        kind="categorical",
        bands=(Band("label", "1", (0, 10), native_m=10.0),),
        dtype="uint8",
        nodata=11,
        timing="static",
        resampling="nearest",
        description="ESA WorldCover 2020, version 100",
        product="ESA/WorldCover/v100",
        licence="CC-BY-4.0",
        citation="Zanaga et al. 2021, ESA WorldCover 10 m 2020 v100, doi:10.5281/zenodo.5571936",
        classes=WORLDCOVER,
    ),
    Layer(
        name="precipitation",
        title="Total precipitation",
        level="tile",
        kind="continuous",
        bands=(
            Band("last_month", "m", (0, 20)),
            Band("month", "m", (0, 20)),
            Band("year", "m", (0, 60)),
        ),
        dtype="float64",
        nodata=-9999,
        timing="month",
        resampling=None,
        description="ERA5-Land monthly aggregates",
        product="ECMWF/ERA5_LAND/MONTHLY_AGGR",
        licence="LicenseRef-Copernicus-C3S",
        citation=_ERA5,
    ),
    Layer(
        name="temperature",
        title="Air temperature at 2 m",
        level="tile",
        kind="continuous",
        bands=tuple(
            Band(f"{period}_{statistic}", "K", (150, 350))
            for period in _ERA5_PERIODS
            for statistic in ("max", "mean", "min")
        ),
        dtype="float64",
        nodata=-9999,
        timing="month",
        resampling=None,
        description="ERA5-Land monthly aggregates",
        product="ECMWF/ERA5_LAND/MONTHLY_AGGR",
        licence="LicenseRef-Copernicus-C3S",
        citation=_ERA5,
    ),
    Layer(
        name="geolocation",
        title="Longitude and latitude of the tile's centre, encoded",
        level="tile",
        kind="cyclic",
        bands=tuple(
            Band(name, "1", (-1, 1)) for name in ("cos_lon", "sin_lon", "cos_lat", "sin_lat")
        ),
        dtype="float64",
        nodata=None,
        timing="static",
        resampling=None,
        description="the tile itself",
        product="none",
        licence="CC0-1.0",
        citation="none needed",
    ),
    Layer(
        name="month",
        title="Month of the anchor date, encoded",
        level="tile",
        kind="cyclic",
        bands=(Band("cos_month", "1", (-1, 1)), Band("sin_month", "1", (-1, 1))),
        dtype="float64",
        nodata=None,
        timing="anchor",
        resampling=None,
        description="the anchor date",
        product="none",
        licence="CC0-1.0",
        citation="none needed",
    ),
    Layer(
        name="biome",
        title="Biome",
        level="tile",
        kind="categorical",
        bands=(Band("biome", "1", (0, 13)),),
        dtype="int16",
        nodata=14,
        timing="static",
        resampling=None,
        description="RESOLVE Ecoregions 2017",
        product="RESOLVE/ECOREGIONS/2017",
        licence="CC-BY-4.0",
        citation=_RESOLVE,
        classes=BIOME_CLASSES,
    ),
    Layer(
        name="ecoregion",
        title="Ecoregion",
        level="tile",
        kind="categorical",
        bands=(Band("ecoregion", "1", (0, 845)),),
        dtype="int16",
        nodata=846,
        timing="static",
        resampling=None,
        description="RESOLVE Ecoregions 2017",
        product="RESOLVE/ECOREGIONS/2017",
        licence="CC-BY-4.0",
        citation=_RESOLVE,
        classes=ECOREGION_CLASSES,
    ),
)


_SPECIES = tuple(
    row["name"]
    for row in csv.DictReader(
        (resources.files("mmearth") / "catalog" / "data" / "species.csv")
        .read_text(encoding="utf-8")
        .splitlines()
    )
)
"""The 100 species by falling number of tiles: the published label ids, 0 to 99.

The project page shows 99 names; id 93 is not public and stands as `unpublished 93`.
"""
_WOSIS = (
    "Batjes et al. 2024, Providing quality-assessed and standardised soil data (WoSIS), "
    "doi:10.5194/essd-16-4735-2024"
)


def _task(
    name: str,
    title: str,
    bands: tuple[Band, ...],
    licence: str,
    citation: str,
    kind: TaskKind = "regression",
    level: Level = "tile",
    dtype: str = "float32",
    nodata: float | None = None,
    classes: tuple[ClassCode, ...] = (),
) -> Task:
    """Return a task whose labels follow from the place: no date, no resampling."""
    target = Layer(
        name=name,
        title=title,
        level=level,
        kind="categorical" if classes else "continuous",
        bands=bands,
        dtype=dtype,
        nodata=nodata,
        timing="static",
        resampling=None,
        description=title,
        product="none",
        licence=licence,
        citation=citation,
        classes=classes,
    )
    return Task(name, title, kind, target, METRICS[kind][level])


def _soil(name: str, title: str, output: str, unit: str, valid: tuple[float, float]) -> Task:
    """Return a soil task: one number per tile from WoSIS, December 2023, depth 0–5 cm."""
    return _task(name, title, (Band(output, unit, valid),), "CC-BY-NC-4.0", _WOSIS)


_TASKS = (
    _task(
        "biomass",
        "Above-ground biomass density of each GEDI footprint",
        # The published filter keeps footprints up to 2000 Mg/ha (§2.0).
        (Band("agbd", "Mg/ha", (0, 2000), native_m=25.0),),
        "CC-BY-4.0",
        "Dubayah et al. 2022, GEDI L4A Footprint Level Aboveground Biomass Density v2.1, "
        "doi:10.3334/ORNLDAAC/2056",
        level="pixel",
        nodata=-9999,
    ),
    _soil("soil_nitrogen", "Total nitrogen of the topsoil (Kjeldahl)", "nitkjd", "g/kg", (0, 1000)),
    _soil("soil_organic_carbon", "Organic carbon of the topsoil", "orgc", "g/kg", (0, 1000)),
    _soil("soil_pH", "Acidity of the topsoil, pH in water", "phaq", "1", (0, 14)),
    _task(
        "species",
        "Which of 100 terrestrial mammals have the place in their range",
        tuple(Band(name, "1", (0, 1)) for name in _SPECIES),
        "LicenseRef-IUCN-Red-List",
        "IUCN 2025, The IUCN Red List of Threatened Species, version 2025-1",
        kind="multilabel",
        dtype="uint8",
        classes=ABSENT_PRESENT,
    ),
)

MMEARTH_BENCH = Catalogue(
    Grid(), {layer.name: layer for layer in _MODALITIES}, {task.name: task for task in _TASKS}
)
"""The published grid, modalities and tasks."""
