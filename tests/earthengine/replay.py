"""A loopback service in a process of its own that answers from recorded replies."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmearth.tests.earthengine.counters import text_hash
from mmearth.tests.earthengine.model import ServiceError
from mmearth.tests.earthengine.server import Server


class Nothing:
    """Answers nothing: what is not recorded is an error."""

    def value(self, graph: Mapping[str, Any]) -> Any:
        """Refuse."""
        raise ServiceError(400, "INVALID_ARGUMENT", "this request is not recorded")

    def pixels(self, graph: Mapping[str, Any], grid: Mapping[str, Any], file_format: str) -> bytes:
        """Refuse."""
        raise ServiceError(400, "INVALID_ARGUMENT", "this request is not recorded")

    def features(
        self, graph: Mapping[str, Any], page_size: int, page_token: str | None
    ) -> dict[str, Any]:
        """Refuse."""
        raise ServiceError(400, "INVALID_ARGUMENT", "this request is not recorded")

    def assets(self, folder: str, page_size: int, page_token: str | None) -> dict[str, Any]:
        """Refuse."""
        raise ServiceError(404, "NOT_FOUND", f"Asset '{folder}' does not exist")


@contextmanager
def replaying(replies: dict[str, bytes], path: Path, latency_s: float) -> Iterator[str]:
    """Serve recorded replies from another process until the block ends; yield its address.

    Args:
        replies: See `Server.replies`; by `text_hash`.
        path: Where they are written for the other process.
        latency_s: How long it sleeps before each answer.
    """
    path.write_bytes(pickle.dumps(replies))
    command = [sys.executable, "-m", __name__, str(path), str(latency_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        try:
            yield process.stdout.readline().decode().strip()
        finally:
            process.stdin.close()


def stats(url: str) -> dict[str, Any]:
    """Return the counters of a service, `Counters.to_json`."""
    with urllib.request.urlopen(f"{url}/stats") as reply:
        found: dict[str, Any] = json.load(reply)
    return found


def _main() -> None:
    replies = pickle.loads(Path(sys.argv[1]).read_bytes())
    latency_s = float(sys.argv[2])
    server = Server(Nothing(), replies=replies, latency_s=latency_s, check=False, hash=text_hash)
    with server.running():
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        sys.stdin.read()  # until whoever started this one closes it, or dies
        time.sleep(0.0)


if __name__ == "__main__":
    _main()
