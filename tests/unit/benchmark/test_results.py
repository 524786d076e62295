"""Results: nothing lost, nothing twice, the same bytes; and canaries that see what is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mmearth.benchmark.canaries import canaries, collapsed
from mmearth.benchmark.intervals import Score
from mmearth.benchmark.results import (
    RESULTS,
    Circumstances,
    Setting,
    assemble,
    config_hash,
    keep_catalogue,
    missing,
    read_results,
    rows_of,
    run_folder,
    write_run,
)
from mmearth.benchmark.traces import (
    BATCHES,
    RECONSTRUCTION,
    read_trace,
    write_batches,
    write_reconstruction,
)
from mmearth.catalog.catalogue import read_catalogue
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.files import TEMPORARY
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.schema import SCHEMA_VERSION
from mmearth.tests.make_tiny import OWN

ROOT = Path(__file__).resolve().parents[3]
TASKS = MMEARTH_BENCH.tasks
AROUND = Circumstances("d" * 64, "0.4.0", "cpu", 12.5, 2**30)


def setting(seed: int = 41, method: str = "FT", encoder: str = "convnext") -> Setting:
    return Setting(
        "soil_pH", encoder, method, 100, seed, config_hash({"of": [seed, method, encoder]})
    )


def write(
    out: Path, which: Setting, value: float = 0.5, around: Circumstances = AROUND
) -> list[dict[str, Any]]:
    scores = [Score("r2", value, value - 0.1, value + 0.1, 9), Score("rmse", 2 - value, 1, 3, 9)]
    rows = rows_of(which, {"random_test": scores, "geographic_test": scores}, around)
    write_run(out, which, rows)
    return rows


def test_columns_are_those_that_others_rely_on() -> None:
    published = "task encoder method fraction seed split metric output value low high n"
    about = "config_hash dataset_hash version device seconds memory_bytes steps lr"
    assert RESULTS.names == [*published.split(), *about.split()]


def test_rows_come_back_in_order_whoever_was_first(tmp_path: Path) -> None:
    order = [setting(s, m) for m in ("JT", "FT") for s in (43, 41, 42)]
    tables = []
    for name, runs in (("one", order), ("other", order[::-1])):
        for which in runs:
            write(tmp_path / name, which, value=which.seed / 100)
        tables.append(assemble(tmp_path / name))
    files = [(tmp_path / name / "results.parquet").read_bytes() for name in ("one", "other")]
    assert files[0] == files[1]
    assert read_results(tmp_path / "one" / "results.parquet").equals(tables[0])
    keys = list(zip(*(tables[0][c].to_pylist() for c in RESULTS.names[:7]), strict=True))
    assert keys == sorted(keys) and len(set(keys)) == 24
    assert tables[0]["value"][0].as_py() == 0.41 and tables[0]["steps"].null_count == 24


def test_what_is_missing_is_what_has_no_rows(tmp_path: Path) -> None:
    plan = [setting(s) for s in (41, 42, 43)]
    assert missing(plan, assemble(tmp_path)) == plan
    write(tmp_path, plan[1])
    assert missing(plan, assemble(tmp_path)) == [plan[0], plan[2]]
    changed = replace(plan[1], config_hash="0" * 16)
    assert missing([changed], assemble(tmp_path)) == [changed]


def test_a_second_write_of_a_run_replaces_the_first(tmp_path: Path) -> None:
    write(tmp_path, setting(), 0.1)
    write(tmp_path, setting(), 0.2)
    assert assemble(tmp_path)["value"].to_pylist()[0] == 0.2
    assert assemble(tmp_path).num_rows == 4


def test_scores_that_are_no_number_survive(tmp_path: Path) -> None:
    write(tmp_path, setting(), float("nan"))
    table = assemble(tmp_path)
    assert np.isnan(table["value"].to_numpy()).all()
    assert table["high"].to_numpy()[1] == 3


def test_spoilt_files_are_named(tmp_path: Path) -> None:
    write(tmp_path, setting())
    path = run_folder(tmp_path, setting()) / "results.json"
    good = path.read_text()
    for spoilt in (
        good[:50],
        "[]",
        "[" * 100_000,
        good.replace('"seed"', '"sead"'),
        good.replace(SCHEMA_VERSION, "9.0"),
    ):
        path.write_text(spoilt)
        with pytest.raises(FormatError, match=r"results\.json"):
            assemble(tmp_path)
    path.write_text(good)
    copy = path.parent.parent / "copy"
    copy.mkdir()
    (copy / "results.json").write_text(good)
    with pytest.raises(FormatError, match="holds two rows of soil_pH convnext FT 100 41"):
        assemble(tmp_path)
    with pytest.raises(FormatError):
        read_results(tmp_path / "absent.parquet")


WRITER = """
import sys
from pathlib import Path
from mmearth.tests.unit.benchmark.test_results import setting, write
for seed in range(10_000):
    write(Path(sys.argv[1]), setting(seed), seed / 1e4)
    print(seed, flush=True)
