"""The explorer in a real browser: counts are DuckDB's, pixels are NumPy's, links show the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import pytest
import rasterio

import mmearth
from mmearth.benchmark.predictions import tile_predictions, write_predictions
from mmearth.benchmark.traces import BATCHES, write_batches
from mmearth.catalog.codec import Codec
from mmearth.tests import make_own as own
from mmearth.tests.browser import Seen, chromium, expect, explorer
from mmearth.tests.make_tiny import make_sealed

PIXELS = 64
_COLOURS = """() => {
  const map = document.querySelector('#map');
  const { data } = map.getContext('2d').getImageData(0, 0, map.width, map.height);
  return new Set(new Uint32Array(data.buffer)).size;
}"""
_UNNAMED = """() => [...document.querySelectorAll('button, input, select, canvas')]
  .filter((e) => e.checkVisibility() && !e.closest('button')?.innerText)
  .filter((e) => !(e.innerText || e.ariaLabel || e.labels?.length))
  .map((e) => e.outerHTML)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sealed(tmp_path_factory.mktemp("tiny") / "dataset")


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own.make_own(tmp_path_factory.mktemp("own") / "dataset", PIXELS)


@pytest.fixture(scope="module")
def shown(browser: Any, tiny: Path) -> Iterator[Seen]:
    with explorer(browser, tiny) as seen:
        yield seen


FILTERS = [
    ("task=soil_pH", "true"),
    ("task=soil_pH&f.split=in:train,val", "split IN ('train', 'val')"),
    ("task=soil_pH&f.train_5=in:true", "train_5"),
    ("task=soil_pH&f.train_50=in:false", "NOT train_50"),
    ("task=soil_pH&f.target=5..6.5", "target BETWEEN 5 AND 6.5"),
    ("task=soil_pH&f.lat=..0", "lat <= 0"),
    ("task=soil_pH&f.place=box:-60,-40,60,40", "lon BETWEEN -60 AND 60 AND lat BETWEEN -40 AND 40"),
    ("task=soil_pH&f.date=2020-04-01..2020-09-30", "date BETWEEN '2020-04-01' AND '2020-09-30'"),
    ("task=soil_pH&f.biome=in:3,5,9,~", "biome IN (3, 5, 9) OR biome IS NULL"),
    ("task=soil_pH&f.sentinel1.present=in:true", "sentinel1.present"),
    ("task=soil_pH&f.eth_gch.present=in:false", "NOT eth_gch.present"),
    ("task=soil_pH&f.aster_gdem.valid_fraction=0.8..1", "aster_gdem.valid_fraction >= 0.8"),
    ("task=soil_pH&f.sentinel2.stand_in=in:~", "sentinel2.stand_in IS NULL"),
    ("task=soil_pH&f.temperature.year_mean=..280", "temperature.values[9] <= 280"),
    ("task=biomass&f.biomass.mean=..200", "biomass.mean <= 200"),
    ("task=species&f.species=in:{label}", "list_contains(species, '{label}')"),
    ("task=*&f.task=in:biomass,species&f.lat=0..", "task <> 'soil_pH' AND lat >= 0"),
]


@pytest.mark.parametrize(("fragment", "where"), FILTERS)
def test_counts_are_duckdbs_and_the_copies_say_the_same(
    shown: Seen, tiny: Path, fragment: str, where: str
) -> None:
    dataset = mmearth.open(str(tiny))
    label = dataset.catalogue.task("species").outputs[4]
    bands = [band.name for band in dataset.catalogue.layer("temperature").bands]
    fragment = fragment.replace("{label}", quote(quote(label))).replace("year_mean", bands[8])
    task = fragment.removeprefix("task=").partition("&")[0]
    table = "samples" if task == "*" else task
    where = where.replace("{label}", label)
    (expected,) = dataset.sql(f"SELECT count(*) AS n FROM {table} WHERE {where}")["n"].to_pylist()
    shown.go(f"#{fragment}")
    assert shown.count == expected
    copied = _copy(shown, "Copy as SQL")
    assert len(dataset.sql(copied)) == expected
    if task != "*" and expected:
        names: dict[str, Any] = {}
        exec(_copy(shown, "Copy as Python").replace("print(chosen)", ""), names)
        assert len(names["chosen"]) == expected


def _copy(seen: Seen, name: str) -> str:
    seen.page.get_by_role("button", name=name).click()
    text: str = seen.page.locator("#copied[open] pre").inner_text()
    seen.page.locator("#copied button").click()
    return text


