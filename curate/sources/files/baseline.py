"""Sentinel-2's processing baselines: from 04.00 on, digital numbers are 1000 too high.

Source:
    ESA, Sentinel-2 products specification document 14.9: BOA_ADD_OFFSET and RADIO_ADD_OFFSET of
    processing baseline 04.00, in operation since 25 January 2022.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mmearth.catalog.errors import ConfigError

OFFSET = -1000.0
"""Added to digital numbers of baseline 04.00 and later."""
_FROM, _SINCE = 4.0, "2022-01-25"


def offset_told(tags: Mapping[str, str], name: str) -> float | None:
    """Return the offset that a file tells by its baseline, None where it tells none.

    Args:
        tags: `PROCESSING_BASELINE` (04.00), `boa_offset_applied` or `BOA_ADD_OFFSET` (-1000) in any
            spelling; others do not matter.
        name: Its path, where ESA's name of a product has `_N0400_`: S2A_MSIL2A_…_N0400_R022_….

    Raises:
        ConfigError: A tag names a baseline that cannot be read.
    """
    # GDAL splits a key at its first colon: s2:processing_baseline.
    lines = [f"{key}={text}".lower() for key, text in tags.items()]
    if any(re.search(r"offset_applied=\s*(true|yes|1)\s*$", line) for line in lines):
        return 0.0
    for line in lines:
        added = re.search(r"(?:boa|radio)_add_offset\w*=[^\w-]*(-?\d+)\W*$", line)
        if added is not None:
            return float(added[1])
    for line in lines:
        if re.search(r"baseline[\w:]*=.*\d", line):
            return _offset_of_baseline(line)
    named = re.search(r"(?:S2[A-D]|MSIL)[^/]*_N(\d\d)\.?(\d\d)(?![A-Za-z0-9])", name, re.IGNORECASE)
    return _offset(named[1], named[2]) if named is not None else None


def offset_of_date(date: str) -> float:
    """Return the offset of scenes of a day, `YYYY-MM-DD`, that were never processed again."""
    return OFFSET if date >= _SINCE else 0.0


def _offset_of_baseline(line: str) -> float:
    """Return the offset of `processing_baseline=05.09`, also written 5.9, N0509 or 0509."""
    found = re.search(r"=\W*n?(?:(\d{1,2})\.(\d{1,2})|(\d\d)(\d\d))\W*$", line)
    if found is None:
        raise ConfigError(
            f"a tag says {line!r}, which is no processing baseline such as 05.09; write offset: "
            "-1000 from 04.00 on, or offset: 0"
        )
    return _offset(found[1] or found[3], found[2] or found[4])


def _offset(whole: str, hundredths: str) -> float:
    return OFFSET if float(f"{whole}.{hundredths}") >= _FROM else 0.0
