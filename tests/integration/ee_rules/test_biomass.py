"""Which GEDI footprints are painted, and which season they give the tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shapely

from mmearth.catalog.errors import NoDataError
from mmearth.catalog.tile import Tile
from mmearth.tests.earthengine.model import Feature
from mmearth.tests.integration.ee_rules.asking import (
    DEFAULT,
    PUBLISHED,
    RECIPE_NAMES,
    Ask,
    drawn,
    seen,
)
from mmearth.tests.integration.ee_rules.scenes import (
    NORTH,
    Optical,
    Radar,
    World,
    painted,
    reach,
    within,
)

FOLDER = "LARSE/GEDI/GEDI04_A_002"
NAMES = ["biomass", "sentinel2"]
NODATA = -9999.0
SUMMER, WINTER = "2020-07-01", "2020-01-15"


def _granule(name: str, start: str, end: str, outline: Any) -> Feature:
    table = f"{FOLDER}/{name}"
    return World().feature(outline, table_id=table, time_start=start, time_end=end)


GRANULES = {
    "GOOD": ("2020-01-01T00:10:00Z", "2020-12-30T23:50:00Z", reach(2000)),
    "ALSO": ("2020-06-14T10:10:31Z", "2020-06-14T11:43:02Z", reach(2000)),
    "BEFORE": ("2019-12-31T23:30:10Z", "2020-01-01T01:02:41Z", reach(2000)),
    "AFTER": ("2020-12-30T23:32:41Z", "2020-12-31T01:05:12Z", reach(2000)),
    "BESIDE": ("2020-06-14T10:10:31Z", "2020-06-14T11:43:02Z", shapely.box(641, -900, 2000, 900)),
}
"""Only the first two are wholly of 2020 and touch the tile. The index is read once a process, so
that all tests share it."""
INDEX = [_granule(name, *about) for name, about in GRANULES.items()]


def _shot(east: float, north: float, agbd: float = 100.0, **changes: Any) -> Feature:
    """Return a footprint at metres from the tile's centre, good but for the changes."""
    good = {
        "degrade_flag": 0,
        "l2_quality_flag": 1,
        "l4_quality_flag": 1,
        "leaf_off_flag": 0,
        "region_class": 4,
        "leaf_on_doy": 121,
        "leaf_off_doy": 273,
        "shot_number": 1,
    }
    return World().feature(shapely.Point(east, north), **{**good, "agbd": agbd, **changes})


Tables = dict[str, list[Feature]]


def _world(*shots: Feature, optical: Sequence[Optical] = (), others: Tables | None = None) -> World:
    """Return a world with footprints in the table GOOD, and others by the name of their table."""
    rows: Tables = {"GOOD": list(shots), **(others or {})}
    tables = {f"{FOLDER}/{name}": rows.get(name, []) for name in GRANULES}
    scenes = optical or [Optical(1, f"{SUMMER}T10:00")]
    return World(NORTH, scenes, tables={f"{FOLDER}_INDEX": INDEX, **tables})


def _labels(ask: Ask, world: World, recipe: str = DEFAULT) -> dict[tuple[int, int], float]:
    """Return what is painted: (column, row) → Mg/ha."""
    [array] = seen(ask(world, NAMES, recipe)["biomass"]).array
    assert array.shape == (128, 128)
    rows, columns = np.nonzero(array != NODATA)
    return {(int(c), int(r)): float(array[r, c]) for r, c in zip(rows, columns, strict=True)}