def test_filters_by_hand_go_into_the_url_and_back(shown: Seen) -> None:
    page = shown.page
    shown.go("#task=soil_pH")
    whole = shown.count
    page.get_by_label("train", exact=True).check()
    train = shown.count
    assert 0 < train < whole
    page.locator("[data-filter=target] input").first.fill("6")
    page.keyboard.press("Enter")
    assert shown.count < train
    assert "f.target=6.." in page.url
    link = page.url
    page.go_back()
    assert shown.count == train
    page.go_back()
    assert shown.count == whole
    assert not page.get_by_label("train", exact=True).is_checked()
    page.go_forward()
    page.go_forward()
    assert shown.count < train
    shown.go("#" + link.partition("#")[2], anew=True)
    assert page.url == link
    page.locator("#counts .bar").first.click()
    assert shown.count > 0
    page.get_by_text("Clear all filters").click()
    assert shown.count == whole


def test_a_column_without_values_is_not_offered(browser: Any, tiny: Path, tmp_path: Path) -> None:
    root = tmp_path / "unlabelled"
    shutil.copytree(tiny, root)
    path = root / "manifests/soil_pH.parquet"
    table = pq.read_table(path)
    at = table.schema.get_field_index("target")
    none = pa.nulls(len(table), table.schema.field(at).type)
    pq.write_table(table.set_column(at, table.schema.field(at), none), path)
    with explorer(browser, root) as seen:
        seen.go("#task=soil_pH&colour=target&f.target=5..6")  # as a link to another build may say
        assert seen.count == len(table)
        assert "Split" in seen.page.inner_text("#legend")
        assert "Acidity" not in seen.page.inner_text("#choices")
        seen.open(0)
        assert seen.page.inner_text("[data-fact=Target]") == "none"


def test_first_paint_shows_points_and_bars(shown: Seen) -> None:
    shown.go("#task=soil_pH&colour=target")
    colours = shown.page.evaluate(_COLOURS)
    assert colours > 20  # sea, coast, and a colour a value
    assert shown.page.locator("#counts .bar").count() == 24
    assert "Acidity" in shown.page.inner_text("#legend")


@pytest.mark.parametrize("codec", ["npy", "blosc-zstd", "blosc-lz4"])
def test_pixels_of_every_kind_of_layer_are_numpys(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: Any
) -> None:
    plain = own.catalogue
    monkeypatch.setattr(own, "catalogue", lambda n: replace(plain(n), codec=Codec(codec)))
    root = own.make_own(tmp_path / "own", PIXELS)
    keys = pq.read_table(root / "manifests/parcels.parquet")["key"].to_pylist()
    row = next(i for i in range(len(keys)) if _tile_number(root, keys[i]) == 1)
    with explorer(browser, root) as seen:
        seen.go("#task=parcels")
        seen.open(row)
        for layer in (*own.LAYERS, *(t.target for t in own.TASKS if t.name == "parcels")):
            if layer.level == "pixel":
                expected = own.values(replace_pixels(layer), 1)
                assert np.array_equal(seen.values(layer.name), expected.ravel()), layer.name
        ranges = [asked for url, asked in seen.asked if url.endswith(".tar")]
        assert len(ranges) == 1  # all layers from one request
        assert "✓ SHA-256" in seen.page.inner_text("[data-layer=heat]")
        rain = own.values(next(each for each in own.LAYERS if each.name == "climate"), 1)[0]
        assert seen.page.inner_text("[data-value='climate.rain'] td") == f"{rain:.0f} m"
        assert seen.page.inner_text("[data-value='zone.zone'] td") == "4 class 4"


def replace_pixels(layer: Any) -> Any:
    return next(
        each
        for each in (
            *own.catalogue(PIXELS).layers.values(),
            *(t.target for t in own.catalogue(PIXELS).tasks.values()),
        )
        if each.name == layer.name
    )


def _tile_number(root: Path, key: str) -> int:
    """Which of make_own's tiles a sample is of: they are a degree apart, from 10° E."""
    table = pq.read_table(root / "manifests/parcels.parquet", columns=["key", "lon"])
    lon = dict(zip(table["key"].to_pylist(), table["lon"].to_pylist(), strict=True))
    return round(lon[key] - 10)


