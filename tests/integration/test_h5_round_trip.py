"""Published HDF5 files become a dataset, and come out again as they went in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.cli import root
from mmearth.loaders.dataset import open_dataset
from mmearth.packaging.h5.export_h5 import export_h5
from mmearth.packaging.h5.import_h5 import import_h5
from mmearth.packaging.verify import verify
from mmearth.tests.hdf5_files import write_published

h5py = pytest.importorskip("h5py")

N = 12
TASKS = ("biomass", "soil_pH", "species")


def _quiet(step: str, size: int | None) -> None:
    pass


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    for seed, task in enumerate(TASKS):
        write_published(folder, task, N, seed if task == "biomass" else 7)
    return folder


@pytest.fixture(scope="module")
def imported(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each task alone: the made-up tasks see other things at the same places."""
    out = tmp_path_factory.mktemp("imported")
    for task in TASKS:
        import_h5(published / task, out / task, 1, _quiet)
    return out


def _json(path: Path) -> Any:
    return json.loads(path.read_text())


def _contents(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        return {key: file[key][...] for key in file}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("published_chunks", [False, True])
def test_a_round_trip_is_exact(
    published: Path, imported: Path, tmp_path: Path, task: str, published_chunks: bool
) -> None:
    (path,) = export_h5(imported / task, tmp_path, (), published_chunks)
    before, after = _contents(published / task / f"{task}.h5"), _contents(path)
    assert before.keys() == after.keys()
    for key, values in before.items():
        assert values.dtype == after[key].dtype, key
        np.testing.assert_array_equal(values, after[key], err_msg=key)
    for beside in (published / task).glob("*.json"):
        assert (tmp_path / task / beside.name).read_bytes() == beside.read_bytes()
    nodata = "no_data_values.json"
    assert (tmp_path / nodata).read_bytes() == (published / nodata).read_bytes()
    with h5py.File(path) as file:
        by_tile = file["Sentinel2"].chunks == (1, 12, 128, 128)
        assert by_tile is not published_chunks


@pytest.mark.parametrize("task", TASKS)
def test_an_import_is_a_whole_dataset(published: Path, imported: Path, task: str) -> None:
    assert verify(imported / task) == []
    with h5py.File(published / task / f"{task}.h5") as file:
        s2, ids = file["Sentinel2"][...], file["id"][...].tolist()
    splits = _json(published / task / f"{task}_split_data.json")
    dataset = open_dataset(imported / task)
    for split, key in (("train", "train_100%"), ("val", "val")):
        rows = dataset.sql(f"SELECT label_id FROM {task} WHERE split = '{split}'").to_pydict()
        assert {ids.index(int(i)) for i in rows["label_id"]} == set(splits[f"{key}_indices"])
    few = dataset.select(task, "train", fraction=50, modalities=["sentinel2"])
    row_of = dict(
        zip(*dataset.sql(f"SELECT key, label_id FROM {task}").to_pydict().values(), strict=True)
    )
    seen = 0
    for batch in few.loader(4, "sequential"):
        for i, key in enumerate(batch["key"]):
            row = ids.index(int(row_of[key]))
            np.testing.assert_array_equal(batch["sentinel2"][i].numpy(), s2[row])
            assert row in splits["train_50%_indices"]
            seen += 1
    assert seen == len(splits["train_50%_indices"])


def test_workers_make_the_same_bytes(published: Path, imported: Path, tmp_path: Path) -> None:
    _, dataset_hash = import_h5(published / "soil_pH", tmp_path / "out", 2, _quiet)
    assert dataset_hash == _json(imported / "soil_pH/dataset.json")["dataset_hash"]


def test_an_older_key_comes_out_as_it_was(tmp_path: Path) -> None:
    path = write_published(tmp_path / "old", "soil_pH", 8, dem="AsterDEM")
    import_h5(path, tmp_path / "ours", 1, _quiet)
    assert verify(tmp_path / "ours") == []
    (back,) = export_h5(tmp_path / "ours", tmp_path / "back", (), published_chunks=False)
    before, after = _contents(path), _contents(back)
    assert before.keys() == after.keys()
    np.testing.assert_array_equal(before["AsterDEM"], after["AsterDEM"])


def test_values_that_ours_would_round_are_kept(tmp_path: Path) -> None:
    path = write_published(tmp_path / "in", "biomass", 8)
    with h5py.File(path, "r+") as file:
        values = file["Sentinel1"][...]
        values[1, 0, 0, 0] = -12.3456789012345  # no float32
        file["Sentinel1"][...] = values
    import_h5(path, tmp_path / "ours", 1, _quiet)
    (back,) = export_h5(tmp_path / "ours", tmp_path / "back", (), published_chunks=False)
    np.testing.assert_array_equal(_contents(back)["Sentinel1"], values)


def test_two_tasks_of_the_same_places(tmp_path: Path) -> None:
    for task in ("soil_nitrogen", "soil_pH"):
        write_published(tmp_path / "in", task, 8, seed=3)
    import_h5(tmp_path / "in", tmp_path / "ours", 1, _quiet)
    assert verify(tmp_path / "ours") == []
    write_published(tmp_path / "in", "soil_pH", 8, seed=4)
    with pytest.raises(
        FormatError, match=r"soil_pH.h5: row \d, tile .* was seen otherwise in soil_nit"
    ):
        import_h5(tmp_path / "in", tmp_path / "other", 1, _quiet)


def test_a_dataset_of_ours_is_exported(small_dataset: Path, tmp_path: Path) -> None:
    paths = export_h5(small_dataset, tmp_path / "h5", (), published_chunks=False)
    assert {path.stem for path in paths} == set(_json(small_dataset / "dataset.json")["tasks"])
    task = "soil_pH"
    import_h5(tmp_path / "h5" / task, tmp_path / "again", 1, _quiet)
    assert verify(tmp_path / "again") == []
    columns = "key, split, train_50, target, biome"
    before, after = (
        open_dataset(each).sql(f"SELECT {columns} FROM {task} ORDER BY key").to_pylist()
        for each in (small_dataset, tmp_path / "again")
    )
    assert before == after
    statistics = [
        _json(each / f"statistics/{task}.json") for each in (small_dataset, tmp_path / "again")
    ]
    assert statistics[0] == statistics[1]


MEASURE = """
import sys
from pathlib import Path
from mmearth.packaging.h5.import_h5 import import_h5
import_h5(Path(sys.argv[1]), Path(sys.argv[2]), 1, lambda *_: None)
with open("/proc/self/status") as lines:  # ru_maxrss would be that of the test's process, too
    print(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))
"""


def test_memory_does_not_grow_with_the_tiles(tmp_path: Path) -> None:
    peaks = []
    for n in (16, 128):
        path = write_published(tmp_path / str(n), "soil_pH", n)
        command = [sys.executable, "-c", MEASURE, str(path), str(tmp_path / f"out{n}")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(int(done.stdout) * 1024)
    # 112 tiles more are 240 MB of float32; a box of 16 MB has a few copies while it is looked at.
    assert peaks[1] - peaks[0] < 90e6, peaks


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        ("no hdf5", r"cannot be read as HDF5"),
        ("truncated", r"cannot be read as HDF5"),
        ("no key", r"has no temperature; found"),
        ("shape", r"biome has shape \(8, 2\), expected \(8,\) for 8 tiles"),
        ("no splits", r"soil_pH_split_data.json is not there"),
        ("index", r"names row 99, and the .h5 file has 8"),
        ("two splits", r"row \d is in train and in val"),
        ("no split", r"row \d of 8 is in no split"),
        ("grid", r"row 2 has crs EPSG:\d+ and transform .*whole multiples"),
        ("twins", r"rows 0 and 1 are the same tile"),
        ("date", r"row 3 has the sentinel2_date 'June'"),
    ],
)
def test_what_is_not_as_published(tmp_path: Path, harm: str, sentence: str) -> None:
    path = write_published(tmp_path / "in", "soil_pH", 8)
    _harm(path, harm)
    with pytest.raises(FormatError, match=sentence):
        import_h5(path, tmp_path / "out", 1, _quiet)
    assert not (tmp_path / "out/dataset.json").exists()


