"""A real browser for tests of the explorer: Debian's Chromium, by playwright; none: a skip."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mmearth.catalog.explorer_page import page_files
from mmearth.catalog.explorer_server import listening

CHROMIUM = Path("/usr/bin/chromium")
_WAIT_MS = 30_000


@contextmanager
def chromium() -> Iterator[Any]:
    """Start the browser; skip where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}; apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        # Without a sandbox of its own: it must run as root in a container.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


def expect(locator: Any) -> Any:
    """Return what waits until something is true of an element."""
    from playwright.sync_api import expect as of

    return of(locator)


@dataclass
class Seen:
    """A page, and what it said and asked for."""

    page: Any
    """Of playwright."""
    url: str
    """Of the explorer, without a fragment."""
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings of the console, exceptions."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """URL and range of each request."""

    def settle(self) -> None:
        """Wait until the page has drawn what it was told."""
        self.page.wait_for_selector("body[aria-busy=false]")

    def go(self, fragment: str = "", anew: bool = False) -> None:
        """Open a link; in the page that is there, unless anew."""
        if anew:
            self.page.goto("about:blank")
        self.page.goto(self.url + fragment)
        self.settle()

    @property
    def count(self) -> int:
        """Samples that the filters leave, as it says."""
        self.settle()
        return int(self.page.get_attribute("#status", "data-count"))

    def open(self, row: int) -> None:
        """Open the tile of a row and wait until it is drawn."""
        self.page.evaluate("row => mmearth.choose(row)", row)
        self.settle()
        self.page.wait_for_selector("#tile[aria-busy=false] h2")

    def values(self, layer: str) -> list[float]:
        """Return the decoded values of a layer of the open tile."""
        found: list[float] = self.page.evaluate(
            "name => Array.from(mmearth.tiles.tile.parts.find(p => p.name === name).values)", layer
        )
        return found


@contextmanager
def explorer(
    browser: Any, root: Path, results: Path | None = None, **options: Any
) -> Iterator[Seen]:
    """Show a dataset; in the end it asked no other host, and complained of nothing."""
    files = page_files(root, {"data": "../", "path": str(root)}, results)
    with listening(root, files, 0) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        page = browser.new_page(**{"viewport": {"width": 1400, "height": 900}, **options})
        seen = Seen(page, f"http://127.0.0.1:{server.server_port}/explorer/")
        page.set_default_timeout(_WAIT_MS)
        page.on("console", lambda message: _note(seen, message.type, message.text))
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.on("request", lambda r: seen.asked.append((r.url, r.headers.get("range"))))
        try:
            seen.go()
            yield seen
        finally:
            page.close()
            server.shutdown()
    assert seen.complaints == []
    hosts = {urlsplit(url).netloc for url, _ in seen.asked if url.startswith("http")}
    assert hosts == {urlsplit(seen.url).netloc}


def _note(seen: Seen, kind: str, text: str) -> None:
    if kind in {"error", "warning"}:
        seen.complaints.append(text)
