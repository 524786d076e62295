"""How servers are asked, and where their blocks are kept. Nothing here changes a byte of data."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from mmearth.catalog.errors import ConfigError

IN_FLIGHT = 40
"""Requests to one host at once."""
PER_SECOND = 1000.0
"""Requests that begin in a second, of one host."""


@dataclass(frozen=True, slots=True)
class RemoteAccess:
    """How hosts are asked."""

    cache: Path
    """Directory of the blocks that are kept."""
    cache_bytes: int
    """Most bytes that are kept there."""
    in_flight: int = IN_FLIGHT
    """Most requests to one host at once, of all workers together."""
    per_second: float = PER_SECOND
    """Most requests to one host that begin in any second, of all workers together."""
    timeout_s: float = 60.0
    """Longest silence that is waited out."""
    tries: int = 6
    """How often one request is sent."""
    pause_s: float = 0.5
    """Before the second try; each later pause is up to twice as long."""
    longest_pause_s: float = 60.0
    """Between two tries at most, and while a host is out of reach."""
    s3_url: str | None = None
    """Where `s3://bucket/key` is, as `<s3_url>/bucket/key`; None: at Amazon."""


def remote_access(cache: Path | None = None) -> RemoteAccess:
    """Return how the environment says that servers are asked.

    `MMEARTH_CACHE` (a directory; `~/.cache/mmearth`), `MMEARTH_CACHE_GB` (20),
    `AWS_ENDPOINT_URL_S3`, and `MMEARTH_HTTP_IN_FLIGHT`, `_PER_SECOND`, `_TIMEOUT_S`, `_TRIES`,
    `_PAUSE_S`, `_LONGEST_PAUSE_S`, each with the default above.

    Args:
        cache: In place of what the environment says.

    Raises:
        ConfigError: A value is no number, or not above zero.
    """
    if cache is None:
        home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
        cache = Path(os.environ.get("MMEARTH_CACHE") or Path(home, "mmearth")).absolute()
    return RemoteAccess(
        cache=cache,
        cache_bytes=int(_number("MMEARTH_CACHE_GB", 20.0) * 1e9),
        in_flight=int(_number("MMEARTH_HTTP_IN_FLIGHT", IN_FLIGHT)),
        per_second=_number("MMEARTH_HTTP_PER_SECOND", PER_SECOND),
        timeout_s=_number("MMEARTH_HTTP_TIMEOUT_S", 60.0),
        tries=int(_number("MMEARTH_HTTP_TRIES", 6)),
        pause_s=_number("MMEARTH_HTTP_PAUSE_S", 0.5),
        longest_pause_s=_number("MMEARTH_HTTP_LONGEST_PAUSE_S", 60.0),
        s3_url=os.environ.get("AWS_ENDPOINT_URL_S3", "").rstrip("/") or None,
    )


def _number(name: str, default: float) -> float:
    text = os.environ.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise ConfigError(f"{name} is {text!r}; expected a number above zero")
    return value