def _harm(path: Path, harm: str) -> None:
    splits = path.with_name("soil_pH_split_data.json")
    document = json.loads(splits.read_text())
    if harm in {"no hdf5", "truncated"}:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if harm == "truncated" else b"\x89HDF no")
    elif harm == "no splits":
        splits.unlink()
    elif harm in {"index", "two splits", "no split"}:
        extra = {"index": 99, "two splits": document["train_100%_indices"][0]}
        if harm == "no split":
            document["val_indices"] = []
        else:
            document["val_indices"].append(extra[harm])
        splits.write_text(json.dumps(document))
    else:
        with h5py.File(path, "r+") as file:
            if harm == "no key":
                del file["temperature"]
            elif harm == "shape":
                del file["biome"]
                file["biome"] = np.zeros((8, 2), int)
            elif harm == "date":
                file["sentinel2_date"][3] = "June"
            else:
                transform, crs = file["transform"][...], file["crs"][...]
                if harm == "grid":
                    transform[2, 2] += 3.0
                else:
                    transform[1], crs[1] = transform[0], crs[0]
                file["transform"][...], file["crs"][...] = transform, crs


def test_places_that_are_not_for_it(published: Path, imported: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no file of the published layout"):
        import_h5(tmp_path, tmp_path / "out", 1, _quiet)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        import_h5(published / "soil_pH", tmp_path / "full", 1, _quiet)
    with pytest.raises(ConfigError, match="has no task 'biomass'"):
        export_h5(imported / "soil_pH", tmp_path / "h5", ("biomass",), published_chunks=False)


def test_without_the_library(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigError, match=r"not installed: pip install 'mmearth\[h5\]'"):
        import_h5(published / "soil_pH", tmp_path / "out", 1, _quiet)


def test_an_interrupted_import_begins_again(
    published: Path, imported: Path, tmp_path: Path
) -> None:
    splits = tmp_path / "in/soil_pH/soil_pH_split_data.json"
    path = write_published(tmp_path / "in", "soil_pH", N, 7)
    whole = splits.read_bytes()
    splits.write_text("{}")
    with pytest.raises(FormatError):
        import_h5(path, tmp_path / "out", 1, _quiet)
    splits.write_bytes(whole)
    _, dataset_hash = import_h5(path, tmp_path / "out", 1, _quiet)
    assert dataset_hash == _json(imported / "soil_pH/dataset.json")["dataset_hash"]


def test_on_the_command_line(published: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    done = run(
        root, ["packaging", "import-h5", str(published / "soil_pH"), "-o", str(tmp_path / "a")]
    )
    assert done.exit_code == 0, done.output
    assert "soil_pH" in done.output
    done = run(
        root,
        [
            "packaging",
            "export-h5",
            str(tmp_path / "a"),
            "-o",
            str(tmp_path / "b"),
            "--task",
            "soil_pH",
        ],
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "b/soil_pH/soil_pH.h5").is_file()
