"""METHODS: how a run is made; each a plain loop on the page."""

from __future__ import annotations

from collections.abc import Callable

from mmearth.catalog.extras import needing

with needing("benchmark"):
    from mmearth.benchmark.job import Job, Outcome
    from mmearth.benchmark.methods.adaptation import adapt_geographically, adapt_randomly
    from mmearth.benchmark.methods.probe import probe
    from mmearth.benchmark.methods.supervised import fine_tune, train_jointly

METHODS: dict[str, Callable[[Job], Outcome]] = {
    "LP": probe,
    "FT": fine_tune,
    "JT": train_jointly,
    "TTT-MMR": adapt_randomly,
    "TTT-MMR-Geo": adapt_geographically,
}
"""By name, in the order of the paper (MMEarth-Bench §5.4, §6)."""
