"""Published HDF5 files that are not as published, and disks, kills and wishes that cannot be."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmearth.catalog.catalogue import read_catalogue, write_catalogue
from mmearth.catalog.errors import ConfigError, DataError, FormatError
from mmearth.catalog.grid import Grid
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.packaging.h5.export_h5 import export_h5
from mmearth.packaging.h5.import_h5 import import_h5
from mmearth.packaging.h5.layout import side_folder
from mmearth.packaging.verify import verify
from mmearth.tests.hdf5_files import write_published

h5py = pytest.importorskip("h5py")

N = 8
TASK = "soil_pH"


def _quiet(step: str, size: int | None) -> None:
    pass


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published folder of one task; tests must not change it."""
    return write_published(tmp_path_factory.mktemp("made"), TASK, N).parent.parent


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "in")) / TASK / f"{TASK}.h5"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An import of the same file, and its hash; tests must not change it."""
    folder = tmp_path_factory.mktemp("whole")
    _, dataset_hash = import_h5(write_published(folder / "in", TASK, N), folder / "out", 1, _quiet)
    return folder / "out", dataset_hash


def _set(path: Path, name: str, row: Any, value: Any) -> None:
    with h5py.File(path, "r+") as file:
        values = file[name][...]
        values[row] = value
        file[name][...] = values


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("Sentinel2", 70000.0, r"row 5 of Sentinel2 holds 70000, expected 0 to 65535"),
        ("ESA_WorldCover", 10.8, r"row 5 .*: found values"),
        ("ASTER_GDEM", 9500.0, r"row 5 of soil_pH.h5: aster_gdem elevation: found values"),
    ],
)
def test_a_value_that_cannot_be_is_named(
    path: Path, tmp_path: Path, name: str, value: float, sentence: str
) -> None:
    if name == "ESA_WorldCover":  # 10.8 is rounded to 11, no data; 12 is nothing at all
        value = 12.0
    _set(path, name, (5, 0, 0, 0), value)
    with pytest.raises(DataError, match=sentence):
        import_h5(path, tmp_path / "out", 1, _quiet)
    assert not (tmp_path / "out/dataset.json").exists()


def test_a_broken_chunk_ends_it_and_frees_the_disk(
    path: Path, tmp_path: Path, whole: tuple[Path, str]
) -> None:
    good = path.read_bytes()
    with h5py.File(path) as file:
        chunk = file["Sentinel2"].id.get_chunk_info(3)
    broken = bytearray(good)
    middle = chunk.byte_offset + chunk.size // 2
    broken[middle : middle + 20] = bytes(20)
    path.write_bytes(broken)
    with pytest.raises(FormatError, match=r"soil_pH.h5 cannot be read as HDF5"):
        import_h5(path, tmp_path / "out", 1, _quiet)
    left = sum(each.stat().st_size for each in (tmp_path / "out").rglob("*") if each.is_file())
    assert left < 1e6
    path.write_bytes(good)
    assert import_h5(path, tmp_path / "out", 1, _quiet)[1] == whole[1]


KILLED = """
import os, sys
from pathlib import Path
from mmearth.packaging.h5.import_h5 import import_h5
def tell(step, _):
    if step.startswith(sys.argv[3]):
        os._exit(9)
import_h5(Path(sys.argv[1]), Path(sys.argv[2]), 1, tell)
"""


@pytest.mark.parametrize("step", ["pack", "catalogue"])
def test_a_killed_import_begins_again(
    path: Path, tmp_path: Path, whole: tuple[Path, str], step: str
) -> None:
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(out), step], check=False)
    assert done.returncode == 9
    assert not (out / "dataset.json").exists()
    (out / "mine.txt").write_text("mine")
    assert import_h5(path, out, 1, _quiet)[1] == whole[1]
    assert verify(out) == []
    assert (out / "mine.txt").read_text() == "mine"
    assert not (out / ".curate").exists()


LIMITED = """
import resource, sys
limit = int(sys.argv.pop(1))
from mmearth.cli import main
import mmearth.packaging.cli
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # what a full disk does, at this size
main()
"""


@pytest.mark.parametrize("limit", [3_000, 60_000, 300_000])
def test_a_full_disk_is_one_sentence(
    path: Path, tmp_path: Path, whole: tuple[Path, str], limit: int
) -> None:
    out = str(tmp_path / "to")
    for command in (
        ["import-h5", str(path), "-o", out, "--workers", "1"],
        ["export-h5", str(whole[0]), "-o", out],
    ):
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, str(limit), "packaging", *command],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 3, done.stderr
        assert "no space is left" in done.stderr
        assert "Traceback" not in done.stderr
        left = [each for each in Path(out).rglob("*") if each.is_file()]
        assert not [each for each in left if each.suffix in {".h5", ".npy", ".tmp"}]


STOPPED = """
import signal, sys
stop = int(sys.argv.pop(1))
from mmearth.cli import main
from mmearth.packaging.h5.file import _Stream
plain = _Stream.write
def write(stream, data):
    signal.raise_signal(stop)  # while HDF5 waits for the answer
    return plain(stream, data)
