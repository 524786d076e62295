"""Catalogues by name: the published one, and those that installed packages offer."""

from __future__ import annotations

from importlib.metadata import entry_points

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.wording import nearest

GROUP = "mmearth.catalogues"
"""Entry points of other packages: name → a `Catalogue`, `package.module:NAME`."""
DEFAULT = "mmearth-bench"
"""The published catalogue."""


def catalogue_named(name: str = DEFAULT) -> Catalogue:
    """Return a catalogue by name.

    Raises:
        ConfigError: None has that name, or what a package offers is no catalogue.
    """
    if name == DEFAULT:
        from mmearth.catalog.published import MMEARTH_BENCH

        return MMEARTH_BENCH
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        names = (DEFAULT, *sorted(found))
        raise ConfigError(
            f"there is no catalogue {name!r}{nearest(name, names)}; expected one of "
            f"{', '.join(names)}"
        )
    try:
        offered = found[name].load()
    except Exception as exc:  # somebody else's code
        raise ConfigError(
            f"the catalogue {name!r} of {found[name].value} cannot be loaded ({exc})"
        ) from exc
    if not isinstance(offered, Catalogue):
        raise ConfigError(f"{found[name].value} is {type(offered).__name__}, expected a Catalogue")
    return offered
