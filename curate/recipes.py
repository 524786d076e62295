"""The two recipes: as MMEarth-Bench was published, and as we think it should be."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Quirks:
    """What the published collection did that a reviewer would object to; True reproduces it.

    Source:
        MMEarth-Bench's public code (github.com/lgordon99/mmearth-bench); docs/differences.md says
        why each is mended by the default recipe.
    """

    clouds_on_circle: bool = False
    """Clouds are judged on a circle of 640 m, 78.5 % of the tile, instead of the tile."""
    ends_excluded: bool = False
    """The last day of every season, and 31 December, are never used."""
    leaf_days_late: bool = False
    """Day d of a GEDI footprint's leaf-on season is taken for 1 January + d days."""
    january_looks_ahead: bool = False
    """The month before January is December of the same year, eleven months later."""
    labels_in_circle: bool = False
    """Biomass is painted within 650 m of the centre only; the corners carry no label."""
    least_no_data: bool = False
    """Of the clear scenes the one with the least no-data wins, however cloudy it is."""
    any_zone: bool = False
    """Scenes of the neighbouring UTM zone are as good as those of the tile's own."""


RECIPES: dict[str, Quirks] = {
    "default": Quirks(),
    "mmearth-bench-2026": Quirks(**{field.name: True for field in fields(Quirks)}),
}
"""Recipe → what it reproduces."""

SPLIT_RULES = {"default": "default", "mmearth-bench-2026": "published"}
"""Recipe → the split rule it uses (catalog/splits.py)."""

EVERY_PRESENCE = {"default": False, "mmearth-bench-2026": True}
"""Recipe → whether ranges count where a species is extinct (IUCN presence 4 and 5): no code of the
published collection looks at it (`generate_species_points.py`)."""

QUIRKS = tuple(field.name for field in fields(Quirks))
"""Names of all quirks."""


def quirks_of(recipe: str, changes: dict[str, bool]) -> Quirks:
    """Return a recipe's quirks with some of them switched.

    Args:
        recipe: A key of RECIPES.
        changes: Names out of QUIRKS, with what they shall be.
    """
    return replace(RECIPES[recipe], **changes)
