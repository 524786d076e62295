"""The manifests in other tools, by the glob that the README names: columns of all tasks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import duckdb
import geopandas
import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from shapely.geometry import box

import mmearth
from mmearth.catalog.schema import VERSION_KEY

TARGETS = ("biomass", "species", "target")
"""Columns of the small dataset's targets: with pixels, labels, a number."""


@pytest.fixture(scope="module")
def keys(small_dataset: Path) -> dict[str, list[str]]:
    """Task → the keys of its samples."""
    tasks = ("biomass", "soil_pH", "species")
    return {
        task: pq.read_table(small_dataset / f"manifests/{task}.parquet")["key"].to_pylist()
        for task in tasks
    }


def _labelled(frame: pd.DataFrame) -> dict[str, int]:
    """Return how many rows have a target, by its column."""
    return {column: int(frame[column].notna().sum()) for column in TARGETS}


def test_all_manifests_have_the_same_schema(small_dataset: Path) -> None:
    schemas = [pq.read_schema(path) for path in sorted(small_dataset.glob("manifests/*"))]
    assert len(schemas) == 3
    assert all(schema.equals(schemas[0]) for schema in schemas)
    assert {schema.metadata[VERSION_KEY] for schema in schemas} == {b"2.1"}


@pytest.mark.parametrize("tool", ["duckdb", "polars", "pandas", "pyarrow", "geopandas"])
def test_a_glob_has_the_targets_of_all_tasks(
    small_dataset: Path, keys: dict[str, list[str]], tool: str
) -> None:
    folder = small_dataset / "manifests"
    if tool == "duckdb":
        frame = duckdb.sql(f"SELECT * EXCLUDE geometry FROM '{folder}/*.parquet'").df()
    elif tool == "polars":
        frame = pytest.importorskip("polars").scan_parquet(folder / "*.parquet").collect()
        frame = frame.select("key", *TARGETS).to_pandas()
    elif tool == "pandas":
        frame = pd.read_parquet(folder)
    elif tool == "pyarrow":
        frame = pyarrow.dataset.dataset(folder).to_table().to_pandas()
    else:
        frame = geopandas.read_parquet(folder)
        assert frame.crs == "OGC:CRS84"
    assert sorted(frame["key"]) == sorted(key for task in keys.values() for key in task)
    expected = (len(keys[task]) for task in ("biomass", "species", "soil_pH"))
    assert _labelled(frame) == dict(zip(TARGETS, expected, strict=True))


def test_a_box_is_found_by_the_covering_column(small_dataset: Path) -> None:
    path = small_dataset / "manifests/soil_pH.parquet"
    whole = geopandas.read_parquet(path)
    place = whole.iloc[3]
    near = (place.lon - 0.001, place.lat - 0.001, place.lon + 0.001, place.lat + 0.001)
    found = geopandas.read_parquet(path, bbox=near)
    assert place.key in set(found["key"])
    assert sorted(found["key"]) == sorted(whole[whole.geometry.intersects(box(*near))]["key"])
    boxes = pq.read_table(path, columns=["bbox"])["bbox"].combine_chunks().flatten()
    bounds = np.stack([side.to_numpy() for side in boxes], axis=1)
    assert (bounds[:, :2] <= whole.bounds[["minx", "miny"]]).all(axis=None)
    assert (bounds[:, 2:] >= whole.bounds[["maxx", "maxy"]]).all(axis=None)
    assert np.abs(bounds - whole.bounds).max(axis=None) < 1e-4


def test_a_box_skips_row_groups(small_dataset: Path) -> None:
    statistics = pq.read_metadata(small_dataset / "manifests/soil_pH.parquet").row_group(0)
    columns = (statistics.column(i) for i in range(statistics.num_columns))
    kept = {each.path_in_schema for each in columns if each.is_stats_set}
    assert {"bbox.xmin", "bbox.ymin", "bbox.xmax", "bbox.ymax", "split", "hilbert"} <= kept


def test_the_checksums_are_those_that_sha256sum_reads(small_dataset: Path) -> None:
    command = ["sha256sum", "-c", "--quiet", "SHA256SUMS"]
    done = subprocess.run(command, cwd=small_dataset, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_samples_of_all_tasks_have_their_own_target(
    small_dataset: Path, keys: dict[str, list[str]]
) -> None:
    asked = "SELECT task, count(biomass), count(species), count(target) FROM samples GROUP BY 1"
    rows = {
        row.pop("task"): list(row.values())
        for row in mmearth.open(small_dataset).sql(asked).to_pylist()
    }
    assert rows == {
        "biomass": [len(keys["biomass"]), 0, 0],
        "species": [0, len(keys["species"]), 0],
        "soil_pH": [0, 0, len(keys["soil_pH"])],
    }
