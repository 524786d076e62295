"""Two tasks of one's own on a grid of one's own: from a table and polygons to a proven dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from shapely import box

import mmearth
from mmearth.catalog.catalogue import read_catalogue
from mmearth.catalog.grid import Grid
from mmearth.catalog.tile import Tile
from mmearth.tests.own_config import write_polygons

Run = Callable[..., tuple[int, str, str]]
# rasterio multiplies affine transforms in a way that affine has begun to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")
_ROWS = (
    "lon,lat,crop,split,id",
    "15.003,45.153,1,train,a",
    "15.013,45.153,2.0,validation,b",
    "15.023,45.153,Maize,test,c",
    "15.033,45.153,,test,d",
)


def _write(base: Path) -> Path:
    (base / "crops.csv").write_text("\n".join(_ROWS) + "\n")
    north = 5_000_000  # of 15.003° E 45.153° N, about
    fields = [
        box(500_000, north - 200, 500_160, north + 200),
        box(501_000, north, 501_050, north + 9),
    ]
    write_polygons(base / "fields.geojson", fields, 32633, use=["wood", "4"])
    classes = {1: "wheat", 2: "maize", 7: "rice"}
    document = {
        "name": "own",
        "title": "Own",
        "grid": {"pixels": 32, "resolution_m": 10},
        "modalities": ["aster_gdem", "month"],
        "require": [],
        "source": {"kind": "synthetic", "seed": 7},
        "tasks": {
            "harvest": {
                "target": {"classes": classes},
                "points": {"path": "crops.csv", "value": "crop", "id": "id"},
                "split": {"column": "split"},
            },
            "use": {
                "target": {"level": "pixel", "classes": {1: "crop", 4: "wood"}, "optional": False},
                "polygons": {"path": "fields.geojson", "field": "use"},
                "split": {"rule": "published"},
            },
        },
    }
    path = base / "own.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_from_a_table_and_polygons_to_a_proven_dataset(tmp_path: Path, run_cli: Run) -> None:
    out = tmp_path / "data"
    code, _, err = run_cli("curate", "build", _write(tmp_path), "-o", out, "--workers", "1")
    assert code == 0, err
    code, text, err = run_cli("packaging", "verify", out)
    assert code == 0, text + err
    catalogue = read_catalogue(out)
    assert (catalogue.grid, list(catalogue.tasks)) == (Grid(32, 10), ["harvest", "use"])

    dataset = mmearth.open(out)
    crops = dataset.sql(
        "SELECT label_id, split, harvest FROM harvest ORDER BY label_id"
    ).to_pylist()
    assert crops == [
        {"label_id": "a", "split": "train", "harvest": "wheat"},
        {"label_id": "b", "split": "val", "harvest": "maize"},
        {"label_id": "c", "split": "random_test", "harvest": "maize"},
        {"label_id": "d", "split": "random_test", "harvest": None},
    ]
    uses = dataset.sql("SELECT tile, use.valid_fraction AS share FROM use").to_pylist()
    # Of the target, 32 x 32 pixels, some are wood, and none is counted twice.
    assert uses
    for row in uses:
        left, bottom, right, top = Tile.parse(row["tile"], catalogue.grid).bounds
        wide = min(right, 500_160) - max(left, 500_000)
        high = min(top, 5_000_200) - max(bottom, 4_999_800)
        n = max(0, wide) // 10 * max(0, high) // 10
        small = max(0, min(right, 501_050) - max(left, 501_000)) // 10
        n += small if bottom <= 5_000_000 < top else 0
        assert np.isclose(row["share"], n / 32**2)
