"""Exported GeoTIFFs and their catalogue in the tools of others: GDAL, odc-stac, rio-tiler."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pystac
import pystac.validation
import pytest
import rasterio
from click.testing import CliRunner
from PIL import Image

from mmearth.export_command import command

_TOOLS = Path(__file__).resolve().parents[2] / "docs" / "tools.md"


@pytest.fixture(scope="module")
def exported(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The GeoTIFFs of the samples of a task."""
    out = tmp_path_factory.mktemp("exported")
    asked = [str(small_dataset), "--geotiff", str(out), "--where", "task = 'biomass'"]
    command.main(asked, standalone_mode=False)
    return out


@pytest.fixture
def item(exported: Path) -> pystac.Item:
    """One of the items."""
    catalog = pystac.Catalog.from_file(exported / "stac" / "catalog.json")
    return next(
        each for each in catalog.get_items(recursive=True) if each.collection_id == "biomass"
    )


def _read(item: pystac.Item, name: str) -> Any:
    with rasterio.open(str(item.assets[name].get_absolute_href())) as dataset:
        return dataset.read()


def test_gdal_knows_scale_unit_colours_and_categories(item: pystac.Item) -> None:
    with rasterio.open(str(item.assets["sentinel2"].get_absolute_href())) as dataset:
        assert (dataset.scales[3], dataset.offsets[3], dataset.units[3]) == (0.0001, 0.0, "1")
        assert dataset.colorinterp[3].name == "red"
    with rasterio.open(str(item.assets["biomass"].get_absolute_href())) as dataset:
        assert dataset.units == ("Mg/ha",)
    with rasterio.open(str(item.assets["esa_worldcover"].get_absolute_href())) as dataset:
        assert dataset.colorinterp[0].name == "palette"
        assert dataset.colormap(1)[0] == (0, 100, 0, 255)  # trees
    picture = Image.open(str(item.assets["thumbnail"].get_absolute_href()))
    assert (picture.size, picture.mode) == ((128, 128), "RGB")
    assert np.ptp(np.asarray(picture)) > 100


@pytest.mark.filterwarnings("ignore::DeprecationWarning:odc", "ignore:The 'shapely.ops")
@pytest.mark.parametrize(
    ("band", "name", "at"),
    [
        ("red", "sentinel2", 3),
        ("B4", "sentinel2", 3),
        ("nir", "sentinel2", 7),
        ("slope", "aster_gdem", 1),
        ("esa_worldcover", "esa_worldcover", 0),
    ],
)
def test_odc_stac_loads_bands_by_name(item: pystac.Item, band: str, name: str, at: int) -> None:
    odc_stac = pytest.importorskip("odc.stac")
    loaded = odc_stac.load([item], bands=[band])
    np.testing.assert_array_equal(loaded[band].values[0], _read(item, name)[at])
    assert loaded.odc.crs.to_epsg() == int(item.properties["proj:code"].removeprefix("EPSG:"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:odc", "ignore:The 'shapely.ops")
def test_odc_stac_does_not_take_one_land_cover_for_another(item: pystac.Item) -> None:
    odc_stac = pytest.importorskip("odc.stac")
    assert {"dynamic_world", "esa_worldcover"} <= item.assets.keys()
    with pytest.raises(ValueError, match="No such band/alias: label"):
        odc_stac.load([item], bands=["label"])


@pytest.mark.filterwarnings("ignore:Some statistics data in STAC:UserWarning")
def test_rio_tiler_draws_bands_by_name_and_classes(item: pystac.Item) -> None:
    rio_tiler = pytest.importorskip("rio_tiler.io")
    with rio_tiler.STACReader(item.get_self_href()) as reader:
        assert "thumbnail" not in reader.assets
        drawn = reader.preview(assets=[{"name": "sentinel2", "bands": ["red", "green", "blue"]}])
        np.testing.assert_array_equal(drawn.data, _read(item, "sentinel2")[[3, 2, 1]])
        west, south, east, north = reader.get_geographic_bounds("EPSG:4326")
        place = reader.tms.tile((west + east) / 2, (south + north) / 2, 15)
        tile = reader.tile(place.x, place.y, place.z, assets="esa_worldcover")
        assert {*np.unique(tile.data[tile.array.mask == 0])} <= {*range(11)}


@pytest.mark.parametrize("which", ["small_dataset", "exported"])
def test_a_second_validator_finds_no_fault(
    which: str,
    request: pytest.FixtureRequest,
    stac_schemas: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("stac_validator")
    from stac_validator import utilities
    from stac_validator.stac_validator import StacValidate, cli

    of_pystac = Path(pystac.validation.__file__).parent / "jsonschemas"
    core = {path.name: path for path in of_pystac.rglob("*.json")}

    def local(url: str, **_: Any) -> SimpleNamespace:
        path = stac_schemas / url.partition("://")[2].rstrip("#")
        text = (path if path.exists() else core[path.name]).read_text()
        return SimpleNamespace(json=lambda: json.loads(text), raise_for_status=lambda: None)

    monkeypatch.setattr(
        utilities, "requests", SimpleNamespace(get=local, exceptions=utilities.requests.exceptions)
    )
    root: Path = request.getfixturevalue(which)
    paths = [root / "stac/catalog.json", *root.glob("stac/*/collection.json")]
    paths += sorted(root.glob("stac/biomass/items/*/*.json"))[:3]
    for path in paths:
        found = StacValidate(str(path))
        found.run()
        assert found.message[0]["valid_stac"], found.message
    monkeypatch.chdir(root)
    (asked,) = re.findall("`stac-valid (.*?)`", _TOOLS.read_text(encoding="utf-8"))
    done = CliRunner().invoke(cli, asked.split())
    assert done.exit_code == 0, done.output
    assert "(100.0%)" in done.output
    spoiled = json.loads(paths[-1].read_bytes()) | {"bbox": [1]}
    found = StacValidate()
    found.validate_dict(spoiled)
    assert not found.message[0]["valid_stac"]
