"""Every error of the Earth Engine client, as one of ours with what to do about it."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Iterator

import ee
import google.auth.exceptions
import googleapiclient.errors
import requests

from mmearth.catalog.errors import (
    MMEarthError,
    QuotaError,
    RefusedError,
    SourceError,
    UnavailableError,
)
from mmearth.curate.sources.earthengine.absent import absence
from mmearth.curate.sources.earthengine.advice import NO_PROJECT, UNNAMED, advice, token_advice

CLIENT_ERRORS = (
    ee.EEException,
    googleapiclient.errors.Error,
    google.auth.exceptions.GoogleAuthError,
    requests.RequestException,
)
"""All that a call of the client raises for reasons outside this program."""
_TOO_MUCH = ("computation timed out", "memory limit exceeded", "too many pixels", "too large")
_BRIEF = re.compile(r"per[ _-]?(\d+[ _-]?)?(second|minute)")
"""A limit that is whole again within a minute: "… limit 'Number of read requests per minute per
user' of service …" (github.com/gee-community/qgis-earthengine-plugin/issues/202)."""
_SPENT = re.compile(
    r"\beecu|compute[ -]time quota|restricted mode|per[ _-]?(day|month)"
    r"|\b(daily|monthly) (\w+ ){0,3}(limit|quota)"
)
"""A limit that a person must wait for, or raise."""
_AT_ONCE = re.compile(r"\bconcurren")
"""A limit that is whole again with the next answer; the restricted mode of a project whose month is
spent lowers it (developers.google.com/earth-engine/guides/noncommercial_tiers)."""
_AGGREGATIONS = "concurrent aggregations"
_FEWER = ("too many concurrent", _AGGREGATIONS, "too many requests")
_BUSY = ("internal error", "try again")
_RATE = re.compile(r"rate ?limit|rate exceeded|quota exceeded")
_BUSY_STATUS = frozenset({408, 429, 499, *range(500, 600)})
_NO_SERVICE = frozenset({502, 503, 504})


class AggregationsError(UnavailableError):
    """Too many aggregations at once: a request that asks for fewer tiles may pass."""


def translate(error: Exception) -> MMEarthError:
    """Return our error for one of CLIENT_ERRORS."""
    if isinstance(error, requests.RequestException) and isinstance(error, ValueError):
        return RefusedError(
            f"nothing can be sent to Earth Engine ({_short(str(error))}); mend "
            "EARTHENGINE_PROJECT, MMEARTH_EE_URL or HTTPS_PROXY"
        )
    if isinstance(error, google.auth.exceptions.TransportError | requests.RequestException):
        return UnavailableError(f"the connection to Earth Engine failed ({_short(str(error))})")
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        said = _short(str(error.args[0] if error.args else error))
        if error.retryable:
            return UnavailableError(f"Google gives no token now ({said})")
        return RefusedError(
            f"Google gives no token for the credentials ({said}); {token_advice(said)}"
        )
    status = _status(error)
    return _without_reply(_short(str(error))) if status is None else refusal(status, str(error))


def refusal(status: int, message: str) -> MMEarthError:
    """Return our error for a reply that is none.

    Args:
        status: Of HTTP.
        message: What the service says.
    """
    absent = absence(message)
    if absent is not None and status in {400, 404}:
        return absent
    text = " ".join(message.split()).lower()
    message = _short(message)
    if _is_limit(status, text):
        return _limited(text, message)
    if status in _BUSY_STATUS or _any(text, _BUSY):
        return UnavailableError(f"Earth Engine is busy (status {status}: {message})")
    if status == 401:
        return RefusedError(f"Earth Engine refused ({message}); {token_advice(text)}")
    if status == 403 or NO_PROJECT in text:
        return RefusedError(f"Earth Engine refused ({message}); {advice(text)}")
    return _deterministic(status, text, message)


def is_too_much(status: int, message: str) -> bool:
    """Return whether a refusal that passes asks for fewer requests; an internal error does not.

    Args:
        status: Of HTTP.
        message: What the service says.
    """
    return status == 503 or _is_limit(status, message.lower())


def pause_s(message: str, retry_after: str | None, longest_s: float) -> float | None:
    """Return how long nobody should ask after a refusal that passes; None where it does not say.

    Args:
        message: What the service says.
        retry_after: The header, where there is one.
        longest_s: How long a limit "per minute" is waited for.
    """
    asked = retry_after_s(retry_after)
    return longest_s if asked is None and _BRIEF.search(message.lower()) else asked


def is_unreachable(error: BaseException | None, status: int = 0) -> bool:
    """Return whether the service, or the way to it, seems to be down: no matter what is asked.

    Args:
        error: What the client raised; None where a reply came.
        status: Of the reply.
    """
    if error is None:
        return status in _NO_SERVICE
    return _status(error) in _NO_SERVICE or any(map(_is_lost, _causes(error)))


def retry_after_s(text: str | None) -> float | None:
    """Return how many seconds a header asks to wait: a number or a date, RFC 9110 §10.2.3."""
    if text is None:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())


def _is_lost(error: BaseException) -> bool:
    """Return whether neither the service was reached, nor who gives the tokens for it."""
    if isinstance(error, google.auth.exceptions.GoogleAuthError) and error.retryable:
        return True
    lost = requests.ConnectionError | google.auth.exceptions.TransportError
    return isinstance(error, lost)


def _without_reply(message: str) -> MMEarthError:
    """Return the error of a request that was not sent, or not answered."""
    text = message.lower()
    if "project" in text:
        return RefusedError(UNNAMED)
    return UnavailableError(f"the connection to Earth Engine failed ({message})")


def _deterministic(status: int, text: str, message: str) -> MMEarthError:
    """Return the error of a request that would fail again."""
    if _any(text, _TOO_MUCH):
        return SourceError(f"Earth Engine gave up on the request ({message})")
    return SourceError(f"Earth Engine refused the request (status {status}: {message})")


def _is_limit(status: int, text: str) -> bool:
    if status in {403, 429}:
        limits = (_BRIEF, _SPENT, _RATE)
        return status == 429 or any(limit.search(text) for limit in limits) or _any(text, _FEWER)
    return _any(text, _FEWER)


def _limited(text: str, message: str) -> MMEarthError:
    """Return the error of a limit: a spent quota is for a person, a rate limit passes."""
    if _AGGREGATIONS in text:
        return AggregationsError(f"Earth Engine asks for fewer aggregations at once ({message})")
    if _SPENT.search(text) and not _BRIEF.search(text) and not _AT_ONCE.search(text):
        return QuotaError(
            f"the Earth Engine quota is spent ({message}); wait for its renewal or ask for a "
            "higher tier, then run the same command again: it goes on where it stopped"
        )
    return UnavailableError(f"Earth Engine asks for fewer requests ({message})")


def _any(text: str, parts: tuple[str, ...]) -> bool:
    return any(part in text for part in parts)


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status behind an error: the client drops it, but it is the context's."""
    for each in _causes(error):
        if isinstance(each, googleapiclient.errors.HttpError):
            return int(each.resp.status)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, what caused it, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _short(message: str) -> str:
    """Return a message's first words on one line."""
    words = " ".join(message.split()) or "no reason given"
    return words if len(words) <= 300 else f"{words[:300]}…"
