"""A field known everywhere, in any raster that may hold it, comes back within half a pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.transform import Affine

from mmearth.catalog.errors import MMEarthError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.source import Visit
from mmearth.curate.sources.files import Files
from mmearth.curate.sources.files.config import FilesConfig

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

_PRODUCT = "users/nlang/ETH_GlobalCanopyHeight_2020_10m_v1"
_PLACES = [
    (15.0, 45.0),
    (-72.47, -38.83),
    (12.004, 44.0),  # at an edge of zones
    (179.9995, -16.5),  # across 180°
    (-179.9995, 65.0),
    (33.0, 0.002),  # across the equator
    (8.0, 60.5),  # Norway's zone
    (20.9, 78.2),  # Svalbard's
    (-40.0, 83.9),
]


@st.composite
def _rasters(draw: st.DrawFn) -> dict[str, Any]:
    lon, lat = draw(st.sampled_from(_PLACES))
    kinds = ["zone", "next zone", "degrees", "0 to 360"]
    kinds += ["polar"] if abs(lat) > 60 else []
    kinds += ["mercator"] if abs(lon) < 179 else []  # its map ends at 180°: no raster crosses
    kind = draw(st.sampled_from(kinds))
    return {
        "lon": lon + draw(st.floats(-0.0005, 0.0005)),
        "lat": lat - draw(st.floats(0.0, 0.0005)),
        "kind": kind,
        "step_m": draw(st.sampled_from([4.0, 10.0, 17.3, 30.0, 60.0, 250.0])),
        "shift": (draw(st.floats(0, 1)), draw(st.floats(0, 1))),
        "turn": draw(st.sampled_from([0.0, 0.0, 0.0, 23.0, 180.0])),
        "south_up": draw(st.booleans()),
        "dtype": draw(st.sampled_from(["uint16", "int32", "float32", "float64"])),
        "scale": draw(st.sampled_from([(1.0, 0.0), (0.01, -20.0), (0.5, 20.0)])),
        "nodata": draw(st.sampled_from([None, "declared", "entry", "nan", "mask"])),
        "blocks": draw(st.sampled_from([{}, {"tiled": True, "blockxsize": 64, "blockysize": 32}])),
        "compress": draw(st.sampled_from([None, "deflate", "lzw"])),
        "interleave": draw(st.sampled_from(["pixel", "band"])),
        "resampling": draw(st.sampled_from(["nearest", "bilinear"])),
    }


def _crs_of(kind: str, tile: Tile) -> int:
    zone = tile.epsg % 100
    if kind == "next zone":
        return tile.epsg - zone + (zone % 60 + 1)
    polar = 3413 if tile.lat > 0 else 3031
    return {"zone": tile.epsg, "mercator": 3857, "polar": polar}.get(kind, 4326)


def _grid(case: dict[str, Any], tile: Tile) -> tuple[Affine, int, int]:
    """Return a grid around the tile, and its rows and columns."""
    crs = _crs_of(case["kind"], tile)
    x, y = Transformer.from_crs(tile.epsg, crs, always_xy=True).transform(
        tile.left + 640.0, tile.top - 640.0
    )
    if case["kind"] == "0 to 360":
        x %= 360.0
    elif crs == 4326 and abs(tile.lon) > 179.9:
        x %= 360.0  # one raster over 180°: it must go on beyond it
    across, down = case["step_m"], case["step_m"]
    if crs == 4326:
        down /= 111_320.0
        across = down / np.cos(np.radians(tile.lat))
    elif crs == 3857:
        across = down = case["step_m"] / np.cos(np.radians(tile.lat))
    wide = 1.6 if case["kind"] == "polar" or case["turn"] else 1.0  # the tile lies turned in it
    n = int(1500.0 / case["step_m"] * wide) + 8
    grid = Affine.translation(x, y)
    if crs != 4326:
        grid = grid @ Affine.rotation(case["turn"])
    grid = grid @ Affine.scale(across, down if case["south_up"] else -down)
    return grid @ Affine.translation(-n / 2 + case["shift"][0], -n / 2 + case["shift"][1]), n, n


def _field(x: Any, y: Any, tile: Tile) -> NDArray[np.float64]:
    """Return a plane over the tile's own metres: 100 in its middle, 0.02 a metre."""
    east, north = np.asarray(x) - tile.left - 640.0, np.asarray(y) - tile.top + 640.0
    return 100.0 + 0.02 * east + 0.01 * north


