"""Addresses of files: without what signs them, and `s3://` as `https://`."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import parse_qsl, quote, unquote, urlencode, urljoin, urlsplit, urlunsplit

from mmearth.catalog.errors import ConfigError

_SECRETS = frozenset(
    (
        *("sig", "se", "st", "sp", "spr", "sv", "sr", "ss", "srt", "sip", "sdd", "ske", "sks"),
        *("skt", "sktid", "skoid", "skv", "saoid", "suoid", "scid"),
        *("signature", "expires", "key-pair-id", "policy", "awsaccesskeyid", "googleaccessid"),
        *("token", "access_token", "api_key", "apikey", "subscription-key", "key", "auth"),
    )
)
"""Keys of a query that sign or name an account, in small letters: Azure's shared access signatures
(learn.microsoft.com/rest/api/storageservices/create-service-sas), CloudFront's, S3's and GCS's."""


def is_remote(path: str) -> bool:
    """Return whether a path is the address of a file on a server."""
    return re.match(r"(https?|s3)://", path) is not None


@lru_cache(maxsize=4096)
def public(url: str) -> str:
    """Return an address without what signs it: fit for names, provenance, logs and sentences."""
    parts = urlsplit(url)
    kept = [
        (key, value)
        for key, value in parse_qsl(parts.query, keep_blank_values=True)
        if not _is_secret(key)
    ]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, urlencode(kept, quote_via=quote), ""))


def reachable(url: str, s3_url: str | None) -> str:
    """Return an address that HTTP knows.

    Args:
        url: `https://…`, `http://…` or `s3://bucket/key`.
        s3_url: See `RemoteAccess.s3_url`.

    Raises:
        ConfigError: It is none of them.
    """
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and parts.netloc:
        return url
    if parts.scheme == "s3" and parts.netloc and parts.path.strip("/"):
        key = quote(unquote(parts.path))
        if s3_url is not None:
            return f"{s3_url}/{parts.netloc}{key}"
        return f"https://{parts.netloc}.s3.amazonaws.com{key}"
    raise ConfigError(f"found the address {public(url)!r}; expected https://… or s3://bucket/key")


def joined(base: str, address: str) -> str:
    """Return an address that may be relative to another one, also of `s3://`."""
    scheme, found, rest = base.partition("://")
    if re.match(r"[a-z][a-z0-9+.-]*:", address, re.IGNORECASE) or not address:
        return address
    return urljoin(f"https://{rest}", address).replace("https://", f"{scheme}{found}", 1)


def host_of(url: str) -> str:
    """Return the host of an address, with its port."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def is_signed(url: str) -> bool:
    """Return whether an address has a signature in it."""
    return any(map(_is_secret, dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))))


def signed(url: str, token: str) -> str:
    """Return an address with a shared access signature behind it."""
    return f"{url}{'&' if '?' in url else '?'}{token.lstrip('?')}"


def _is_secret(key: str) -> bool:
    return key.lower() in _SECRETS or key.lower().startswith(("x-amz-", "x-goog-"))