_Stream.write = write
main()
"""


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_export_that_is_stopped_while_it_writes_leaves_nothing(
    tmp_path: Path, whole: tuple[Path, str], stop: signal.Signals, code: int
) -> None:
    command = ["packaging", "export-h5", str(whole[0]), "-o", str(tmp_path / "to")]
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, str(int(stop)), *command],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.splitlines()[-1].endswith("what was done is kept")
    assert "Traceback" not in done.stderr
    assert not [*tmp_path.rglob("*.tmp"), *tmp_path.rglob("*.h5")]


def test_two_tasks_that_saw_a_tile_on_two_days(tmp_path: Path) -> None:
    write_published(tmp_path / "in", "soil_nitrogen", N)
    other = write_published(tmp_path / "in", TASK, N)
    _set(other, "sentinel2_date", 2, "2020-06-21")
    sentence = r"soil_pH.h5: row 2, tile .* was seen otherwise in soil_nitrogen.h5"
    with pytest.raises(FormatError, match=sentence):
        import_h5(tmp_path / "in", tmp_path / "out", 1, _quiet)
    assert not (tmp_path / "out").exists()


def test_attributes_are_left_out_with_a_warning(path: Path, tmp_path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["Sentinel2"].attrs["unit"] = "1"
    with pytest.warns(UserWarning, match="has attributes"):
        import_h5(path, tmp_path / "out", 1, _quiet)


def test_places_that_are_not_for_it(path: Path, whole: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no file of the published layout"):
        import_h5(tmp_path / "empty", tmp_path / "out", 1, _quiet)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"is not empty: it holds mine\.txt"):
        import_h5(path, tmp_path / "full", 1, _quiet)
    with pytest.raises(ConfigError, match="is a file; give a directory"):
        import_h5(path, tmp_path / "full/mine.txt", 1, _quiet)
    with pytest.raises(ConfigError, match="there is no task 'biomass'"):
        export_h5(whole[0], tmp_path / "h5", ("biomass",), published_chunks=False)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"soil_pH\.h5 is there already"):
        export_h5(whole[0], tmp_path / "in", (), published_chunks=False)
    assert path.read_bytes() == before


def test_a_dataset_that_the_layout_cannot_hold(whole: tuple[Path, str], tmp_path: Path) -> None:
    root = Path(shutil.copytree(whole[0], tmp_path / "other"))
    catalogue = read_catalogue(root)
    assert catalogue == MMEARTH_BENCH.only(MMEARTH_BENCH.layers, [TASK])
    own = replace(catalogue.layers["eth_gch"], name="canopy")
    write_catalogue(root, replace(catalogue, layers={**catalogue.layers, "canopy": own}))
    with pytest.raises(ConfigError, match="other: found the modality canopy, expected some of sen"):
        export_h5(root, tmp_path / "h5", (), published_chunks=False)
    write_catalogue(root, replace(catalogue, grid=Grid(64, 10)))
    with pytest.raises(ConfigError, match="other: found the grid of 64 × 64 pixels of 10 m"):
        export_h5(root, tmp_path / "h5", (), published_chunks=False)
    assert not (tmp_path / "h5").exists()


@pytest.mark.parametrize(
    ("key", "field", "value", "found"),
    [
        ("Sentinel2", "shape", [N, 3, 128, 128], r"Sentinel2 of shape \(8, 3, .* is not there"),
        ("id", "shape", "wide", "."),
        ("SCL", "shape", [N, 2, 128, 128], r"SCL\.npy has shape \(8, 1, 128, 128\), expected"),
        ("Sentinel2", "dtype", "<M8[s]", r"Sentinel2 has dtype <M8\[s\], expected numbers"),
    ],
)
def test_a_layout_that_is_not_of_its_columns(
    whole: tuple[Path, str], tmp_path: Path, key: str, field: str, value: Any, found: str
) -> None:
    root = Path(shutil.copytree(whole[0], tmp_path / "changed"))
    layout = root / side_folder(TASK) / "layout.json"
    document = json.loads(layout.read_text())
    document[key][field] = value
    layout.write_text(json.dumps(document))
    with pytest.raises(FormatError, match=rf"is not as it was imported \(.*{found}"):
        export_h5(root, tmp_path / "h5", (), published_chunks=False)
    assert not list((tmp_path / "h5").rglob("*.h5"))


def test_without_the_library(
    path: Path, whole: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    for attempt in (
        lambda: import_h5(path, tmp_path / "out", 1, _quiet),
        lambda: export_h5(whole[0], tmp_path / "out", (), published_chunks=False),
    ):
        with pytest.raises(ConfigError, match=r"not installed: pip install 'mmearth\[h5\]'"):
            attempt()
    assert not (tmp_path / "out").exists()
