"""One request to Earth Engine: metered, limited, tried again when it may pass, and translated."""

from __future__ import annotations

import json
import logging
import random
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import ee
import numpy as np
import tenacity
from numpy.typing import NDArray

from mmearth.catalog.errors import MMEarthError, UnavailableError
from mmearth.catalog.tile import Tile
from mmearth.curate.limit import Limit, Permit
from mmearth.curate.outage import OutOfReachError
from mmearth.curate.sources.earthengine.access import PIXELS, TABLE, VALUE, Access
from mmearth.curate.sources.earthengine.asked import Asked, asked
from mmearth.curate.sources.earthengine.reply import pixel_array
from mmearth.curate.sources.earthengine.session import Session, connect, knock
from mmearth.curate.sources.earthengine.translate import (
    CLIENT_ERRORS,
    AggregationsError,
    is_too_much,
    is_unreachable,
    pause_s,
    refusal,
    translate,
)

PAGE = 5000
"""Most features in one reply (developers.google.com/earth-engine/guides/usage)."""
LISTED = 1000
"""Most assets in one page of a folder."""
_PUBLIC = "projects/earthengine-public/assets"
"""Where the catalogue lies (ee/_cloud_api_utils.py: convert_asset_id_to_asset_name)."""
_OK = 200
_NOT_COMPUTED = frozenset({401, 403, 404, 429, 502, 503})
"""Statuses of who never came as far as a computation."""
_PRICES = "prices"
_COST = re.compile(r"^\s*(\d[\d,]*(?:\.\d+)?)(k?)\s", re.MULTILINE)
"""A profile is a table whose first column is the cost of each step in EECU-seconds, `-` where it is
none: " 0.072  47k  44  (plumbing)". Whether large costs are shortened as sizes are is not known."""
_PROFILE_ASKED = "X-Earth-Engine-Computation-Profiling"
_PROFILE = "x-earth-engine-computation-profile"
_QUOTA, _RESTRICTED = "x-earth-engine-quota-status", "parallelism_restricted=true"
"""How a reply says that the project's month is spent (ee/data.py: _handle_response_headers)."""
_log = logging.getLogger(__name__)
Reply = TypeVar("Reply")


@dataclass(slots=True)
class _Sent:
    permit: Permit
    """What allowed it."""
    kind: str
    """What it is for the limit."""
    profile: str | None = None
    """Id of the profile of its cost, where the reply had one."""


