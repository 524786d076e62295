"""Imports go down only, files stay small, and the root folders hide nobody's package."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("catalog", "curate", "packaging", "loaders", "benchmark")
ALLOWED = {
    "catalog": {"catalog"},
    "curate": {"catalog", "curate"},
    "packaging": {"catalog", "packaging"},
    "loaders": {"catalog", "packaging", "loaders"},
    "benchmark": {"catalog", "loaders", "benchmark"},
}
THIRD_PARTIES = {
    "catalog": {
        *("numpy", "pyarrow", "pyproj", "shapely", "pystac", "jsonschema"),
        *("referencing", "stac_geoparquet", "mlcroissant", "click", "pydantic", "yaml", "tqdm"),
        *("distributed", "numcodecs"),
    },
    "curate": {
        *("numpy", "pandas", "pyarrow", "shapely", "rasterio", "geopandas", "pyogrio", "pydantic"),
        *("PIL", "click", "scipy", "h5py", "pyproj"),
        *("ee", "google", "google_auth_httplib2", "googleapiclient", "httplib2", "requests"),
        *("tenacity", "cftime", "urllib3"),
    },
    "packaging": {
        *("numpy", "pyarrow", "h5py", "shapely", "click", "obstore", "huggingface_hub"),
    },
    "loaders": {
        *("duckdb", "pyarrow", "click", "numpy", "obstore", "torch", "webdataset"),
        *("yaml", "shapely", "pyogrio"),
    },
    "benchmark": {
        *("torch", "lightning_fabric", "timm", "numpy", "scipy", "sklearn", "threadpoolctl"),
        *("pyarrow", "pydantic", "click", "huggingface_hub"),
        *("torchgeo", "terratorch", "rslearn", "olmoearth_pretrain_minimal"),
    },
}
ONLY_IN = {
    "pystac": {"stac.py", "stac_asset.py", "stac_collection.py", "stac_item.py", "validate.py"},
    "stac_geoparquet": {"stac.py"},
    "distributed": {"executor.py"},
    "h5py": {"files.py", "file.py"},
    "ee": {"collectors", "earthengine"},
    "requests": {"earthengine"},
    "numcodecs": {"codec.py"},
    "obstore": {"remote.py", "push_bucket.py"},
    "torch": {"collate.py", "loader.py", "ranks.py", "stream.py", "benchmark"},
    "torchgeo": {"encoders"},
    "terratorch": {"encoders"},
    "rslearn": {"encoders"},
    "olmoearth_pretrain_minimal": {"encoders"},
    "huggingface_hub": {"encoders", "push_hub.py"},
    "tenacity": {"earthengine"},
    "urllib3": {"remote"},
    "cftime": {"times.py"},
    "click": {"cli.py", "options.py"},
}
STANDARD_LIBRARY = set(__import__("sys").stdlib_module_names)


def _sources(folder: str) -> list[Path]:
    files = sorted((ROOT / folder).rglob("*.py"))
    return [path for path in files if "data" not in path.parts]


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            names.add(node.module)
            if node.module == "mmearth":
                names.update(f"mmearth.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_import_only_what_lies_below_them(folder: str) -> None:
    for path in _sources(folder):
        for name in _imports(path):
            parts = name.split(".")
            if parts[0] == "mmearth" and len(parts) > 1:
                assert parts[1] in ALLOWED[folder], f"{path} imports {name}"
            elif parts[0] not in STANDARD_LIBRARY | {"mmearth"}:
                assert parts[0] in THIRD_PARTIES[folder], f"{path} imports {name}"
                only = ONLY_IN.get(parts[0])
                assert only is None or only & set(path.parts), f"{path} imports {name}"


KNOW_THE_PUBLISHED = {
    "mmearth.catalog.published": {"catalog/catalogues.py", "catalog/cli.py"},
    # The HDF5 layout is the published catalogue's own; an encoder is checked without a dataset.
    "mmearth.catalog.catalogues": {"packaging/h5/layout.py", "benchmark/cli.py"},
}
"""Module → what may import it, besides collecting."""


def test_what_reads_a_dataset_does_not_know_the_published_catalogue() -> None:
    for folder in ("catalog", "packaging", "loaders", "benchmark"):
        for path in _sources(folder):
            for name in _imports(path) & KNOW_THE_PUBLISHED.keys():
                assert path.relative_to(ROOT).as_posix() in KNOW_THE_PUBLISHED[name], path


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_import_cycles(folder: str) -> None:
    graph = {
        ".".join(("mmearth", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): path
        for path in _sources(folder)
    }
    edges = {name: _top_level_imports(path) & graph.keys() - {name} for name, path in graph.items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " → ".join((*above, name))
        if name not in done:
            for other in sorted(edges[name]):
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def _top_level_imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def test_root_folders_have_no_init() -> None:
    for folder in (*FOLDERS, "benchmark", "tests"):
        assert not (ROOT / folder / "__init__.py").exists(), (
            f"{folder}/__init__.py would hide a package of that name from everyone whose sys.path "
            "begins with this directory: PyPI's `packaging` is one, and geopandas needs it"
        )


def test_pypi_packaging_is_found_from_the_root() -> None:
    import packaging.version

    assert "site-packages" in packaging.version.__file__


def test_files_are_short_and_functions_too() -> None:
    long = []
    for path in [*ROOT.glob("*.py"), *(p for f in FOLDERS for p in _sources(f))]:
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 400:
            long.append(f"{path}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                body = node.end_lineno - node.body[0].lineno + 1 if node.end_lineno else 0
                if ast.get_docstring(node) and len(node.body) > 1:
                    body = (node.end_lineno or 0) - node.body[1].lineno + 1
                if body > 45:
                    long.append(f"{path}: {node.name} has {body} lines")
    assert not long, "\n".join(long)