def test_the_cursor_says_value_unit_class_and_place(browser: Any, owned: Path) -> None:
    table = pq.read_table(owned / "manifests/group.parquet")
    at = [round(lon - 10) for lon in table["lon"].to_pylist()].index(1)
    with explorer(browser, owned) as seen:
        page = seen.page
        seen.open(at)
        optical = page.locator("[data-layer=optical]")
        optical.get_by_label("What is drawn").select_option("1")
        optical = page.locator("[data-layer=optical]")
        box = optical.locator("canvas").bounding_box()
        step = box["width"] / PIXELS
        optical.locator("canvas").hover(position={"x": 10.5 * step, "y": 20.5 * step})
        stored = own.values(replace_pixels(own.LAYERS[0]), 1)[1, 20, 10]
        said = optical.locator("output").inner_text()
        assert said == f"thermal {float(f'{stored * 0.01 + 200:.4g}'):g} K ({stored})"
        code = own.values(replace_pixels(own.LAYERS[1]), 1)[0, 20, 10]
        cover = page.locator("[data-layer=cover] output").inner_text()
        assert cover == f"{code} class {code}"
        epsg, left, top = (table[name][at].as_py() for name in ("epsg", "left", "top"))
        east, north = left + 10.5 * 20, top - 20.5 * 20
        lon, lat = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True).transform(east, north)
        place = page.inner_text(".place")
        assert place.startswith(f"row 20, column 10 · {east:.0f} E, {north:.0f} N (EPSG:{epsg})")
        assert place.endswith(f"{lon:.5f}°, {lat:.5f}°")
        page.locator("[data-layer=optical] canvas").focus()
        page.keyboard.press("ArrowRight")
        assert page.inner_text(".place").startswith("row 20, column 11")
        page.locator("[data-layer=optical] canvas").hover(position={"x": step / 2, "y": step / 2})
        assert "no data" in optical.locator("output").inner_text()  # the first row of this tile


def test_downloads_open_elsewhere(browser: Any, owned: Path, tmp_path: Path) -> None:
    table = pq.read_table(owned / "manifests/group.parquet")
    at = [round(lon - 10) for lon in table["lon"].to_pylist()].index(1)
    with explorer(browser, owned) as seen:
        seen.open(at)
        for layer in own.LAYERS:
            if layer.name not in {"optical", "deep", "slope"}:  # of more, Chromium asks first
                continue
            expected = own.values(replace_pixels(layer), 1)
            npy = _download(seen, layer.name, ".npy", tmp_path)
            assert np.array_equal(np.load(npy), expected)
            assert np.load(npy).dtype == layer.dtype
            with rasterio.open(_download(seen, layer.name, "GeoTIFF", tmp_path)) as raster:
                assert np.array_equal(raster.read(), expected)
                assert raster.crs.to_epsg() == table["epsg"][at].as_py()
                corner = table["left"][at].as_py(), table["top"][at].as_py()
                assert raster.transform * (0, 0) == corner
                assert raster.res == (20, 20)
                assert raster.nodata == layer.nodata
                assert raster.descriptions == tuple(band.name for band in layer.bands)
                assert raster.scales == tuple(band.scale for band in layer.bands)
                assert raster.units == tuple(band.unit for band in layer.bands)
        with PIL.Image.open(_download(seen, "cover", "PNG", tmp_path)) as picture:
            pixels = np.moveaxis(np.asarray(picture.convert("RGBA")), 2, 0)
    cover = own.values(replace_pixels(own.LAYERS[1]), 1)[0]
    assert np.array_equal(pixels[3] == 255, cover != 255)
    assert {tuple(p) for p in pixels[:3, cover == 5].T.tolist()} == {(0xAA, 0x88, 0x55)}


def _download(seen: Seen, layer: str, label: str, folder: Path) -> Path:
    with seen.page.expect_download() as found:
        seen.page.locator(f"[data-layer={layer}] .downloads button", has_text=label).click()
    path = folder / found.value.suggested_filename
    found.value.save_as(path)
    return path


def test_a_missing_layer_says_why_and_others_say_whence(browser: Any, owned: Path) -> None:
    table = pq.read_table(owned / "manifests/group.parquet")
    at = [round(lon - 10) for lon in table["lon"].to_pylist()].index(3)
    with explorer(browser, owned) as seen:
        seen.open(at)
        assert "no soil here" in seen.page.inner_text("[data-layer=soil]")
        assert "no zone here" in seen.page.inner_text("[data-value=zone]")
        row = table.slice(at, 1).to_pylist()[0]
        seen.page.get_by_text("Where it came from").click()
        origin = seen.page.locator("#tile .origin")
        expect(origin).to_contain_text(f"label_id {row['label_id']}")
        optical = origin.locator("tr", has_text="optical")
        for said in row["optical"]["source_ids"]:
            expect(optical).to_contain_text(said)