@dataclass(frozen=True, slots=True)
class Service:
    """Earth Engine, politely."""

    access: Access
    """How it is reached."""
    limit: Limit
    """Shared by all that send requests."""
    profiles: dict[str, list[str]] | None = None
    """Where the ids of the requests' cost profiles are kept, by kind; None asks for none but those
    that the limit wants."""
    tag: str = ""
    """What the requests are told apart by in the project's bill; empty for nothing."""

    def made(self, make: Callable[[], Any]) -> Asked:
        """Return an expression as it is sent: the client can only make one once it is signed in.

        Raises:
            RefusedError: Nobody is signed in, or no project is named.
            UnavailableError: The service did not answer.
        """
        self.sign_in()
        return asked(make())

    def sign_in(self) -> Session:
        """Sign this process in, unless it is.

        Raises:
            RefusedError: As `made`.
            UnavailableError: As `made`.
        """
        return connect(self.access, lambda call: self._send("start", lambda _: call()))

    def value(self, question: Asked, can_be_split: bool = False, kind: str = VALUE) -> Any:
        """Return what an expression comes to, as JSON.

        Args:
            question: The expression.
            can_be_split: It is not asked again when it aggregates too much at once.
            kind: What it is for the limit; see `Limit.permit`.

        Raises:
            UnavailableError: The service did not answer, however often it was asked.
            RefusedError: A person must act: sign in, raise a quota, ask for an asset.
            SourceError: The service cannot answer this.
        """
        body = self._body(question, {})
        ask = partial(self._json, self.sign_in(), VALUE, body)
        return self._send(kind, lambda sent: ask(sent)["result"], can_be_split)

    def eecu_s(self, profiles: Sequence[str]) -> float | None:
        """Return how many EECU-seconds some requests cost; None where the service does not say.

        Args:
            profiles: Ids of their profiles.

        Raises:
            UnavailableError: As `value`.
            RefusedError: As `value`.
            SourceError: As `value`.
        """

        def table() -> Any:
            return ee.ApiFunction.lookup("Profile.getProfiles").call(ids=list(profiles))

        text = str(self.value(self.made(table), kind=_PRICES))
        costs = [
            float(number.replace(",", "")) * (1000.0 if thousands else 1.0)
            for number, thousands in _COST.findall(text)
        ]
        return sum(costs) if costs else None

    def pixels(self, image: Asked, tile: Tile) -> NDArray[np.void]:
        """Return an image on a tile's grid, (row, col), a named field a band.

        Raises:
            UnavailableError: As `value`, and when the reply is no such array.
            RefusedError: As `value`.
            SourceError: As `value`.
        """
        a, b, c, d, e, f = tile.transform
        affine = {"scaleX": a, "shearX": b, "translateX": c, "shearY": d, "scaleY": e}
        grid = {
            "dimensions": {"width": tile.grid.pixels, "height": tile.grid.pixels},
            "affineTransform": {**affine, "translateY": f},
            "crsCode": f"EPSG:{tile.epsg}",
        }
        body = self._body(image, {"fileFormat": "NPY", "grid": grid})
        session = self.sign_in()
        size = tile.grid.pixels
        return self._send(
            PIXELS, lambda sent: pixel_array(self._ask(session, PIXELS, body, sent), size)
        )

    def features(self, table: Asked) -> Iterator[dict[str, Any]]:
        """Yield the features of a table as GeoJSON, page by page.

        Raises:
            UnavailableError: As `value`.
            RefusedError: As `value`.
            SourceError: As `value`.
        """
        request: dict[str, Any] = {"pageSize": PAGE}
        ask = partial(self._json, self.sign_in(), TABLE)
        while True:
            page = self._send(TABLE, partial(ask, self._body(table, request)))
            yield from page.get("features", [])
            if not page.get("nextPageToken"):
                return
            request["pageToken"] = page["nextPageToken"]

    def assets(self, folder: str) -> Iterator[str]:
        """Yield the ids of what a public folder holds; listing is not metered.

        Raises:
            UnavailableError: As `value`.
            RefusedError: As `value`.
            SourceError: As `value`.

        Source:
            developers.google.com/earth-engine/reference/rest/v1alpha/projects.assets/listAssets
        """
        session = self.sign_in()
        query = {"pageSize": str(LISTED)}
        while True:
            route = f"{_PUBLIC}/{folder}:listAssets?{urllib.parse.urlencode(query)}"
            page = self._send("listAssets", partial(self._listed, session, route))
            for asset in page.get("assets", []):
                yield asset.get("id") or asset["name"].removeprefix(f"{_PUBLIC}/")
            if not page.get("nextPageToken"):
                return
            query["pageToken"] = page["nextPageToken"]

    def _listed(self, session: Session, route: str, _: _Sent) -> dict[str, Any]:
        return _document(self._reply(*session.get(route)))

    def _body(self, question: Asked, rest: dict[str, Any]) -> str:
        """Return the JSON of a request; the expression is JSON already."""
        tag = {"workloadTag": self.tag} if self.tag else {}
        parts = [json.dumps(f)[1:-1] for f in (rest, tag) if f]
        return f'{{"expression": {", ".join([question.text, *parts])}}}'

    def _json(self, session: Session, route: str, body: str, sent: _Sent) -> dict[str, Any]:
        return _document(self._ask(session, route, body, sent))

    def _ask(self, session: Session, route: str, body: str, sent: _Sent) -> bytes:
        """Send one question once; return the content of its reply."""
        wants_profile = sent.permit.is_priced or self.profiles is not None
        head, content = session.post(route, body, {_PROFILE_ASKED: "1"} if wants_profile else {})
        status, profile = int(head["status"]), head.get(_PROFILE)
        if _RESTRICTED in head.get(_QUOTA, ""):
            self.limit.restricted()
        # Without a profile nobody knows how far a computation came that failed: it may have taken
        # its five minutes.
        not_computed = status in _NOT_COMPUTED or (wants_profile and status != _OK)
        if sent.permit.is_metered and profile is None and not_computed:
            self.limit.refused(sent.kind)
        if self.profiles is not None and profile is not None:
            self.profiles.setdefault(route, []).append(profile)
        sent.profile = profile
        return self._reply(head, content)

    def _reply(self, head: Any, content: bytes) -> bytes:
        """Return the content of a reply that is one."""
        status = int(head["status"])
        if status == _OK:
            return content
        message = _message(content)
        error = refusal(status, message)
        if is_unreachable(None, status):
            self.limit.lost(str(error))
        if isinstance(error, UnavailableError) and is_too_much(status, message):
            longest_s = self.access.longest_pause_s
            self.limit.slow_down(pause_s(message, head.get("retry-after"), longest_s))
        raise error

    def _send(self, kind: str, ask: Callable[[_Sent], Reply], can_be_split: bool = False) -> Reply:
        final = (OutOfReachError, AggregationsError) if can_be_split else OutOfReachError
        tries = tenacity.Retrying(
            retry=tenacity.retry_if_exception(
                lambda exc: isinstance(exc, UnavailableError) and not isinstance(exc, final)
            ),
            stop=self._is_enough,
            wait=self._pause,
            before_sleep=_tell,
            reraise=True,
        )
        reply: Reply = tries(self._once, kind, ask)
        return reply

    def _once(self, kind: str, ask: Callable[[_Sent], Reply]) -> Reply:
        """Send one question; first, for as long as the service is out of reach, a small one."""
        while True:
            with self.limit.permit(kind) as permit:
                if permit.is_trial:
                    self._look()
                    continue
                sent, begin = _Sent(permit, kind), time.perf_counter()
                with self._client_errors():
                    reply = ask(sent)
            self.limit.answered(kind, time.perf_counter() - begin)
            if permit.is_priced and sent.profile is not None and kind != _PRICES:
                self._price(kind, sent.profile)
            return reply

    def _price(self, kind: str, profile: str) -> None:
        """Let the limit know what requests cost, once a few of them wait to be priced."""
        due = self.limit.profiled(kind, profile)
        if not due:
            return
        try:
            eecu_s = self.eecu_s(due)
        except MMEarthError as exc:
            _log.info("the price of %d requests is not known: %s", len(due), exc)
            return
        if eecu_s is not None:  # else they keep the price of the others
            self.limit.charge(kind, len(due), eecu_s)

    def _look(self) -> None:
        """Ask a small question, and tell all whether it was answered, whatever the answer."""
        try:
            status = knock(self.access)
        except CLIENT_ERRORS as exc:
            error = translate(exc)
            if not isinstance(error, UnavailableError):
                raise error from exc
            self.limit.lost(str(error))  # whatever it is, a token that nobody gives too
            return
        if is_unreachable(None, status):
            self.limit.lost(f"Earth Engine is busy (status {status})")
        else:
            self.limit.found()

    @contextmanager
    def _client_errors(self) -> Iterator[None]:
        try:
            yield
        except CLIENT_ERRORS as exc:
            error = translate(exc)
            if is_unreachable(exc):
                self.limit.lost(str(error))
            raise error from exc

    def _is_enough(self, state: tenacity.RetryCallState) -> bool:
        """Return whether a request is not sent again."""
        return state.attempt_number >= self.access.tries or self.limit.is_given_up()

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Return how long to wait: ever longer, with jitter; Retry-After the limit waits out."""
        longest: float = self.access.pause_s * 2 ** (state.attempt_number - 1)
        # No byte of the data depends on this number; it keeps workers from knocking in step.
        return min(longest, self.access.longest_pause_s) * (0.5 + 0.5 * random.random())


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise UnavailableError(f"Earth Engine sent {len(content)} bytes, no JSON object")
    return document


def _message(content: bytes) -> str:
    """Return what a reply says that is none: Google's error document, or whatever it is."""
    try:
        return str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return content[:300].decode(errors="replace")


def _tell(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    _log.info("try %d failed, asking again: %s", state.attempt_number, error)
