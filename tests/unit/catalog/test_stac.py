"""STAC: what items, assets and collections say about rows of a manifest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pystac
import pytest
import shapely

from mmearth.catalog import stac
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import read_catalogue
from mmearth.catalog.errors import FormatError
from mmearth.catalog.grid import Grid
from mmearth.catalog.layer import ClassCode
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.schema import manifest_path, manifest_schema, read_table, write_table
from mmearth.catalog.stac_asset import File, describe
from mmearth.catalog.tile import Tile
from mmearth.catalog.validate import validate_stac

AT_180 = Tile.at(180.0, -16.5)
IN_EUROPE = Tile.at(10.0, 50.0)


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _item(root: Path, task: str, tile: Tile) -> Any:
    return _read(root / "stac" / task / "items" / tile.cell / f"{tile.id}_20200619.json")


def _schema(root: Path, task: str) -> pa.Schema:
    catalogue = read_catalogue(root)
    return manifest_schema(catalogue.tasks[task], catalogue.layers.values())


@pytest.fixture
def built(packed: Path, card: DatasetCard) -> Path:
    stac.build(packed, card)
    return packed


def test_members_have_inclusive_ranges_and_multihashes(built: Path) -> None:
    entries = _item(built, "soil_pH", AT_180)["assets"]["shard"]["archive"]
    key = f"{AT_180.id}_20200619"
    assert [(entry["href"], entry["range"]) for entry in entries] == [
        (f"{key}.json", [512, 1511]),  # 1000 bytes from 512: the last is 1511
        (f"{key}.aster_gdem.npy", [2048, 3047]),
        (f"{key}.sentinel2.npy", [5120, 6119]),
    ]
    assert {entry["file:checksum"] for entry in entries} == {"1220" + "ab" * 32}
    assert {entry["file:size"] for entry in entries} == {1000}


def _entry(item: Any, title: str) -> Any:
    (found,) = (each for each in item["assets"]["shard"]["archive"] if each["title"] == title)
    return found


def test_pixel_targets_are_members_and_labels(built: Path) -> None:
    item = _item(built, "biomass", IN_EUROPE)
    assert _entry(item, "biomass")["roles"] == ["labels"]
    assert _entry(item, "biomass")["range"] == [8192, 9191]
    assert _entry(item, "sentinel2")["roles"] == ["data"]
    assert item["properties"]["mmearth:target"] == 42.5
    members = _read(built / "stac/biomass/collection.json")["mmearth:members"]
    assert members["biomass"]["bands"][0]["unit"] == "Mg/ha"


def test_what_lies_in_a_shard_is_no_raster(built: Path) -> None:
    item = _item(built, "soil_pH", AT_180)
    assert list(item["assets"]) == ["shard"]
    assert item["assets"]["shard"]["type"] == "application/x-tar"
    used = {url.split("/")[3] for url in item["stac_extensions"]}
    assert used == {"archive", "file", "processing", "projection"}
    collection = _read(built / "stac/soil_pH/collection.json")
    assert list(collection["item_assets"]) == ["shard"]
    assert "renders" not in collection


@pytest.fixture
def exported(packed: Path, card: DatasetCard, tmp_path: Path) -> Path:
    """The catalogue of a tile's GeoTIFFs (not real ones), beside them."""
    out, tile = tmp_path / "out", f"{IN_EUROPE.epsg}/{IN_EUROPE.id}"
    names = {"sentinel2": "sentinel2.tif", "biomass": "biomass.tif", "thumbnail": "thumbnail.png"}
    files = {name: File(f"{tile}/{path}", 4, "ab" * 32) for name, path in names.items()}
    for file in files.values():
        (out / file.path).parent.mkdir(parents=True, exist_ok=True)
        (out / file.path).write_bytes(b"tiff")
    one = {"n": 9, "mean": 20.0, "std": 10.0, "min": 5.0, "max": 60.0}
    bands = {name: one for name in ("B2", "B3", "B4")}
    document = {"train": {"modalities": {"sentinel2": bands}, "target": {"agbd": one}}}
    for task in card.tasks:
        (packed / f"statistics/{task}.json").write_text(json.dumps(document))
    stac.build(packed, card, stac.Rasters(out, {IN_EUROPE.id: files}))
    return out


