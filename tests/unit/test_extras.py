"""Without its extras every command works, or says what to install."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mmearth import cli
from mmearth.catalog.extras import EXTRAS
from mmearth.tests.unit.test_cli import Run, commands

ROOT = Path(__file__).resolve().parents[2]
_NOWHERE = "nowhere.yaml"
ARGUMENTS: dict[str, list[str]] = {
    "curate build": ["ee.yaml", "-o", "out"],
    "curate plan": ["gedi.yaml"],
    "curate status": ["DATA"],
    "curate retry": ["copy"],
    "curate prune": ["copy"],
    "curate failures": ["DATA"],
    "curate view": ["DATA", "-o", "tile.png"],
    "curate export": ["DATA", "--geotiff", "tiffs"],
    "packaging build": ["copy"],
    "packaging verify": ["copy"],
    "packaging push": ["DATA", "hf://datasets/me/data"],
    "packaging recode": ["DATA", "-o", "recoded", "--codec", "blosc-zstd"],
    "packaging diff": ["DATA", "DATA"],
    "packaging merge": ["DATA", "DATA", "-o", "merged"],
    "packaging import-h5": ["h5", "-o", "imported"],
    "packaging export-h5": ["DATA", "-o", "exported"],
    "catalog modalities": [],
    "catalog tasks": [],
    "catalog validate": ["DATA"],
    "catalog audit": ["DATA"],
    "catalog stac": ["copy"],
    "catalog explorer": ["copy"],
    "loaders query": ["DATA", "SELECT 1"],
    "loaders peek": ["DATA", "--task", "soil_pH"],
    "loaders speed": ["DATA", "--task", "soil_pH"],
    "benchmark list": [],
    "benchmark check": ["convnextv2_tiny"],
    "benchmark run": ["benchmark.yaml", "-o", "runs", "--dry-run"],
    "benchmark report": ["reported"],
    "benchmark predict": ["reported", "DATA", "-o", "predicted"],
    "benchmark power": ["reported"],
    "benchmark speed": ["DATA", "--task", "soil_pH"],
    "doctor": [],
}
"""Every command, as a new user tries it; DATA is a dataset, `copy` one that may be changed."""
NEEDS = {
    "curate build": "curate",
    "curate plan": "curate",
    "curate view": "curate",
    "curate export": "curate",
    "packaging build": "curate",
    "packaging merge": "curate",
    "packaging recode": "curate",
    "packaging import-h5": "curate",
    "catalog validate": "curate",
    "catalog stac": "curate",
    "packaging export-h5": "h5",
    "packaging push": "hub",
    "loaders speed": "torch",
    "benchmark check": "benchmark",
    "benchmark run": "benchmark",
    "benchmark report": "benchmark",
    "benchmark predict": "benchmark",
    "benchmark power": "benchmark",
    "benchmark speed": "benchmark",
}
"""Command → the extra that it says to install; all others work without one."""
_WITHOUT = """
import contextlib, importlib.abc, io, json, sys
absent = set({absent!r})
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in absent else find(name, *rest)
from mmearth import cli
told = {{}}
for name, arguments in {arguments!r}.items():
    sys.argv = ["mmearth", *name.split(), *arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run()
    told[name] = code, out.getvalue(), err.getvalue()
for place in {places!r}:
    try:
        __import__(place)
    except ImportError as exc:
        told[place] = type(exc).__name__, str(exc)
print(json.dumps(told))
"""
_PLACES = (
    "mmearth.benchmark.methods.ttt_mmr",
    "mmearth.benchmark.methods.steps",
    "mmearth.benchmark.encoder",
    "mmearth.benchmark.results",
    "mmearth.benchmark.report.writing",
)
"""What the documentation imports and an extra brings."""


@pytest.fixture(scope="module")
def told(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What every command says in a process where no package of an extra can be imported."""
    place = tmp_path_factory.mktemp("plain")
    subprocess.run(["cp", "-r", small_dataset, place / "copy"], check=True)
    head = "name: a\ntitle: b\n"
    places = "tasks: {soil_pH: {labels: {count: 2}}}\n"
    (place / "ee.yaml").write_text(f"{head}source: {{kind: earthengine}}\n{places}")
    gedi = "tasks: {biomass: {gedi: {granules: [a.h5]}}}\n"
    (place / "gedi.yaml").write_text(f"{head}source: {{kind: synthetic}}\n{gedi}")
    (place / "a.h5").touch()
    (place / "benchmark.yaml").write_text(
        f"dataset: {small_dataset}\ntasks: [soil_pH]\nencoders: [convnextv2_tiny]\n"
    )
    (place / "h5" / "soil_pH").mkdir(parents=True)
    (place / "h5" / "soil_pH" / "soil_pH.h5").touch()
    (place / "reported").mkdir()
    (place / "reported" / "results.parquet").touch()
    arguments = {
        name: [str(small_dataset) if each == "DATA" else each for each in given]
        for name, given in ARGUMENTS.items()
    }
    absent = sorted({module for extra in EXTRAS.values() for module in extra.packages})
    script = _WITHOUT.format(absent=absent, arguments=arguments, places=_PLACES)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=place, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_all_commands_are_tried() -> None:
    assert {name for name, _ in commands(cli.root)} == set(ARGUMENTS)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_command_works_or_says_what_to_install(told: dict[str, list[str]], name: str) -> None:
    code, _, err = told[name]
    assert "internal error" not in err and "Traceback" not in err
    if name in NEEDS:
        assert (code, f"pip install 'mmearth[{NEEDS[name]}]'" in err) == (2, True), err
    else:
        assert code == 0, err


@pytest.mark.parametrize("place", _PLACES)
def test_what_the_documentation_imports_says_what_to_install(
    told: dict[str, list[str]], place: str
) -> None:
    assert told[place][0] == "MissingExtraError"
    assert "pip install 'mmearth[benchmark]'" in told[place][1]


def test_the_list_of_encoders_says_what_is_missing(told: dict[str, list[str]]) -> None:
    _, out, _ = told["benchmark list"]
    line = next(line for line in out.splitlines() if line.startswith("convnextv2_tiny "))
    assert "needs torch, timm: pip install 'mmearth[benchmark]'" in line


def test_doctor_names_every_extra(told: dict[str, list[str]]) -> None:
    _, out, _ = told["doctor"]
    for name in EXTRAS:
        assert f"pip install 'mmearth[{name}]'" in out


def test_the_table_is_that_of_the_installation() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = project["optional-dependencies"]
    assert set(EXTRAS) == set(listed) - {"all", "dev", "perf"}
    for name, extra in EXTRAS.items():
        ours = [each for each in listed[name] if not each.startswith("mmearth[")]
        inner = [each for each in listed[name] if each.startswith("mmearth[")]
        packages = {each.split(">=")[0] for each in ours}
        packages |= {p for i in inner for p in EXTRAS[i[8:-1]].packages.values()}
        assert set(extra.packages.values()) == packages, name


def test_doctor_fails_for_what_was_asked_for_alone(
    run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", True)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "timm" else found(name)
    )
    assert run_cli("doctor", "--offline")[0] == 0
    assert run_cli("doctor", "--offline", "torch")[0] == 0
    code, out, _ = run_cli("doctor", "--offline", "torch", "benchmark")
    assert code == 2
    assert "lacks timm: to train and adapt models, pip install 'mmearth[benchmark]'" in out
