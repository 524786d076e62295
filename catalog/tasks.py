"""TASKS: the five tasks of MMEarth-Bench (arXiv 2602.06285, §3) in their order, then `custom`."""

from __future__ import annotations

import csv
from importlib import resources

from mmearth.catalog.task import Task

SPECIES = tuple(
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

_FLOAT32_MAX = 3.4028234663852886e38  # the greatest finite float32: any loader can hold it
_WOSIS = (
    "Batjes et al. 2024, Providing quality-assessed and standardised soil data (WoSIS), "
    "doi:10.5194/essd-16-4735-2024"
)


def _soil(name: str, title: str, output: str, unit: str, valid: tuple[float, float]) -> Task:
    """Return a soil task: one number a tile from WoSIS, December 2023, depth 0–5 cm."""
    return Task(
        name=name,
        title=title,
        level="tile",
        kind="regression",
        outputs=(output,),
        unit=unit,
        valid=valid,
        nodata=None,
        dtype="float32",
        metrics=("r2", "rmse"),
        licence="CC-BY-NC-4.0",
        citation=_WOSIS,
    )


_TABLE = (
    Task(
        name="biomass",
        title="Above-ground biomass density of each GEDI footprint",
        level="pixel",
        kind="regression",
        outputs=("agbd",),
        unit="Mg/ha",
        valid=(0, 2000),  # the published filter keeps footprints up to 2000 Mg/ha (§2.0)
        nodata=-9999,
        dtype="float32",
        metrics=("r2", "rmse"),
        licence="CC-BY-4.0",
        citation=(
            "Dubayah et al. 2022, GEDI L4A Footprint Level Aboveground Biomass Density v2.1, "
            "doi:10.3334/ORNLDAAC/2056"
        ),
    ),
    _soil("soil_nitrogen", "Total nitrogen of the topsoil (Kjeldahl)", "nitkjd", "g/kg", (0, 1000)),
    _soil("soil_organic_carbon", "Organic carbon of the topsoil", "orgc", "g/kg", (0, 1000)),
    _soil("soil_pH", "Acidity of the topsoil, pH in water", "phaq", "1", (0, 14)),
    Task(
        name="species",
        title="Which of 100 terrestrial mammals have the place in their range",
        level="tile",
        kind="multilabel",
        outputs=SPECIES,
        unit="1",
        valid=(0, 1),
        nodata=None,
        dtype="uint8",
        metrics=("map", "recall"),
        licence="LicenseRef-IUCN-Red-List",
        citation="IUCN 2025, The IUCN Red List of Threatened Species, version 2025-1",
    ),
    Task(
        name="custom",
        title="One number of your own at each place, or none yet",
        level="tile",
        kind="regression",
        outputs=("value",),
        unit="unknown",
        valid=(-_FLOAT32_MAX, _FLOAT32_MAX),
        nodata=None,
        dtype="float64",  # a year and month or a number of seconds does not fit into float32
        metrics=("r2", "rmse"),
        licence="other",
        citation="the makers of this dataset, for the labels of their own task",
        optional=True,
    ),
)

TASKS: dict[str, Task] = {task.name: task for task in _TABLE}
"""By name: the five in the published order, and one for the user's own places."""
