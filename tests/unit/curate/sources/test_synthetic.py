"""The synthetic Earth keeps every contract, and its bytes are the same everywhere."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmearth.catalog.errors import NoDataError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile, tiles_at
from mmearth.curate.source import Outcome, Visit
from mmearth.curate.sources.synthetic import Synthetic

WANTED = (*MMEARTH_BENCH.layers, "biomass")
GOLDEN = {
    # Congo, Alps, Kansas, New South Wales, Sahara, the coast of Chile.
    "32735_232260_9890010": "65b80b7ba25b6712e25255c46835b069c20cd2cfc8aae86650c7c0a119e4da2a",
    "32632_614250_5162450": "79b043fe0fe356f4f6d4def5a5649fcacdd4f913c7d7f1371893109752dfff89",
    "32614_586560_4262410": "56b711385afbdb4d381950d62df0a3d8ef327ad90387577db97d876b655ec128",
    "32755_592780_6348910": "0320e28d701cf442af3d5b45ed14b15feb0743e15897c6fdbc389b425f59f60b",
    "32631_702810_2656310": "ca2721b5562af3db875d4ac9ad98b3297c000f5a627e9c0fcf6992eab651fb2b",
    "32718_650750_5460320": "ad4a2686cdfdab358d0e9376ea1669210a51a67116765a3d7b7e24107aa919ad",
}
PLACES = ((24.6, -1.0), (10.5, 46.6), (-98.0, 38.5), (148.0, -33.0), (5.0, 24.0), (-73.2, -41.0))
SEA, ICE = Tile.at(-30.0, 5.0), Tile.at(-42.0, 75.0)


def digest(outcomes: dict[str, Outcome]) -> str:
    """Return the SHA-256 of everything in the outcomes of one tile."""
    found = hashlib.sha256()
    for name, outcome in outcomes.items():
        found.update(name.encode())
        if isinstance(outcome, Observation):
            little = outcome.array.astype(outcome.array.dtype.newbyteorder("<"))
            found.update(little.tobytes())
            found.update(f"{outcome.acquired} {outcome.source_ids}".encode())
        else:
            found.update(str(outcome).encode())
    return found.hexdigest()


def digests() -> dict[str, str]:
    """Return the digest of each place's tile on the planet of seed 0."""
    tiles = [Tile.at(lon, lat) for lon, lat in PLACES]
    return {
        tile.id: digest(Synthetic(0).observe(Visit(tile, tuple(WANTED), None))) for tile in tiles
    }


@pytest.fixture(scope="module")
def seen() -> list[tuple[Tile, dict[str, Outcome]]]:
    source = Synthetic(0)
    labels = list(source.labels(MMEARTH_BENCH.tasks["soil_pH"], 240, 3))
    tiles = tiles_at([label.lon for label in labels], [label.lat for label in labels], DEFAULT_GRID)
    return [(tile, source.observe(Visit(tile, tuple(WANTED), None))) for tile in tiles]


def _observed(seen: list[tuple[Tile, dict[str, Outcome]]], name: str) -> list[Observation]:
    return [o for _, outcomes in seen if isinstance(o := outcomes[name], Observation)]


def test_the_bytes_are_those_of_the_first_release() -> None:
    # A change here changes every dataset made before: raise `synthetic.VERSION` with it.
    assert digests() == GOLDEN


