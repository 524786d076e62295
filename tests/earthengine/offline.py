"""The unpatched client without a server: its own HTTP transport, answered in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ee
import httplib2
from google.oauth2.credentials import Credentials

from mmearth.tests.earthengine import signatures
from mmearth.tests.earthengine.evaluate import Evaluate
from mmearth.tests.earthengine.model import Archive, ServiceError

_WHEEL = Path(ee.__file__).parent / "tests"


class Transport:
    """What the client takes for an HTTP connection."""

    def __init__(self, archive: Archive) -> None:
        self._evaluate = Evaluate(archive)

    def request(
        self, uri: str, method: str = "GET", body: Any = None, headers: Any = None, **_: Any
    ) -> tuple[httplib2.Response, bytes]:
        """Answer a request as the service does."""
        del method, headers
        try:
            status, reply = 200, self._answer(uri, body)
        except ServiceError as error:
            status = error.status
            about = {"code": status, "message": error.message, "status": error.reason}
            reply = json.dumps({"error": about}).encode()
        about = {"status": str(status), "content-type": "application/json"}
        return httplib2.Response(about), reply

    def _answer(self, uri: str, body: Any) -> bytes:
        path = uri.partition("?")[0]
        if "discovery" in path:
            return (_WHEEL / "cloud_api_discovery_document.json").read_bytes()
        if path.endswith("/algorithms"):
            return (_WHEEL / "algorithms.json").read_bytes()
        asked: Mapping[str, Any] = json.loads(body)
        graph = asked["expression"]
        signatures.check(graph)
        if path.endswith("value:compute"):
            return json.dumps({"result": self._evaluate.value(graph)}).encode()
        if path.endswith("image:computePixels"):
            return self._evaluate.pixels(graph, asked["grid"], asked["fileFormat"])
        if path.endswith("table:computeFeatures"):
            size, token = int(asked.get("pageSize", 1000)), asked.get("pageToken")
            return json.dumps(self._evaluate.features(graph, size, token)).encode()
        raise ServiceError(404, "NOT_FOUND", f"no route {path}")


@contextmanager
def connected(archive: Archive) -> Iterator[None]:
    """Let the client ask an archive until the block ends."""
    ee.Reset()
    ee.Initialize(
        Credentials(token="offline"),  # type: ignore[no-untyped-call]
        project="demo",
        url="http://127.0.0.1:1",
        http_transport=Transport(archive),
    )
    try:
        yield
    finally:
        ee.Reset()
