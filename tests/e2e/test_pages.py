"""Every block of the documentation that is Python or shell runs as it stands, or says why not."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., tuple[int, str, str]]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")])
RUN_BY = {"python": "python", "sh": "sh", "bash": "sh"}
"""Kind of a block → how it is run."""
NOT_RUN = {
    "make demo": "builds for minutes; test_demo_build.py makes the same build",
    "make test": "runs this test",
    "python examples/adaptation_study.py": "trains for an hour",
    "mmearth benchmark run examples/adaptation-study": "trains for an hour",
    "mmearth benchmark report runs/adaptation-study": "needs what trains for an hour",
    "mmearth catalog explorer data/demo --serve": "serves until stopped; test_explorer.py asks it",
    "cd catalog/explorer": "needs npm",
    "pip install": "needs the package registry; test_wheel.py installs",
    "earthengine authenticate": "needs an account; tests/earthengine runs the rest of the page",
    "export EARTHENGINE_PROJECT": "needs an account",
    "mmearth doctor earthengine": "needs an account",
    "mmearth curate build examples/open-data.yaml": "needs the network; test_open_data_build.py",
    "mmearth curate plan CONFIG": "a form; test_curate_grow.py runs it",
    "mmearth curate prune DIR": "a form; test_curate_grow.py runs it",
    "mmearth curate build africa.yaml": "test_curate_grow.py gives builds one store",
    "mmearth curate build world.yaml": "test_curate_grow.py gives builds one store",
    "mmearth packaging diff data/": "test_diff.py compares such halves",
    "mmearth packaging merge data/": "test_merge.py merges such halves",
    "cp -r data/soil": "an account made it; test_curate_grow.py lets one grow",
    "$EDITOR": "needs a person",
    "mmearth packaging push data/soil-2": "needs an account; test_push.py pushes",
    "mmearth curate plan  soil.yaml": "needs an account",
    "mmearth curate build soil.yaml": "needs an account",
    "EARTHENGINE_PROJECT=my-project": "needs an account; tests/online is what it runs",
    "from distributed import LocalCluster": "waits for Enter; test_dask.py runs such a cluster",
    "# slurm.py:": "needs Slurm",
}
"""How a line of shell or a block of Python begins → why it cannot run here."""
_BENCHMARK = """
dataset: data/demo
tasks: [soil_pH]
encoders: [convnextv2_tiny]
methods: [LP]
seeds: [41]
baselines: [mean]
training: {epochs: 1, batch_size: 16}
"""
"""In the place of examples/benchmark-demo.yaml, which runs for minutes."""
_RUN = "mmearth benchmark run examples/benchmark-demo.yaml -o out"
BEFORE = {
    "docs/benchmark-report.md": [_RUN],
    "docs/hdf5.md": ["mmearth packaging export-h5 data/small -o mmearth-bench-data --task soil_pH"],
}
"""Page → what made the files that it begins with."""
FILES = {
    ("docs/loaders.md", "yaml", 0): "model.yaml",
    ("docs/benchmark.md", "python", 0): "my_encoder.py",
    ("docs/test-time-training.md", "geojson", 0): "fields.geojson",
    ("docs/test-time-training.md", "yaml", 0): "fields.yaml",
    ("docs/your-own.md", "csv", 0): "fields.csv",
    ("docs/your-own.md", "geojson", 0): "parcels.geojson",
    ("docs/your-own.md", "yaml", 1): "fields.yaml",
    ("docs/your-own.md", "python", 1): "hills.py",
    ("docs/your-own.md", "yaml", 2): "hills.yaml",
    ("docs/your-own.md", "python", 2): "patches.py",
    ("docs/your-own.md", "python", 3): "gently.py",
    ("docs/your-own.md", "yaml", 3): "matrix.yaml",
    ("docs/your-own.md", "toml", 0): "pyproject.toml",
}
"""(page, kind, number of its kind) → the file that the page calls the block."""


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    kind: str
    text: str
    line: int


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)
    return [Block(m[1], m[2], text[: m.start()].count("\n") + 2) for m in found]


def write_files(page: Path, folder: Path) -> None:
    """Write the blocks that a page calls files into a folder."""
    counts: dict[str, int] = {}
    for block in _blocks(page):
        number = counts.setdefault(block.kind, 0)
        counts[block.kind] += 1
        if file := FILES.get((_name(page), block.kind, number)):
            (folder / file).write_text(block.text, encoding="utf-8")


def _why_not(text: str) -> str | None:
    return next((begin for begin in NOT_RUN if text.startswith(begin)), None)


@pytest.fixture
def here(place: Path, small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory like the repository after `make demo`, for one page."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "demo").symlink_to(place / "data" / "demo")
    (tmp_path / "data" / "small").symlink_to(small_dataset)
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "benchmark-demo.yaml").write_text(_BENCHMARK)
    predict = _BENCHMARK.replace("[LP]", "[JT, TTT-MMR-Geo]").replace("data/demo", "data/small")
    (tmp_path / "examples" / "predict-benchmark.yaml").write_text(predict)
    for name in ("predict-region.yaml", "predict-region.geojson"):
        text = (ROOT / "examples" / name).read_text(encoding="utf-8")
        (tmp_path / "examples" / name).write_text(text.replace("150000", "600000"))
    for name in ("open-data.yaml", "open_places.csv"):
        (tmp_path / "examples" / name).symlink_to(ROOT / "examples" / name)
    own = (ROOT / "examples" / "own.yaml").read_text(encoding="utf-8")
    (tmp_path / "examples" / "own.yaml").write_text(re.sub(r"count: \d\d", "count: 8", own))
    scripts = Path(sys.executable).parent
    (tmp_path / ".venv").symlink_to(scripts.parent)
    monkeypatch.setenv("PATH", str(scripts), prepend=":")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _shell(block: str, run_cli: Run) -> None:
    """Run lines of shell, those of mmearth alone in this process: it has the libraries already."""
    for line in block.replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#") or _why_not(line):
            continue
        words = shlex.split(line, comments=True)
        if words[0].endswith("mmearth") and not set(words) & {"&&", "|", ">", ";"}:
            code, _, err = run_cli(*words[1:])
            assert code == 0, f"{line}: {err}"
        else:
            done = subprocess.run(
                ["bash", "-euc", line], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"


_RUNNABLE = [page for page in PAGES if any(block.kind in RUN_BY for block in _blocks(page))]


@pytest.mark.parametrize("page", _RUNNABLE, ids=_name)
def test_the_blocks_of_a_page_run(page: Path, here: Path, run_cli: Run) -> None:
    write_files(page, here)
    for line in BEFORE.get(_name(page), []):
        _shell(line, run_cli)
    names: dict[str, object] = {"__name__": "page", "__file__": str(page)}
    for block in _blocks(page):
        how = RUN_BY.get(block.kind)
        if how == "sh":
            _shell(block.text, run_cli)
        elif how == "python" and not _why_not(block.text):
            # Lines count as on the page, so that a failure is found there.
            source = "\n" * (block.line - 1) + block.text
            exec(compile(source, str(page), "exec"), names)


def test_what_is_not_run_is_on_a_page_still() -> None:
    blocks = [block for page in PAGES for block in _blocks(page) if block.kind in RUN_BY]
    lines = [line for block in blocks for line in (block.text, *block.text.splitlines())]
    used = {_why_not(line) for line in lines}
    assert used - {None} == set(NOT_RUN)


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b.text, id=f"{_name(p)}:{b.line}")
        for p in PAGES
        for b in _blocks(p)
        if b.kind == "yaml"
    ],
)
def test_yaml_is_yaml(block: str) -> None:
    assert isinstance(yaml.safe_load(block), dict)
