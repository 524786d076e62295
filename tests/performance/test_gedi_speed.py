"""How fast granules of GEDI are read, and places chosen among their footprints."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import tiles_at
from mmearth.curate.labels.gedi.balance import Regions, choose, locate, read_regions
from mmearth.curate.labels.gedi.files import find_granules
from mmearth.curate.labels.gedi.footprints import Footprints, gather
from mmearth.curate.labels.gedi.paint import paint
from mmearth.curate.labels.gedi.quality import Counts
from mmearth.curate.labels.gedi.read import read_granule

_BEAMS = ("0000", "0001", "0010", "0011", "0101", "0110", "1000", "1011")


def _track(lon: float, lat: float, n_shots: int) -> tuple[np.ndarray, np.ndarray]:
    """Return longitudes and latitudes of shots 60 m apart on a line towards the equator."""
    along = np.arange(n_shots) * 60.0 / 111_320.0 * 0.7
    return (lon + along + 180) % 360 - 180, lat + (along if lat < 0 else -along)


def _write_granule(path: Path, n_shots: int) -> None:
    import h5py

    generator = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        for number, beam in enumerate(_BEAMS):
            lon, lat = _track(15.0 * number, 50.0, n_shots)
            values = {
                "lon_lowestmode": lon,
                "lat_lowestmode": lat,
                "agbd": generator.gamma(1.5, 60, n_shots).astype(np.float32),
                "shot_number": np.arange(n_shots, dtype=np.uint64) + number * 10**11,
                "delta_time": 7.2e7 + np.arange(n_shots) * 0.008264,
                "degrade_flag": np.zeros(n_shots, np.uint8),
                "l2_quality_flag": generator.integers(0, 2, n_shots, np.uint8),
                "l4_quality_flag": generator.integers(0, 2, n_shots, np.uint8),
                "land_cover_data/leaf_off_flag": np.zeros(n_shots, np.uint8),
                "land_cover_data/region_class": np.ones(n_shots, np.uint8),
                "land_cover_data/leaf_on_doy": np.full(n_shots, 100, np.int16),
                "land_cover_data/leaf_off_doy": np.full(n_shots, 300, np.int16),
            }
            for name, array in values.items():
                # The chunks and the compression of the product itself.
                file.create_dataset(
                    f"BEAM{beam}/{name}", data=array, chunks=(14_200,), compression="gzip"
                )


@pytest.mark.performance
def test_granule_of_500_000_shots(tmp_path: Path) -> None:
    _write_granule(tmp_path / "GEDI04_A_2020102150820_x.h5", 62_500)
    (granule,) = find_granules(["*.h5"], tmp_path)
    begin = time.perf_counter()
    columns, counts, _ = read_granule(granule, (None, None), ())
    took = time.perf_counter() - begin
    print(f"\n500,000 shots read in {took:.2f} s, {counts.shots / took / 1e6:.1f} M shots/s")
    assert counts.shots == 500_000 and columns["lon"].size == counts.kept
    assert took < 10.0


def _starts(regions: Regions) -> np.ndarray:
    """Return a place for each that the regions shall give, (n, lon-lat), inside them."""
    generator = np.random.default_rng(2)
    places = generator.uniform((-180, -51.6), (180, 51.6), (1_000_000, 2))
    found = _gathered(places[:, 0], places[:, 1])
    region = locate(found, regions)
    inside = [np.flatnonzero(region == i) for i in range(regions.share.size)]
    chosen = [
        generator.choice(indices, n)
        for indices, n in zip(inside, regions.share, strict=True)
        if indices.size  # islands that no random place has met
    ]
    indices = np.concatenate(chosen)
    return np.column_stack([found.lon[indices], found.lat[indices]])


def _gathered(lon: np.ndarray, lat: np.ndarray) -> Footprints:
    n = lon.size
    columns = {
        "lon": lon,
        "lat": lat,
        "agbd": np.ones(n, np.float32),
        "shot": np.random.default_rng(3).permutation(n).astype(np.uint64),
        "leaf_on": np.full(n, 100, np.int16),
        "leaf_off": np.full(n, 300, np.int16),
        "day": np.full(n, 18_400, np.int32),
    }
    return gather([("x.h5", columns, Counts(granules=1, shots=n, kept=n), "GEDI_L4A 02")], "k")


@pytest.mark.performance
@pytest.mark.parametrize("balanced", [True, False])
def test_20_000_places_among_2_million_footprints(real_data: Path, balanced: bool) -> None:
    regions = real_data / "vector/resolve_ecoregions2017_simplified/Ecoregions2017.shp"
    starts = _starts(read_regions(regions, 20_000))
    tracks = [_track(lon, lat, 100) for lon, lat in starts]
    lon, lat = (np.concatenate(column) for column in zip(*tracks, strict=True))
    footprints = _gathered(lon, lat)
    begin = time.perf_counter()
    chosen = choose(footprints, 20_000, regions if balanced else None, 42, DEFAULT_GRID)
    took = time.perf_counter() - begin
    tiles = tiles_at(footprints.lon[chosen[:2000]], footprints.lat[chosen[:2000]], DEFAULT_GRID)
    begin = time.perf_counter()
    for tile in tiles:
        paint(footprints, MMEARTH_BENCH.observed("biomass"), tile)
    painted = time.perf_counter() - begin
    print(
        f"\n{len(chosen)} places of {len(footprints)} footprints, balanced {balanced}: {took:.1f} "
        f"s; {len(tiles) / painted:.0f} tiles painted a second"
    )
    assert took < 60.0