HERE, THERE = (5.0, 5.0), (55.0, 25.0)
"""Centres of the pixels (64, 63) and (69, 61)."""


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({}, True),
        ({"degrade_flag": 1}, False),
        ({"degrade_flag": 3}, False),
        ({"l2_quality_flag": 0}, False),
        ({"l4_quality_flag": 0}, False),
        ({"leaf_off_flag": 1}, False),
        ({"region_class": 0}, False),
        ({"region_class": 1}, True),
        ({"agbd": 2000.0}, True),
        ({"agbd": 2000.5}, False),
        ({"agbd": 0.0}, True),
        ({"leaf_on_doy": 1, "leaf_off_doy": 1}, False),
        ({"leaf_on_doy": 300, "leaf_off_doy": 90}, False),
        ({"leaf_on_doy": 14, "leaf_off_doy": 16}, True),
    ],
)
def test_quality(ask: Ask, recipe: str, change: dict[str, Any], good: bool) -> None:
    """A bad footprint is not painted, nor does it open the winter for the better scene."""
    odd = _shot(*THERE, **{"agbd": 7.0, "leaf_on_doy": 1, "leaf_off_doy": 60, **change})
    haze, hole = painted(within(90), 50), painted(within(90), 0, 4)
    scenes = (
        Optical(1, f"{WINTER}T10:00"),
        Optical(2, f"{SUMMER}T10:00", sen2cor=haze, classes=hole),
    )
    outcomes = ask(_world(_shot(*HERE), odd, optical=scenes), NAMES, recipe)
    label = {"agbd": 7.0, **change}["agbd"]
    [array] = seen(outcomes["biomass"]).array
    assert array[63, 64] == 100.0
    assert array[61, 69] == (label if good else NODATA)
    assert np.count_nonzero(array != NODATA) == (2 if good else 1)
    assert drawn(outcomes["sentinel2"]) == (1.0 if good else 2.0)


@pytest.mark.parametrize(
    ("when", "by_default", "as_published"),
    [
        ("2020-04-08T23:59:59", False, False),
        ("2020-04-09T00:00:00", True, False),
        ("2020-04-09T23:59:59", True, False),
        ("2020-04-10T00:00:00", True, True),
        ("2020-07-18T23:59:59", True, True),
        ("2020-07-19T00:00:00", False, False),
        ("2019-06-01T10:00:00", False, False),
        ("2021-06-01T10:00:00", False, False),
    ],
)
def test_season_of_the_leaves(ask: Ask, when: str, by_default: bool, as_published: bool) -> None:
    """Day 100 of 2020 is 9 April, day 200 18 July; published, 1 January + 100 days is the 10th."""
    shot = _shot(*HERE, leaf_on_doy=100, leaf_off_doy=200)
    world = _world(shot, optical=(Optical(1, when),))
    for recipe, fits in ((DEFAULT, by_default), (PUBLISHED, as_published)):
        outcomes = ask(world, NAMES, recipe)
        if fits:
            assert seen(outcomes["sentinel2"]).acquired == when[:10]
            continue
        sentence = "no Sentinel-2 scene was taken while a GEDI footprint of the tile was in leaf"
        assert {str(outcome) for outcome in outcomes.values()} == {sentence}
        assert {type(outcome) for outcome in outcomes.values()} == {NoDataError}


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
@pytest.mark.parametrize(
    ("when", "fits"),
    [
        ("2020-04-15T10:00", True),
        ("2020-05-15T10:00", False),
        ("2020-07-25T10:00", True),
        ("2020-08-15T10:00", False),
    ],
)
def test_any_of_several_seasons(ask: Ask, recipe: str, when: str, fits: bool) -> None:
    """Days 100 to 120 (April) or 200 to 220 (from 18 July), of two granules."""
    spring = _shot(*HERE, leaf_on_doy=100, leaf_off_doy=120)
    summer = _shot(*THERE, leaf_on_doy=200, leaf_off_doy=220)
    world = _world(spring, optical=(Optical(1, when),), others={"ALSO": [summer]})
    outcome = ask(world, NAMES, recipe)["sentinel2"]
    assert isinstance(outcome, NoDataError) is not fits


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
@pytest.mark.parametrize(("metres", "near"), [(648.0, True), (652.0, False)])
def test_season_of_what_is_near(ask: Ask, recipe: str, metres: float, near: bool) -> None:
    """A footprint in the corner is on the tile, but tells no season."""
    side = metres / np.sqrt(2.0)
    winter = _shot(side, side, leaf_on_doy=1, leaf_off_doy=60)
    world = _world(_shot(*HERE), winter, optical=(Optical(1, f"{WINTER}T10:00"),))
    outcome = ask(world, NAMES, recipe)["sentinel2"]
    assert isinstance(outcome, NoDataError) is not near


