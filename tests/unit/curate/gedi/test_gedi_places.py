"""Places among footprints: shares of biomes and ecoregions, tiles that do not overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile, tiles_at
from mmearth.curate.config import BuildConfig
from mmearth.curate.labels.gedi import gedi_labels
from mmearth.curate.labels.gedi.balance import choose, locate, read_regions
from mmearth.curate.labels.gedi.footprints import Footprints, gather
from mmearth.curate.labels.gedi.quality import Counts
from mmearth.curate.labels.gedi.thin import first_apart
from mmearth.curate.places import GediPlaces
from mmearth.curate.plan import make_plan
from mmearth.curate.source import Label
from mmearth.curate.sources.synthetic import Synthetic

WriteGranule = Callable[..., Path]


def _footprints(
    lon: Sequence[float] | NDArray[Any], lat: Sequence[float] | NDArray[Any]
) -> Footprints:
    n = len(lon)
    columns: dict[str, NDArray[Any]] = {
        "lon": np.asarray(lon, dtype=np.float64),
        "lat": np.asarray(lat, dtype=np.float64),
        "agbd": np.ones(n, np.float32),
        "shot": np.arange(n, dtype=np.uint64),
        "leaf_on": np.full(n, 100, np.int16),
        "leaf_off": np.full(n, 300, np.int16),
        "day": np.full(n, 18_400, np.int32),
    }
    return gather([("x.h5", columns, Counts(kept=n), "GEDI_L4A 02")], "key")


def _scattered(n: int, west: float, south: float, east: float, north: float) -> Footprints:
    generator = np.random.default_rng(3)
    return _footprints(generator.uniform(west, east, n), generator.uniform(south, north, n))


def _track(n: int, lon: float = 15.0, lat: float = 1.0) -> Footprints:
    """Return footprints 60 m apart on a line to the north."""
    return _footprints(np.full(n, lon), lat + np.arange(n) * 60.0 / 110_600)


def _overlap(one: Tile, other: Tile) -> bool:
    """Return whether two tiles of one zone overlap."""
    assert one.epsg == other.epsg
    return abs(one.left - other.left) < 1280 and abs(one.top - other.top) < 1280


def _regions(directory: Path, *rows: tuple[str, str, shapely.Geometry]) -> Path:
    names, biomes, shapes = zip(*rows, strict=True)
    path = directory / "regions.gpkg"
    columns = {"ECO_NAME": names, "BIOME_NAME": biomes}
    gpd.GeoDataFrame(columns, geometry=list(shapes), crs=4326).to_file(path)
    return path


@pytest.fixture
def four(tmp_path: Path) -> Path:
    """Two biomes: one of two regions, 1° and 3° wide; one of a single region; and no region."""
    return _regions(
        tmp_path,
        ("Narrow", "Forest", shapely.box(10, 0, 11, 1)),
        ("Wide", "Forest", shapely.box(11, 0, 14, 1)),
        ("Plain", "Grass", shapely.box(14, 0, 15, 1)),
        ("Rock and Ice", "N/A", shapely.box(15, 0, 16, 1)),
    )


def test_a_biome_s_share_is_dealt_by_area(four: Path) -> None:
    # ceil(15 / 2) = 8 a biome: 8 × ¼ = 2 and 8 × ¾ = 6; ceil(17 / 2) = 9: 2.25 → 3, 6.75 → 7.
    for count, plain, narrow_wide in ((15, 8, [2, 6]), (17, 9, [3, 7])):
        names = ["Narrow", "Plain", "Wide"]
        share = dict(zip(names, read_regions(four, count).share.tolist(), strict=True))
        assert share == {"Narrow": narrow_wide[0], "Wide": narrow_wide[1], "Plain": plain}


def test_one_layer_of_several_is_named(four: Path, tmp_path: Path) -> None:
    frame = gpd.read_file(four)
    path = tmp_path / "two.gpkg"
    frame.to_file(path, layer="regions")
    frame[:1].to_file(path, layer="first")
    with pytest.raises(ConfigError, match="has 2 layers; say layer: with one of first, regions"):
        read_regions(path, 15)
    assert read_regions(path, 15, layer="regions").share.size == 3


def test_only_area_that_gedi_sees_counts(tmp_path: Path) -> None:
    path = _regions(
        tmp_path,
        ("A", "Forest", shapely.box(0, 41.6, 1, 51.6)),
        ("B", "Forest", shapely.box(1, 41.6, 2, 61.6)),
        ("C", "Tundra", shapely.box(0, 60, 2, 70)),
    )
    assert read_regions(path, 10).share.tolist() == [5, 5]


def test_records_of_one_region_count_as_one(tmp_path: Path) -> None:
    path = _regions(
        tmp_path,
        ("A", "Forest", shapely.box(0, 0, 1, 1)),
        ("A", "Forest", shapely.box(5, 0, 6, 1)),
        ("B", "Forest", shapely.box(1, 0, 2, 1)),
    )
    regions = read_regions(path, 9)
    assert regions.share.tolist() == [6, 3]
    assert locate(_footprints([0.5, 1.5, 3, 5.5], [0.5] * 4), regions).tolist() == [0, 1, 2, 0]


def test_places_follow_the_shares(four: Path) -> None:
    footprints = _scattered(4000, 10, 0, 16, 1)
    chosen = choose(footprints, 15, four, 1, DEFAULT_GRID)
    lon = footprints.lon[chosen]
    assert len(set(chosen.tolist())) == 16
    assert [((lon >= a) & (lon < b)).sum() for a, b in ((10, 11), (11, 14), (14, 15))] == [2, 6, 8]
    assert not (lon > 15).any()


def test_a_seed_is_a_choice(four: Path) -> None:
    footprints = _scattered(4000, 10, 0, 16, 1)
    first = choose(footprints, 15, four, 1, DEFAULT_GRID).tolist()
    assert choose(footprints, 15, four, 1, DEFAULT_GRID).tolist() == first
    assert choose(footprints, 15, four, 2, DEFAULT_GRID).tolist() != first
    assert (
        choose(footprints, 15, None, 1, DEFAULT_GRID).tolist()
        != choose(footprints, 15, None, 2, DEFAULT_GRID).tolist()
    )


def test_no_footprint_in_any_region(four: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none of 3 footprints lies in an ecoregion"):
        choose(_footprints([15.5, 40, 40], [0.5] * 3), 10, four, 1, DEFAULT_GRID)
    far = _regions(tmp_path, ("North", "Tundra", shapely.box(0, 60, 1, 61)))
    with pytest.raises(ConfigError, match="no ecoregion between"):
        choose(_track(3), 10, far, 1, DEFAULT_GRID)


def test_tiles_of_a_track_do_not_overlap_and_leave_no_room() -> None:
    footprints = _track(1000)  # 60 km
    chosen = choose(footprints, 1000, None, 5, DEFAULT_GRID)
    tiles = list(tiles_at(footprints.lon, footprints.lat, DEFAULT_GRID))
    kept = [tiles[i] for i in chosen]
    pairs = [(a, b) for i, a in enumerate(kept) for b in kept[:i]]
    assert pairs and not any(_overlap(a, b) for a, b in pairs)
    # No tile fits between two whose centres are less than two tiles apart, margins included.
    tops = sorted(tile.top for tile in kept)
    assert max(np.diff(tops)) < 2 * 1300 + 80
    assert 60_000 / 2680 < len(kept) < 60_000 / 1300


def test_as_many_as_asked_from_a_crowd() -> None:
    generator = np.random.default_rng(1)
    lon, lat = 15 + generator.uniform(0, 0.5, 20_000), 1 + generator.uniform(0, 0.5, 20_000)
    # 55 × 55 km: 1800 tiles side by side, about half of that at random; tried in several rounds.
    tiles = tiles_at(lon, lat, DEFAULT_GRID)
    kept = tiles[first_apart(tiles, 800)]
    assert len(kept) == 800
    for fewer in (100, 500):  # a larger count keeps what a smaller one had
        assert (first_apart(tiles, fewer) == first_apart(tiles, 800)[:fewer]).all()
    across = np.abs(kept.left[:, None] - kept.left)
    along = np.abs(kept.top[:, None] - kept.top)
    assert np.count_nonzero((across < 1280) & (along < 1280)) == 800  # each with itself


@pytest.mark.parametrize(("edge", "zones"), [(18.0, (32633, 32634)), (180.0, (32660, 32601))])
def test_tiles_on_both_sides_of_a_zone_s_edge_do_not_overlap(
    edge: float, zones: tuple[int, int]
) -> None:
    generator = np.random.default_rng(1)
    lon, lat = edge + generator.uniform(-0.02, 0.02, 3000), 40 + generator.uniform(0, 0.5, 3000)
    tiles = tiles_at((lon + 180.0) % 360.0 - 180.0, lat, DEFAULT_GRID)
    kept = tiles[first_apart(tiles, 80)]  # in several rounds
    assert len(kept) > 60 and set(kept.epsg.tolist()) == set(zones)
    to_first = Transformer.from_crs(zones[1], zones[0], always_xy=True)
    squares = []
    for tile in kept:
        square = shapely.box(*tile.bounds)
        if tile.epsg == zones[1]:
            square = shapely.transform(square, to_first.transform, interleaved=False)
        squares.append(square)
    assert not any(a.intersects(b) for i, a in enumerate(squares) for b in squares[:i])


def test_tiles_on_both_sides_of_the_antimeridian_do_not_overlap() -> None:
    footprints = _footprints([179.999, -179.999, 179.0], [-17.0, -17.0, -17.0])
    assert choose(footprints, 3, None, 1, DEFAULT_GRID).size == 2


def test_labels_are_footprints(write_granule: WriteGranule, four: Path, tmp_path: Path) -> None:
    lon = [10.5, 12.5, 14.5, 30.0]
    write_granule(
        "a.h5", shot_number=[11, 12, 13, 14], lon_lowestmode=lon, lat_lowestmode=[0.5] * 4
    )
    config = GediPlaces(granules=("*.h5",), ecoregions=four.name, count=100)
    labels = gedi_labels(
        MMEARTH_BENCH.tasks["biomass"], config, Synthetic(1), tmp_path, DEFAULT_GRID, 1
    )
    leaves = "2020-04-09/2020-10-26"  # days 100 and 300 of a leap year
    assert labels == [
        Label(10.5, 0.5, date=leaves, label_id="11"),
        Label(14.5, 0.5, date=leaves, label_id="13"),
        Label(12.5, 0.5, date=leaves, label_id="12"),
    ]
    late = gedi_labels(
        MMEARTH_BENCH.tasks["biomass"],
        config,
        Synthetic(1),
        tmp_path,
        DEFAULT_GRID,
        1,
        days_late=True,
    )
    assert {label.date for label in late} == {"2020-04-10/2020-10-26"}
    every = config.model_copy(update={"ecoregions": None})
    found = gedi_labels(
        MMEARTH_BENCH.tasks["biomass"], every, Synthetic(1), tmp_path, DEFAULT_GRID, 1
    )
    assert {label.label_id for label in found} == {"11", "12", "13", "14"}


def test_order_of_granules_changes_no_place(write_granule: WriteGranule, tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    for name, first in (("a.h5", 0), ("b.h5", 50)):
        shots = list(range(first, first + 50))
        lon, lat = generator.uniform(15, 15.2, (2, 50))
        write_granule(name, shot_number=shots, lon_lowestmode=lon, lat_lowestmode=lat)

    def labels(*names: str, seed: int = 1) -> list[Label]:
        config = GediPlaces(granules=names, count=20)
        return gedi_labels(
            MMEARTH_BENCH.tasks["biomass"], config, Synthetic(1), tmp_path, DEFAULT_GRID, seed
        )

    assert labels("a.h5", "b.h5") == labels("b.h5", "a.h5") == labels("*.h5")
    assert labels("*.h5") != labels("*.h5", seed=2)
    assert len(labels("*.h5")) == 20


def test_nothing_to_choose_from(write_granule: WriteGranule, tmp_path: Path) -> None:
    write_granule("a.h5", degrade_flag=[1, 1, 1])
    config = GediPlaces(granules=("a.h5",))
    with pytest.raises(ConfigError, match="degrade_flag rejects 3") as caught:
        gedi_labels(MMEARTH_BENCH.tasks["biomass"], config, Synthetic(1), tmp_path, DEFAULT_GRID, 1)
    assert "\n" not in str(caught.value)
    late = GediPlaces.model_validate({"granules": ["a.h5"], "first": "2020-04-01"})
    with pytest.raises(ConfigError, match="none of 1 GEDI granules lies within 2020-04-01"):
        gedi_labels(MMEARTH_BENCH.tasks["biomass"], late, Synthetic(1), tmp_path, DEFAULT_GRID, 1)
    with pytest.raises(ConfigError, match=r"tasks\.soil_pH: gedi: gives places of biomass only"):
        gedi_labels(MMEARTH_BENCH.tasks["soil_pH"], config, Synthetic(1), tmp_path, DEFAULT_GRID, 1)


def test_a_plan_of_footprints(write_granule: WriteGranule, tmp_path: Path) -> None:
    write_granule(lon_lowestmode=[15.0, 15.1, 15.2])
    config = BuildConfig.model_validate(
        {
            "name": "g",
            "title": "G",
            "source": {"kind": "synthetic"},
            "tasks": {"biomass": {"gedi": {"granules": ["*.h5"]}}},
        }
    )
    plan = make_plan(config, Synthetic(1), tmp_path)
    assert sorted(plan.table["label_id"].to_pylist()) == ["101", "102", "103"]
    # What is asked for is when their trees have leaves, whatever source is asked.
    assert set(plan.table["date"].to_pylist()) == {"2020-04-09/2020-10-26"}
    assert "3 of 3 shots in 1 granules kept" in plan.tasks[0].notes[0]
    assert "3 places of count: 20000: no further tile fits" in plan.tasks[0].notes[1]


def test_shares_of_the_real_ecoregions(real_data: Path) -> None:
    path = real_data / "vector" / "resolve_ecoregions2017_simplified" / "Ecoregions2017.shp"
    regions = read_regions(path, 20_000)
    frame = gpd.read_file(path).query("BIOME_NAME != 'N/A'")
    frame = frame.assign(
        a=frame.intersection(shapely.box(-180, -51.6, 180, 51.6)).to_crs(6933).area
    )
    frame = frame[frame.a > 0].sort_values("ECO_NAME")
    expected = np.ceil(1429 * frame.a / frame.groupby("BIOME_NAME").a.transform("sum"))
    pd.testing.assert_series_equal(
        expected.astype("int64"), pd.Series(regions.share, expected.index), check_names=False
    )
    # MMEarth-Bench intended 20,421 tiles in 774 ecoregions, from the full geometry.
    assert (len(frame), regions.share.sum()) == (773, 20_419)


def test_real_footprints_lie_in_their_ecoregion(real_data: Path) -> None:
    path = real_data / "vector" / "resolve_ecoregions2017_simplified" / "Ecoregions2017.shp"
    footprints = _scattered(3000, -80, -50, 150, 50)
    found = locate(footprints, read_regions(path, 100))
    points = gpd.GeoDataFrame(geometry=gpd.points_from_xy(footprints.lon, footprints.lat), crs=4326)
    frame = gpd.read_file(path).query("BIOME_NAME != 'N/A'")
    frame = frame[frame.intersects(shapely.box(-180, -51.6, 180, 51.6))]
    names = sorted(frame.ECO_NAME)
    joined = points.sjoin(frame, how="left").groupby(level=0).ECO_NAME.min()
    expected = [names.index(n) if isinstance(n, str) else len(names) for n in joined]
    assert found.tolist() == expected
    assert (found < len(names)).sum() > 500
