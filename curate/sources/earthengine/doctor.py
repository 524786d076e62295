"""Which identity, project, endpoint and limits are in use, and what is missing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ee

from mmearth.catalog.errors import MMEarthError
from mmearth.curate.limit import LocalLimit
from mmearth.curate.sources.earthengine.access import Access
from mmearth.curate.sources.earthengine.cost import MONTHLY_EECU_HOURS
from mmearth.curate.sources.earthengine.service import Service
from mmearth.curate.sources.earthengine.session import TOKEN, credentials
from mmearth.curate.sources.earthengine.translate import CLIENT_ERRORS, translate

_KEY_FILE = "GOOGLE_APPLICATION_CREDENTIALS"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a build would use."""

    identity: str
    """Who would be signed in, and where that comes from."""
    project: str
    """What is metered."""
    endpoint: str
    """Where requests go."""
    limits: str
    """How fast they would go."""
    quota: str
    """What the project may spend."""
    answer: str
    """What the service says to one small request."""
    missing: tuple[str, ...]
    """What a person must do; empty when a build can begin."""
    exit_code: int
    """0, or that of what is missing."""


def diagnose(access: Access, ask: bool) -> Diagnosis:
    """Return what a build would use.

    Args:
        access: Of the environment.
        ask: Whether the service is sent one small request.
    """
    missing: list[MMEarthError] = []
    identity, known_project = _identity(missing)
    answer = "not asked"
    if ask and not missing:
        answer = _answer(access, missing)
    project = access.project or known_project
    return Diagnosis(
        identity=identity,
        project=project or "none; set EARTHENGINE_PROJECT",
        endpoint=access.url,
        limits=f"{access.in_flight} requests at once, {access.per_second:g} a second, "
        f"{access.tries} tries of {access.timeout_s:g} s",
        quota=f"{MONTHLY_EECU_HOURS} EECU-hours a month unless the project has a higher tier; "
        "what is left: console.cloud.google.com/earth-engine",
        answer=answer,
        missing=tuple(str(error) for error in missing),
        exit_code=missing[0].exit_code if missing else 0,
    )


def _identity(missing: list[MMEarthError]) -> tuple[str, str | None]:
    """Return who would be signed in, and the project that the credentials name."""
    try:
        found: Any = credentials()
    except CLIENT_ERRORS as exc:
        missing.append(translate(exc))
        return "nobody", None
    account = getattr(found, "service_account_email", None)
    project = getattr(found, "quota_project_id", None) or getattr(found, "project_id", None)
    return f"{account or 'a user account'}, from {_origin()}", project


def _origin() -> str:
    if os.environ.get(TOKEN):
        return TOKEN
    stored = Path(ee.oauth.get_credentials_path())
    if stored.exists():
        return str(stored)
    return f"{_KEY_FILE}={os.environ[_KEY_FILE]}" if _KEY_FILE in os.environ else "gcloud"


def _answer(access: Access, missing: list[MMEarthError]) -> str:
    service = Service(access, LocalLimit(1, access.per_second))
    try:
        return "ok" if service.value(service.made(lambda: ee.Number(1).add(2))) == 3 else "odd"
    except MMEarthError as exc:
        missing.append(exc)
        return "refused"
