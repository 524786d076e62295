"""The classes of the categorical modalities: codes, names and their publishers' colours."""

from __future__ import annotations

from mmearth.catalog.ecoregions import BIOMES, ECOREGIONS
from mmearth.catalog.layer import ClassCode


def _classes(*table: tuple[str, str]) -> tuple[ClassCode, ...]:
    """Return the classes of (name, colour) pairs; a pair's position is its code."""
    return tuple(ClassCode(code, name, color) for code, (name, color) in enumerate(table))


DYNAMIC_WORLD = _classes(
    ("water", "#419bdf"),
    ("trees", "#397d49"),
    ("grass", "#88b053"),
    ("flooded_vegetation", "#7a87c6"),
    ("crops", "#e49635"),
    ("shrub_and_scrub", "#dfc35a"),
    ("built", "#c4281b"),
    ("bare", "#a59b8f"),
    ("snow_and_ice", "#b39fe1"),
)

WORLDCOVER = _classes(
    ("Tree cover", "#006400"),
    ("Shrubland", "#ffbb22"),
    ("Grassland", "#ffff4c"),
    ("Cropland", "#f096ff"),
    ("Built-up", "#fa0000"),
    ("Bare / sparse vegetation", "#b4b4b4"),
    ("Snow and ice", "#f0f0f0"),
    ("Permanent water bodies", "#0064c8"),
    ("Herbaceous wetland", "#0096a0"),
    ("Mangroves", "#00cf75"),
    ("Moss and lichen", "#fae6a0"),
)

ABSENT_PRESENT = _classes(("absent", "#ffffff"), ("present", "#1b7837"))
"""Of each label of a multi-label task."""

_WORLDCOVER_CODES = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)
_PRODUCT_CODES: dict[str, tuple[str, dict[int, int | None]]] = {
    # Zanaga et al. 2021, product user manual, table 2; its 0 is no data.
    "esa_worldcover": (
        "worldcover",
        {0: None} | {theirs: ours for ours, theirs in enumerate(_WORLDCOVER_CODES)},
    ),
    "dynamic_world": ("dynamicworld", {code.code: code.code for code in DYNAMIC_WORLD}),
}


def product_codes(modality: str, product: str) -> dict[int, int | None] | None:
    """Return a known product's class code → ours, None for its no data.

    Args:
        modality: Whose codes are ours: WorldCover's 10, 20 … 90, 95, 100 become 0 … 10, as
            published; Dynamic World's 0 … 8 stay.
        product: Name or identifier, such as `ESA/WorldCover/v200`.

    Returns:
        None where the product's codes are not known.
    """
    family, codes = _PRODUCT_CODES.get(modality, ("", {}))
    plain = "".join(letter for letter in product.lower() if letter.isalpha())
    # Esri's map, io-lulc, goes by the name of World Cover too.
    return codes if family and family in plain and "esri" not in plain else None


# RESOLVE's COLOR_BIO, in the order of BIOMES.
_BIOME_COLORS = (
    "#7ab6f5",
    "#cc6767",
    "#bee7ff",
    "#fe01c4",
    "#fe0000",
    "#d6c39d",
    "#00734c",
    "#458970",
    "#feff73",
    "#88ce66",
    "#cccd65",
    "#feaa01",
    "#38a700",
    "#9ed7c2",
)


BIOME_CLASSES = _classes(*zip(BIOMES, _BIOME_COLORS, strict=True))

# An ecoregion is drawn in its biome's colour: 846 colours tell nobody anything.
ECOREGION_CLASSES = tuple(
    ClassCode(region.id, region.name, _BIOME_COLORS[region.biome]) for region in ECOREGIONS
)
