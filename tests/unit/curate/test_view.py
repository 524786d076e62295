"""The contact sheet and the GeoTIFFs of a tile."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.store import read_observation
from mmearth.catalog.tile import Tile
from mmearth.curate.view import contact_sheet

Run = Callable[..., tuple[int, str, str]]


def test_view_draws_and_copies(small_dataset: Path, tmp_path: Path, run_cli: Run) -> None:
    png, geotiffs = tmp_path / "tile.png", tmp_path / "geotiffs"
    arguments = ("-o", str(png), "--geotiff", str(geotiffs), "--json")
    code, out, _ = run_cli("curate", "view", str(small_dataset), *arguments)
    assert code == 0
    told = json.loads(out)
    tile = Tile.parse(told["tile"])
    with Image.open(png) as sheet:
        assert sheet.width > 1000
        assert len(sheet.getcolors(maxcolors=1 << 20) or ()) > 1000  # pictures, not blank panels
    copy = geotiffs / f"{tile.id}_sentinel2.tif"
    assert str(copy) in told["geotiffs"]
    with rasterio.open(copy) as dataset:
        stored = read_observation(small_dataset, tile, "sentinel2")[0].array
        np.testing.assert_array_equal(dataset.read(), stored)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    tile = Tile(32633, 500_000, 4_649_760)
    empty = contact_sheet(tmp_path, tile, {"sentinel2": "every scene is cloudy"})
    other = contact_sheet(tmp_path, tile, {"sentinel2": "no scene covers the place"})
    assert empty.tobytes() != other.tobytes()
    with pytest.raises(ConfigError, match="has no store to draw from"):
        contact_sheet(tmp_path / "nowhere", tile, {})


def test_an_unknown_tile_is_one_sentence(small_dataset: Path, run_cli: Run) -> None:
    code, _, err = run_cli("curate", "view", str(small_dataset), "32633_0_0")
    assert code == 2
    assert "is not in this build" in err
