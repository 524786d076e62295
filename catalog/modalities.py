"""MODALITIES: the twelve modalities, in the published order (arXiv 2602.06285, §3).

One table says all that a loader, a collector or a STAC item must know. No-data values and class
codes are the published ones; class colours are their publishers'.
"""

from __future__ import annotations

from mmearth.catalog.classes import (
    BIOME_CLASSES,
    DYNAMIC_WORLD,
    ECOREGION_CLASSES,
    WORLDCOVER,
)
from mmearth.catalog.modality import Band, Modality

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

_TABLE = (
    Modality(
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
        source="Sentinel-2 MSI Level-2A, harmonised (no baseline offset)",
        collection="COPERNICUS/S2_SR_HARMONIZED",
        licence=COPERNICUS,
        citation="Contains modified Copernicus Sentinel data",
    ),
    Modality(
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
        source="Sentinel-1 IW GRD, sigma0, terrain-corrected",
        collection="COPERNICUS/S1_GRD",
        licence=COPERNICUS,
        citation="Contains modified Copernicus Sentinel data",
    ),
    Modality(
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
        source="ASTER GDEM version 3",
        collection="projects/sat-io/open-datasets/ASTER/GDEM",
        licence="LicenseRef-ASTER-GDEM",
        citation="ASTER GDEM is a product of METI and NASA, doi:10.5067/ASTER/ASTGTM.003",
    ),
    Modality(
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
        source="ETH Global Canopy Height 2020, version 1",
        collection="users/nlang/ETH_GlobalCanopyHeight_2020_10m_v1",
        licence="CC-BY-4.0",
        citation=(
            "Lang et al. 2023, A high-resolution canopy height model of the Earth, "
            "doi:10.1038/s41559-023-02206-6"
        ),
    ),
    Modality(
        name="dynamic_world",
        title="Dynamic World land cover, mode of the year",
        level="pixel",
        kind="categorical",
        bands=(Band("label", "1", (0, 8), native_m=10.0),),
        dtype="uint8",
        nodata=9,
        timing="year",
        resampling="nearest",
        source="Dynamic World version 1",
        collection="GOOGLE/DYNAMICWORLD/V1",
        licence="CC-BY-4.0",
        citation=(
            "Brown et al. 2022, Dynamic World, Near real-time global 10 m land use land cover "
            "mapping, doi:10.1038/s41597-022-01307-4"
        ),
        classes=DYNAMIC_WORLD,
    ),
    Modality(
        name="esa_worldcover",
        title="ESA WorldCover land cover 2020",
        level="pixel",
        kind="categorical",
        bands=(Band("label", "1", (0, 10), native_m=10.0),),
        dtype="uint8",
        nodata=11,
        timing="static",
        resampling="nearest",
        source="ESA WorldCover 2020, version 100",
        collection="ESA/WorldCover/v100",
        licence="CC-BY-4.0",
        citation="Zanaga et al. 2021, ESA WorldCover 10 m 2020 v100, doi:10.5281/zenodo.5571936",
        classes=WORLDCOVER,
    ),
    Modality(
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
        source="ERA5-Land monthly aggregates",
        collection="ECMWF/ERA5_LAND/MONTHLY_AGGR",
        licence="LicenseRef-Copernicus-C3S",
        citation=_ERA5,
    ),
    Modality(
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
        source="ERA5-Land monthly aggregates",
        collection="ECMWF/ERA5_LAND/MONTHLY_AGGR",
        licence="LicenseRef-Copernicus-C3S",
        citation=_ERA5,
    ),
    Modality(
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
        source="the tile itself",
        collection="none",
        licence="CC0-1.0",
        citation="none needed",
    ),
    Modality(
        name="month",
        title="Month of the anchor date, encoded",
        level="tile",
        kind="cyclic",
        bands=(Band("cos_month", "1", (-1, 1)), Band("sin_month", "1", (-1, 1))),
        dtype="float64",
        nodata=None,
        timing="anchor",
        resampling=None,
        source="the anchor date",
        collection="none",
        licence="CC0-1.0",
        citation="none needed",
    ),
    Modality(
        name="biome",
        title="Biome",
        level="tile",
        kind="categorical",
        bands=(Band("biome", "1", (0, 13)),),
        dtype="int16",
        nodata=14,
        timing="static",
        resampling=None,
        source="RESOLVE Ecoregions 2017",
        collection="RESOLVE/ECOREGIONS/2017",
        licence="CC-BY-4.0",
        citation=_RESOLVE,
        classes=BIOME_CLASSES,
    ),
    Modality(
        name="ecoregion",
        title="Ecoregion",
        level="tile",
        kind="categorical",
        bands=(Band("ecoregion", "1", (0, 845)),),
        dtype="int16",
        nodata=846,
        timing="static",
        resampling=None,
        source="RESOLVE Ecoregions 2017",
        collection="RESOLVE/ECOREGIONS/2017",
        licence="CC-BY-4.0",
        citation=_RESOLVE,
        classes=ECOREGION_CLASSES,
    ),
)

MODALITIES: dict[str, Modality] = {modality.name: modality for modality in _TABLE}
"""By name, in the order that samples, shards and tables keep."""
