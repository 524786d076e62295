"""`Files` as a source: which file is used, what is missing, what fails, and for whom."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.transform import Affine

from mmearth.catalog.ecoregions import BIOMES
from mmearth.catalog.errors import (
    ConfigError,
    DataError,
    FormatError,
    MMEarthError,
    NoDataError,
)
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.source import Outcome, Visit, is_metered
from mmearth.curate.sources.files import Files
from mmearth.tests.raster_files import files_of

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

TILE = Tile(32633, 500_000, 5_000_000)
FAR = Tile(32633, 600_000, 5_000_000)
COVER, CANOPY = "ESA/WorldCover/v100", "users/nlang/ETH_GlobalCanopyHeight_2020_10m_v1"
RESOLVE = "RESOLVE/ECOREGIONS/2017"


def write(path: Path, values: NDArray[Any], crs: str | None = "EPSG:32633") -> None:
    """Write a GeoTIFF that begins at the tile's upper left corner."""
    path.parent.mkdir(exist_ok=True)
    values = values if values.ndim == 3 else values[None]
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=values.shape[0],
        height=values.shape[1],
        width=values.shape[2],
        dtype=values.dtype,
        crs=crs,
        transform=Affine(10.0, 0.0, TILE.left, 0.0, -10.0, TILE.top),
    ) as dataset:
        dataset.write(values)


def cover(path: Path, code: int, columns: int = 128) -> None:
    """Write land cover of one of our classes over the first columns of the tile."""
    write(path, np.full((128, columns), 10 * (code + 1), np.uint8))


def source(root: Path, polygons: dict[str, Any] | None = None, **rasters: Any) -> Files:
    """Return the source of a configuration; an entry without a product is the modality's own."""
    own = {"esa_worldcover": COVER, "eth_gch": CANOPY}
    entries = {
        name: [{"product": own.get(name), **entry} for entry in given]
        for name, given in rasters.items()
    }
    return files_of(root, rasters=entries, polygons=polygons or {})


def failed(outcome: Outcome, kind: type[MMEarthError]) -> str:
    """Return the sentence of an outcome that must be an error of one kind."""
    assert type(outcome) is kind, outcome
    return str(outcome)


def seen(outcome: Outcome) -> Observation:
    """Return an outcome that must be an observation."""
    assert isinstance(outcome, Observation), outcome
    return outcome


def test_the_first_entry_with_data_is_used(tmp_path: Path) -> None:
    write(tmp_path / "empty.tif", np.full((128, 128), 255, np.uint8))
    with rasterio.open(tmp_path / "empty.tif", "r+") as dataset:
        dataset.nodata = 255
    cover(tmp_path / "b.tif", 5)
    cover(tmp_path / "a.tif", 3)
    files = source(
        tmp_path, esa_worldcover=[{"path": "empty.tif"}, {"path": "b.tif"}, {"path": "a.tif"}]
    )
    found = seen(files.observe(Visit(TILE, ("esa_worldcover",), None))["esa_worldcover"])
    assert np.all(found.array == 5)
    assert (found.source, found.source_ids, found.stand_in) == ("files", ("b.tif",), None)


def test_what_no_file_covers_is_missing(tmp_path: Path) -> None:
    cover(tmp_path / "a.tif", 3)
    files = source(tmp_path, esa_worldcover=[{"path": "a.tif"}])
    here = files.observe(Visit(TILE, ("esa_worldcover", "eth_gch"), None))
    there = files.observe(Visit(FAR, ("esa_worldcover", "eth_gch"), None))
    assert list(here) == ["esa_worldcover", "eth_gch"]
    assert seen(here["esa_worldcover"]).valid_fraction == 1.0
    assert "names no file for eth_gch" in failed(here["eth_gch"], NoDataError)
    assert "no file covers the tile" in failed(there["esa_worldcover"], NoDataError)


@pytest.mark.parametrize("first", [-180.0, 0.0])
def test_a_world_that_begins_anywhere_covers_both_halves(tmp_path: Path, first: float) -> None:
    with rasterio.open(
        tmp_path / "world.tif",
        "w",
        driver="GTiff",
        count=1,
        height=180,
        width=360,
        dtype="uint8",
        crs="EPSG:4326",
        transform=Affine(1.0, 0.0, first, 0.0, -1.0, 90.0),
    ) as dataset:
        dataset.write(np.full((1, 180, 360), 50, np.uint8))
    files = source(tmp_path, esa_worldcover=[{"path": "world.tif"}])
    for lon in (-179.9999, -72.5, 0.0, 34.1, 179.9999):
        found = files.observe(Visit(Tile.at(lon, 10.5), ("esa_worldcover",), None))[
            "esa_worldcover"
        ]
        assert np.all(seen(found).array == 4)


def test_a_tile_half_covered_keeps_its_gap(tmp_path: Path) -> None:
    cover(tmp_path / "a.tif", 3, columns=32)
    found = seen(
        source(tmp_path, esa_worldcover=[{"path": "a.tif"}]).observe(
            Visit(TILE, ("esa_worldcover",), None)
        )["esa_worldcover"]
    )
    assert found.valid_fraction == 0.25
    assert np.all(found.array[0, :, 32:] == 11)


