"""A dataset that belongs to somebody else: it is used, not written, and what is closed is said."""

from __future__ import annotations

import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch  # noqa: F401 - another user may not read where packages are

import mmearth
from mmearth.catalog.audit import audit_dataset
from mmearth.catalog.errors import MMEarthError
from mmearth.catalog.schema import read_table
from mmearth.curate.ledger import Ledger
from mmearth.packaging.rebuild import rebuild
from mmearth.packaging.verify import verify

_NOBODY = 65534

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@pytest.fixture
def root(small_dataset: Path) -> Iterator[Path]:
    """A copy where others may look: pytest's own directories are closed to them."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(shutil.copytree(small_dataset, Path(folder) / "small"))
        for path in Path(folder).rglob("*"):
            path.chmod(0o755)


def as_another(do: Callable[[], object]) -> str:
    """Return what a call returns or refuses to a user who owns nothing; of root's tests only."""
    if os.geteuid() != 0:
        pytest.skip("needs root, who alone can become another user")
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
            said = str(do())
        except MMEarthError as exc:
            said = f"{type(exc).__name__}: {exc}"
        except BaseException:  # noqa: BLE001 - told to the parent
            said = traceback.format_exc()
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        said = stream.read().decode()
    os.waitpid(child, 0)
    return said


def _read(root: Path) -> int:
    chosen = mmearth.open(root).select("soil_pH")
    loader = chosen.loader(2, "sequential", normalise="train")
    return sum(len(batch["key"]) for batch in loader)


def test_what_may_only_be_read_is_used(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    n = mmearth.open(root).select("soil_pH").count
    assert as_another(lambda: _read(root)) == str(n)
    asked = "SELECT count(*) FROM soil_pH"
    assert as_another(lambda: mmearth.open(root).sql(asked).to_pylist()[0].popitem()[1]) == str(n)
    assert as_another(lambda: verify(root)) == "[]"
    assert "Traceback" not in as_another(lambda: audit_dataset(root, 0.0))
    assert as_another(lambda: Ledger.reading(root).n_damaged()) == "0"
    assert as_another(lambda: rebuild(root)).startswith(f"StorageError: cannot write {root}")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.parametrize("is_begun", [False, True])
def test_what_a_build_knows_may_only_be_read(
    is_begun: bool, root: Path, run_cli: Callable[..., tuple[int, str, str]]
) -> None:
    if is_begun and os.fork() == 0:  # a build that was killed leaves SQLite's log
        ledger = Ledger(root)
        ledger.set_fact("killed", "1")
        os._exit(0)
    if is_begun:
        os.wait()
    assert (root / ".curate" / "ledger.sqlite-wal").exists() == is_begun
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    with tempfile.TemporaryDirectory() as pictures:
        Path(pictures).chmod(0o777)
        for command in (("status",), ("failures",), ("view", "-o", f"{pictures}/tile.png")):
            said = as_another(lambda asked=command: run_cli("curate", asked[0], root, *asked[1:]))
            assert said.startswith("(0, "), said
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.parametrize(
    ("name", "do"),
    [
        ("dataset.json", mmearth.open),
        ("manifests/soil_pH.parquet", _read),
        ("statistics/soil_pH.json", _read),
        ("shards/soil_pH", _read),
        ("tiles.parquet", lambda root: read_table(root / "tiles.parquet")),
        (".curate/ledger.sqlite", Ledger.reading),
    ],
)
def test_what_is_closed_is_said_in_a_sentence(
    root: Path, name: str, do: Callable[[Path], object]
) -> None:
    (root / name).chmod(0)
    said = as_another(lambda: do(root))
    assert said.startswith(f"StorageError: cannot read {root / name}")
    assert "permission denied; ask for the permission to read it" in said