"""


def test_a_kill_loses_no_finished_run(tmp_path: Path) -> None:
    link = tmp_path / "path" / "mmearth"
    link.parent.mkdir()
    link.symlink_to(ROOT)
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(link.parent)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    said = [0, *map(int, process.stdout.read().split())]
    process.wait()
    seeds = sorted(set(assemble(tmp_path / "out")["seed"].to_pylist()))
    assert seeds in (said, [*said, len(said)])  # killed after the file, before it was said
    for leftover in (tmp_path / "out").rglob(f"*{TEMPORARY}"):
        assert leftover.name != "results.json"


def test_config_hash_is_of_the_content() -> None:
    assert config_hash({"a": 1, "b": [2.5]}) == config_hash({"b": [2.5], "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})
    assert len(config_hash({})) == 16


def test_traces_come_back_and_others_are_refused(tmp_path: Path) -> None:
    row = dict.fromkeys(BATCHES.names) | {
        "split": "val",
        "batch": 1,
        "best": 3,
        "rolled_back": False,
    }
    write_batches(tmp_path, [row, {**row, "batch": 0}])
    assert [r["batch"] for r in read_trace(tmp_path, "batches.parquet", BATCHES)] == [0, 1]
    before = {"random_test": {"sentinel2": ("r2", 0.5), "biome": ("accuracy", 0.25)}}
    write_reconstruction(tmp_path, before)
    rows = read_trace(tmp_path, "reconstruction.parquet", RECONSTRUCTION)
    assert [(r["modality"], r["before"], r["after"]) for r in rows] == [
        ("sentinel2", 0.5, None),
        ("biome", 0.25, None),
    ]
    assert read_trace(tmp_path, "absent.parquet", BATCHES) == []
    with pytest.raises(FormatError, match="expected split, batch"):
        read_trace(tmp_path, "reconstruction.parquet", BATCHES)


def findings(
    *runs: tuple[Setting, float], around: Circumstances = AROUND
) -> list[tuple[str, bool]]:
    rows: list[dict[str, Any]] = []
    for which, value in runs:
        scores = [Score("r2", value, 0, 1, 9), Score("rmse", 2 - value, 1, 3, 9)]
        rows.extend(rows_of(which, {"random_test": scores}, around))
    table = pa.Table.from_pylist(rows, schema=RESULTS)
    return [(f.kind, f.stops) for f in canaries(table, TASKS)]


def test_identical_scores_stop() -> None:
    assert findings((setting(41), 0.5), (setting(42), 0.5)) == [("identical", True)]
    assert findings((setting(41), 0.5), (setting(42), np.nextafter(0.5, 1))) == []
    assert findings((setting(41), 0.5), (setting(41, encoder="galileo"), 0.5)) == [
        ("identical", True)
    ]


def test_no_step_of_adaptation_may_equal_its_joint_training() -> None:
    joint, adapted = setting(41, "JT"), setting(41, "TTT-MMR")
    still = replace(AROUND, steps=0)
    assert findings((joint, 0.5), (adapted, 0.5), around=still) == []
    assert findings((joint, 0.5), (adapted, 0.5), around=replace(AROUND, steps=2)) == [
        ("identical", True)
    ]
    same_batches = setting(41, "TTT-MMR-change")
    assert findings((adapted, 0.5), (same_batches, 0.5)) == []  # both may choose alike
    neighbours = setting(41, "TTT-MMR-Geo-change")
    assert findings((adapted, 0.5), (neighbours, 0.5)) == [("identical", True)]
    other = setting(42, "TTT-MMR")
    assert findings((joint, 0.5), (other, 0.5), around=still) == [("identical", True)]


def test_below_the_train_mean_is_flagged() -> None:
    mean = setting(41, "mean", "baseline")
    assert findings((mean, -0.01), (setting(41), -0.02)) == [("below mean", False)]
    assert findings((mean, -0.01), (setting(41), 0.02)) == []
    assert findings((mean, -0.01), (setting(42, "boosting", "baseline"), -0.02)) == []


def test_no_number_is_flagged() -> None:
    assert findings((setting(41), float("nan"))) == [("not finite", False)] * 2
    assert (
        findings((setting(41), float("nan")), (setting(42), float("nan")))
        == [("not finite", False)] * 4
    )


def test_mixed_datasets_are_flagged(tmp_path: Path) -> None:
    write(tmp_path, setting(41), 0.4)
    write(tmp_path, setting(42), 0.5, replace(AROUND, dataset_hash="e" * 64))
    found = canaries(assemble(tmp_path), TASKS)
    assert [f.kind for f in found] == ["mixed"] and "2 values of dataset_hash" in found[0].sentence


def test_equal_scores_of_classes_are_looked_at_and_do_not_stop() -> None:
    rows: list[dict[str, Any]] = []
    for seed in (41, 42):  # both always say the same class
        which = replace(setting(seed), task="crop")
        rows += rows_of(which, {"random_test": [Score("accuracy", 0.6, 0.5, 0.7, 900)]}, AROUND)
    found = canaries(pa.Table.from_pylist(rows, schema=RESULTS), OWN.tasks)
    assert [(f.kind, f.stops) for f in found] == [("identical", False)]


def test_a_folder_of_another_dataset_is_refused(tmp_path: Path) -> None:
    keep_catalogue(tmp_path, OWN)
    keep_catalogue(tmp_path, OWN)
    assert read_catalogue(tmp_path) == OWN
    with pytest.raises(ConfigError, match="other tasks or modalities; choose another folder"):
        keep_catalogue(tmp_path, MMEARTH_BENCH)


def test_collapsed_features_stop() -> None:
    generator = np.random.default_rng(0)
    alive = generator.normal(size=(8, 16, 4, 4)).astype(np.float32)
    assert collapsed("convnext", alive) == []
    assert collapsed("convnext", 100 + alive) == []  # a large common part is no collapse
    for dead in (np.ones((8, 16)), np.zeros((8, 16)), 5 + 1e-7 * alive):
        assert [f.kind for f in collapsed("convnext", dead)] == ["collapsed"]
    alive[0, 0] = np.nan
    assert [f.kind for f in collapsed("convnext", alive)] == ["not finite"]
    assert collapsed("convnext", np.ones((1, 16))) == []
