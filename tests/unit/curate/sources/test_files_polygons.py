"""Biome and ecoregion come from the polygon that holds a tile's centre, or are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely

from mmearth.catalog.ecoregions import BIOMES, ECOREGIONS
from mmearth.catalog.errors import ConfigError, DataError, MMEarthError, NoDataError
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.source import Outcome, Visit
from mmearth.curate.sources.files import Files
from mmearth.curate.sources.files.config import Polygons
from mmearth.curate.sources.files.inspect_polygons import inspect_polygons
from mmearth.tests.raster_files import files_of

TILE = Tile(32633, 500_000, 5_000_000)
RESOLVE = "RESOLVE/ECOREGIONS/2017"


def source(root: Path, polygons: dict[str, Any]) -> Files:
    """Return the source of polygons in a directory."""
    return files_of(root, polygons=polygons)


def failed(outcome: Outcome, kind: type[MMEarthError]) -> str:
    """Return the sentence of an outcome that must be an error of one kind."""
    assert type(outcome) is kind, outcome
    return str(outcome)


def seen(outcome: Outcome) -> Observation:
    """Return an outcome that must be an observation."""
    assert isinstance(outcome, Observation), outcome
    return outcome


@pytest.fixture
def regions(tmp_path: Path) -> Path:
    """Return a directory with four polygons: two ecoregions, one of ice, one of our invention."""
    x, y = TILE.lon, TILE.lat
    rows = [
        (
            ECOREGIONS[7].name,
            BIOMES[ECOREGIONS[7].biome],
            shapely.box(x - 2, y - 1, x - 0.5, y + 1),
        ),
        (
            ECOREGIONS[500].name,
            BIOMES[ECOREGIONS[500].biome],
            shapely.box(x - 0.5, y - 1, x + 1, y + 1),
        ),
        ("Rock and Ice", "N/A", shapely.box(x - 1, y + 4, x + 1, y + 6)),
        ("Atlantis", "Seabed", shapely.box(x - 1, y - 6, x + 1, y - 4)),
    ]
    frame = gpd.GeoDataFrame(
        {"ECO_NAME": [row[0] for row in rows], "BIOME_NAME": [row[1] for row in rows]},
        geometry=[row[2] for row in rows],
        crs=4326,
    )
    # In metres: polygons come in any CRS.
    frame.to_crs(3857).to_file(tmp_path / "regions.gpkg")
    return tmp_path


POLYGONS = {
    "biome": {"path": "regions.gpkg", "field": "BIOME_NAME", "product": RESOLVE},
    "ecoregion": {"path": "regions.gpkg", "field": "ECO_NAME", "product": RESOLVE},
}


def test_the_polygon_that_holds_the_centre_gives_the_class(regions: Path) -> None:
    found = source(regions, POLYGONS).observe(Visit(TILE, ("biome", "ecoregion"), None))
    assert seen(found["ecoregion"]).array.tolist() == [500]
    assert seen(found["biome"]).array.tolist() == [ECOREGIONS[500].biome]
    assert seen(found["biome"]).array.dtype == np.int16
    assert seen(found["ecoregion"]).source_ids == (f"regions.gpkg#{ECOREGIONS[500].name}",)
    there = source(regions, POLYGONS).observe(
        Visit(Tile.at(TILE.lon - 1, TILE.lat), ("ecoregion",), None)
    )
    assert seen(there["ecoregion"]).array.tolist() == [7]


def test_no_polygon_is_no_class(regions: Path) -> None:
    found = source(regions, POLYGONS).observe(
        Visit(Tile.at(-30.0, 0.0), ("biome", "ecoregion"), None)
    )
    assert "holds the tile's centre" in failed(found["biome"], NoDataError)
    assert "holds the tile's centre" in failed(found["ecoregion"], NoDataError)


def test_neither_case_nor_blanks_of_a_name_matter(regions: Path) -> None:
    frame = gpd.read_file(regions / "regions.gpkg")
    frame["ECO_NAME"] = frame["ECO_NAME"].str.upper().str.replace(" ", "  ")
    frame.to_file(regions / "regions.gpkg")
    found = source(regions, POLYGONS).observe(Visit(TILE, ("ecoregion",), None))
    assert seen(found["ecoregion"]).array.tolist() == [500]
    frame["ECO_NAME"] = "Central Congolian lowland forest"
    frame.to_file(regions / "misspelt.gpkg")
    entry = {**POLYGONS["ecoregion"], "path": "misspelt.gpkg"}
    found = source(regions, {"ecoregion": entry}).observe(Visit(TILE, ("ecoregion",), None))
    said = failed(found["ecoregion"], DataError)
    assert "(did you mean 'Central Congolian lowland forests'?)" in said
    assert "expected one of its 846 names" in said


def test_a_layer_is_chosen_and_polygons_reach_across_180(tmp_path: Path) -> None:
    boxes = [shapely.box(0, 0, 1, 1), shapely.box(178, -20, 183, -10)]
    for layer, box in zip(("other", "eco"), boxes, strict=True):
        names = {"ECO_NAME": [ECOREGIONS[7].name]}
        frame = gpd.GeoDataFrame(names, geometry=[box], crs=4326)
        frame.to_file(tmp_path / "regions.gpkg", layer=layer)
    entry = POLYGONS["ecoregion"]
    unsaid = source(tmp_path, {"ecoregion": entry}).observe(Visit(TILE, ("ecoregion",), None))
    assert "has 2 layers; say layer: with one of" in failed(unsaid["ecoregion"], ConfigError)
    chosen = source(tmp_path, {"ecoregion": {**entry, "layer": "eco"}})
    for lon in (179.0, -178.0):
        found = chosen.observe(Visit(Tile.at(lon, -15.0), ("ecoregion",), None))
        assert seen(found["ecoregion"]).array.tolist() == [7]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_of_polygons_that_share_the_centre_one_counts_in_any_order(
    order: list[int], tmp_path: Path
) -> None:
    names = ["N/A", ECOREGIONS[500].name, ECOREGIONS[7].name]
    boxes = [shapely.box(14, 44, 16, 46)] * 3
    frame = gpd.GeoDataFrame({"ECO_NAME": names}, geometry=boxes, crs=4326)
    frame.iloc[order].to_file(tmp_path / "regions.gpkg")
    files = source(tmp_path, {"ecoregion": POLYGONS["ecoregion"]})
    found = seen(files.observe(Visit(TILE, ("ecoregion",), None))["ecoregion"])
    assert (found.array.tolist(), found.source_ids) == ([7], (f"regions.gpkg#{names[2]}",))


def test_a_geodatabase_is_a_directory(regions: Path) -> None:
    frame = gpd.read_file(regions / "regions.gpkg")
    frame.to_file(regions / "regions.gdb", driver="OpenFileGDB", layer="eco")
    entry = {**POLYGONS["ecoregion"], "path": "regions.gdb", "layer": "eco"}
    files = source(regions, {"ecoregion": entry})
    found = files.observe(Visit(TILE, ("ecoregion",), None))
    assert seen(found["ecoregion"]).array.tolist() == [500]
    facts = inspect_polygons(files, "ecoregion", Polygons.model_validate(entry), [TILE])
    assert (facts.code, facts.problems) == (500, ())


def test_rock_and_ice_has_no_biome(regions: Path) -> None:
    ice = Tile.at(TILE.lon, TILE.lat + 5)
    found = source(regions, POLYGONS).observe(Visit(ice, ("biome",), None))
    assert "holds the tile's centre" in failed(found["biome"], NoDataError)


def test_a_name_that_is_no_class(regions: Path) -> None:
    sea = Tile.at(TILE.lon, TILE.lat - 5)
    found = source(regions, POLYGONS).observe(Visit(sea, ("biome", "ecoregion"), None))
    assert "regions.gpkg: 'Seabed' is no class of biome" in failed(found["biome"], DataError)
    assert "'Atlantis' is no class of ecoregion" in failed(found["ecoregion"], DataError)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"path": "none.gpkg"}, r"none\.gpkg is not there; correct source\.polygons or root:"),
        ({"field": "NAME"}, r"has no field 'NAME'; its fields are ECO_NAME, BIOME_NAME"),
        ({"path": "bad.gpkg"}, r"bad\.gpkg cannot be read as a vector file"),
    ],
)
def test_polygons_that_cannot_be_used(regions: Path, change: dict[str, str], sentence: str) -> None:
    (regions / "bad.gpkg").write_bytes(b"x" * 100)
    files = source(regions, {"biome": {**POLYGONS["biome"], **change}})
    found = files.observe(Visit(TILE, ("biome", "geolocation"), None))
    with pytest.raises(ConfigError, match=sentence):
        raise found["biome"]  # type: ignore[misc]
    assert seen(found["geolocation"])
