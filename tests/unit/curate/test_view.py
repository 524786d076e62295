"""The contact sheet and the GeoTIFFs of a tile."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from PIL import Image

from mmearth.catalog.catalogue import read_catalogue, write_catalogue
from mmearth.catalog.errors import IntegrityError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.layer import Band, ClassCode
from mmearth.catalog.observed import Observed, open_observed
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation, tile_of
from mmearth.catalog.tile import Tile
from mmearth.curate.panels import pictures, value_lines
from mmearth.curate.sheet import EMPTY, Panel, _shortened, texts
from mmearth.curate.view import _label_of, _labels, contact_sheet, window_sheet
from mmearth.tests.collected import kept
from mmearth.tests.make_own import classes, layer, make_own, numbers
from mmearth.tests.make_tiny import make_sealed, make_tiny

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
        held = kept(small_dataset, tile.id)["sentinel2"].array
        np.testing.assert_array_equal(dataset.read(), held)


def test_an_unfinished_build_and_a_downloaded_dataset_are_drawn_alike(
    tmp_path: Path, run_cli: Run
) -> None:
    begun, sealed = tmp_path / "begun", make_sealed(tmp_path / "sealed", 3)
    make_tiny(begun, 3)
    shutil.rmtree(sealed / ".curate")
    pictures = []
    for root in (begun, sealed):
        pictures.append(tmp_path / f"{root.name}.png")
        assert run_cli("curate", "view", root, "-o", pictures[-1])[0] == 0
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def _missing(root: Path, reasons: dict[str, str]) -> Image.Image:
    """Return the sheet of a tile that has nothing of some layers, for these reasons."""
    write_catalogue(root, MMEARTH_BENCH)
    tile = Tile(32633, 500_000, 4_649_760)
    rows = {name: Observed(tile.id, name, "missing", why) for name, why in reasons.items()}
    return contact_sheet(root, tile, rows)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    empty = _missing(tmp_path, {"sentinel2": "every scene is cloudy"})
    other = _missing(tmp_path, {"sentinel2": "no scene covers the place"})
    assert empty.tobytes() != other.tobytes()


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


def test_labels_of_every_kind_are_shown(small_dataset: Path, own: Path) -> None:
    catalogue = read_catalogue(small_dataset)
    rows = pq.read_table(small_dataset / "tiles.parquet").to_pylist()
    soil = next(row for row in rows if row["task"] == "soil_pH")
    tile = Tile.parse(soil["tile"], DEFAULT_GRID)
    (lines,) = _labels(small_dataset, tile, catalogue)
    assert lines == [f"soil_pH\t{soil['split']}", f"  {soil['target']:.6g}"]
    mammals = next(row for row in rows if row["species"])
    (lines,) = _labels(small_dataset, Tile.parse(mammals["tile"], DEFAULT_GRID), catalogue)
    assert sorted(line.strip() for line in lines[1:]) == sorted(mammals["species"])
    assert _label_of(MMEARTH_BENCH.tasks["soil_nitrogen"], {"target": 1.25}) == ["  1.25 g/kg"]
    grid = read_catalogue(own).grid
    # make_own.truth of the fifth tile, whose targets with pixels have pictures.
    assert _labels(own, Tile.at(14.0, 45.0, grid), read_catalogue(own)) == [
        ["birds\ttrain", "  tit"],
        ["crop\ttrain", "  maize"],
        ["group\ttrain", "  4.5 t/ha"],
        ["height\ttrain"],
        ["parcels\ttrain"],
        ["texture\ttrain", "  sand\t56 %", "  cl'ay\t14 %", "  texture\t30 %"],
    ]
    fourth = _labels(own, Tile.at(13.0, 45.0, grid), read_catalogue(own))
    assert ["texture\ttrain", "  no label"] in fourth


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose layers and tasks are none of the published ones."""
    return make_own(tmp_path_factory.mktemp("own"), 48)


