"""Which identity, project, endpoint and limits are in use, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import ee

from mmearth.catalog.errors import MMEarthError
from mmearth.curate.limit import LocalLimit
from mmearth.curate.sources.earthengine.access import PIXELS, VALUE, Access
from mmearth.curate.sources.earthengine.cost import MONTHLY_EECU_HOURS
from mmearth.curate.sources.earthengine.service import Service
from mmearth.curate.sources.earthengine.sign_in import find_sign_in
from mmearth.curate.sources.earthengine.translate import CLIENT_ERRORS, translate


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a build would use."""

    identity: str
    """Who would be signed in, and which of Google's ways that is."""
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
        endpoint=", pixels at ".join(dict.fromkeys(map(access.endpoint, (VALUE, PIXELS)))),
        limits=f"{access.in_flight} requests at once, {access.per_second:g} a second, "
        f"{access.tries} tries of {access.timeout_s:g} s",
        quota=f"{MONTHLY_EECU_HOURS} EECU-hours a month unless the project has a higher tier; "
        "what is left: console.cloud.google.com/earth-engine",
        answer=answer,
        missing=tuple(str(error) for error in missing),
        exit_code=missing[0].exit_code if missing else 0,
    )


def _identity(missing: list[MMEarthError]) -> tuple[str, str | None]:
    """Return who would be signed in and which way, and the project that the credentials name."""
    try:
        found = find_sign_in()
    except MMEarthError as exc:
        missing.append(exc)
        return "nobody", None
    except CLIENT_ERRORS as exc:
        missing.append(translate(exc))
        return "nobody", None
    return found.way, found.project


def _answer(access: Access, missing: list[MMEarthError]) -> str:
    # Two tries: whoever asks what is missing waits for nothing.
    service = Service(replace(access, tries=2), LocalLimit(1, access.per_second))
    try:
        found = service.value(service.made(lambda: ee.Number(1).add(2)))
    except MMEarthError as exc:
        missing.append(exc)
        return "refused"
    return "ok: one metered request was answered" if found == 3 else f"odd: 1 + 2 is {found}"