@pytest.mark.parametrize("task", [each.name for each in own.TASKS])
def test_every_kind_of_target_of_own_layers(browser: Any, owned: Path, task: str) -> None:
    with explorer(browser, owned) as seen:
        seen.go(f"#task={task}")
        assert seen.count == own.N_TILES
        row = pq.read_table(owned / f"manifests/{task}.parquet").slice(0, 1).to_pylist()[0]
        seen.open(0)
        said = seen.page.inner_text("[data-fact=Target]")
        if task == "group":
            assert said == f"{row['target']:g} t/ha"
        elif task == "texture":
            assert said == ", ".join(f"{name} {v:g} %" for name, v in row["texture"].items())
        elif task == "crop":
            assert said == row["crop"]
        elif task == "birds":
            assert said == (", ".join(row["birds"]) or "none of the labels is present")
        else:
            assert said.startswith(f"{100 * row[task]['valid_fraction']:.2f} %")
            assert seen.page.locator(f"[data-layer={task}] canvas").count() == 1


def test_the_stretch_is_the_same_for_every_tile_and_in_the_url(shown: Seen) -> None:
    page = shown.page
    shown.go("#task=soil_pH")
    shown.open(0)
    layer = page.locator("[data-layer=sentinel2]")
    low = layer.get_by_label("Lowest value")
    usual = low.input_value()
    shown.open(1)
    assert low.input_value() == usual
    low.fill("0.01")
    page.keyboard.press("Tab")
    shown.settle()
    shown.open(2)
    assert low.input_value() == "0.01"
    assert "p.sentinel2=3-2-1__0.01_" in page.url
    link = page.url
    shown.go("#" + link.partition("#")[2], anew=True)
    page.wait_for_selector("#tile[aria-busy=false] h2")
    assert low.input_value() == "0.01"


def test_a_damaged_shard_is_shown_as_such(browser: Any, owned: Path, tmp_path: Path) -> None:
    root = tmp_path / "damaged"
    shutil.copytree(owned, root)
    row = pq.read_table(root / "manifests/group.parquet").slice(0, 1).to_pylist()[0]
    shard = root / row["shard"]
    data = bytearray(shard.read_bytes())
    data[row["heat"]["byte_offset"] + 200] ^= 1
    shard.write_bytes(data)
    with explorer(browser, root) as seen:
        seen.open(0)
        heat = seen.page.locator("[data-layer=heat]")
        assert "damaged" in heat.get_by_role("alert").inner_text()
        assert heat.locator("canvas").count() == 0
        assert seen.page.locator("[data-layer=optical] canvas").count() == 1
        shard.write_bytes(data[:2000])
        seen.page.evaluate("mmearth.state.set({ tile: undefined, row: undefined })")
        seen.open(0)
        assert "cut short" in seen.page.locator("[data-layer=optical]").inner_text()
        seen.complaints.clear()  # a range beyond the end is a status that Chromium reports


