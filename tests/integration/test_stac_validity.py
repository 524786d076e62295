"""A built dataset's STAC: valid by every schema, and its byte ranges are the arrays."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pystac
import pytest
import rasterio

from mmearth.build import Options, build
from mmearth.catalog.validate import validate_stac

Run = Callable[..., tuple[int, str, str]]
SHARDS_ONLY = """
name: shards-only
title: Only some modalities
modalities: [sentinel2, sentinel1, dynamic_world, temperature]
source: {kind: synthetic, seed: 7}
tasks:
  biomass: {labels: {count: 4}}
  soil_pH: {labels: {count: 4}}
"""


@pytest.fixture(scope="module")
def shards_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset without the modalities that every place has."""
    config = tmp_path_factory.mktemp("config") / "shards.yaml"
    config.write_text(SHARDS_ONLY)
    out = tmp_path_factory.mktemp("shards") / "dataset"
    summary = build(config, out, Options(1, "threads", None, False), lambda *_: None)
    assert summary.exit_code == 0, summary
    return out


def _items(root: Path) -> list[pystac.Item]:
    catalog = pystac.Catalog.from_file(root / "stac" / "catalog.json")
    return list(catalog.get_items(recursive=True))


def _read(asset: pystac.Asset, wanted: str) -> bytes:
    """Read one member by what STAC says, as a client without our library would."""
    (entry,) = (e for e in asset.extra_fields["archive"] if e["href"].endswith(wanted))
    first, last = entry["range"]
    with Path(str(asset.get_absolute_href())).open("rb") as stream:
        stream.seek(first)
        data = stream.read(last - first + 1)
    assert len(data) == entry["file:size"]
    assert entry["file:checksum"] == "1220" + hashlib.sha256(data).hexdigest()
    return data


@pytest.mark.parametrize("dataset", ["small_dataset", "shards_only"])
def test_everything_is_valid_by_every_schema(
    dataset: str, request: pytest.FixtureRequest, stac_schemas: Path
) -> None:
    root: Path = request.getfixturevalue(dataset)
    found = validate_stac(root, stac_schemas)
    assert found.problems == ()
    assert found.not_checked == ()
    assert found.n_objects > len(_items(root)) > 0


def test_a_range_of_the_shard_is_the_array_of_the_geotiff(
    small_dataset: Path, tmp_path: Path, run_cli: Run
) -> None:
    assert run_cli("curate", "export", small_dataset, "--geotiff", tmp_path)[0] == 0
    rasters = {(item.collection_id, item.id): item for item in _items(tmp_path)}
    items = _items(small_dataset)
    assert len(rasters) == len(items)
    compared = 0
    for item in items[::6]:
        raster = rasters[item.collection_id, item.id]
        titles = [entry["title"] for entry in item.assets["shard"].extra_fields["archive"]]
        assert {*titles} - {"tile-level"} == {*raster.assets} - {"thumbnail"}
        for name in {"sentinel2", "sentinel1", "esa_worldcover"} & {*titles}:
            array = np.load(io.BytesIO(_read(item.assets["shard"], f".{name}.npy")))
            asset = raster.assets[name]
            with rasterio.open(str(asset.get_absolute_href())) as dataset:
                np.testing.assert_array_equal(dataset.read(), array)
                assert dataset.crs.to_string() == item.properties["proj:code"]
                assert list(dataset.transform)[:6] == item.properties["proj:transform"]
                assert list(dataset.bounds) == item.properties["proj:bbox"]
                bands = asset.extra_fields["bands"]
                assert list(dataset.descriptions) == [band["name"] for band in bands]
                assert dataset.nodata == asset.extra_fields["nodata"]
            compared += 1
    assert compared >= 6


def test_a_member_is_what_the_collection_says_of_its_layer(shards_only: Path) -> None:
    assert not (shards_only / "store").exists()
    for item in _items(shards_only):
        collection = item.get_collection()
        assert collection is not None
        about = collection.extra_fields["mmearth:members"]["sentinel2"]
        array = np.load(io.BytesIO(_read(item.assets["shard"], ".sentinel2.npy")))
        assert array.shape == (len(about["bands"]), 128, 128)
        assert array.dtype == about["data_type"]
        assert about["bands"][1]["eo:common_name"] == "blue"
        document = json.loads(_read(item.assets["shard"], ".json"))
        assert "temperature" in json.dumps(document)


def test_duckdb_finds_byte_ranges_in_the_table_of_items(small_dataset: Path) -> None:
    items = {item.id: item for item in _items(small_dataset) if item.collection_id == "soil_pH"}
    rows = duckdb.sql(
        f"""SELECT id, assets.shard.href, unnest(assets.shard.archive, recursive := true)
        FROM '{small_dataset}/stac/items.parquet' WHERE collection = 'soil_pH'"""
    ).df()
    rows = rows[rows["title"] == "sentinel2"]
    assert set(rows["id"]) == set(items)
    for _, row in rows.iterrows():
        first, last = row["range"]
        (entry,) = (
            e
            for e in items[row["id"]].assets["shard"].extra_fields["archive"]
            if e["title"] == "sentinel2"
        )
        assert [first, last] == entry["range"]
