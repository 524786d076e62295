"""GeoTIFFs of what a dataset holds: values, meaning and place, and the command that writes them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.enums import ColorInterp

from mmearth.catalog.layer import Band, ClassCode
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.geotiff import write_geotiff
from mmearth.tests.make_own import layer
from mmearth.tests.make_tiny import CATALOGUE, make_sealed, make_tiny

Run = Callable[..., tuple[int, str, str]]
TILE = Tile(32633, 500_000, 4_649_760)


def test_a_geotiff_says_what_its_bands_are(tmp_path: Path) -> None:
    bands = (
        Band("red", "1", (1, 10000), 1e-4, 0.0, 20.0, 665.0, "red"),
        Band("thermal", "K", (1, 10000), 0.01, 200.0, 100.0, None, "lwir11"),
        Band("quality", "1", (1, 9)),
    )
    of = layer("optical", "uint16", 0, *bands)
    array = np.arange(3 * 128 * 128).reshape(3, 128, 128).astype(np.uint16)
    seen = Observation(of, array, "2020-06-19", "files", ("b", "ä"), None, "ab" * 32)
    path = write_geotiff(tmp_path / "new" / "optical.tif", TILE, seen)
    with rasterio.open(path) as found:
        np.testing.assert_array_equal(found.read(), array)
        assert (found.crs.to_epsg(), found.nodata) == (32633, 0)
        assert tuple(found.transform)[:6] == (10, 0, 500_000, 0, -10, 4_649_760)
        assert found.descriptions == ("red", "thermal", "quality")
        assert found.units == ("1", "K", "1")
        assert found.scales == (1e-4, 0.01, 1.0)
        assert found.offsets == (0.0, 200.0, 0.0)
        assert found.colorinterp == (ColorInterp.red, ColorInterp.tir, ColorInterp.gray)
        tags = found.tags()
    assert tags["source_ids"] == '["b", "ä"]'
    assert (tags["modality"], tags["acquired"], tags["source"]) == (
        "optical",
        "2020-06-19",
        "files",
    )
    assert tags["expression"] == "ab" * 32
    assert "stand_in" not in tags
    before = path.read_bytes()
    assert write_geotiff(path, TILE, seen).read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["optical.tif"]


def _classes(dtype: str, *codes: int) -> Observation:
    listed = tuple(ClassCode(code, f"class <{code}>", "#aa8855") for code in codes)
    more = {"kind": "categorical", "classes": listed}
    of = layer("cover", dtype, codes[0] - 1, Band("cover", "1", (codes[0], codes[-1])), **more)
    return Observation(of, np.full((1, 128, 128), codes[1], dtype))


def test_classes_have_names_and_colours(tmp_path: Path) -> None:
    path = write_geotiff(tmp_path / "cover.tif", TILE, _classes("uint8", 2, 5, 7))
    with rasterio.open(path) as found:
        assert found.colorinterp == (ColorInterp.palette,)
        assert found.colormap(1)[5] == (0xAA, 0x88, 0x55, 255)
        # GDAL reads the names from beside it: it writes all that it knows into a VRT.
        rasterio.shutil.copy(found, tmp_path / "cover.vrt", driver="VRT")
    band = ElementTree.parse(tmp_path / "cover.vrt").find("VRTRasterBand")
    assert band is not None
    names = [each.text for each in band.findall("CategoryNames/Category")]
    assert names == [None, None, "class <2>", None, None, "class <5>", None, "class <7>"]
    rows = [[cell.text for cell in row] for row in band.findall("GDALRasterAttributeTable/Row")]
    assert rows[1] == ["5", "class <5>", "170", "136", "85"]


@pytest.mark.parametrize("codes", [(-3, 10, 300), (5, 70_000, 2_000_000)])
def test_codes_that_no_colour_table_has_are_in_the_table(
    codes: tuple[int, ...], tmp_path: Path
) -> None:
    path = write_geotiff(tmp_path / "soil.tif", TILE, _classes("int32", *codes))
    with rasterio.open(path) as found:
        assert found.colorinterp == (ColorInterp.gray,)
    band = ElementTree.parse(path.with_name("soil.tif.aux.xml")).find("PAMRasterBand")
    assert band is not None
    assert band.find("CategoryNames") is None
    values = [row[0].text for row in band.findall("GDALRasterAttributeTable/Row")]
    assert values == [str(code) for code in codes]


def _written(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file()
    }


def test_an_unfinished_build_and_a_downloaded_dataset_give_the_same(
    tmp_path: Path, run_cli: Run
) -> None:
    begun, sealed = tmp_path / "begun", tmp_path / "sealed"
    make_tiny(begun, 3)
    make_sealed(sealed, 3)
    outs = [tmp_path / name for name in ("a", "b", "c")]
    assert run_cli("curate", "export", begun, "--geotiff", outs[0])[0] == 0
    assert run_cli("curate", "export", sealed, "--geotiff", outs[1])[0] == 0
    shutil.rmtree(sealed / ".curate")
    code, out, _ = run_cli("curate", "export", sealed, "--geotiff", outs[2], "--json")
    # Three tiles of six layers with pixels, one of them with a target; one lacks two layers.
    assert (code, json.loads(out)) == (0, {"out": str(outs[2]), "tiles": 3, "geotiffs": 17})
    first, *others = map(_written, outs)
    # What is not finished has no samples, and no catalogue of them.
    assert not any(name.endswith((".json", ".png", ".parquet")) for name in first)
    assert others[0] == others[1]
    assert others[0].items() > first.items()
    more = {Path(name).suffix for name in others[0].keys() - first.keys()}
    assert more == {".json", ".parquet", ".png"}
    assert sum(name.endswith("/biomass.tif") for name in first) == 1
    tile = Tile.at(-170.0, 50.0)
    with rasterio.open(outs[0] / f"{tile.epsg}/{tile.id}/sentinel2.tif") as found:
        CATALOGUE.layers["sentinel2"].check(found.read())


def test_sql_chooses_the_tiles(tmp_path: Path, run_cli: Run) -> None:
    root, out = make_sealed(tmp_path / "sealed", 3), tmp_path / "out"
    command = ("curate", "export", root, "--geotiff", out, "--where")
    assert run_cli(*command, "task = 'species' AND lat < 90")[0] == 0
    tile = Tile.at(-170.0 + 2 * 14.3, 50.0 - 2 * 4.1)
    assert sorted(path.name for path in out.iterdir()) == [str(tile.epsg), "stac"]
    # Three samples were packed; the tile is of one.
    (item,) = out.glob("stac/*/items/*/*.json")
    assert item.name.startswith(f"{tile.id}_")
    assert [path.name for path in (out / str(tile.epsg)).iterdir()] == [tile.id]
    code, _, err = run_cli(*command, "nonsense = 1")
    assert (code, "nonsense" in err) == (2, True)
    code, _, err = run_cli(*command, "false")
    assert (code, err.strip()) == (0, f"0 GeoTIFFs of 0 tiles in {out}")


def test_a_directory_without_a_build_is_one_sentence(tmp_path: Path, run_cli: Run) -> None:
    code, _, err = run_cli("curate", "export", tmp_path, "--geotiff", tmp_path / "out")
    assert code == 2
    assert "holds no build; make one with" in err


def test_the_published_sentinel2_has_colours_that_gdal_knows(tmp_path: Path) -> None:
    of = MMEARTH_BENCH.layers["sentinel2"]
    path = write_geotiff(tmp_path / "s2.tif", TILE, Observation(of, of.empty()))
    with rasterio.open(path) as found:
        assert [
            found.colorinterp[of.band_names.index(name)].name for name in ("B4", "B3", "B8")
        ] == [
            "red",
            "green",
            "nir",
        ]
