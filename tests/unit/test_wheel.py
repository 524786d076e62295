"""What is installed is what is in the tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import mmearth

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("catalog", "curate", "packaging", "loaders", "benchmark")


def _modules() -> set[str]:
    files = [*ROOT.glob("*.py"), *(p for f in FOLDERS for p in (ROOT / f).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix() for path in files}


def test_packages_are_listed() -> None:
    listed = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    folders = {path.rpartition("/")[0] for path in _modules() if "/data/" not in path}
    expected = {".".join(("mmearth", *folder.split("/"))).removesuffix(".") for folder in folders}
    assert listed == expected, "list every folder with modules under [tool.setuptools] packages"


def _not_ours(directory: str, names: list[str]) -> set[str]:
    """Return what git ignores: environments, caches, built datasets."""
    caches = {name for name in names if name == "__pycache__" or name.endswith(".egg-info")}
    if Path(directory) != ROOT:
        return caches
    return (
        caches
        | {name for name in names if name in {"data", "build", "dist"}}
        | {name for name in names if name.startswith(".")}
    )


def test_wheel_holds_the_tree(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    # Built from a copy: setuptools leaves build/ behind, and packs what an older run left there.
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=_not_ours)
    subprocess.run(
        [*command, str(tmp_path), "--no-build-isolation", str(source)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for module in _modules():
        assert f"mmearth/{module}" in names, module
    if shutil.which("cc") and Path(sysconfig.get_path("include"), "Python.h").exists():
        assert "mmearth/loaders/fetch/_gather.abi3.so" in names
        assert "-cp311-abi3-" in wheel.name
    for data in (
        "catalog/data/ecoregions.csv",
        "catalog/explorer/page/index.html",
        "catalog/explorer/page/LICENCES.txt",
        "curate/sources/synthetic/data/land.npz",
        "py.typed",
    ):
        assert f"mmearth/{data}" in names, data
    assert not any(name.startswith("mmearth/tests") for name in names)


def test_importing_mmearth_is_light() -> None:
    heavy = "{'numpy', 'pyarrow', 'rasterio', 'torch', 'duckdb', 'pystac', 'geopandas'}"
    code = f"import sys, mmearth, mmearth.cli; print(sorted(set(sys.modules) & {heavy}))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"
    assert mmearth.__version__


def test_building_packing_and_proving_import_no_torch() -> None:
    # 470 MB in each worker, where it is installed.
    code = "import sys, mmearth.build, mmearth.packaging.recode; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
