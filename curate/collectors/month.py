"""Which month the anchor is of: nothing has to be asked beyond its date."""

from __future__ import annotations

from mmearth.catalog.sample import Observation
from mmearth.curate import encode
from mmearth.curate.collectors.collector import Collector, Seen


def _read(seen: Seen) -> Observation:
    return encode.month(seen.date)


COLLECTOR = Collector(None, None, _read)