def test_errors_of_a_run_on_the_map(browser: Any, tiny: Path, tmp_path: Path) -> None:
    dataset = mmearth.open(str(tiny))
    table = pq.read_table(tiny / "manifests/soil_pH.parquet", columns=["key", "target", "split"])
    keys, truth = table["key"].to_pylist(), np.array(table["target"].to_pylist())
    task = dataset.catalogue.task("soil_pH")
    for method, by in (("JT", 3.0), ("TTT-MMR", 1.0)):
        errors = np.linspace(0.0, by, len(keys))
        folder = tmp_path / "runs" / f"run{method[0]}"
        (folder / "predictions").mkdir(parents=True)
        found = tile_predictions(task, keys, (truth + errors)[:, None], truth[:, None])
        write_predictions(found, folder / "predictions" / "all.parquet")
        facts = {"task": "soil_pH", "encoder": "made", "method": method, "fraction": 100, "seed": 1}
        rows = [{**facts, "dataset_hash": dataset.hash}]
        (folder / "results.json").write_text(json.dumps({"rows": rows}))
        if method == "TTT-MMR":
            halves = [keys[: len(keys) // 2], keys[len(keys) // 2 :]]
            of = {"split": "val", "task_loss_before": 2.0}
            write_batches(
                folder,
                [
                    dict.fromkeys(BATCHES.names)
                    | of
                    | {"batch": i, "keys": each, "task_loss_after": i}
                    for i, each in enumerate(halves)
                ],
            )
    with explorer(browser, tiny, tmp_path) as seen:
        page = seen.page
        seen.go("#task=soil_pH")
        page.get_by_label("Benchmark run").select_option(label="made TTT-MMR 100 %, seed 1")
        seen.settle()
        assert "Error" in page.inner_text("#legend")
        squares = np.linspace(0, 1, len(keys)) ** 2
        splits = np.array(table["split"].to_pylist())
        for split in np.unique(splits):
            cells = page.locator("#breakdown tbody tr", has_text=split).locator("td")
            here = splits == split
            assert cells.nth(0).inner_text() == str(here.sum())
            assert float(cells.nth(1).inner_text()) == pytest.approx(
                squares[here].mean() ** 0.5, 1e-3
            )
        page.get_by_label("Errors by").select_option("run.batch")
        expect(page.locator("#breakdown tbody tr")).to_have_count(2)
        page.locator("#breakdown tbody button", has_text="val 1").click()
        assert seen.count == len(halves[1])
        page.evaluate("mmearth.state.set({ colour: 'run.batch_gain' })")
        expect(page.locator("#legend")).to_contain_text("Gain of its batch")
        page.get_by_text("Clear all filters").click()
        page.evaluate("mmearth.filter('run.error', { from: 0.9 })")
        worst = [key for key, e in zip(keys, np.linspace(0, 1, len(keys)), strict=True) if e >= 0.9]
        assert seen.count == len(worst)
        names: dict[str, Any] = {}
        exec(_copy(seen, "Copy as Python"), names)
        assert len(names["chosen"]) == len(worst)
        page.evaluate("mmearth.state.set({ view: 'tiles', sort: '-run.gain' })")
        expect(page.locator("#sheet li")).to_have_count(len(worst))
        expect(page.locator("#sheet")).not_to_contain_text("…")
        assert keys[-1] in page.locator("#sheet li").first.inner_text()  # gain 2 of 2
        page.locator("#sheet li button").first.click()
        page.wait_for_selector("#tile[aria-busy=false] h2")
        assert page.inner_text("#tile h2") == keys[-1]
        said = page.locator("#tile [data-fact=Run]")
        expect(said).to_contain_text("Error 1, Prediction minus truth 1, ")
        expect(said).to_contain_text("Gain over JT 2, Batch it was adapted with val 1, ")
        page.keyboard.press("n")  # the next of the sheet
        expect(page.locator("#tile h2")).to_have_text(keys[-2])
        page.keyboard.press("p")
        expect(page.locator("#tile h2")).to_have_text(keys[-1])
        tile: dict[str, Any] = {}
        page.get_by_role("button", name="Copy this tile as Python").click()
        exec(page.locator("#copied[open] pre").inner_text(), tile)
        assert tile["batch"]["key"] == [keys[-1]]
        page.locator("#copied button").click()
        page.get_by_label("Benchmark run").select_option(label="made JT 100 %, seed 1")
        expect(said).to_contain_text("Error 3, Prediction minus truth 3, ")


def test_two_tiles_side_by_side_keyboard_theme_and_phone(browser: Any, tiny: Path) -> None:
    phone = {"width": 380, "height": 800}
    with explorer(browser, tiny, viewport=phone, color_scheme="dark") as seen:
        page = seen.page
        seen.open(0)
        assert page.evaluate("document.documentElement.scrollWidth") <= phone["width"]
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.get_by_label("Light or dark").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
        assert not page.get_by_label("train", exact=True).is_visible()
        page.get_by_text("Filters", exact=True).click()
        assert page.get_by_label("train", exact=True).is_visible()
        first = page.inner_text("#tile h2")
        page.get_by_text("Compare", exact=True).click()
        page.wait_for_selector("#other[aria-busy=false] h2")
        for width in (phone["width"], 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("#map").focus()
        page.keyboard.press("n")
        expect(page.locator("#tile h2")).not_to_have_text(first)
        page.wait_for_selector("#tile[aria-busy=false] h2")
        assert page.inner_text("#other h2") == first
        unnamed = page.evaluate(_UNNAMED)
        assert unnamed == []  # a screen reader has a name for everything that can be used
