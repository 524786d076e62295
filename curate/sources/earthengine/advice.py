"""What to do when Earth Engine refuses somebody who is signed in."""

from __future__ import annotations

_ROLES = (
    "ask the project's owner for the roles `roles/serviceusage.serviceUsageConsumer` and "
    "`roles/earthengine.viewer`, or name your own project in EARTHENGINE_PROJECT"
)
_REGISTER = (
    "register the project at https://code.earthengine.google.com/register, or name one that is "
    "registered in EARTHENGINE_PROJECT"
)
_ENABLE = (
    "enable the Earth Engine API of the project at https://console.cloud.google.com/apis/library/"
    "earthengine.googleapis.com, wait a few minutes and run the same command again"
)
_SCOPES = (
    "sign in again with `earthengine authenticate`, or with `gcloud auth application-default "
    "login --scopes=https://www.googleapis.com/auth/earthengine,"
    "https://www.googleapis.com/auth/cloud-platform`"
)
_ASSET = "ask its owner for access, or leave its modality out of `modalities:`"
UNNAMED = (
    "no Google Cloud project is named; set EARTHENGINE_PROJECT to one that is registered for Earth "
    "Engine"
)
NO_PROJECT = "not found or deleted"
"""How the service words, with status 400, that there is no such project."""
_ELSE = "`mmearth doctor` shows which account and project are in use"
_BY_WORDS = (
    ("no project found", "set EARTHENGINE_PROJECT to a project that is registered"),
    (NO_PROJECT, "set EARTHENGINE_PROJECT to the ID, not the name, of a project that exists"),
    ("permission 'earthengine.assets", _ASSET),
    ("permission denied on asset", _ASSET),
    ("not registered", _REGISTER),
    ("not signed up", _REGISTER),
    ("has not been used in project", _ENABLE),
    ("api is not enabled", _ENABLE),
    ("access not configured", _ENABLE),
    ("service_disabled", _ENABLE),
    ("insufficient authentication scopes", _SCOPES),
    ("serviceusage", _ROLES),
    ("permission to use project", _ROLES),
    ("permission denied on resource project", _ROLES),
    ("permission 'earthengine.", _ROLES),
    ("does not have required permission", _ROLES),
    ("has been suspended", "the project's owner must appeal at Google, or name another project"),
)
"""Words of a refusal, in lower case → what to do about it; the first that is found counts.

Source:
    The service's own texts, as users met them: healthysustainablecities/global-indicators#547 (not
    registered; API not used), gee-community/qgis-earthengine-plugin#145 (not signed up), #321 (no
    such project) and #322 (API not used), earthrise-media/mining-detector#14 (serviceusage),
    kubernetes/minikube#17959 (suspended);
    ACCESS_TOKEN_SCOPE_INSUFFICIENT of cloud.google.com/apis/design/errors.
"""


def advice(message: str) -> str:
    """Return what a person whom the service knows must do to be let in.

    Args:
        message: What the service says with its status 403, or of a project.
    """
    text = message.lower()
    return next((what for words, what in _BY_WORDS if words in text), _ELSE)


_BY_TOKEN_WORDS = (
    (
        "necessary fields need to refresh",
        "the access token has expired; write `export CLOUDSDK_AUTH_ACCESS_TOKEN=$(gcloud auth "
        "print-access-token)`",
    ),
    ("iat and exp", "set this machine's clock: it is minutes off"),
    ("invalid jwt signature", "make a new key of the service account: this one was deleted"),
    ("account not found", "name the key of a service account that still exists"),
    (
        "audience",
        "make a new key or configuration file: this one is for another token endpoint or pool",
    ),
    ("invalid_scope", _SCOPES),
    (
        "invalid_grant",
        "sign in again with `earthengine authenticate`, or with `gcloud auth application-default "
        "login` where gcloud's own sign-in is in use",
    ),
)
"""Words of a token endpoint's refusal, in lower case → what to do; the first that is found counts.

Source:
    RFC 6749 §5.2, and Google's descriptions: googleapis/google-cloud-python#10004 (signature),
    googleapis/google-api-php-client#1501 (clock), nithinmurali/pygsheets#500 (audience),
    GoogleCloudPlatform/gce-rescue#42 (scope), googleworkspace/python-samples#1644 (revoked).
"""


def token_advice(message: str) -> str:
    """Return what a person must do whose credentials give no token.

    Args:
        message: Of the token endpoint, or of google-auth.
    """
    text = message.lower()
    return next(
        (what for words, what in _BY_TOKEN_WORDS if words in text),
        "sign in again; `mmearth doctor` shows which way is in use",
    )


_BY_NETWORK_WORDS = (
    (
        "certificate_verify_failed",
        "no authority that is known here vouches for the certificate that answers; name your "
        "network's own certificates in REQUESTS_CA_BUNDLE, or set this machine's clock",
    ),
    (
        "407 proxy authentication required",
        "the proxy asks who you are; write HTTPS_PROXY=http://user:password@host:port",
    ),
)
"""Words of a connection that was not made, in lower case → what to do.

Source:
    OpenSSL; RFC 9110 §15.5.8.
"""


def network_advice(message: str) -> str | None:
    """Return what a person must do whose network lets nobody through; None where it may pass.

    Args:
        message: Of the error.
    """
    text = message.lower()
    return next((what for words, what in _BY_NETWORK_WORDS if words in text), None)
