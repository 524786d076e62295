"""The 14 biomes and 846 ecoregions of RESOLVE Ecoregions 2017, with the published class ids.

The ids are positions in the alphabetical order of the names (MMEarth-Bench §3); RESOLVE's own
ECO_ID stands beside them. "Rock and Ice" is no ecoregion: such places have no class.

Source:
    Dinerstein et al. 2017, doi:10.1093/biosci/bix014; CC-BY-4.0.
"""

from __future__ import annotations

import csv
import difflib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from mmearth.catalog.errors import ConfigError

BIOMES = (
    "Boreal Forests/Taiga",
    "Deserts & Xeric Shrublands",
    "Flooded Grasslands & Savannas",
    "Mangroves",
    "Mediterranean Forests, Woodlands & Scrub",
    "Montane Grasslands & Shrublands",
    "Temperate Broadleaf & Mixed Forests",
    "Temperate Conifer Forests",
    "Temperate Grasslands, Savannas & Shrublands",
    "Tropical & Subtropical Coniferous Forests",
    "Tropical & Subtropical Dry Broadleaf Forests",
    "Tropical & Subtropical Grasslands, Savannas & Shrublands",
    "Tropical & Subtropical Moist Broadleaf Forests",
    "Tundra",
)
"""RESOLVE's BIOME_NAME by class id, 0 to 13."""


@dataclass(frozen=True, slots=True)
class Ecoregion:
    """One ecoregion."""

    id: int
    """Class id, 0 to 845."""
    name: str
    """RESOLVE's ECO_NAME."""
    eco_id: int
    """RESOLVE's ECO_ID."""
    biome: int
    """Class id of its biome."""


def _read() -> tuple[Ecoregion, ...]:
    table = resources.files("mmearth") / "catalog" / "data" / "ecoregions.csv"
    rows = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    return tuple(
        Ecoregion(int(row["id"]), row["name"], int(row["eco_id"]), int(row["biome"]))
        for row in rows
    )


ECOREGIONS = _read()
"""By class id."""


def ecoregion_id(name: str) -> int:
    """Return the class id of an ecoregion's name; case and further blanks do not matter.

    Raises:
        ConfigError: No ecoregion has this name; the nearest ones are named.
    """
    return _id(name, "ecoregion")


def biome_id(name: str) -> int:
    """Return the class id of a biome's name; case and further blanks do not matter.

    Raises:
        ConfigError: No biome has this name; the nearest ones are named.
    """
    return _id(name, "biome")


@cache
def _ids(what: str) -> dict[str, int]:
    names = BIOMES if what == "biome" else tuple(region.name for region in ECOREGIONS)
    return {_key(name): code for code, name in enumerate(names)}


def _id(name: str, what: str) -> int:
    ids = _ids(what)
    if (code := ids.get(_key(name))) is not None:
        return code
    near = difflib.get_close_matches(_key(name), ids, n=2)
    names = [BIOMES[ids[key]] if what == "biome" else ECOREGIONS[ids[key]].name for key in near]
    hint = f", such as {' or '.join(map(repr, names))}" if names else ""
    raise ConfigError(
        f"{name!r} is no {what} of RESOLVE 2017; expected one of its {len(ids)} names{hint}"
    )


def _key(name: str) -> str:
    return " ".join(name.split()).casefold()
