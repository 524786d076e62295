"""A token endpoint and a metadata server on loopback that refuse what Google's refuse."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import google.auth.crypt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

EMAIL = "builder@demo.iam.gserviceaccount.com"
REFRESH_TOKEN = "1//refresh"
POOL = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q"
EARTH_ENGINE = "https://www.googleapis.com/auth/earthengine"
PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
_SKEW_S = 300
_NO_SCOPE = ("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
_REVOKED = ("invalid_grant", "Token has been expired or revoked.")
_CLOCK = (
    "invalid_grant",
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
    "Check your iat and exp values in the JWT claim.",
)


class RefusalError(Exception):
    """An OAuth error (RFC 6749 §5.2): its code and its description."""


@dataclass
class Tokens:
    """The endpoint, its keys and what it was asked for."""

    token: str
    """What it gives to whomever it knows."""
    granted: tuple[str, ...] = (PLATFORM,)
    """Scopes that the user agreed to; by default those of `gcloud auth application-default
    login`."""
    audience: str = "https://oauth2.googleapis.com/token"
    """To whom a service account's claim must be addressed."""
    clock_s: float = 0.0
    """How far its clock is ahead of this machine's."""
    unavailable: int = 0
    """So many requests are answered with 503 first."""
    asked: list[str] = field(default_factory=list)
    """Kind of each request that was granted: `jwt`, `refresh`, `exchange`, `metadata`."""
    url: str = ""
    """Where it listens."""
    key: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    """The service account's."""

    @contextmanager
    def running(self) -> Iterator[Tokens]:
        """Listen on a free port of 127.0.0.1 until the block ends."""
        with _Listener(("127.0.0.1", 0), self) as http:
            self.url = f"http://127.0.0.1:{http.server_port}"
            thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            try:
                yield self
            finally:
                http.shutdown()
                thread.join()

    def key_file(self, path: Path, **changes: str) -> Path:
        """Write a service account's key."""
        form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        pem = self.key.private_bytes(serialization.Encoding.PEM, form, plain).decode()
        about = {"type": "service_account", "project_id": "demo", "client_email": EMAIL}
        about |= {"private_key": pem, "private_key_id": "1", "token_uri": f"{self.url}/token"}
        path.write_text(json.dumps(about | changes))
        return path

    def user_file(self, path: Path, **changes: str) -> Path:
        """Write gcloud's application default credentials of a user."""
        about = {"type": "authorized_user", "client_id": "c", "client_secret": "s"}
        about |= {"refresh_token": REFRESH_TOKEN, "token_uri": f"{self.url}/token"}
        path.write_text(json.dumps(about | changes))
        return path

    def federation_file(self, path: Path, **changes: str) -> Path:
        """Write a configuration of workload identity federation, and its subject token beside."""
        subject = path.with_suffix(".jwt")
        subject.write_text("subject")
        about: dict[str, Any] = {"type": "external_account", "audience": POOL}
        about |= {"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}
        about |= {"token_url": f"{self.url}/token", "credential_source": {"file": str(subject)}}
        path.write_text(json.dumps(about | changes))
        return path

    def grant(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Return a token's JSON for a form of RFC 6749.

        Raises:
            RefusalError: Nobody would get a token for this.
        """
        kind = form["grant_type"].rpartition(":")[2]
        if kind == "jwt-bearer":
            self._check_assertion(form["assertion"])
        elif kind == "refresh_token":
            if form["refresh_token"] != REFRESH_TOKEN:
                raise RefusalError(*_REVOKED)
            if not set(form.get("scope", "").split()) <= set(self.granted):
                raise RefusalError("invalid_scope", "Bad Request")
        elif kind == "token-exchange":
            if form["audience"] != POOL:
                raise RefusalError(
                    "invalid_target",
                    "The target service indicated by the audience is "
                    "invalid. This might either be because the pool or provider is "
                    "disabled or deleted or because it doesn't exist.",
                )
            if not form.get("scope"):
                raise RefusalError(*_NO_SCOPE)
        else:
            raise RefusalError("unsupported_grant_type", f"Invalid grant_type: {kind}")
        self.asked.append({"jwt-bearer": "jwt", "refresh_token": "refresh"}.get(kind, "exchange"))
        about = {"access_token": self.token, "expires_in": 3599, "token_type": "Bearer"}
        issued = "urn:ietf:params:oauth:token-type:access_token"
        return about | ({"issued_token_type": issued} if kind == "token-exchange" else {})

    def _check_assertion(self, assertion: str) -> None:
        """Refuse a signed claim (RFC 7523 §3) that Google would refuse."""
        message, _, signature = assertion.rpartition(".")
        claim = json.loads(_decoded(message.partition(".")[2]))
        public = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        if claim["iss"] != EMAIL:
            raise RefusalError("invalid_grant", "Invalid grant: account not found")
        if not google.auth.crypt.verify_signature(message, _decoded(signature), public):
            raise RefusalError("invalid_grant", "Invalid JWT Signature.")
        if claim["aud"] != self.audience:
            raise RefusalError("invalid_grant", "Invalid JWT: Failed audience check.")
        now = time.time() + self.clock_s
        if not claim["iat"] - _SKEW_S <= now <= claim["exp"] + _SKEW_S:
            raise RefusalError(*_CLOCK)
        if not claim.get("scope"):
            raise RefusalError(*_NO_SCOPE)


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], tokens: Tokens) -> None:
        self.tokens = tokens
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Listener

    def log_message(self, *_: Any) -> None:
        """Write no log."""

    def do_POST(self) -> None:
        """Give a token, or say why not."""
        tokens = self.server.tokens
        form = self.rfile.read(int(self.headers["content-length"])).decode()
        if tokens.unavailable:
            tokens.unavailable -= 1
            self._send(503, {"error": "internal_failure"})
            return
        try:
            self._send(200, tokens.grant(dict(urllib.parse.parse_qsl(form))))
        except RefusalError as exc:
            self._send(400, {"error": exc.args[0], "error_description": exc.args[1]})

    def do_GET(self) -> None:
        """Answer as the metadata server of a machine at Google."""
        tokens = self.server.tokens
        place, _, query = self.path.removeprefix("/computeMetadata/v1").partition("?")
        if self.headers.get("metadata-flavor") != "Google":
            self._send(403, {"error": "Missing Metadata-Flavor:Google header."})
        elif place.endswith("/token"):
            scopes = dict(urllib.parse.parse_qsl(query)).get("scopes", "").split(",")
            if EARTH_ENGINE not in scopes and PLATFORM not in scopes:
                self._send(400, {"error": "invalid_scope"})
                return
            tokens.asked.append("metadata")
            about = {"access_token": tokens.token, "expires_in": 3599, "token_type": "Bearer"}
            self._send(200, about)
        elif place.endswith("/project-id"):
            self._send(200, "demo", "text/plain")
        elif "/service-accounts/" in place:
            self._send(200, {"email": EMAIL, "aliases": ["default"], "scopes": [PLATFORM]})
        else:
            self._send(200, "", "text/plain")

    def _send(self, status: int, content: Any, kind: str = "application/json") -> None:
        body = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("metadata-flavor", "Google")
        self.end_headers()
        self.wfile.write(body)
