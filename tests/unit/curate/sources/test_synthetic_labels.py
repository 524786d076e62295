"""The synthetic Earth's labels: where they are, what they are, and that they can be learnt."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray

from mmearth.catalog.africa import touches_africa
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile, tiles_at
from mmearth.curate.declared import TargetConfig, own_task
from mmearth.curate.source import Label, Outcome, Visit
from mmearth.curate.sources.synthetic import Synthetic
from mmearth.curate.sources.synthetic.planet import ANTARCTICA, Places, visit

SOIL = ("soil_nitrogen", "soil_organic_carbon", "soil_pH")
CLASSES = {"biome": 14, "esa_worldcover": 11, "dynamic_world": 9}
INPUTS = (*CLASSES, "sentinel2", "sentinel1", "eth_gch", "precipitation", "temperature")


def _labels(task: str, count: int = 400, seed: int = 3) -> list[Label]:
    return list(Synthetic(0).labels(MMEARTH_BENCH.tasks[task], count, seed))


def _tiles(labels: list[Label]) -> list[Tile]:
    return tiles_at([label.lon for label in labels], [label.lat for label in labels], DEFAULT_GRID)


def _places(labels: list[Label]) -> Places:
    lon, lat = np.array([(label.lon, label.lat) for label in labels]).T
    return visit(lon, lat, 0)


@pytest.mark.parametrize("task", MMEARTH_BENCH.tasks)
def test_the_first_n_are_the_same_however_many_are_asked(task: str) -> None:
    many = _labels(task)
    assert len(many) == 400
    assert _labels(task, 100) == many[:100]
    assert list(islice(Synthetic(0).labels(MMEARTH_BENCH.tasks[task], 10**6, 3), 400)) == many
    assert _labels(task, 0) == []


@pytest.mark.parametrize("task", MMEARTH_BENCH.tasks)
def test_another_seed_gives_other_places(task: str) -> None:
    one = {(label.lon, label.lat) for label in _labels(task)}
    other = {(label.lon, label.lat) for label in _labels(task, seed=4)}
    assert len(one) == 400
    assert not one & other


@pytest.mark.parametrize("task", MMEARTH_BENCH.tasks)
def test_places_are_on_every_continent_and_of_no_one_biome(task: str) -> None:
    places = _places(_labels(task))
    assert set(places.continent) == set(range(1, ANTARCTICA))
    shares = np.bincount(places.biome, minlength=14) / 400
    assert (places.biome >= 0).all()
    assert shares.max() < 0.16
    assert np.count_nonzero(shares) >= 12


@pytest.mark.parametrize("task", MMEARTH_BENCH.tasks)
def test_a_hundred_places_are_enough_for_the_geographic_test(task: str) -> None:
    africa = touches_africa(_tiles(_labels(task, 100)))
    assert 10 <= np.count_nonzero(africa) <= 40


@pytest.mark.parametrize("task", MMEARTH_BENCH.tasks)
def test_a_label_is_at_the_centre_of_its_tile(task: str) -> None:
    for label, tile in zip(_labels(task, 50), _tiles(_labels(task, 50)), strict=True):
        assert (tile.lon, tile.lat) == (label.lon, label.lat)


@pytest.mark.parametrize(
    ("task", "low", "high", "mean"),
    [
        ("soil_nitrogen", 0.05, 20.0, (1.0, 4.0)),
        ("soil_organic_carbon", 0.5, 400.0, (15.0, 40.0)),
        ("soil_pH", 3.0, 10.0, (5.5, 7.5)),
    ],
)
def test_soil_is_like_soil(task: str, low: float, high: float, mean: tuple[float, float]) -> None:
    values = np.array([label.value for label in _labels(task)], dtype=float)
    assert low <= values.min() < values.max() <= high
    assert mean[0] < values.mean() < mean[1]


def test_species_are_published_names_and_each_lives_somewhere() -> None:
    names = MMEARTH_BENCH.tasks["species"].outputs
    labels = _labels("species", 2000)
    lists = [label.labels for label in labels]
    assert all(here for here in lists)
    assert {name for here in lists for name in here or ()} == set(names)
    for here in lists:
        assert here == tuple(sorted(here or (), key=names.index))


def test_biomass_labels_have_footprints_in_range() -> None:
    source = Synthetic(0)
    found = []
    tiles = _tiles(labels := _labels("biomass", 150))
    for tile in tiles:
        outcome = source.observe(Visit(tile, ("biomass",), None))["biomass"]
        if isinstance(outcome, Observation):
            found.append(outcome.array[outcome.array != -9999])
    values = np.concatenate(found)
    assert all(label.value is None and label.labels is None for label in labels)
    assert len(found) > 0.9 * len(tiles)
    assert 5 < values.size / len(found) < 200
    assert 0 <= values.min() < values.max() <= 2000
    assert 35 < values.mean() < 90  # published: 62.5 and 99.2 Mg/ha (MMEarth-Bench, train)
    assert 70 < values.std() < 140


def test_there_is_no_biomass_where_gedi_did_not_fly() -> None:
    assert max(abs(label.lat) for label in _labels("biomass")) < 51.6
    assert max(abs(label.lat) for label in _labels("soil_pH")) > 60
    outcome = Synthetic(0).observe(Visit(Tile.at(25.0, 62.0), ("biomass",), None))["biomass"]
    assert not isinstance(outcome, Observation)


def test_an_unknown_task_is_refused() -> None:
    task = own_task("yields", TargetConfig())
    with pytest.raises(ConfigError, match="has no labels for yields; expected one of biomass,"):
        list(Synthetic(0).labels(task, 1, 0))


def _features(outcomes: dict[str, Outcome]) -> list[float]:
    """Return the mean of each band, or the share of each class; the nodata itself where absent."""
    row: list[float] = []
    for name in INPUTS:
        outcome, modality = outcomes[name], MMEARTH_BENCH.layers[name]
        array = outcome.array if isinstance(outcome, Observation) else modality.empty()
        if name in CLASSES:
            counts = np.bincount(array.ravel().astype(int), minlength=CLASSES[name] + 1)
            row.extend(counts[:-1] / array.size)
            continue
        for band in array:
            values = band[band != modality.nodata]
            row.append(float(values.mean()) if values.size else float("nan"))
    return row


def _scaled(rows: list[list[float]], train: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return features scaled by their training rows, absent ones 0, and a constant: (n, feature).

    What never varies in training goes: its weight would be anything, and one mangrove tile in the
    test would decide the score.
    """
    table = np.array(rows)
    table = table[:, (~np.isnan(table[train])).sum(axis=0) > 5]
    table = table[:, np.nanstd(table[train], axis=0) > 1e-9]
    table = (table - np.nanmean(table[train], axis=0)) / np.nanstd(table[train], axis=0)
    return np.column_stack([np.clip(np.nan_to_num(table), -4, 4), np.ones(len(table))])


