"""METHODS: how a run is made; each a plain loop on the page."""

from __future__ import annotations

from collections.abc import Callable

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.extras import needing
from mmearth.catalog.plugins import METHODS as GROUP
from mmearth.catalog.plugins import load, place_of

with needing("benchmark"):
    from mmearth.benchmark.adapted import ADAPTED
    from mmearth.benchmark.job import Job, Outcome
    from mmearth.benchmark.methods.adaptation import adapt
    from mmearth.benchmark.methods.probe import probe
    from mmearth.benchmark.methods.supervised import fine_tune, train_jointly

METHODS: dict[str, Callable[[Job], Outcome]] = {
    "LP": probe,
    "FT": fine_tune,
    "JT": train_jointly,
    **dict.fromkeys(ADAPTED, adapt),
}
"""By name, in the order of the paper (MMEarth-Bench §5.4, §6)."""


def method(name: str) -> Callable[[Job], Outcome]:
    """Return a method by name.

    Args:
        name: A key of METHODS, a plug-in, `module:function` or `file.py:function`.

    Raises:
        ConfigError: It cannot be imported, or is no function.
    """
    if name in METHODS:
        return METHODS[name]
    found: Callable[[Job], Outcome] = load(GROUP, place_of(GROUP, name) or name)
    if not callable(found):
        raise ConfigError(f"the method {name} is {type(found).__name__}, expected Job → Outcome")
    return found
