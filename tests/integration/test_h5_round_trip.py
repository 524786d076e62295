"""Published HDF5 files become a dataset, and come out again as they went in."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mmearth.catalog.errors import FormatError
from mmearth.catalog.published import MMEARTH_BENCH
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


def _same_contents(one: Path, other: Path) -> None:
    """Compare two files bit by bit: names in their order, dtypes, shapes, values."""
    with h5py.File(one) as before, h5py.File(other) as after:
        assert list(before) == list(after)
        for key in before:
            kinds = [h5py.check_string_dtype(file[key].dtype) for file in (before, after)]
            assert kinds[0] == kinds[1], key
            values, found = before[key][...], after[key][...]
            assert (values.dtype, values.shape) == (found.dtype, found.shape), key
            if values.dtype.kind == "O":
                assert values.tolist() == found.tolist(), key
            else:
                assert values.tobytes() == found.tobytes(), key


def _labels(dataset: Any, task: str) -> dict[str, str]:
    """Return key → label_id."""
    columns = dataset.sql(f"SELECT key, label_id FROM {task}").to_pydict()
    return dict(zip(columns["key"], columns["label_id"], strict=True))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("published_chunks", [False, True])
def test_a_round_trip_is_exact(
    published: Path, imported: Path, tmp_path: Path, task: str, published_chunks: bool
) -> None:
    (path,) = export_h5(imported / task, tmp_path, (), published_chunks)
    _same_contents(published / task / f"{task}.h5", path)
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
    row_of = _labels(dataset, task)
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
    _same_contents(path, back)
    beside = path.with_name("soil_pH_split_data.json").read_bytes()
    assert b"AsterDEM_train_5%_means" in beside
    assert back.with_name("soil_pH_split_data.json").read_bytes() == beside


def test_whatever_stands_in_a_file_comes_back(tmp_path: Path) -> None:
    path = write_published(tmp_path / "in", "biomass", 8, many=True)
    with h5py.File(path, "r+") as file:
        values = file["Sentinel1"][...]
        values[1, 0, 0, :3] = -12.3456789012345, np.nan, -0.0  # no float32; no number; no zero
        file["Sentinel1"][...] = values
        values = file["Sentinel2"][...]
        values[2, 3, 4, :4] = 100.5, 101.5, 102.75, -0.25
        file["Sentinel2"][...] = values
        file["temperature"][3, 1] = np.nan
        scenes = [text.decode() for text in file["sentinel2_system_index"][...]]
        for name, size in (("sentinel2_system_index", None), ("crs", 40)):
            text = file[name][...]
            del file[name]
            data = text if size is None else text.astype(f"S{size}")
            file.create_dataset(name, data=data, dtype=h5py.string_dtype("ascii", size))
        values = file["geolocation"][...].astype(">f8")
        values[5] = np.nan  # says nothing
        del file["geolocation"]
        file["geolocation"] = values
        file["a word each"] = np.array(["é", "", "é" * 9, *"abcde"], dtype=object)
        file["words"] = np.array([["a", "bc"]] * 8, dtype=object)
        file["layers"] = np.arange(8 * 3 * 5, dtype="i2").reshape(8, 3, 5)
        file["is_odd"] = np.arange(8) % 2 == 1
        file["key"] = np.arange(8, dtype="u1")
    import_h5(path, tmp_path / "ours", 1, _quiet)
    assert verify(tmp_path / "ours") == []
    (back,) = export_h5(tmp_path / "ours", tmp_path / "back", (), published_chunks=False)
    _same_contents(path, back)
    dataset = open_dataset(tmp_path / "ours")
    table = dataset.sql(
        "SELECT sentinel2.source_ids[1] AS scene, temperature.values[2] AS kelvin, label_id "
        "FROM biomass ORDER BY CAST(label_id AS int)"
    ).to_pydict()
    assert table["scene"] == scenes
    assert table["kelvin"][3] == -9999  # what is no number is no data
    rows = {key: int(i) // 3 - 1 for key, i in _labels(dataset, "biomass").items()}
    for batch in dataset.select("biomass", modalities=["sentinel2"]).loader(1, "sequential"):
        if rows[batch["key"][0]] == 2:
            found = np.asarray(batch["sentinel2"][0, 3, 4, :4]).tolist()
            assert found == [100, 102, 103, 0]  # to the nearest, halves to even


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
    for each in TASKS:
        with h5py.File(tmp_path / f"h5/{each}/{each}.h5") as file:
            missing = {name for text in file["missing_modalities"] for name in json.loads(text)}
            assert missing <= set(MMEARTH_BENCH.layers)
            assert (file["Sentinel2"][...] < 65535).any()
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


def test_on_the_command_line(published: Path, tmp_path: Path) -> None:
    source, ours, back = published / "soil_pH", tmp_path / "ours", tmp_path / "back"
    run = CliRunner().invoke
    done = run(
        root, ["packaging", "import-h5", str(source), "-o", str(ours), "--workers", "1", "--json"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["samples"] == {"soil_pH": N}
    assert re.search(r"0\.\d GB of disk are needed", done.stderr)
    assert run(root, ["packaging", "verify", str(ours)]).exit_code == 0
    done = run(root, ["packaging", "export-h5", str(ours), "-o", str(back), "--task", "soil_pH"])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(back / "soil_pH/soil_pH.h5")
    _same_contents(source / "soil_pH.h5", back / "soil_pH/soil_pH.h5")