def _r2(truth: NDArray[np.float64], guess: NDArray[np.float64]) -> float:
    return float(1 - ((truth - guess) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


@pytest.mark.parametrize("task", ["biomass", "soil_organic_carbon", "soil_pH"])
def test_a_linear_fit_beats_the_mean_and_loses_in_africa(task: str) -> None:
    source, labels = Synthetic(0), _labels(task)
    rows, targets, tiles = [], [], []
    for label, tile in zip(labels, _tiles(labels), strict=True):
        wanted = (*INPUTS, task) if task == "biomass" else INPUTS
        outcomes = source.observe(Visit(tile, tuple(wanted), None))
        target = label.value
        if task == "biomass":
            wood = outcomes["biomass"]
            if not isinstance(wood, Observation):
                continue
            target = float(wood.array[wood.array != -9999].mean())
        rows.append(_features(outcomes))
        targets.append(target)
        tiles.append(tile)
    y, africa = np.array(targets, dtype=float), touches_africa(tiles)
    elsewhere = np.flatnonzero(~africa)
    train, test = elsewhere[::2], elsewhere[1::2]
    x = _scaled(rows, train)
    normal = x[train].T @ x[train] + 3.0 * np.eye(x.shape[1])
    guess = x @ np.linalg.solve(normal, x[train].T @ y[train])
    near, far = _r2(y[test], guess[test]), _r2(y[africa], guess[africa])
    assert near > 0.4, (near, far)
    assert far < near - 0.03, (near, far)


def test_canopy_predicts_biomass_within_tiles() -> None:
    source = Synthetic(0)
    heights, woods = [], []
    for tile in _tiles(_labels("biomass", 60)):
        outcomes = source.observe(Visit(tile, ("eth_gch", "biomass"), None))
        canopy, wood = outcomes["eth_gch"], outcomes["biomass"]
        if isinstance(canopy, Observation) and isinstance(wood, Observation):
            both = (wood.array[0] != -9999) & (canopy.array[0] != 255)
            heights.append(canopy.array[0][both])
            woods.append(wood.array[0][both])
    assert np.corrcoef(np.concatenate(heights), np.concatenate(woods))[0, 1] > 0.8


def test_land_cover_shows_in_the_spectra_and_in_the_radar() -> None:
    source = Synthetic(0)
    green: dict[int, list[float]] = {}
    radar: dict[int, list[float]] = {}
    agree = []
    for tile in _tiles(_labels("soil_pH", 80)):
        names = ["esa_worldcover", "dynamic_world", "sentinel2", "sentinel1"]
        seen = {
            name: outcome.array
            for name, outcome in source.observe(Visit(tile, tuple(names), None)).items()
            if isinstance(outcome, Observation)
        }
        cover = seen["esa_worldcover"][0]
        agree.append(((cover == 0) == (seen["dynamic_world"][0] == 1)).mean())  # trees
        if len(seen) < len(names):
            continue
        red, nir = seen["sentinel2"][3].astype(float), seen["sentinel2"][7].astype(float)
        for code in np.unique(cover):
            there = (cover == code) & (red < 65535)
            green.setdefault(int(code), []).extend(((nir - red) / (nir + red))[there][:200])
            radar.setdefault(int(code), []).extend(
                v for v in seen["sentinel1"][0][there][:200] if v > -9999
            )
    ndvi = {code: float(np.mean(values)) for code, values in green.items()}
    assert ndvi[0] > ndvi[2] > ndvi[5] > ndvi[7]  # trees, grass, bare, water
    vv = {code: float(np.mean(values)) for code, values in radar.items()}
    assert vv[4] > vv[0] > vv[5] > vv[7]  # built, trees, bare, water
    assert 0.9 < np.mean(agree) < 1.0
