"""How Earth Engine is reached: project, endpoint, limits. Nothing here changes a byte of data."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from mmearth.catalog.errors import ConfigError

STANDARD = "https://earthengine.googleapis.com"
"""For what aggregates: it keeps intermediate results, so that a complex question takes fewer
EECU-seconds (developers.google.com/earth-engine/cloud/highvolume)."""
HIGH_VOLUME = "https://earthengine-highvolume.googleapis.com"
"""For many small requests that aggregate nothing, "like fetching tiles from pre-built images" (the
same page). Both endpoints share the requests a second of a project."""
VALUE, PIXELS, TABLE = "value:compute", "image:computePixels", "table:computeFeatures"
"""What is asked (developers.google.com/earth-engine/reference/rest)."""
IN_FLIGHT = 40
"""Concurrent requests of a project (developers.google.com/earth-engine/guides/usage)."""
PER_SECOND = 100.0
"""Requests a second of a project (developers.google.com/earth-engine/guides/usage)."""
TIMEOUT_S = 330.0
"""Longer than the five minutes that the service gives an interactive request."""
TRIES = 6
"""How often one request is sent before it is left to the next run."""
PAUSE_S = 0.5
"""Before the second try; each later pause is up to twice as long."""
LONGEST_PAUSE_S = 60.0
"""Between two tries at most, after a limit "per minute", and while the service is out of reach."""


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach the service."""

    project: str | None
    """The Google Cloud project that is metered; None takes the credentials' own."""
    url: str = STANDARD
    """The endpoint of what aggregates: values and tables."""
    pixels_url: str | None = None
    """The endpoint of pixels; None: HIGH_VOLUME beside STANDARD, else `url` itself."""
    in_flight: int = IN_FLIGHT
    """Most requests at once, of all workers together."""
    per_second: float = PER_SECOND
    """Most requests that begin in any second, of all workers together."""
    timeout_s: float = TIMEOUT_S
    """Longest silence that is waited out."""
    tries: int = TRIES
    """How often one request is sent."""
    pause_s: float = PAUSE_S
    """Before the second try."""
    longest_pause_s: float = LONGEST_PAUSE_S
    """Between two tries at most; as long is a limit "per minute" waited for."""

    def endpoint(self, route: str) -> str:
        """Return the endpoint that a route is asked at."""
        if route != PIXELS:
            return self.url
        return self.pixels_url or (HIGH_VOLUME if self.url == STANDARD else self.url)


def access_of_environment() -> Access:
    """Return how the environment says that the service is reached.

    `EARTHENGINE_PROJECT` (or `GOOGLE_CLOUD_PROJECT`), and `MMEARTH_EE_URL`,
    `_PIXELS_URL`, `_IN_FLIGHT`, `_PER_SECOND`, `_TIMEOUT_S`, `_TRIES`, `_PAUSE_S`,
    `_LONGEST_PAUSE_S`, each with the default above.

    Raises:
        ConfigError: A value is no number, or not above zero.
    """
    project = os.environ.get("EARTHENGINE_PROJECT") or os.environ.get("GOOGLE_CLOUD_PROJECT")
    return Access(
        project=project or None,
        url=os.environ.get("MMEARTH_EE_URL", STANDARD).rstrip("/"),
        pixels_url=os.environ.get("MMEARTH_EE_PIXELS_URL", "").rstrip("/") or None,
        in_flight=int(_number("IN_FLIGHT", IN_FLIGHT)),
        per_second=_number("PER_SECOND", PER_SECOND),
        timeout_s=_number("TIMEOUT_S", TIMEOUT_S),
        tries=int(_number("TRIES", TRIES)),
        pause_s=_number("PAUSE_S", PAUSE_S),
        longest_pause_s=_number("LONGEST_PAUSE_S", LONGEST_PAUSE_S),
    )


def _number(name: str, default: float) -> float:
    text = os.environ.get(f"MMEARTH_EE_{name}", str(default))
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise ConfigError(f"MMEARTH_EE_{name} is {text!r}; expected a number above zero")
    return value
