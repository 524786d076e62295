"""Segmentation from real files: the land cover of TerraMesh scenes over their Sentinel-2 and -1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject

import mmearth
from mmearth.build import Options, build
from mmearth.catalog.grid import Grid
from mmearth.catalog.tile import Tile

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

_NAMES = ("water", "trees", "flooded vegetation", "crops", "built", "bare", "snow", "cloud")
_CLASSES = {code: name for code, name in enumerate((*_NAMES, "rangeland"), start=1)}
_DATE = {"tag": "datetime", "file": "LULC.tif"}
_S2 = {"product": "COPERNICUS/S2_SR_HARMONIZED", "resampling": "nearest", "date": _DATE}
_S1 = {"product": "Sentinel-1 RTC", "stand_in": "RTC", "bands": {"asc_VV": 1, "asc_VH": 2}}


@pytest.fixture(scope="module")
def built(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("landcover")
    scenes = "scenes/terramesh/*"
    chile = {"path": "scenes/terramesh/433D_629L_3_1/S2L2A.tif", "offset": -1000, "clamp": True}
    config = {
        "name": "landcover",
        "title": "Land cover of TerraMesh scenes",
        "licence": "CC-BY-SA-4.0",
        "modalities": ["sentinel2", "sentinel1"],
        "grid": {"pixels": 64, "resolution_m": 10},
        "source": {
            "kind": "files",
            "root": str(real_data),
            "rasters": {
                "sentinel2": [chile | _S2, {"path": f"{scenes}/S2L2A.tif"} | _S2],
                "sentinel1": [{"path": f"{scenes}/S1RTC.tif", "date": {"tag": "datetime"}, **_S1}],
            },
        },
        "tasks": {
            "landcover": {
                "target": {"level": "pixel", "classes": _CLASSES},
                "raster": {
                    "root": str(real_data),
                    "path": f"{scenes}/LULC.tif",
                    "nodata": 0,
                    "limit": 7,
                },
                "split": {"buffer_m": 0},
            }
        },
    }
    path = base / "landcover.yaml"
    path.write_text(yaml.safe_dump(config))
    how = Options(1, "threads", None, False)
    assert build(path, base / "out", how, lambda *_: None).exit_code == 0
    return base / "out"


def test_the_mask_is_the_map_of_the_scene(built: Path, real_data: Path) -> None:
    dataset = mmearth.open(built)
    [batch] = list(dataset.select("landcover").loader(32, order="sequential"))
    codes = np.array(dataset.catalogue.tasks["landcover"].target.codes)
    maps = sorted((real_data / "scenes" / "terramesh").glob("*/LULC.tif"))
    found = 0
    for key, target, mask in zip(
        batch["key"], batch["target"].numpy(), batch["mask"]["target"].numpy(), strict=True
    ):
        tile = Tile.parse(key.rpartition("_")[0], Grid(64, 10))
        truth = _truth(maps, tile)
        np.testing.assert_array_equal(mask, truth > 0)
        np.testing.assert_array_equal(codes[target[mask]], truth[mask])
        found += int(mask.any())
    assert found == len(batch["key"]) >= 5


def _truth(maps: list[Path], tile: Tile) -> np.ndarray:
    """Return the class codes at a tile by a plain nearest-neighbour warp; 0 where there is none."""
    result = np.zeros((64, 64), dtype=np.uint8)
    for path in maps:
        with rasterio.open(path) as scene:
            if scene.crs.to_epsg() == tile.epsg:
                reproject(
                    rasterio.band(scene, 1),
                    result,
                    dst_transform=Affine(*tile.transform),
                    dst_crs=scene.crs,
                    resampling=Resampling.nearest,
                )
    return result
