"""The date that a cell of a table asks for: a day, or intervals."""

from __future__ import annotations

import re

from mmearth.catalog.anchor import normalised

_TIME = re.compile(r"(?<=\d)[T ]\d{2}(:?\d{2}){1,2}(\.\d+)?(Z|[+-]\d{2}(:?\d{2})?)?(?=[/,]|$)")
_SLASHES = re.compile(r"(?<!\d)(\d{4})/(\d\d)/(\d\d)(?!\d)")
"""A day as GDAL writes it into formats without a type for times, such as shapefiles and KML."""


def asked_date(text: str) -> str:
    """Return what a cell asks for, as `Label.date`.

    Args:
        text: `YYYY-MM-DD` or `YYYY/MM/DD`, alone or with a time of day, which is left out; or
            intervals `YYYY-MM-DD/YYYY-MM-DD` separated by commas.

    Raises:
        ConfigError: It is something else.
    """
    return normalised(_TIME.sub("", _SLASHES.sub(r"\1-\2-\3", text.strip())))
