"""Maps without a date, ecoregions, and Dynamic World's year."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import shapely

from mmearth.catalog.ecoregions import BIOMES, ECOREGIONS
from mmearth.catalog.errors import NoDataError, SourceError
from mmearth.tests.earthengine.model import Feature, Pixels
from mmearth.tests.earthengine.planet.pixels import Double
from mmearth.tests.integration.ee_rules.asking import (
    DEFAULT,
    PUBLISHED,
    RECIPE_NAMES,
    Ask,
    drawn,
    seen,
)
from mmearth.tests.integration.ee_rules.scenes import (
    Field,
    Labels,
    World,
    first,
    flat,
    masked,
    only,
    painted,
    reach,
)

DATE = "2020-07-01"
ASTER = "projects/sat-io/open-datasets/ASTER/GDEM"
CANOPY = "users/nlang/ETH_GlobalCanopyHeight_2020_10m_v1"
DEVIATION = "users/nlang/ETH_GlobalCanopyHeightSD_2020_10m_v1"
WORLD_COVER = "ESA/WorldCover/v100/2020"
RESOLVE = "RESOLVE/ECOREGIONS/2017"


def _array(ask: Ask, name: str, **world: Any) -> Any:
    return seen(ask(World(**world), [name], DEFAULT, DATE)[name]).array


def test_world_cover_by_rank_of_its_codes(ask: Ask) -> None:
    """Each column has a code, the twelfth is masked and the thirteenth is no code at all."""
    codes = np.array([10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100, 10, 55], dtype=float)

    def stripes(east: Double, south: Double) -> Pixels:
        column = np.floor(east / 10.0).astype(int) % 13
        column, _ = np.broadcast_arrays(column, south)
        return codes[column], column != 11

    array = _array(ask, "esa_worldcover", maps={WORLD_COVER: {"Map": stripes}})
    assert array.dtype == np.uint8
    assert array[0, :, :13].tolist() == [[*range(11), 11, 11]] * 128


def test_canopy_that_is_masked(ask: Ask) -> None:
    """Each of the two maps has its own mask."""
    maps = {CANOPY: {"b1": only(first(128), flat(21))}, DEVIATION: {"b1": flat(3)}}
    array = _array(ask, "eth_gch", maps=maps)
    assert (array[0, 0] == 21).all()
    assert (array[0, 1:] == 255).all()
    assert (array[1] == 3).all()
    nothing = {CANOPY: {"b1": masked()}, DEVIATION: {"b1": masked()}}
    outcome = ask(World(maps=nothing), ["eth_gch"], DEFAULT, DATE)["eth_gch"]
    assert isinstance(outcome, NoDataError)


def _hill(east: Double, south: Double) -> Pixels:
    """One metre up for ten metres east, 5.71°; nothing was measured in pixel (4, 7)."""
    height, row = np.broadcast_arrays(east / 10.0, np.floor(south / 10.0))
    hole = (row == 4) & (np.floor(east / 10.0) == 7)
    return np.where(hole, -9999.0, height), np.ones(hole.shape, dtype=np.bool_)


def test_elevation_that_was_not_measured(ask: Ask) -> None:
    """It is masked before the slope is taken: its four neighbours have no slope, and no cliff."""
    elevation, slope = _array(ask, "aster_gdem", maps={ASTER: {"b1": _hill}})
    assert elevation[4, 7] == -9999.0
    assert np.count_nonzero(elevation == -9999.0) == 1
    assert elevation[0, :3].tolist() == [0.5, 1.5, 2.5]
    hole = {(4, 7), (3, 7), (5, 7), (4, 6), (4, 8)}
    assert {tuple(place) for place in np.argwhere(slope == -9999.0).tolist()} == hole
    assert np.allclose(slope[slope != -9999.0], np.degrees(np.arctan(0.1)), atol=1e-5)


def test_sea_level_is_an_elevation(ask: Ask) -> None:
    assert (_array(ask, "aster_gdem", maps={ASTER: {"b1": flat(0)}}) == 0).all()
    nothing = {ASTER: {"b1": flat(-9999)}}
    outcome = ask(World(maps=nothing), ["aster_gdem"], DEFAULT, DATE)["aster_gdem"]
    assert isinstance(outcome, NoDataError)


def _region(code: int, outline: Any, **changes: Any) -> Feature:
    region = ECOREGIONS[code]
    names = {"ECO_NAME": region.name, "BIOME_NAME": BIOMES[region.biome], "ECO_ID": region.eco_id}
    return World().feature(outline, **{**names, **changes})


WEST, ALL = shapely.box(-5000, -5000, -1, 5000), reach(5000)
EAST = shapely.box(1, -5000, 5000, 5000)


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([_region(3, ALL)], 3),
        ([_region(3, ALL), _region(600, ALL)], 3),
        ([_region(600, ALL), _region(3, ALL)], 600),
        ([_region(3, WEST), _region(600, ALL)], 600),  # the centre decides, not the tile
        ([_region(3, WEST), _region(600, EAST)], None),
        ([_region(3, ALL, BIOME_NAME="N/A", ECO_NAME="Rock and Ice")], None),
        ([_region(3, ALL, BIOME_NAME="N/A"), _region(600, ALL)], None),  # the first is taken
        ([], None),
    ],
)
def test_region_at_the_centre(ask: Ask, rows: Sequence[Feature], code: int | None) -> None:
    outcomes = ask(World(tables={RESOLVE: rows}), ["biome", "ecoregion"], DEFAULT, DATE)
    if code is None:
        for name, outcome in outcomes.items():
            assert isinstance(outcome, NoDataError)
            assert str(outcome) == f"no {name}: the tile's centre is at sea or on ice"
    else:
        assert drawn(outcomes["ecoregion"]) == code
        assert drawn(outcomes["biome"]) == ECOREGIONS[code].biome
        assert seen(outcomes["biome"]).source_ids == (f"{RESOLVE}#{ECOREGIONS[code].eco_id}",)


@pytest.mark.parametrize(("name", "field"), [("biome", "BIOME_NAME"), ("ecoregion", "ECO_NAME")])
def test_a_region_that_nobody_knows(ask: Ask, name: str, field: str) -> None:
    """It fails, as no such class can be stored; the other of the two is not touched."""
    other = {"biome": "ecoregion", "ecoregion": "biome"}[name]
    world = World(tables={RESOLVE: [_region(3, ALL, **{field: "Atlantis"})]})
    outcomes = ask(world, [name, other], DEFAULT, DATE)
    assert type(outcomes[name]) is SourceError
    start = f"RESOLVE/ECOREGIONS/2017 names 'Atlantis': 'Atlantis' is no {name} of RESOLVE 2017"
    assert str(outcomes[name]).startswith(start)
    seen(outcomes[other])


@pytest.mark.parametrize(
    ("when", "by_default", "as_published"),
    [
        ("2019-12-31T23:59:59", False, False),
        ("2020-01-01T00:00:00", True, True),
        ("2020-12-30T23:59:59", True, True),
        ("2020-12-31T00:00:00", True, False),
        ("2020-12-31T23:59:59", True, False),
        ("2021-01-01T00:00:00", False, False),
    ],
)
def test_year_of_dynamic_world(ask: Ask, when: str, by_default: bool, as_published: bool) -> None:
    """Two images of class 5 outvote one of class 3, if their date will do."""
    images = [Labels(flat(5), when), Labels(flat(3)), Labels(flat(5), when)]
    for recipe, fits in ((DEFAULT, by_default), (PUBLISHED, as_published)):
        outcome = ask(World(labels=images), ["dynamic_world"], recipe, DATE)["dynamic_world"]
        assert drawn(outcome) == (5.0 if fits else 3.0)
        assert len(seen(outcome).source_ids) == (3 if fits else 1)


@pytest.mark.parametrize(("date", "label"), [("2019-01-01", 4), ("2020-01-01", 6)])
@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_year_of_the_anchor(ask: Ask, date: str, label: int, recipe: str) -> None:
    images = [Labels(flat(4), "2019-11-01T10:00"), Labels(flat(6), "2020-03-01T10:00")]
    outcome = ask(World(labels=images), ["dynamic_world"], recipe, date)["dynamic_world"]
    assert drawn(outcome) == label
    assert seen(outcome).acquired == date[:4]


def test_each_pixel_has_its_own_mode(ask: Ask) -> None:
    """Masked pixels do not vote, and where all are masked there is no class."""
    shown: list[Field] = [
        painted(first(1000), 7, 2),
        painted(first(500), 7, 2),
        only(first(2000), flat(1)),
        only(first(2000), flat(1)),
    ]
    cut = [only(first(10_000), field) for field in shown]
    images = [Labels(field, f"2020-0{month}-01T10:00") for month, field in enumerate(cut, 1)]
    flat_array = _array(ask, "dynamic_world", labels=images).ravel()
    # To 500: 7 7 1 1, a draw; to 1000: 7 2 1 1; to 2000: 2 2 1 1, a draw; then 2 2.
    assert (flat_array[500:1000] == 1).all()
    assert (flat_array[2000:10_000] == 2).all()
    assert (flat_array[10_000:] == 9).all()


def test_no_image_of_dynamic_world(ask: Ask) -> None:
    beside = shapely.box(700, -5000, 5000, 5000)
    for images in ([], [Labels(flat(1), "2019-06-01T10:00")], [Labels(flat(1), outline=beside)]):
        outcome = ask(World(labels=images), ["dynamic_world"], DEFAULT, DATE)["dynamic_world"]
        assert isinstance(outcome, NoDataError)
        assert str(outcome) == "no Dynamic World image of 2020 touches the tile"
    hidden = ask(World(labels=[Labels(masked())]), ["dynamic_world"], DEFAULT, DATE)
    assert str(hidden["dynamic_world"]).startswith("no pixel of dynamic_world is valid")