def test_geotiffs_are_assets_with_a_picture(exported: Path) -> None:
    assets = _item(exported, "biomass", IN_EUROPE)["assets"]
    # The sample has elevation, too, of which there is no file.
    assert list(assets) == ["biomass", "sentinel2", "thumbnail"]
    assert assets["sentinel2"]["href"] == f"../../../../32632/{IN_EUROPE.id}/sentinel2.tif"
    assert assets["sentinel2"]["type"] == "image/tiff; application=geotiff"
    assert assets["sentinel2"]["file:checksum"] == "1220" + "ab" * 32
    assert assets["sentinel2"]["mmearth:acquired"] == "2020-06-19"
    assert assets["biomass"]["roles"] == ["labels"]
    assert assets["biomass"]["bands"][0]["unit"] == "Mg/ha"
    assert (assets["thumbnail"]["type"], assets["thumbnail"]["roles"]) == (
        "image/png",
        ["thumbnail"],
    )
    assert [path.name for path in exported.glob("stac/*/items/*/*.json")] == [
        f"{IN_EUROPE.id}_20200619.json"
    ]
    assert pq.read_metadata(exported / "stac/items.parquet").num_rows == 1
    for asset in next(stac.read_items(exported))["assets"].values():
        assert (exported / "stac" / asset["href"]).is_file()


def test_bands_of_geotiffs_have_their_old_names_too(exported: Path) -> None:
    asset = _item(exported, "biomass", IN_EUROPE)["assets"]["sentinel2"]
    assert asset["eo:bands"][3:6] == [
        {"name": "B4", "common_name": "red"},
        {"name": "B5", "common_name": "rededge"},  # rededge071 since version 2
        {"name": "B6", "common_name": "rededge"},
    ]
    assert asset["bands"][3]["eo:common_name"] == "red"


def test_geotiffs_say_how_they_are_drawn(exported: Path, stac_schemas: Path) -> None:
    renders = _read(exported / "stac/biomass/collection.json")["renders"]
    assert renders["sentinel2"] == {
        "title": "Sentinel-2 surface reflectance",
        "assets": ["sentinel2"],
        "nodata": 65535,
        "bidx": [4, 3, 2],
        "rescale": [[5.0, 40.0]] * 3,  # 20 ± 2 · 10, but nothing below 5
    }
    assert renders["biomass"]["colormap_name"] == "viridis"
    assert renders["biomass"]["rescale"] == [[5.0, 40.0]]
    assert "rescale" not in renders["aster_gdem"]  # no train sample has a value
    found = validate_stac(exported, stac_schemas)
    assert (found.problems, found.not_checked) == ((), ())


def test_bands_say_wavelength_unit_and_scale(built: Path) -> None:
    member = _read(built / "stac/soil_pH/collection.json")["mmearth:members"]["sentinel2"]
    blue = member["bands"][1]
    assert member["nodata"] == 65535
    assert blue == {
        "name": "B2",
        "unit": "1",
        "raster:scale": 0.0001,
        "raster:offset": 0.0,
        "raster:spatial_resolution": 10,
        "eo:center_wavelength": 0.4927,  # micrometres
        "eo:common_name": "blue",
    }


def test_stand_ins_and_sources_are_named(built: Path) -> None:
    item = _item(built, "soil_pH", AT_180)
    elevation = _entry(item, "aster_gdem")
    assert elevation["mmearth:stand_in"] == "Copernicus DEM"
    assert "mmearth:stand_in" not in _entry(item, "sentinel2")
    assert item["properties"]["mmearth:stand_in"] == {"aster_gdem": "Copernicus DEM"}
    assert "glo30" in elevation["mmearth:source_ids"]
    derived = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
    assert derived == ["https://example.org/S2A_20200619"]


def test_properties_of_an_item(built: Path) -> None:
    item = _item(built, "species", Tile.at(25.0, -33.0))
    properties = item["properties"]
    tile = Tile.at(25.0, -33.0)
    assert properties["datetime"] == "2020-06-19T00:00:00Z"
    assert properties["proj:code"] == "EPSG:32735"  # zone 35 is 24°–30° E; 327: south
    assert properties["proj:transform"] == [10.0, 0.0, tile.left, 0.0, -10.0, tile.top]
    assert properties["proj:bbox"] == [tile.left, tile.top - 1280, tile.left + 1280, tile.top]
    assert properties["mmearth:species"] == ["Vulpes vulpes", "Lepus capensis"]
    assert properties["mmearth:split"] == "train"
    assert properties["mmearth:missing"] == ["geolocation"]


