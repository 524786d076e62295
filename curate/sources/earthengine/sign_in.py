"""Who signs in to Earth Engine: the first of Google's own ways that is set up here."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass
from typing import Any

import ee
import google.auth
import google.auth.exceptions
import google.oauth2.credentials

from mmearth.catalog.errors import RefusedError

TOKEN = "CLOUDSDK_AUTH_ACCESS_TOKEN"
"""gcloud's own variable for a ready access token: for CI and short runs."""
KEY_FILE = "GOOGLE_APPLICATION_CREDENTIALS"
"""Names a file of credentials: a service account's key, or a configuration of federation."""
_user: Any = google.oauth2.credentials.Credentials  # google names no types
_TALKATIVE = ("google.auth._default", "google_auth_httplib2")
_NOBODY = (
    "nobody is signed in to Earth Engine; run `earthengine authenticate`, or name the key of a "
    f"service account in {KEY_FILE}"
)


@dataclass(frozen=True, slots=True)
class SignIn:
    """Credentials, and where they come from."""

    credentials: Any
    """Google's; not refreshed yet, so nothing was sent with them."""
    project: str | None
    """The project that they name, where they name one."""
    way: str
    """For the reader: `a service account, x@y, from GOOGLE_APPLICATION_CREDENTIALS=key.json`."""


def find_sign_in() -> SignIn:
    """Return the credentials of the environment, else of the tools' own stores.

    The order is the client's own (ee.data.get_persistent_credentials): what `earthengine
    authenticate` has stored, then the application default credentials: a file named by
    GOOGLE_APPLICATION_CREDENTIALS, gcloud's store, the metadata server of a machine at Google.
    A token in CLOUDSDK_AUTH_ACCESS_TOKEN comes before all of them.

    Raises:
        RefusedError: There are none, or a file that should hold them cannot be read.
    """
    token = os.environ.get(TOKEN, "").strip()
    if token:
        made = _user(token=token)
        return SignIn(made, None, f"an access token, from {TOKEN}")
    return _of_client() or _default()


def _of_client() -> SignIn | None:
    """Return what `earthengine authenticate` has stored; None where that is no refresh token."""
    path = ee.oauth.get_credentials_path()
    try:
        stored = ee.oauth.get_credentials_arguments()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as exc:
        raise RefusedError(
            f"{path} cannot be read ({exc}); write it anew with `earthengine authenticate`"
        ) from exc
    if not stored.get("refresh_token"):
        return None
    made = _user(token=None, **stored)
    unused = f"; {KEY_FILE} is set, but that file comes first" if os.environ.get(KEY_FILE) else ""
    project = stored.get("quota_project_id") or ee.oauth.get_appdefault_project()
    return SignIn(made, project, f"a user account, from {path}{unused}")


def _default() -> SignIn:
    """Return the application default credentials, with the scopes of Earth Engine.

    The scopes must be there before the first refresh: without any, Google refuses a service
    account with `invalid_scope` (googleapis/google-auth-library-python#217). Those of a user were
    fixed when he signed in, and google-auth leaves them alone.
    """
    try:
        with warnings.catch_warnings():
            # They advise on gcloud's default project; what is metered is EARTHENGINE_PROJECT.
            warnings.filterwarnings("ignore", ".*quota project.*")
            for name in _TALKATIVE:
                logging.getLogger(name).setLevel(logging.ERROR)
            found: Any
            found, project = google.auth.default(scopes=ee.oauth.SCOPES)
    except google.auth.exceptions.DefaultCredentialsError as exc:
        if os.environ.get(KEY_FILE):
            raise RefusedError(f"{KEY_FILE}={os.environ[KEY_FILE]} is of no use: {exc}") from exc
        raise RefusedError(_NOBODY) from exc
    named = getattr(found, "quota_project_id", None) or getattr(found, "project_id", None)
    return SignIn(found, named or project, f"{_kind(found)}, from {_store(found)}")


def _kind(credentials: Any) -> str:
    """Return what google-auth calls such credentials, in plain words."""
    module = type(credentials).__module__.removeprefix("google.")
    kind = _KINDS.get(module, module)
    account = getattr(credentials, "service_account_email", None)
    return kind if account in (None, "default") else f"{kind}, {account}"


_KINDS = {
    "oauth2.credentials": "a user account",
    "oauth2.service_account": "a service account",
    "auth.compute_engine.credentials": "the account of this machine",
    "auth.identity_pool": "workload identity federation",
    "auth.aws": "workload identity federation",
    "auth.pluggable": "workload identity federation",
    "auth.impersonated_credentials": "an impersonated service account",
    "auth.external_account_authorized_user": "a workforce account",
}
"""Module of the credentials' class → who that is."""


def _store(credentials: Any) -> str:
    if "compute_engine" in type(credentials).__module__:
        return "the metadata server"
    return f"{KEY_FILE}={os.environ[KEY_FILE]}" if os.environ.get(KEY_FILE) else "gcloud"
