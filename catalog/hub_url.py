"""Hugging Face's hub as a place: `hf://datasets/<organisation>/<name>[@<revision>]`."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

from mmearth.catalog.errors import ConfigError

SCHEME = "hf"
"""Of its URLs, as Hugging Face's own file system has them."""
ENDPOINT = "https://huggingface.co"
"""Where the hub is, unless HF_ENDPOINT says another."""
_FORM = re.compile(
    r"hf://(?:datasets/)?(?!datasets/)([\w.-]+/[\w.-]+?)(?:@([\w./-]*[\w.-]))?/?", re.ASCII
)


def endpoint() -> str:
    """Return where the hub answers, without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")


def repository(url: str) -> tuple[str, str]:
    """Return the repository, `organisation/name`, and the revision, that a URL names.

    Raises:
        ConfigError: It names none.
    """
    found = _FORM.fullmatch(url)
    if found is None:
        raise ConfigError(
            f"{url} names no repository; expected hf://datasets/ORGANISATION/NAME, or with "
            "@REVISION behind it"
        )
    return found[1], found[2] or "main"


def resolved(url: str) -> str:
    """Return the URL over HTTP below which a repository's files are.

    Raises:
        ConfigError: As `repository` says.
    """
    name, revision = repository(url)
    return f"{endpoint()}/datasets/{name}/resolve/{quote(revision, safe='')}"


def token_for(url: str) -> str | None:
    """Return HF_TOKEN for a URL of the hub's datasets; None for others, and where there is none."""
    is_hub = url.startswith(f"{endpoint()}/datasets/")
    return (os.environ.get("HF_TOKEN") or None) if is_hub else None