def test_the_antimeridian_cuts_an_item_in_two(built: Path) -> None:
    item = _item(built, "soil_pH", AT_180)
    west, south, east, north = item["bbox"]
    assert 179.9 < west <= 180.0
    assert -180.0 <= east < -179.9
    assert south < -16.5 < north
    shape = shapely.geometry.shape(item["geometry"])
    assert shape.is_valid
    assert [part.exterior.is_ccw for part in shape.geoms] == [True, True]
    # 1.28 km at 16.5° S is 1280 / (111320 cos 16.5°) = 0.0120 degrees, in two halves.
    assert sum(part.bounds[2] - part.bounds[0] for part in shape.geoms) == pytest.approx(
        0.0120, abs=2e-4
    )


def test_a_collection_covers_its_items_across_the_antimeridian(built: Path) -> None:
    extent = _read(built / "stac/soil_pH/collection.json")["extent"]
    west, south, east, north = extent["spatial"]["bbox"][0]
    assert 179.4 < west < 179.5
    assert -179.5 < east < -179.4
    assert south < -17.0 < -16.5 < north
    instant = "2020-06-19T00:00:00Z"
    assert extent["temporal"]["interval"] == [[instant, instant]]


def test_a_collection_elsewhere_has_an_ordinary_box(built: Path) -> None:
    west, _, east, _ = _read(built / "stac/species/collection.json")["extent"]["spatial"]["bbox"][0]
    assert 24.9 < west < 25.0
    assert 26.0 < east < 26.1


def test_a_collection_around_the_world_with_a_cut_tile_spans_all_of_it(
    packed: Path, card: DatasetCard
) -> None:
    tables, schema = [read_table(packed / manifest_path("soil_pH"))], _schema(packed, "soil_pH")
    for lon in (-60.0, 60.0):
        tile = Tile.at(lon, 0.0)
        row = tables[0].slice(0, 1).to_pylist()[0]
        row |= {"key": f"{tile.id}_20200619", "tile": tile.id, "epsg": tile.epsg}
        row |= {"left": tile.left, "top": tile.top, "geometry": shapely.to_wkb(tile.geometry)}
        tables.append(pa.Table.from_pylist([row], schema=schema))
    table = pa.concat_tables([table.replace_schema_metadata() for table in tables])
    write_table(table, packed / manifest_path("soil_pH"), schema)
    stac.build(packed, card)
    box = _read(packed / "stac/soil_pH/collection.json")["extent"]["spatial"]["bbox"][0]
    assert (box[0], box[2]) == (-180.0, 180.0)


def test_a_collection_cites_and_describes(built: Path) -> None:
    collection = _read(built / "stac/soil_pH/collection.json")
    assert collection["license"] == "CC0-1.0"
    assert collection["mmearth:label_licence"] == "CC-BY-NC-4.0"
    assert {entry["doi"] for entry in collection["sci:publications"]} == {
        "10.5194/essd-16-4735-2024",  # WoSIS
        "10.5067/ASTER/ASTGTM.003",
        "10.5194/essd-13-4349-2021",  # ERA5-Land
        "10.1093/biosci/bix014",  # RESOLVE
    }
    assert list(collection["mmearth:members"]) == ["sentinel2", "aster_gdem"]
    assert collection["summaries"]["mmearth:split"] == ["train", "val", "geographic_test"]
    assert collection["mmearth:tile_level"]["temperature"]["bands"][0]["unit"] == "K"


def test_pystac_walks_the_catalogue_and_finds_every_file(built: Path) -> None:
    catalog = pystac.Catalog.from_file(built / "stac" / "catalog.json")
    items = list(catalog.get_items(recursive=True))
    assert len(items) == 6
    assert [child.id for child in catalog.get_children()] == ["biomass", "soil_pH", "species"]
    for item in items:
        collection = item.get_collection()
        assert collection is not None
        assert collection.id == item.properties["mmearth:task"]
        for asset in item.assets.values():
            assert Path(str(asset.get_absolute_href())).is_file()


def test_items_parquet_answers_sql_with_nothing_of_ours(built: Path) -> None:
    rows = duckdb.sql(
        f"""SELECT collection, "mmearth:split", count(*)
        FROM '{built}/stac/items.parquet' GROUP BY ALL ORDER BY ALL"""
    ).fetchall()
    assert rows == [
        ("biomass", "train", 1),
        ("soil_pH", "geographic_test", 1),
        ("soil_pH", "train", 1),
        ("soil_pH", "val", 1),
        ("species", "random_test", 1),
        ("species", "train", 1),
    ]