def test_all_that_a_dataset_has_is_drawn_and_nothing_else(own: Path) -> None:
    catalogue = read_catalogue(own)
    tile = Tile.at(14.0, 45.0, catalogue.grid)
    with open_observed(own, catalogue) as observed:
        rows = observed.of_tile(tile.id)
    whole = contact_sheet(own, tile, rows)
    # optical 3, cover, soil, deep, heat, slope, parcels, height; values, place; labels 2: 14 of 15.
    assert (whole.width, whole.height) == (5 * 270 + 14, 3 * 360 + 56)
    assert whole.getpixel((14 + 4 * 270 + 128, 50 + 2 * 360 + 100)) == (250, 250, 248)
    fewer = contact_sheet(own, tile, {"slope": rows["slope"]})
    assert fewer.size == (4 * 270 + 14, 360 + 56)  # slope, place, labels 2
    with pytest.raises(IntegrityError, match=f"slope of tile {tile.id} .* is not what was"):
        contact_sheet(own, tile, {"slope": replace(rows["slope"], sha256="0" * 64)})


def test_long_lists_say_how_much_is_left_out() -> None:
    assert _shortened(["a"] * 15, 15) == ["a"] * 15
    assert _shortened(["a"] * 20, 15) == [*["a"] * 14, "… and 6 lines more"]


def test_blocks_share_a_panel_while_there_is_room() -> None:
    panels = texts("values", [["a"] * 7, ["b"] * 7, ["c"]])
    assert [panel.picture for panel in panels] == [[*["a"] * 7, "", *["b"] * 7], ["c"]]


def test_what_the_dataset_does_not_have_takes_no_room(tmp_path: Path) -> None:
    two = _missing(tmp_path, {"biome": "off the map", "eth_gch": "no data"})
    all_twelve = _missing(tmp_path, dict.fromkeys(MMEARTH_BENCH.layers, "no data"))
    assert two.height < all_twelve.height
    assert two.width < all_twelve.width


def _published(name: str, **values: Any) -> list[Panel]:
    """Return the pictures of a published layer: its first value everywhere, but some bands."""
    of = MMEARTH_BENCH.layers[name]
    array = np.full(of.shape, 700 if name == "sentinel2" else 12.5, of.dtype)
    for band, value in values.items():
        array[of.band_names.index(band)] = value
    return pictures(Observation(of, array), name)


def test_a_window_of_one_value_says_it() -> None:
    true, infrared = _published("sentinel2", B4=np.arange(128))
    assert true.notes == ("B4 B3 B2, 2 to 98 % stretch", "constant: B3 700, B2 700")
    assert isinstance(true.picture, np.ndarray)
    assert true.picture[0, 64].tolist()[1:] == [127, 127]
    assert infrared.title == "sentinel2 infrared"
    assert infrared.notes[0] == "B8 B4 B3, 2 to 98 % stretch"
    height, slope = _published("aster_gdem", slope=-9999)
    assert (height.title, height.notes) == ("aster_gdem elevation", ("constant: 12.5 m",))
    assert slope.picture == ["missing", "", "no pixel has a value"]


def test_backscatter_is_told_by_unit_and_polarisation() -> None:
    nothing = dict.fromkeys(["desc_VV", "desc_VH", "desc_HH", "desc_HV"], -9999)
    seen, unseen = _published("sentinel1", asc_VV=-11, asc_VH=-17, **nothing)
    assert (seen.title, unseen.title) == ("sentinel1 ascending", "sentinel1 descending")
    # The middles of -22 to 0 and -28 to -6 dB; a difference of 6 dB is a third of 2 to 14.
    assert isinstance(seen.picture, np.ndarray)
    assert seen.picture[5, 5].tolist() == [127, 127, 85]
    assert unseen.picture == ["missing", "", "this orbit has no scene"]


def _panels(of: Any, array: Any) -> list[Panel]:
    return pictures(Observation(of, np.asarray(array, of.dtype)), of.name)