def test_a_processor_without_wide_instructions_makes_the_same_bytes() -> None:
    found = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])
    if not found:
        pytest.skip("NumPy found no optional instructions to switch off")
    plain = dict(os.environ, NPY_DISABLE_CPU_FEATURES=" ".join(found))
    script = str(Path(__file__))
    done = subprocess.run(
        [sys.executable, "-P", script], env=plain, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == list(GOLDEN.values())


def test_every_outcome_keeps_its_contract(seen: list[tuple[Tile, dict[str, Outcome]]]) -> None:
    for _, outcomes in seen:
        assert tuple(outcomes) == WANTED
        for name, outcome in outcomes.items():
            if isinstance(outcome, Observation):
                outcome.check()
                assert outcome.layer.name == name
                assert outcome.valid_fraction > 0
                assert outcome.source_ids == tuple(sorted(outcome.source_ids)) != ()
            else:
                assert isinstance(outcome, NoDataError)


@pytest.mark.parametrize(
    "name",
    ["dynamic_world", "esa_worldcover", "precipitation", "temperature", "geolocation", "month"],
)
def test_what_is_always_there(seen: list[tuple[Tile, dict[str, Outcome]]], name: str) -> None:
    assert len(_observed(seen, name)) == len(seen)


@pytest.mark.parametrize("name", ["sentinel2", "sentinel1", "eth_gch"])
def test_a_few_tiles_lack_it(seen: list[tuple[Tile, dict[str, Outcome]]], name: str) -> None:
    missing = 1 - len(_observed(seen, name)) / len(seen)
    assert 0 < missing < 0.1


def test_sentinel1_mostly_lacks_hh_and_hv_and_sometimes_an_orbit(
    seen: list[tuple[Tile, dict[str, Outcome]]],
) -> None:
    radar = np.stack([o.array for o in _observed(seen, "sentinel1")])
    there = (radar != -9999).any(axis=(2, 3))  # (tile, band)
    assert there[:, [2, 3, 6, 7]].mean() < 0.05
    assert 0.03 < 1 - there[:, 0].mean() < 0.3
    assert 0.03 < 1 - there[:, 4].mean() < 0.3
    assert (there[:, 0] | there[:, 4]).all()
    assert (there[:, 0] == there[:, 1]).all()


def test_some_scenes_end_inside_the_tile(seen: list[tuple[Tile, dict[str, Outcome]]]) -> None:
    for observation in (optical := _observed(seen, "sentinel2")):
        absent = observation.array == 65535
        assert (absent.all(axis=0) == absent.any(axis=0)).all()
    cut = [o for o in optical if o.valid_fraction < 1.0]
    assert 0 < len(cut) / len(optical) < 0.15


def test_the_open_sea_has_water_and_no_land() -> None:
    outcomes = Synthetic(0).observe(Visit(SEA, tuple(WANTED), None))
    for name in ("biome", "ecoregion", "aster_gdem", "eth_gch", "biomass"):
        assert isinstance(outcomes[name], NoDataError), name
    cover = outcomes["esa_worldcover"]
    assert isinstance(cover, Observation)
    assert set(np.unique(cover.array)) == {7}  # permanent water


def test_the_ice_sheet_is_snow_of_no_biome() -> None:
    outcomes = Synthetic(0).observe(Visit(ICE, ("biome", "esa_worldcover"), None))
    assert isinstance(outcomes["biome"], NoDataError)
    cover = outcomes["esa_worldcover"]
    assert isinstance(cover, Observation)
    assert set(np.unique(cover.array)) == {6}  # snow and ice


def test_the_anchor_date_is_of_the_published_season(
    seen: list[tuple[Tile, dict[str, Outcome]]],
) -> None:
    for tile, outcomes in seen:
        month = outcomes["month"]
        assert isinstance(month, Observation)
        date = str(month.acquired)
        if tile.lat >= 0:
            assert "2020-05-01" <= date <= "2020-09-29"
        else:
            assert "2020-01-01" <= date <= "2020-03-30" or "2020-11-01" <= date <= "2020-12-30"
    assert {tile.lat > 0 for tile, _ in seen} == {True, False}


def test_a_date_that_is_given_is_kept() -> None:
    tile = Tile.at(10.5, 46.6)
    wanted = ("sentinel2", "month", "temperature", "dynamic_world", "esa_worldcover", "aster_gdem")
    outcomes = Synthetic(0).observe(Visit(tile, tuple(wanted), "2019-02-03"))
    acquired = [o.acquired for o in outcomes.values() if isinstance(o, Observation)]
    assert acquired == ["2019-02-03", "2019-02-03", "2019-02", "2019", "2020", None]


def test_climate_is_consistent(seen: list[tuple[Tile, dict[str, Outcome]]]) -> None:
    for observation in _observed(seen, "temperature"):
        maximum, mean, minimum = observation.array.astype(np.float64).reshape(3, 3).T
        assert (minimum < mean).all()
        assert (mean < maximum).all()
        assert maximum[2] >= maximum[:2].max()
        assert minimum[2] <= minimum[:2].min()
    for observation in _observed(seen, "precipitation"):
        last, month, year = observation.array
        assert 0 <= max(last, month) <= year


def test_the_tropics_are_warmer_than_the_arctic() -> None:
    source = Synthetic(0)
    year = []
    for lon, lat in ((24.6, -1.0), (100.0, 68.0)):
        outcome = source.observe(Visit(Tile.at(lon, lat), ("temperature",), None))["temperature"]
        assert isinstance(outcome, Observation)
        year.append(outcome.array[7])
    assert year[0] > year[1] + 20


def test_neighbours_fit_together() -> None:
    source = Synthetic(0)
    across, within = [], []
    for lon, lat in PLACES:
        west = Tile.at(lon, lat)
        east = Tile(west.epsg, west.left + 1280, west.top)
        pair = [
            source.observe(Visit(t, ("esa_worldcover",), None))["esa_worldcover"]
            for t in (west, east)
        ]
        left, right = (o.array[0] for o in pair if isinstance(o, Observation))
        across.append((left[:, -1] == right[:, 0]).mean())
        within.append((left[:, -2] == left[:, -1]).mean())
    assert np.mean(across) > np.mean(within) - 0.05


def test_order_and_company_of_what_is_wanted_change_nothing() -> None:
    source, tile = Synthetic(0), Tile.at(10.5, 46.6)
    whole = source.observe(Visit(tile, tuple(WANTED), None))
    for name in reversed(WANTED):
        alone = source.observe(Visit(tile, (name,), None))
        assert digest(alone) == digest({name: whole[name]})


def test_an_answer_may_be_changed_without_harm() -> None:
    source, tile = Synthetic(0), Tile.at(10.5, 46.6)
    before = digest(source.observe(Visit(tile, tuple(WANTED), None)))
    for outcome in source.observe(Visit(tile, tuple(WANTED), None)).values():
        if isinstance(outcome, Observation):
            outcome.array[...] = 0
    assert digest(source.observe(Visit(tile, tuple(WANTED), None))) == before


def test_what_it_does_not_have_is_no_data() -> None:
    outcome = Synthetic(0).observe(Visit(Tile.at(10.5, 46.6), ("soil_pH",), None))["soil_pH"]
    assert isinstance(outcome, NoDataError)
    assert "soil_pH" in str(outcome)


def test_it_travels_to_workers_and_another_seed_is_another_planet() -> None:
    source, tile = Synthetic(5), Tile.at(10.5, 46.6)
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source
    assert copy.name == "synthetic 2"
    assert (
        copy.fingerprint("biome")
        == source.fingerprint("biome")
        != Synthetic(6).fingerprint("biome")
    )
    assert digest(copy.observe(Visit(tile, tuple(WANTED), None))) == digest(
        source.observe(Visit(tile, tuple(WANTED), None))
    )
    other = Synthetic(6).observe(Visit(tile, ("aster_gdem",), None))
    assert digest(other) != digest(source.observe(Visit(tile, ("aster_gdem",), None)))


if __name__ == "__main__":
    sys.stdout.write("\n".join(digests().values()))
