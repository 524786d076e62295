"""The demo: its plan covers the Earth and every split, and a smaller one goes the whole way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
import rasterio
import yaml
from PIL import Image

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.config import load_config
from mmearth.curate.plan import make_plan
from mmearth.curate.sources import make_source

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.yaml"
# West, south, east, north: boxes that lie well inside each continent.
_CONTINENTS = {
    "Africa": (-10, -30, 35, 15),
    "Asia": (65, 25, 115, 65),
    "Europe": (0, 42, 30, 65),
    "North America": (-120, 32, -80, 60),
    "Oceania": (115, -36, 150, -18),
    "South America": (-72, -35, -45, 0),
}
Run = Callable[..., tuple[int, str, str]]


def test_the_plan_of_the_demo_is_what_it_promises() -> None:
    config = load_config(DEMO)
    plan = make_plan(config, make_source(config, DEMO.parent), DEMO.parent)
    assert [report.task for report in plan.tasks] == [
        task for task in MMEARTH_BENCH.tasks if task != "custom"
    ]
    for report in plan.tasks:
        assert 135 <= sum(report.splits.values()) <= 150
        assert all(n >= 5 for n in report.splits.values()), report
    for task in config.tasks:
        rows = [row for row in plan.table.to_pylist() if row["task"] == task]
        for name, (west, south, east, north) in _CONTINENTS.items():
            inside = [r for r in rows if west <= r["lon"] <= east and south <= r["lat"] <= north]
            assert inside, f"{task} has no tile in {name}"
        assert any(row["train_5"] for row in rows), f"{task} has no tile in train_5"


def test_plan_says_what_a_build_takes_and_writes_nothing(run_cli: Run, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    code, stdout, _ = run_cli("curate", "plan", str(DEMO), "--json")
    assert code == 0
    found = json.loads(stdout)
    assert found["n_tiles"] == 722
    # About 710 samples of 1.2 MB, and half of that again in the store.
    assert 0.8e9 < found["bytes"] < 1.6e9
    assert 0 < found["seconds"] < 600
    code, stdout, _ = run_cli("curate", "plan", str(DEMO))
    assert code == 0
    assert "722 tiles × 12 modalities" in stdout
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    document = yaml.safe_load(DEMO.read_text())
    document["tasks"] = {task: {"labels": {"count": 9}} for task in document["tasks"]}
    path = tmp_path_factory.mktemp("demo") / "demo.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_the_whole_way(config: Path, tmp_path: Path, run_cli: Run) -> None:
    out = tmp_path / "demo"
    begin = ("curate", "build", str(config), "-o", str(out), "--executor", "threads")
    code, stdout, stderr = run_cli(*begin)
    assert (code, stdout) == (0, ""), stderr
    assert stderr.splitlines()[-1].startswith(f"{out} is complete: dataset hash ")

    # A query with nothing of ours, as the README shows it.
    query = f"SELECT split, count(*) FROM '{out}/manifests/*.parquet' GROUP BY 1"
    with duckdb.connect() as connection:
        counts = dict(connection.sql(query).fetchall())
    assert 35 <= sum(counts.values()) <= 45
    assert "train" in counts

    code, stdout, _ = run_cli("curate", "status", str(out), "--json")
    status = json.loads(stdout)
    assert code == 0
    assert set(status) == {*MMEARTH_BENCH.layers, "biomass"}
    assert all(set(states) <= {"done", "missing"} for states in status.values())

    assert run_cli("curate", "failures", str(out), "--json") == (0, "", "")
    assert run_cli("curate", "retry", str(out))[:2] == (
        0,
        "0 failures are pending again; run the same `mmearth curate build` command\n",
    )
    assert run_cli("packaging", "verify", str(out))[0] == 0

    code, _, stderr = run_cli(*begin)
    assert code == 0
    assert "was complete, nothing to do" in stderr


def test_view_draws_a_tile(small_dataset: Path, tmp_path: Path, run_cli: Run) -> None:
    sheet = tmp_path / "tile.png"
    code, stdout, stderr = run_cli(
        "curate", "view", str(small_dataset), "-o", str(sheet), "--geotiff", str(tmp_path / "tif")
    )
    assert code == 0, stderr
    with Image.open(sheet) as image:
        assert image.width > 600
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 500
    copies = [Path(line) for line in stdout.splitlines()[1:]]
    names = {path.stem.split("_", 3)[-1] for path in copies}
    assert any("sentinel2" in name for name in names)
    for path in copies:
        with rasterio.open(path) as dataset:
            assert (dataset.width, dataset.height, dataset.res) == (128, 128, (10.0, 10.0))


@pytest.mark.parametrize(
    "command",
    [
        ("status", "{here}"),
        ("retry", "{here}"),
        ("failures", "{here}"),
        ("view", "{here}"),
        ("plan", "{here}/none.yaml"),
        ("build", "{here}/none.yaml", "-o", "{here}/out"),
    ],
)
def test_where_there_is_nothing_it_says_so(
    command: tuple[str, ...], tmp_path: Path, run_cli: Run
) -> None:
    code, stdout, stderr = run_cli("curate", *(part.format(here=tmp_path) for part in command))
    assert (code, stdout) == (2, "")
    assert stderr.startswith("mmearth: there is no configuration") or "holds no build" in stderr
    assert list(tmp_path.iterdir()) == []
