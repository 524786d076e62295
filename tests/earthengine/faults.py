"""How a loopback service misbehaves: every way that the true one was seen to."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail."""

    kind: str
    """A key of FAULTS."""
    status: int = 0
    """Of HTTP; 0 where no reply comes."""
    reason: str = ""
    """The service's name of the status."""
    message: str = ""
    """For the reader."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the reply, beside the usual."""
    seconds: float = 0.0
    """How long a hang lasts."""


_BUSY = (
    "Too Many Requests: Request was rejected because the request rate or concurrency limit was "
    "exceeded."
)
# The words of github.com/gee-community/qgis-earthengine-plugin/issues/202.
_PER_MINUTE = (
    "Quota exceeded for quota metric 'Number of read requests' and limit 'Number of read requests "
    "per minute per user' of service 'earthengine.googleapis.com' for consumer 'project_number:1'."
)
# The words of github.com/Sofianebouaziz1/WGAST/issues/2.
_AGGREGATIONS = "Too many concurrent aggregations."
_SPENT = "Quota exceeded for quota metric 'EECU-hours' and limit 'EECU-hours per month'."
_ABSENT = (
    "Image.load: Image asset 'users/nobody/nothing' not found (does not exist or caller does "
    "not have access)."
)
_CONSOLE = "https://console.developers.google.com"
_UNREGISTERED = (
    "Project demo is not registered to use Earth Engine. Visit "
    "https://code.earthengine.google.com/register?project=demo to register your project. See "
    "https://developers.google.com/earth-engine/guides/access for more details."
)
_NOT_SIGNED_UP = (
    "Not signed up for Earth Engine or project is not registered. Visit "
    "https://developers.google.com/earth-engine/guides/access"
)
_DISABLED = (
    "Google Earth Engine API has not been used in project demo before or it is disabled. Enable it "
    f"by visiting {_CONSOLE}/apis/api/earthengine.googleapis.com/overview?project=demo then retry. "
    "If you enabled this API recently, wait a few minutes for the action to propagate to our "
    "systems and retry."
)
_NO_ROLE = (
    "Caller does not have required permission to use project demo. Grant the caller the "
    "roles/serviceusage.serviceUsageConsumer role, or a custom role with the "
    f"serviceusage.services.use permission, by visiting {_CONSOLE}/iam-admin/iam/project?"
    "project=demo and then retry. Propagation of the new permission may take a few minutes."
)
_NO_PROJECT = "Project 'projects/My Project' not found or deleted."
_NO_SCOPE = "Request had insufficient authentication scopes."
_SUSPENDED = "Permission denied: Consumer 'projects/demo' has been suspended."
_TOKEN = "Request had invalid authentication credentials."
FAULTS: dict[str, Fault] = {
    fault.kind: fault
    for fault in (
        Fault("429", 429, "RESOURCE_EXHAUSTED", _BUSY),
        Fault("429-wait", 429, "RESOURCE_EXHAUSTED", _BUSY, {"Retry-After": "1"}),
        Fault("per-minute", 429, "RESOURCE_EXHAUSTED", _PER_MINUTE),
        Fault("aggregations", 429, "RESOURCE_EXHAUSTED", _AGGREGATIONS),
        Fault("403-rate", 403, "PERMISSION_DENIED", "rateLimitExceeded: Rate Limit Exceeded"),
        Fault("408", 408, "REQUEST_TIMEOUT", "Request Timeout"),
        Fault("499", 499, "CANCELLED", "The operation was cancelled."),
        Fault("500", 500, "INTERNAL", "An internal error has occurred"),
        Fault("503", 503, "UNAVAILABLE", "The service is currently unavailable."),
        Fault("reset"),
        Fault("hang", seconds=2.0),
        Fault("truncated"),
        Fault("expired-token", 401, "UNAUTHENTICATED", _TOKEN),
        Fault("timed-out", 400, "INVALID_ARGUMENT", "Computation timed out."),
        Fault("memory", 400, "INVALID_ARGUMENT", "User memory limit exceeded."),
        Fault("missing-asset", 404, "NOT_FOUND", _ABSENT),
        Fault("quota", 429, "RESOURCE_EXHAUSTED", _SPENT),
        Fault("forbidden", 403, "PERMISSION_DENIED", "The caller does not have permission"),
        Fault("no-project", 400, "INVALID_ARGUMENT", _NO_PROJECT),
        Fault("unregistered", 403, "PERMISSION_DENIED", _UNREGISTERED),
        Fault("not-signed-up", 403, "PERMISSION_DENIED", _NOT_SIGNED_UP),
        Fault("disabled", 403, "PERMISSION_DENIED", _DISABLED),
        Fault("no-role", 403, "PERMISSION_DENIED", _NO_ROLE),
        Fault("no-scope", 403, "PERMISSION_DENIED", _NO_SCOPE),
        Fault("suspended", 403, "PERMISSION_DENIED", _SUSPENDED),
    )
}
"""By kind. The sentences of status 403 are the service's own, as users have met them:
healthysustainablecities/global-indicators#547 (`unregistered`, `disabled`),
gee-community/qgis-earthengine-plugin#145 (`not-signed-up`) and #321 (`no-project`),
earthrise-media/mining-detector#14 (`no-role`), kubernetes/minikube#17959 (`suspended`);
`no-scope` and `forbidden` are Google's for all its services."""

PASSING = ("429", "429-wait", "403-rate", "408", "499", "500", "503", "reset", "truncated")
"""Those that another try gets past."""


@dataclass
class Faults:
    """Which requests fail: a share of them, chosen by their hash, each so many times."""

    kinds: tuple[str, ...] = ()
    """Keys of FAULTS; the hash chooses among them."""
    share: float = 0.0
    """Of distinct requests that fail, 0 to 1."""
    times: int = 1
    """How often each of them fails before it succeeds."""
    seed: int = 0
    """Another seed, other requests."""
    seen: Counter[str] = field(default_factory=Counter)
    """How often each chosen request has failed."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, key: str) -> Fault | None:
        """Return how the request with this hash fails now, or None."""
        digest = hashlib.sha256(f"{self.seed} {key}".encode()).digest()
        if not self.kinds or int.from_bytes(digest[:4]) / 2**32 >= self.share:
            return None
        with self._lock:
            if self.seen[key] >= self.times:
                return None
            self.seen[key] += 1
        return FAULTS[self.kinds[digest[4] % len(self.kinds)]]