def test_items_parquet_gives_the_items_back(built: Path) -> None:
    n_items = 0
    for item in stac.read_items(built):
        tile = Tile.parse(item["properties"]["mmearth:tile"], Grid())
        written = _item(built, item["collection"], tile)
        for asset in written["assets"].values():  # the table is three folders nearer to the root
            asset["href"] = asset["href"].removeprefix("../../../")
        assert item["assets"] == written["assets"]
        assert item["properties"].pop("datetime") == "2020-06-19T00:00:00.000000Z"
        assert written["properties"].pop("datetime") == "2020-06-19T00:00:00Z"
        assert item["bbox"] == written["bbox"]
        assert item["properties"] == written["properties"]
        assert [link["rel"] for link in item["links"]] == [x["rel"] for x in written["links"]]
        n_items += 1
    assert n_items == 6


def test_items_may_be_in_the_table_alone(packed: Path, card: DatasetCard) -> None:
    stac.build(packed, replace(card, stac_items="parquet"))
    files = {p.relative_to(packed).as_posix() for p in packed.glob("stac/**/*") if p.is_file()}
    collections = {f"stac/{task}/collection.json" for task in card.tasks}
    assert files == {"stac/catalog.json", "stac/items.parquet", *collections}
    links = _read(packed / "stac/soil_pH/collection.json")["links"]
    assert [link["rel"] for link in links] == ["root", "parent"]
    found = validate_stac(packed, None)
    assert (found.problems, found.n_objects) == ((), 10)  # a catalogue, three collections, six
    for asset in next(stac.read_items(packed))["assets"].values():
        assert (packed / "stac" / asset["href"]).is_file()
    (packed / "shards/soil_pH/train-000000.tar").unlink()
    assert any(
        "train-000000.tar is not there" in text for text in validate_stac(packed, None).problems
    )


@pytest.mark.parametrize(("most", "is_json"), [(3, True), (2, False)])
def test_a_large_dataset_has_its_items_in_the_table_alone(
    packed: Path, card: DatasetCard, monkeypatch: pytest.MonkeyPatch, most: int, is_json: bool
) -> None:
    monkeypatch.setattr(stac, "MOST_JSON", most)  # soil_pH has three samples, others fewer
    stac.build(packed, card)
    assert [(packed / f"stac/{task}/items").is_dir() for task in card.tasks] == [is_json] * 3
    stac.build(packed, replace(card, stac_items="json"))
    assert (packed / "stac/soil_pH/items").is_dir()


def test_row_groups_of_other_assets_have_one_schema(
    packed: Path, card: DatasetCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    stac.build(packed, card)
    whole = [json.dumps(item, sort_keys=True) for item in stac.read_items(packed)]
    monkeypatch.setattr(stac, "_ROW_GROUP", 1)
    monkeypatch.setattr(stac, "_ITEMS_AT_ONCE", 1)
    stac.build(packed, card)
    assert pq.read_metadata(packed / "stac/items.parquet").num_row_groups == 6
    assert [json.dumps(item, sort_keys=True) for item in stac.read_items(packed)] == whole


def test_the_same_tables_give_the_same_bytes_and_no_leftovers(
    built: Path, card: DatasetCard
) -> None:
    home = built / "stac"
    before = {path: path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}
    (home / "soil_pH" / "items" / "stale.json").write_text("{}")
    stac.build(built, card)
    after = {path: path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}
    assert before == after


def test_a_task_without_samples_is_an_empty_valid_collection(
    packed: Path, card: DatasetCard
) -> None:
    for task in card.tasks:
        schema = _schema(packed, task)
        write_table(schema.empty_table(), packed / manifest_path(task), schema)
    stac.build(packed, card)
    assert validate_stac(packed, None).problems == ()
    assert pq.read_metadata(packed / "stac" / "items.parquet").num_rows == 0
    extent = _read(packed / "stac/soil_pH/collection.json")["extent"]
    assert extent["spatial"]["bbox"] == [[-180.0, -90.0, 180.0, 90.0]]


def test_a_missing_manifest_is_one_sentence(packed: Path, card: DatasetCard) -> None:
    (packed / manifest_path("species")).unlink()
    with pytest.raises(FormatError, match=r"species\.parquet is not there"):
        stac.build(packed, card)


def test_names_of_classes_are_few_letters_and_distinct() -> None:
    titles = ["class 5", "лес", "森林", "a, b", "a; b", "Größe"]
    named = enumerate(titles, 4)
    classes = tuple(ClassCode(code, title, "#aa8855") for code, title in named)
    layer = replace(MMEARTH_BENCH.layers["esa_worldcover"], classes=classes)
    fields, _ = describe(layer, MMEARTH_BENCH)
    found = fields["classification:classes"]
    assert [each["title"] for each in found] == titles
    names = ["class_5", "class_5_5", "class_6", "a_b", "a_b_8", "Gr_e"]
    assert [each["name"] for each in found] == names
