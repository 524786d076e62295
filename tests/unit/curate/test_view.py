"""The contact sheet and the GeoTIFFs of a tile."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from PIL import Image

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation, tile_of
from mmearth.catalog.store import read_observation
from mmearth.catalog.tile import Tile
from mmearth.curate.view import (
    _composite,
    _label_lines,
    _label_of,
    _ramp_of,
    _shortened,
    contact_sheet,
    window_sheet,
)

Run = Callable[..., tuple[int, str, str]]


def test_view_draws_and_copies(small_dataset: Path, tmp_path: Path, run_cli: Run) -> None:
    png, geotiffs = tmp_path / "tile.png", tmp_path / "geotiffs"
    arguments = ("-o", str(png), "--geotiff", str(geotiffs), "--json")
    code, out, _ = run_cli("curate", "view", str(small_dataset), *arguments)
    assert code == 0
    told = json.loads(out)
    tile = Tile.parse(told["tile"], DEFAULT_GRID)
    with Image.open(png) as sheet:
        assert sheet.width > 1000
        assert len(sheet.getcolors(maxcolors=1 << 20) or ()) > 1000  # pictures, not blank panels
    copy = geotiffs / f"{tile.id}_sentinel2.tif"
    assert str(copy) in told["geotiffs"]
    with rasterio.open(copy) as dataset:
        stored = read_observation(small_dataset, tile, MMEARTH_BENCH.layers["sentinel2"])[0].array
        np.testing.assert_array_equal(dataset.read(), stored)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    tile = Tile(32633, 500_000, 4_649_760)
    empty = contact_sheet(tmp_path, tile, {"sentinel2": "every scene is cloudy"}, {})
    other = contact_sheet(tmp_path, tile, {"sentinel2": "no scene covers the place"}, {})
    assert empty.tobytes() != other.tobytes()
    with pytest.raises(ConfigError, match="has no store to draw from"):
        contact_sheet(tmp_path / "nowhere", tile, {}, {})


def test_an_unknown_tile_is_one_sentence(small_dataset: Path, run_cli: Run) -> None:
    code, _, err = run_cli("curate", "view", str(small_dataset), "32633_0_0")
    assert code == 2
    assert "is not in this build; those that are: `mmearth loaders query " in err
    assert '"SELECT tile FROM tiles"`' in err


@pytest.mark.parametrize(
    ("name", "kind"), [("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("a.webp", "WEBP"), ("a.png", "PNG")]
)
def test_the_suffix_says_the_format_and_the_folder_is_made(
    small_dataset: Path, tmp_path: Path, run_cli: Run, name: str, kind: str
) -> None:
    path = tmp_path / "new" / name
    code, out, _ = run_cli("curate", "view", small_dataset, "-o", path)
    assert (code, out) == (0, f"{path}\n")
    with Image.open(path) as sheet:
        assert sheet.format == kind


def test_a_pdf_is_one(small_dataset: Path, tmp_path: Path, run_cli: Run) -> None:
    assert run_cli("curate", "view", small_dataset, "-o", tmp_path / "a.pdf")[0] == 0
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize(
    ("name", "said"), [("a.tif", "the suffix '.tif'; expected one of .png, .jpg"), ("a", "no suff")]
)
def test_another_suffix_is_refused(
    small_dataset: Path, tmp_path: Path, run_cli: Run, name: str, said: str
) -> None:
    code, _, err = run_cli("curate", "view", small_dataset, "-o", tmp_path / name)
    assert code == 2 and said in err
    assert not (tmp_path / name).exists()


def test_a_sample_key_names_its_tile(small_dataset: Path, tmp_path: Path, run_cli: Run) -> None:
    row = pq.read_table(small_dataset / "manifests" / "soil_pH.parquet").to_pylist()[0]
    arguments = (row["key"], "-o", tmp_path / "a.png", "--json")
    code, out, _ = run_cli("curate", "view", small_dataset, *arguments)
    assert (code, json.loads(out)["tile"]) == (0, row["tile"])


@pytest.mark.parametrize(
    ("text", "tile"),
    [
        ("32733_500000_10000000", "32733_500000_10000000"),  # at the equator: no date
        ("32733_500000_10000000_20200704", "32733_500000_10000000"),
        ("32633_500000_4649760_20200704", "32633_500000_4649760"),
    ],
)
def test_a_date_is_told_from_a_place(text: str, tile: str) -> None:
    assert tile_of(text, DEFAULT_GRID).id == tile


def test_labels_of_every_kind_are_shown(small_dataset: Path) -> None:
    rows = pq.read_table(small_dataset / "tiles.parquet").to_pylist()
    soil = next(row for row in rows if row["task"] == "soil_pH")
    lines = _label_lines(small_dataset, Tile.parse(soil["tile"], DEFAULT_GRID))
    assert lines[:2] == [f"soil_pH\t{soil['split']}", f"  {soil['target']:.6g}"]
    mammals = next(row for row in rows if row["species"])
    lines = _label_lines(small_dataset, Tile.parse(mammals["tile"], DEFAULT_GRID))
    assert [line.strip() for line in lines[1:-1]] == mammals["species"]
    assert _label_of({"task": "soil_nitrogen", "target": 1.25}) == ["  1.25 g/kg"]
    assert _label_of({"task": "custom", "target": None}) == ["  no label"]


def test_long_lists_say_how_much_is_left_out() -> None:
    assert _shortened(["a"] * 15, 15) == ["a"] * 15
    assert _shortened(["a"] * 20, 15) == [*["a"] * 14, "… and 6 lines more"]


def test_what_the_dataset_does_not_have_takes_no_room(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    tile = Tile(32633, 500_000, 4_649_760)
    two = contact_sheet(tmp_path, tile, {"biome": "off the map", "eth_gch": "no data"}, {})
    all_twelve = contact_sheet(tmp_path, tile, dict.fromkeys(MMEARTH_BENCH.layers, "no data"), {})
    assert two.height < all_twelve.height
    assert two.width < all_twelve.width


def test_a_window_of_one_value_says_it() -> None:
    image = np.full((12, 128, 128), 700, np.uint16)
    image[3] = np.arange(128)
    panel = _composite(image, (3, 2, 1))
    assert panel.notes == ("B4 B3 B2, 2 to 98 % stretch", "constant: B3 700, B2 700")
    assert isinstance(panel.picture, np.ndarray)
    assert panel.picture[0, 64].tolist()[1:] == [127, 127]
    flat = _ramp_of(0, -9999.0, "m")(np.full((2, 128, 128), 12.5, np.float32))
    assert flat.notes == ("constant: 12.5 m",)
    empty = _ramp_of(0, -9999.0, "m")(np.full((2, 128, 128), -9999.0, np.float32))
    assert empty.picture == ["missing", "", "no pixel has a value"]


@pytest.mark.parametrize(("name", "n_panels"), [("sentinel1", 2), ("temperature", 1)])
def test_a_window_of_any_modality_is_drawn(name: str, n_panels: int) -> None:
    modality = MMEARTH_BENCH.layers[name]
    array = np.full(modality.shape, 280.0 if name == "temperature" else -10.0, modality.dtype)
    sheet = window_sheet(Tile(32633, 500_000, 4_649_760), Observation(name, array), "x" * 60)
    assert (sheet.width, sheet.height) == (2 * (256 + 14) + 14, 26 + 256 + 78 + 56)
    middles = [sheet.getpixel((14 + i * 270 + 128, 200)) for i in range(2)]
    assert sum(colour != (250, 250, 248) for colour in middles) == n_panels
    # A long title is made small enough.
    margin = sheet.crop((sheet.width - 14, 0, sheet.width, 50))
    assert margin.getcolors() == [(14 * 50, (250, 250, 248))]