def _write(path: Path, case: dict[str, Any], tile: Tile) -> dict[str, Any]:
    """Write the field into a raster; return what the entry must say."""
    grid, rows, columns = _grid(case, tile)
    crs = _crs_of(case["kind"], tile)
    across, down = grid @ np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    x, y = Transformer.from_crs(crs, tile.epsg, always_xy=True).transform(across, down)
    scale, offset = case["scale"]
    whole = np.dtype(case["dtype"]).kind in "iu"
    stored = (_field(x, y, tile) - offset) / scale
    stored = np.round(stored) if whole else stored
    stored = np.where(np.isfinite(stored) & (stored > 0), stored, 0).astype(case["dtype"])
    hole = np.zeros(stored.shape, bool)
    hole[rows // 2 - 2 : rows // 2 + 2, columns // 2 - 2 : columns // 2 + 2] = True
    nodata = case["nodata"] if not (case["nodata"] == "nan" and whole) else "declared"
    if nodata is not None:
        stored[hole] = np.nan if nodata == "nan" else 65_000
    profile = {
        **{"driver": "GTiff", "count": 1, "height": rows, "width": columns, "crs": f"EPSG:{crs}"},
        **{"dtype": stored.dtype, "transform": grid, "interleave": case["interleave"]},
        **case["blocks"],
    }
    if case["compress"]:
        profile["compress"] = case["compress"]
    if nodata == "declared":
        profile["nodata"] = 65_000
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **profile) as dataset,
    ):
        dataset.write(stored, 1)
        dataset.scales, dataset.offsets = (scale,), (offset,)
        if nodata == "mask":
            dataset.write_mask(~hole)
    return {"nodata": 65_000} if nodata == "entry" else {}


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(case=_rasters())
def test_a_plane_comes_back(case: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("plane")
    tile = Tile.at(case["lon"], case["lat"])
    told = _write(root / "a.tif", case, tile)
    entry = {
        **{"path": "a.tif", "product": _PRODUCT, "bands": {"height": 1}},
        **{"resampling": case["resampling"], **told},
    }
    config = FilesConfig.model_validate({"kind": "files", "rasters": {"eth_gch": [entry]}})
    found = Files(config, root, MMEARTH_BENCH).observe(Visit(tile, ("eth_gch",), None))["eth_gch"]
    if isinstance(found, MMEarthError):
        raise AssertionError(f"{case}: {found}")
    assert isinstance(found, Observation)
    steps = np.arange(128) * 10.0 + 5.0
    truth = _field(*np.meshgrid(tile.left + steps, tile.top - steps), tile)
    array = found.array[0].astype(np.float64)
    known = array != 255
    # Half a pixel's slope in both axes, an eighth for GDAL's own, half a step of the stored type.
    reach = 0.5 * np.sqrt(2) if case["turn"] or case["kind"] != "zone" else 0.5
    stretch = 1.0 if case["kind"] != "polar" else 1.1
    slack = 0.03 * case["step_m"] * (reach + 0.125) * stretch + 0.5 * case["scale"][0] + 0.02
    assert np.abs(array - truth)[known].max() <= slack, case
    hole_px = 16 * (case["step_m"] / 10.0) ** 2 if case["nodata"] is not None else 0
    rim = 16 * case["step_m"] / 10.0 + 16
    assert (~known).sum() <= 1.3 * hole_px + rim, case
    if case["nodata"] is not None and case["step_m"] >= 10.0:
        assert (~known).sum() >= 0.3 * min(hole_px, 128 * 128 / 2), case