def test_a_stand_in_stays_with_the_observation(tmp_path: Path) -> None:
    cover(tmp_path / "a.tif", 3)
    why = "no WorldCover of 2020 at hand"
    entry = {"path": "a.tif", "product": "ESA/WorldCover/v200", "stand_in": why}
    files = source(tmp_path, esa_worldcover=[entry])
    assert (
        seen(files.observe(Visit(TILE, ("esa_worldcover",), None))["esa_worldcover"]).stand_in
        == why
    )


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (
            {"rasters": {"esa_worldcover": [{"path": "a", "product": "ESA/WorldCover/v200"}]}},
            "esa_worldcover: product 'ESA/WorldCover/v200' is not 'ESA/WorldCover/v100'.*stand_in",
        ),
        (
            {"rasters": {"esa_worldcover": [{"path": "a"}]}},
            "product: is missing; expected what the files are, such as 'ESA/WorldCover/v100'",
        ),
        ({"rasters": {"worldcover": []}}, "'worldcover' cannot come from rasters; expected"),
        ({"rasters": {"geolocation": []}}, "'geolocation' cannot come from rasters"),
        (
            {"rasters": {"esa_worldcover": [{"path": "a", "product": COVER, "no_data": 0}]}},
            r"no_data\n  Extra inputs are not permitted",
        ),
        (
            {"polygons": {"eth_gch": {"path": "a", "field": "b", "product": CANOPY}}},
            "'eth_gch' cannot come from polygons; expected a tile-level layer of classes: biome, "
            "ecoregion",
        ),
        (
            {"polygons": {"biome": {"path": "a", "field": "b", "product": "WWF TEOW"}}},
            "biome: product 'WWF TEOW' is not 'RESOLVE/ECOREGIONS/2017'",
        ),
    ],
)
def test_a_configuration_that_cannot_be_meant(
    tmp_path: Path, document: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        files_of(tmp_path, **document)


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source\.root: .*data is no directory; correct root:"):
        files_of(tmp_path, root="data")


def test_a_pattern_without_files_is_a_problem_where_nothing_else_covers(tmp_path: Path) -> None:
    cover(tmp_path / "a.tif", 3)
    files = source(tmp_path, esa_worldcover=[{"path": "2020/*.tif"}, {"path": "a.tif"}])
    reasons = [str(broken.reason) for broken in files.index("esa_worldcover").broken]
    assert [text.split(" matches")[1] for text in reasons] == [" no file; correct path: or root:"]
    assert seen(files.observe(Visit(TILE, ("esa_worldcover",), None))["esa_worldcover"])
    there = files.observe(Visit(FAR, ("esa_worldcover",), None))["esa_worldcover"]
    assert "2020/*.tif matches no file" in failed(there, FormatError)


def test_a_raster_without_a_crs(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", np.full((128, 128), 40, np.uint8), crs=None)
    found = source(tmp_path, esa_worldcover=[{"path": "a.tif"}]).observe(
        Visit(TILE, ("esa_worldcover",), None)
    )["esa_worldcover"]
    expected = "a.tif has no CRS; expected one in the file, or crs: in its entry"
    assert expected in failed(found, FormatError)
    files = source(tmp_path, esa_worldcover=[{"path": "a.tif", "crs": "EPSG:32633"}])
    assert seen(files.observe(Visit(TILE, ("esa_worldcover",), None))["esa_worldcover"])


def test_what_is_no_raster_fails_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("not a raster")
    write(tmp_path / "canopy.tif", np.full((2, 128, 128), 12.0, np.float32))
    files = source(tmp_path, esa_worldcover=[{"path": "a.tif"}], eth_gch=[{"path": "canopy.tif"}])
    found = files.observe(Visit(TILE, ("esa_worldcover", "eth_gch"), None))
    assert "a.tif cannot be opened as a raster" in failed(found["esa_worldcover"], FormatError)
    assert np.all(seen(found["eth_gch"]).array == 12.0)


def test_a_damaged_raster_fails_and_the_others_go_on(tmp_path: Path) -> None:
    cover(tmp_path / "a.tif", 3)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[: len(data) // 2])
    write(tmp_path / "canopy.tif", np.full((2, 128, 128), 12.0, np.float32))
    files = source(tmp_path, esa_worldcover=[{"path": "a.tif"}], eth_gch=[{"path": "canopy.tif"}])
    found = files.observe(Visit(TILE, ("esa_worldcover", "eth_gch"), None))
    assert "a.tif cannot be read" in failed(found["esa_worldcover"], DataError)
    assert np.all(seen(found["eth_gch"]).array == 12.0)


def test_a_band_without_its_file(tmp_path: Path) -> None:
    (tmp_path / "scene").mkdir()
    write(tmp_path / "scene" / "height.tif", np.full((128, 128), 12.0, np.float32))
    entry = {"path": "scene", "files": {"height": "height.tif", "uncertainty": "sd*.tif"}}
    found = source(tmp_path, eth_gch=[entry]).observe(Visit(TILE, ("eth_gch",), None))["eth_gch"]
    assert "has 0 files sd*.tif for uncertainty; expected one" in failed(found, FormatError)


def test_sentinel2_gives_the_others_their_month(tmp_path: Path) -> None:
    write(tmp_path / "s2.tif", np.full((12, 128, 128), 500, np.uint16))
    entry = {
        "path": "s2.tif",
        "product": "COPERNICUS/S2_SR_HARMONIZED",
        "date": {"value": "2020-06-01"},
    }
    found = source(tmp_path, sentinel2=[entry]).observe(
        Visit(TILE, ("month", "sentinel2"), "2020-01-01")
    )
    # June: cos(π) and sin(π).
    assert seen(found["month"]).array.tolist() == [pytest.approx(-1.0), pytest.approx(0.0)]
    assert seen(found["month"]).acquired == "2020-06-01"


def test_without_any_date_the_leaf_season_decides(tmp_path: Path) -> None:
    south = Tile(32733, 500_000, 5_000_000)
    for tile, day in ((TILE, "2020-07-16"), (south, "2020-02-15")):
        found = source(tmp_path).observe(Visit(tile, ("month",), None))["month"]
        assert (seen(found).acquired, seen(found).source_ids) == (day, (day,))
    asked = source(tmp_path).observe(Visit(TILE, ("month",), "2019-03-01/2019-03-31"))["month"]
    assert seen(asked).acquired == "2019-03-16"
    found = source(tmp_path).observe(Visit(TILE, ("geolocation",), None))
    assert seen(found["geolocation"]).array[2] == pytest.approx(np.cos(np.deg2rad(TILE.lat)))


@pytest.fixture
def mixed(tmp_path: Path) -> Files:
    """Return a source of one raster and one polygon over the whole world."""
    cover(tmp_path / "a.tif", 3)
    world = gpd.GeoDataFrame(
        {"BIOME_NAME": [BIOMES[9]]}, geometry=[shapely.box(-180, -90, 180, 90)], crs=4326
    )
    world.to_file(tmp_path / "world.gpkg")
    return source(tmp_path, POLYGONS, esa_worldcover=[{"path": "a.tif"}])


POLYGONS = {"biome": {"path": "world.gpkg", "field": "BIOME_NAME", "product": RESOLVE}}


def test_the_fingerprint_follows_contents_and_configuration_only(
    mixed: Files, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def prints(files: Files) -> tuple[str, str]:
        return files.under(TILE, "esa_worldcover"), files.fingerprint("biome")

    before, entry = prints(mixed), {"path": "a.tif"}
    elsewhere = tmp_path_factory.mktemp("moved") / "data"
    shutil.copytree(tmp_path, elsewhere, copy_function=shutil.copyfile)  # other times, other place
    assert prints(source(elsewhere, POLYGONS, esa_worldcover=[entry])) == before
    changed = source(tmp_path, POLYGONS, esa_worldcover=[{**entry, "nodata": 0}])
    assert changed.under(TILE, "esa_worldcover") != before[0]
    assert changed.fingerprint("biome") == before[1]
    assert source(tmp_path, esa_worldcover=[entry]).fingerprint("biome") != before[1]
    cover(elsewhere / "a.tif", 4)
    replaced = source(elsewhere, POLYGONS, esa_worldcover=[entry])
    assert replaced.under(TILE, "esa_worldcover") != before[0]
    assert replaced.under(Tile.at(-60.0, -10.0), "esa_worldcover") == ""


def test_a_pickled_source_answers_the_same(mixed: Files) -> None:
    first = mixed.observe(Visit(TILE, ("biome", "esa_worldcover"), None))
    again = pickle.loads(pickle.dumps(mixed))
    second = again.observe(Visit(TILE, ("biome", "esa_worldcover"), None))
    assert again.under(TILE, "esa_worldcover") == mixed.under(TILE, "esa_worldcover")
    assert seen(first["biome"]).array.tolist() == seen(second["biome"]).array.tolist() == [9]
    assert np.all(seen(second["esa_worldcover"]).array == 3)


def test_it_has_no_labels_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tasks\.soil_pH: .* give points: or grid:"):
        source(tmp_path).labels(MMEARTH_BENCH.tasks["soil_pH"], 10, 1)


def test_scenes_that_are_read_alike_share_how(tmp_path: Path) -> None:
    for i in range(40):
        write(tmp_path / f"{i:02d}.tif", np.full((2, 8, 8), 12.0, np.float32))
    one = len(pickle.dumps(source(tmp_path, eth_gch=[{"path": "00.tif"}])))
    all_of_them = len(pickle.dumps(source(tmp_path, eth_gch=[{"path": "*.tif"}])))
    assert (all_of_them - one) / 39 < 400  # bytes of one more scene


def test_nobody_reads_the_fingerprint_to_learn_that_files_are_not_metered(
    mixed: Files, tmp_path: Path
) -> None:
    (tmp_path / "world.gpkg").unlink()
    assert not is_metered(mixed)
    with pytest.raises(ConfigError, match=r"world\.gpkg is not there"):
        assert mixed.fingerprint("biome")