@pytest.mark.parametrize(
    ("place", "pixel", "by_default", "as_published"),
    [
        ((458.0, 458.0), (109, 18), True, True),  # 647.7 m
        ((462.0, 462.0), (110, 17), True, False),  # 653.4 m
        ((635.0, -635.0), (127, 127), True, False),
        ((-635.0, 5.0), (0, 63), True, True),
        ((-645.0, 5.0), None, False, False),  # in the circle, but not on the tile
    ],
)
def test_where_labels_are_painted(
    ask: Ask,
    place: tuple[float, float],
    pixel: tuple[int, int] | None,
    by_default: bool,
    as_published: bool,
) -> None:
    world = _world(_shot(*HERE, 100.0), _shot(*place, 7.0))
    for recipe, there in ((DEFAULT, by_default), (PUBLISHED, as_published)):
        expected = {(64, 63): 100.0} | ({pixel: 7.0} if there and pixel is not None else {})
        assert _labels(ask, world, recipe) == expected


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_granules_of_the_year_that_touch_the_tile(ask: Ask, recipe: str) -> None:
    """Tables of other years are never asked, nor one whose outline lies beside the tile."""
    others = {name: [_shot(*THERE, 900.0)] for name in ("BEFORE", "AFTER", "BESIDE")}
    world = _world(_shot(*HERE), others={**others, "ALSO": [_shot(-55.0, -25.0, 50.0)]})
    assert _labels(ask, world, recipe) == {(64, 63): 100.0, (58, 66): 50.0}
    label = seen(ask(world, NAMES, recipe)["biomass"])
    assert label.source_ids == (f"{FOLDER}/ALSO", f"{FOLDER}/GOOD")
    assert label.acquired == "2020"


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_other_modalities_keep_to_the_leaves(ask: Ask, recipe: str) -> None:
    """Of Sentinel-1 the nearest scene in leaf is drawn, though another is nearer."""
    shot = _shot(*HERE, leaf_on_doy=100, leaf_off_doy=183)
    radar = [Radar(1, "2020-07-02T17:00"), Radar(2, "2020-06-28T17:00")]
    world = replace(_world(shot, optical=[Optical(1, "2020-06-30T10:00")]), radar=radar)
    array = seen(ask(world, [*NAMES, "sentinel1"], recipe)["sentinel1"]).array
    assert array[0, 0, 0] == 2.0


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_nearest_day_in_leaf(ask: Ask, recipe: str) -> None:
    """The date of a label chooses among the scenes in leaf; 15 days do not matter there."""
    hazy = painted(within(90), 50)
    scenes = [
        Optical(1, "2020-05-10T10:00"),
        Optical(2, "2020-06-20T10:00", sen2cor=hazy, classes=painted(within(90), 0, 4)),
        Optical(3, "2020-10-05T10:00"),
    ]
    world = _world(_shot(*HERE), optical=scenes)
    assert drawn(ask(world, NAMES, recipe)["sentinel2"]) == 1.0
    assert drawn(ask(world, NAMES, recipe, "2020-10-04")["sentinel2"]) == 2.0


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_no_footprint(ask: Ask, recipe: str) -> None:
    """Without footprints there is no season; with a date there is a scene, but no label."""
    reason = "no Sentinel-2 scene was taken while a GEDI footprint of the tile was in leaf"
    assert {str(outcome) for outcome in ask(_world(), NAMES, recipe).values()} == {reason}
    outcome = ask(_world(), ["biomass"], recipe, SUMMER)["biomass"]
    assert isinstance(outcome, NoDataError)
    assert str(outcome) == "no good GEDI footprint lies on the tile"


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_a_later_visit_paints_the_same(ask: Ask, recipe: str) -> None:
    world = _world(_shot(*HERE), _shot(600.0, 600.0, 7.0))
    whole = seen(ask(world, NAMES, recipe)["biomass"])
    later = seen(ask(world, ["biomass"], recipe, SUMMER)["biomass"])
    assert np.array_equal(whole.array, later.array)


def test_no_granule(ask: Ask) -> None:
    """A tile that no outline of the index touches."""
    world = World(Tile(32633, 599_360, 5_000_640), [Optical(1)], tables=_world().tables)
    reason = "no Sentinel-2 scene was taken while a GEDI footprint of the tile was in leaf"
    assert {str(outcome) for outcome in ask(world, NAMES).values()} == {reason}