def test_numbers_of_ones_own_have_three_bands_or_a_ramp_each() -> None:
    ramp = np.linspace(0, 1, 128 * 128).reshape(128, 128)
    alike = layer("embedding", "float32", -9999, *numbers("A0 A1 A2 A3", "1", -1, 1))
    (panel,) = _panels(alike, np.stack([ramp, ramp, ramp, ramp]))
    assert (panel.title, panel.notes) == ("embedding", ("A0 A1 A2 of 4 bands, 2 to 98 % stretch",))
    bands = [Band(f"b{i}", f"u{i}", (-9, 9)) for i in range(6)]
    panels = _panels(layer("mixed", "float32", None, *bands), np.stack([ramp] * 6))
    assert [panel.title for panel in panels] == [f"mixed b{i}" for i in range(4)]
    assert panels[0].notes == ("0.0 to 1.0 u0",)
    assert panels[3].notes == ("0.0 to 1.0 u3", "and 2 bands more")
    # The value that is told is the physical one; no-data is grey.
    scaled = layer("heat", "uint16", 0, Band("heat", "K", (1, 10000), 0.01, 200.0))
    array = np.full((1, 128, 128), 5000)
    array[0, 0, 0], array[0, 0, 1] = 0, 9000
    (panel,) = _panels(scaled, array)
    assert (panel.title, panel.notes) == ("heat", ("250.0 to 290.0 K",))
    assert isinstance(panel.picture, np.ndarray)
    assert panel.picture[0, 0].tolist() == list(EMPTY)
    assert panel.picture[0, 1].tolist() == [253, 231, 37]
    colours = [
        *(Band(name, "1", (0, 9), common_name=name) for name in ("green", "red", "nir")),
        Band("thermal", "K", (0, 9)),
    ]
    (panel,) = _panels(layer("aerial", "uint8", None, *colours), np.stack([ramp * 9] * 4))
    assert (panel.title, panel.notes[0][:13]) == ("aerial infrared", "nir red green")


def test_classes_of_any_codes_have_their_colours_and_a_legend() -> None:
    listed = [ClassCode(-3, "clay", "#010203"), ClassCode(10, "loam", "#aa8855")]
    listed.append(ClassCode(300, "sand", "#ffffff"))
    band, kind = Band("soil", "1", (-3, 300)), {"kind": "categorical", "classes": tuple(listed)}
    soil = layer("soil", "int16", -9999, band, **kind)
    array = np.full((1, 128, 128), 10)
    array[0, 0] = [-3] * 100 + [-9999] * 28
    (panel,) = _panels(soil, array)
    assert [entry.name for entry in panel.legend] == ["loam", "clay"]  # the most frequent first
    assert isinstance(panel.picture, np.ndarray)
    found = [panel.picture[at].tolist() for at in ((5, 5), (0, 0), (0, 127))]
    assert found == [[0xAA, 0x88, 0x55], [1, 2, 3], list(EMPTY)]


def test_values_without_pixels_are_text_with_units() -> None:
    def lines(of: Any, *values: float) -> list[str]:
        return value_lines(Observation(of, np.asarray(values, of.dtype)))

    rain, biome = MMEARTH_BENCH.layers["precipitation"], MMEARTH_BENCH.layers["biome"]
    told = ["precipitation", "  last month\t60.0 mm", "  month\t-", "  year\t1461.4 mm"]
    assert lines(rain, 0.06, -9999, 1.4614) == told
    assert lines(biome, 0)[0] == "biome 0"
    assert lines(biome, 14) == ["biome\tno data"]
    one: dict[str, Any] = {"level": "tile"}
    assert lines(layer("slope", "float32", None, *numbers("slope", "deg", 0, 90), **one), 30) == [
        "slope\t30.0 °"
    ]
    depth = layer("depth", "int16", None, Band("depth", "m", (0, 99), 0.5, 1.0), **one)
    assert lines(depth, 40) == ["depth\t21.0 m"]
    zones = classes("zone", "int16", 0, 1, 4, level="tile")
    assert lines(zones, 4) == ["zone 4", "class 4"]


@pytest.mark.parametrize(("name", "n_panels"), [("sentinel1", 2), ("temperature", 1)])
def test_a_window_of_any_modality_is_drawn(name: str, n_panels: int) -> None:
    modality = MMEARTH_BENCH.layers[name]
    array = np.full(modality.shape, 280.0 if name == "temperature" else -10.0, modality.dtype)
    sheet = window_sheet(Tile(32633, 500_000, 4_649_760), Observation(modality, array), "x" * 60)
    assert (sheet.width, sheet.height) == (2 * (256 + 14) + 14, 26 + 256 + 78 + 56)
    middles = [sheet.getpixel((14 + i * 270 + 128, 200)) for i in range(2)]
    assert sum(colour != (250, 250, 248) for colour in middles) == n_panels
    # A long title is made small enough.
    margin = sheet.crop((sheet.width - 14, 0, sheet.width, 50))
    assert margin.getcolors() == [(14 * 50, (250, 250, 248))]
