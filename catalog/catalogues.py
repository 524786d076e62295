"""Catalogues by name: the published one, and those that installed packages offer."""

from __future__ import annotations

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.plugins import CATALOGUES, load, place_of, plugins
from mmearth.catalog.wording import nearest

DEFAULT = "mmearth-bench"
"""The published catalogue."""


def catalogue_named(name: str = DEFAULT) -> Catalogue:
    """Return a catalogue by name.

    Args:
        name: DEFAULT, of a plug-in, or `module:NAME`.

    Raises:
        ConfigError: None has that name, or what a package offers is no catalogue.
    """
    if name == DEFAULT:
        from mmearth.catalog.published import MMEARTH_BENCH

        return MMEARTH_BENCH
    place = place_of(CATALOGUES, name)
    if place is None:
        names = (DEFAULT, *(each.name for each in plugins(CATALOGUES)))
        raise ConfigError(
            f"there is no catalogue {name!r}{nearest(name, names)}; expected one of "
            f"{', '.join(names)}, or module:NAME"
        )
    offered = load(CATALOGUES, place)
    if not isinstance(offered, Catalogue):
        raise ConfigError(f"{place} is {type(offered).__name__}, expected a Catalogue")
    return offered
