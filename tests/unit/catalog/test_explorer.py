"""The explorer without a browser: its files, its server, what it does to a sealed dataset."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmearth.catalog.checksums import read_dataset
from mmearth.catalog.errors import ConfigError, StorageError
from mmearth.catalog.explorer_page import write_page
from mmearth.catalog.explorer_server import listening
from mmearth.packaging.verify import verify
from mmearth.tests.make_tiny import make_sealed

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ROOT / "catalog" / "explorer"
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sealed(tmp_path_factory.mktemp("tiny") / "dataset", 6)


def test_the_built_page_is_of_these_sources() -> None:
    names = [
        "package-lock.json",
        *sorted(f"src/{path.name}" for path in (SOURCES / "src").iterdir()),
    ]
    digest = hashlib.sha256(b"".join((SOURCES / name).read_bytes() for name in names)).hexdigest()
    for name in ("explorer.js", "worker.js"):
        head = (SOURCES / "page" / name).read_text(encoding="utf-8")[:200]
        assert f"sources {digest[:16]}" in head, "run `npm ci && npm run build` in catalog/explorer"
    for name in ("index.html", "explorer.css"):
        assert (SOURCES / "page" / name).read_bytes() == (SOURCES / "src" / name).read_bytes()


def test_the_page_names_its_licences_and_no_other_host() -> None:
    licences = (SOURCES / "page" / "LICENCES.txt").read_text(encoding="utf-8")
    wanted = json.loads((SOURCES / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    for name in wanted.keys() - {"esbuild"}:  # which builds, and is not in the page
        assert f"{name} {wanted[name]}\n" in licences
    page = (SOURCES / "page" / "index.html").read_text(encoding="utf-8")
    assert "http://" not in page
    assert "https://" not in page
    assert '"resolved"' not in (SOURCES / "package-lock.json").read_text(encoding="utf-8")


def test_the_page_is_small() -> None:
    files = [path.read_bytes() for path in (SOURCES / "page").iterdir()]
    assert sum(len(gzip.compress(content)) for content in files) < 100_000


def test_a_page_in_a_sealed_dataset_leaves_it_whole(tiny: Path) -> None:
    before = read_dataset(tiny), verify(tiny)  # it has no table of STAC items
    index = write_page(tiny, None, None)
    assert index == tiny / "explorer" / "index.html"
    assert json.loads((index.parent / "explorer.json").read_bytes()) == {"data": "../"}
    assert (read_dataset(tiny), verify(tiny)) == before


def test_a_page_beside_a_dataset_says_where_it_is(tiny: Path, tmp_path: Path) -> None:
    index = write_page(tiny, tmp_path / "site" / "page", None)
    config = json.loads((index.parent / "explorer.json").read_bytes())
    assert (index.parent / config["data"]).resolve() == tiny
    assert sorted(path.name for path in index.parent.iterdir()) == [
        *("LICENCES.txt", "explorer.css", "explorer.js", "explorer.json", "index.html"),
        *("results.json", "worker.js"),
    ]
    with pytest.raises(ConfigError, match="is a dataset; expected a folder for the page"):
        write_page(tiny, tiny, None)


def test_the_command_says_what_it_wrote(tiny: Path, tmp_path: Path, run_cli: Cli) -> None:
    code, out, _ = run_cli("catalog", "explorer", tiny, "-o", tmp_path / "page")
    assert code == 0
    assert out.startswith(str(tmp_path / "page" / "index.html"))
    code, _, err = run_cli("catalog", "explorer", tmp_path)
    assert code == 2
    assert "holds no complete dataset" in err
    code, _, err = run_cli("catalog", "explorer", tiny, "--serve", "-o", tmp_path)
    assert code == 2
    assert "--serve writes nothing" in err
    code, _, err = run_cli("catalog", "explorer", tiny, "--results", tmp_path)
    assert code == 2
    assert "found no finished run" in err


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    root = tmp_path_factory.mktemp("served") / "inside"
    root.mkdir()
    (root / "ten.bin").write_bytes(b"0123456789")
    (root / "empty.bin").touch()
    (root.parent / "secret").write_text("not ours")
    (root / "link").symlink_to(root.parent / "secret")
    os.mkfifo(root / "pipe")
    with listening(root, {"index.html": b"<p>", "a.js": b"1"}, 0) as http_server:
        threading.Thread(target=http_server.serve_forever, args=(0.02,), daemon=True).start()
        yield http_server.server_port
        http_server.shutdown()


def _ask(
    port: int, path: str, method: str = "GET", **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.read(), {k: v for k, v in answer.getheaders()}
    connection.close()
    return found


@pytest.mark.parametrize(
    ("asked", "status", "body", "said"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-12", 416, b"", "bytes */10"),
        ("bytes=5-2", 416, b"", "bytes */10"),
        ("bytes=1-2,4-5", 416, b"", "bytes */10"),
        ("bytes=-", 416, b"", "bytes */10"),
    ],
)
def test_ranges(server: int, asked: str, status: int, body: bytes, said: str) -> None:
    found = _ask(server, "/ten.bin", Range=asked)
    assert found[:2] == (status, body)
    assert found[2]["Content-Range"] == said


def test_whole_files_heads_and_the_page(server: int) -> None:
    assert _ask(server, "/ten.bin")[:2] == (200, b"0123456789")
    status, body, headers = _ask(server, "/ten.bin", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", "10")
    assert _ask(server, "/empty.bin")[:2] == (200, b"")
    assert _ask(server, "/")[2]["Location"] == "/explorer/"
    assert _ask(server, "/explorer/#x")[:2] == (200, b"<p>")
    assert _ask(server, "/explorer/a.js")[2]["Content-Type"] == "text/javascript"


@pytest.mark.parametrize(
    "path", ["/nowhere", "/link", "/pipe", "/", "/../secret", "/%2e%2e/secret", "/a%00b"]
)
def test_nothing_but_files_of_the_dataset(server: int, path: str) -> None:
    assert _ask(server, path)[0] == (302 if path == "/" else 404)


def test_a_page_of_another_host_gets_nothing(server: int) -> None:
    assert _ask(server, "/ten.bin", Host="evil.example:80")[0] == 421


def test_a_port_that_is_taken(server: int, tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=f"cannot listen on 127.0.0.1:{server}"),
        listening(tmp_path, {}, server),
    ):
        pass
