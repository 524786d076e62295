"""A loopback double of Hugging Face's hub: one dataset, commits, large files at another server."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

_REGULAR = 2000
"""Bytes of the largest file that is kept in Git; the hub's own rule also looks at names."""


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Hub:
    """What the double knows."""

    name: str
    """Of the only repository: `organisation/name`."""
    url: str = ""
    """Where it listens; HF_ENDPOINT."""
    store: str = ""
    """Where large files are; another host."""
    made: bool = False
    """Whether the repository was made."""
    files: dict[str, bytes] = field(default_factory=dict)
    """By path."""
    large: dict[str, bytes] = field(default_factory=dict)
    """Of the large-file store, by SHA-256."""
    in_git: set[str] = field(default_factory=set)
    """Paths that are not in the large-file store."""
    commits: list[list[str]] = field(default_factory=list)
    """Paths of each commit."""
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and Authorization of each request."""
    refuse_after: int | None = None
    """Large files that it still takes before it answers 503."""

    @property
    def sha(self) -> str:
        """Of the last commit."""
        return hashlib.sha1(str(self.commits).encode()).hexdigest()

    def entry(self, path: str) -> dict[str, Any]:
        """Return what the hub tells of a file."""
        data = self.files[path]
        entry = {"type": "file", "oid": _git(data), "size": len(data), "path": path}
        if path not in self.in_git:
            digest = hashlib.sha256(data).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 130}
        return entry

    def info(self) -> dict[str, Any]:
        """Return what the hub tells of the repository."""
        siblings = [{"rfilename": path} for path in self.files]
        facts = {"private": False, "disabled": False, "gated": False, "downloads": 0, "likes": 0}
        return {"id": self.name, "sha": self.sha, "tags": [], "siblings": siblings, **facts}


@contextmanager
def serving_hub(name: str) -> Iterator[Hub]:
    """Run the double, and its large-file store as `localhost`, until the block ends."""
    hub = Hub(name)
    with _Server(hub) as front, _Server(hub) as store:
        hub.url = f"http://127.0.0.1:{front.server_port}"
        hub.store = f"http://localhost:{store.server_port}"
        for server in (front, store):
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield hub
        finally:
            front.shutdown()
            store.shutdown()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        body = self._body()
        hub.asked.append((self.command, path, self.headers.get("Authorization")))
        api = f"/api/datasets/{hub.name}"
        if path.startswith("/lfs/"):
            self._large(hub, path.removeprefix("/lfs/"), body)
        elif path == "/api/repos/create":
            status, hub.made = (409 if hub.made else 200), True
            self._json({"url": f"{hub.url}/datasets/{hub.name}"}, status)
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path == f"/datasets/{hub.name}.git/info/lfs/objects/batch":
            self._json(self._batch(hub, json.loads(body)))
        elif path.startswith(f"/datasets/{hub.name}/resolve/"):
            self._resolve(hub, path.split("/", 6)[6])
        elif path.startswith(api):
            self._api(hub, path.removeprefix(api).strip("/").split("/"), body)
        else:
            self._json({"error": f"no {path}"}, 404)

    def _api(self, hub: Hub, asked: list[str], body: bytes) -> None:
        """Answer what is asked of the repository: a verb, the revision, what is below."""
        if asked[0] == "preupload":
            self._json({"files": [self._mode(hub, each) for each in json.loads(body)["files"]]})
        elif asked[0] == "commit":
            self._commit(hub, [json.loads(line) for line in body.splitlines()])
            facts = {"commitUrl": f"{hub.url}/datasets/{hub.name}/commit/{hub.sha}"}
            self._json({**facts, "commitOid": hub.sha, "success": True})
        elif asked[0] == "tree":
            recursive = "recursive=true" in self.path.lower()
            self._json(self._tree(hub, "/".join(asked[2:]), recursive))
        elif asked[0] == "paths-info":
            self._json(self._paths(hub, body.decode()))
        else:
            self._json(hub.info())

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _mode(self, hub: Hub, each: dict[str, Any]) -> dict[str, Any]:
        path, mode = each["path"], "regular" if each["size"] <= _REGULAR else "lfs"
        oid = (
            hub.entry(path)["lfs" if path not in hub.in_git else "oid"]
            if path in hub.files
            else None
        )
        oid = oid["oid"] if isinstance(oid, dict) else oid
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid}

    def _batch(self, hub: Hub, asked: dict[str, Any]) -> dict[str, Any]:
        objects = []
        for each in asked["objects"]:
            upload = {"upload": {"href": f"{hub.store}/lfs/{each['oid']}"}}
            objects.append(each if each["oid"] in hub.large else {**each, "actions": upload})
        return {"transfer": "basic", "objects": objects}

    def _commit(self, hub: Hub, lines: list[dict[str, Any]]) -> None:
        paths = []
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                hub.files[value["path"]] = base64.b64decode(value["content"])
                hub.in_git.add(value["path"])
            elif line["key"] == "lfsFile":
                hub.files[value["path"]] = hub.large[value["oid"]]
                hub.in_git.discard(value["path"])
            elif line["key"] == "deletedFile":
                del hub.files[value["path"]]
            paths += [value["path"]] if "path" in value else []
        hub.commits.append(paths)

    def _tree(self, hub: Hub, below: str, recursive: bool) -> list[dict[str, Any]]:
        prefix = f"{below}/" if below else ""
        inside = [path for path in sorted(hub.files) if path.startswith(prefix)]
        if recursive:
            return [hub.entry(path) for path in inside]
        names = dict.fromkeys(path[len(prefix) :].partition("/")[0] for path in inside)
        return [self._one(hub, f"{prefix}{name}") for name in names]

    def _one(self, hub: Hub, path: str) -> dict[str, Any]:
        if path in hub.files:
            return hub.entry(path)
        return {"type": "directory", "oid": _git(path.encode()), "size": 0, "path": path}

    def _paths(self, hub: Hub, body: str) -> list[dict[str, Any]]:
        from urllib.parse import parse_qs

        asked = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
        folders = {path.rpartition("/")[0] for path in hub.files}
        above = {each for folder in folders for each in (folder, folder.partition("/")[0])}
        return [self._one(hub, path) for path in asked if path in hub.files or path in above]

    def _resolve(self, hub: Hub, path: str) -> None:
        if path not in hub.files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        data, entry = hub.files[path], hub.entry(path)
        etag = entry.get("lfs", entry)["oid"]
        headers = {"X-Repo-Commit": hub.sha, "ETag": f'"{etag}"', "X-Linked-Etag": f'"{etag}"'}
        if path in hub.in_git:
            self._range(data, headers)
            return
        hub.large[etag] = data
        headers |= {"Location": f"{hub.store}/lfs/{etag}", "X-Linked-Size": str(len(data))}
        self._send(302, b"", headers)

    def _large(self, hub: Hub, oid: str, body: bytes) -> None:
        if self.command == "PUT":
            if hub.refuse_after == 0:
                self._send(400, b"", {})
                return
            hub.refuse_after = hub.refuse_after and hub.refuse_after - 1
            assert hashlib.sha256(body).hexdigest() == oid
            hub.large[oid] = body
            self._send(200, b"", {})
        else:
            self._range(hub.large[oid], {"ETag": f'"{oid}"'})

    def _range(self, data: bytes, headers: dict[str, str]) -> None:
        asked = self.headers.get("Range")
        headers |= {"Accept-Ranges": "bytes", "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
        if asked is None:
            self._send(200, data, headers)
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last) + 1 if last else len(data), len(data))
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
        self._send(206, data[begin:end], headers)

    def _json(self, document: Any, status: int = 200) -> None:
        body = json.dumps(document).encode()
        self._send(status, body, {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
