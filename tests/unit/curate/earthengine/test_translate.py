"""What a refusal means: it passes, it is for a person, or it would be the same again."""

from __future__ import annotations

import google.auth.exceptions
import pytest

from mmearth.catalog.errors import (
    MMEarthError,
    QuotaError,
    RefusedError,
    SourceError,
    UnavailableError,
)
from mmearth.curate.sources.earthengine.translate import is_unreachable, pause_s, refusal

_METRIC = (
    "Quota exceeded for quota metric 'Read requests' and limit 'Read requests per {} per user'"
)


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (429, _METRIC.format("minute"), UnavailableError),
        (403, _METRIC.format("minute"), UnavailableError),
        (429, _METRIC.format("second"), UnavailableError),
        (429, _METRIC.format("100 seconds"), UnavailableError),
        (429, "quota_limit: ReadRequestsPerMinutePerUser", UnavailableError),
        (403, "quota_limit: ReadRequestsPerMinutePerUser", UnavailableError),
        (429, "quota_limit: ReadRequestsPerDayPerProject", QuotaError),
        (429, "EECU-seconds per minute", UnavailableError),
        (429, "x" * 400 + " limit 'Read requests per minute'", UnavailableError),
        (429, "Too many concurrent aggregations.", UnavailableError),
        (400, "Too many concurrent aggregations.", UnavailableError),
        (429, "", UnavailableError),
        (403, "User Rate Limit Exceeded", UnavailableError),
        (403, "rateLimitExceeded: Rate Limit Exceeded", UnavailableError),
        (408, "Request Timeout", UnavailableError),
        (499, "The operation was cancelled.", UnavailableError),
        *((status, "x", UnavailableError) for status in (500, 502, 503, 504, 529)),
        (429, _METRIC.format("day"), QuotaError),
        (403, _METRIC.format("day"), QuotaError),
        (429, _METRIC.format("month"), QuotaError),
        (429, "x" * 400 + " limit 'Read requests per month'", QuotaError),
        (403, "The project has used its EECU-hours", QuotaError),
        (429, "Earth Engine compute time quota exceeded", QuotaError),
        (403, "The project is in restricted mode", QuotaError),
        (429, "Too many concurrent requests: the project is in restricted mode", UnavailableError),
        (429, "The monthly noncommercial quota is used up", QuotaError),
        (403, "Daily Limit Exceeded", QuotaError),
        (403, "Permission denied on asset ECMWF/ERA5_LAND/MONTHLY_AGGR", RefusedError),
        (403, "Access Not Configured. Corporate network", RefusedError),
        (400, "Computation timed out.", SourceError),
        (400, "Image.select: no band DAILY_LIMIT", SourceError),
    ],
)
def test_what_passes_and_what_is_spent(
    status: int, message: str, error: type[MMEarthError]
) -> None:
    found = refusal(status, message)
    if error is UnavailableError:
        assert isinstance(found, error)
    else:
        assert type(found) is error


def test_a_limit_of_a_minute_is_waited_for_a_minute() -> None:
    assert pause_s(_METRIC.format("minute"), None, 60.0) == 60.0
    assert pause_s(_METRIC.format("minute"), "7", 60.0) == 7.0
    assert pause_s("Too many requests", None, 60.0) is None


def test_who_gives_the_tokens_may_be_out_of_reach() -> None:
    """Without a token nothing can be asked, however often it is tried."""
    error = google.auth.exceptions.RefreshError
    assert is_unreachable(error("internal_failure", retryable=True))
    assert not is_unreachable(error("invalid_grant", retryable=False))
