"""A map cut into several files is the map: at their seams, and where a file ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rasterio.transform import Affine

from mmearth.catalog.tile import Tile
from mmearth.curate.source import Visit
from mmearth.tests.raster_files import TILE, files_of, write_tif

_PRODUCT = "users/nlang/ETH_GlobalCanopyHeight_2020_10m_v1"
_STEPS_M = [1.0, 30.0]  # much finer than the tile's pixels, and coarser


def seen(root: Path, path: str, resampling: str = "bilinear", tile: Tile = TILE) -> NDArray[Any]:
    entry = {
        **{"path": path, "product": _PRODUCT},
        **{"bands": {"height": 1}, "resampling": resampling},
    }
    [found] = (
        files_of(root, rasters={"eth_gch": [entry]}).observe(Visit(tile, ("eth_gch",), None))
    ).values()
    return np.asarray(found.array[0])  # type: ignore[union-attr]


def map_of(step_m: float) -> tuple[NDArray[Any], Affine]:
    """Return noise over TILE and 100 m around it, and where it lies: between the tile's pixels."""
    n = int(1480 / step_m)
    values = np.random.default_rng(0).integers(0, 60, (1, n, n)).astype("uint8")
    return values, Affine(step_m, 0.0, TILE.left - 97.0, 0.0, -step_m, TILE.top + 98.0)


@pytest.mark.parametrize("step_m", _STEPS_M)
@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("is_column", [True, False])
def test_files_that_share_an_edge_are_one_map(
    step_m: float, resampling: str, is_column: bool, tmp_path: Path
) -> None:
    values, at = map_of(step_m)
    cut = values.shape[1] // 3
    write_tif(tmp_path / "whole.tif", values, transform=at)
    if is_column:
        first, second = values[:, :, :cut], values[:, :, cut:]
        further = at @ Affine.translation(cut, 0)
    else:
        first, second, further = values[:, :cut], values[:, cut:], at @ Affine.translation(0, cut)
    write_tif(tmp_path / "part1.tif", first, transform=at)
    write_tif(tmp_path / "part2.tif", second, transform=further)
    parts = seen(tmp_path, "part?.tif", resampling)
    assert np.array_equal(parts, seen(tmp_path, "whole.tif", resampling))


def test_a_file_that_ends_under_a_tile_is_weighed_as_one_that_goes_on(tmp_path: Path) -> None:
    values, at = map_of(1.0)
    write_tif(tmp_path / "whole.tif", values, transform=at)
    write_tif(tmp_path / "west.tif", values[:, :, :500], transform=at)
    inside = np.s_[:, :38]  # the file ends in the tile's column 40
    assert np.array_equal(seen(tmp_path, "west.tif")[inside], seen(tmp_path, "whole.tif")[inside])
    assert (seen(tmp_path, "west.tif")[:, 41:] == 255).all()


def test_a_map_round_the_globe_goes_on_at_its_other_end(tmp_path: Path) -> None:
    tile = Tile.at(0.0, 45.0)
    values = np.random.default_rng(0).integers(0, 60, (1, 4, 36_000)).astype("uint8")
    centred = np.roll(values, 18_000, axis=2)
    for name, array, west in (("a.tif", values, 0.0), ("b.tif", centred, -180.0)):
        at = Affine(0.01, 0.0, west, 0.0, -0.01, 45.02)
        write_tif(tmp_path / name, array, transform=at, crs="EPSG:4326")
    assert np.array_equal(seen(tmp_path, "a.tif", tile=tile), seen(tmp_path, "b.tif", tile=tile))
