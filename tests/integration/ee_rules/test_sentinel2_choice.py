"""Which of the scenes in season is the anchor: cover, clouds, missing data, rank.

The first scene is the better one in each test; the second is clear enough, but cloudier and with
less data, and is drawn where a rule refuses the first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mmearth.catalog.errors import NoDataError
from mmearth.catalog.published import MMEARTH_BENCH
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
    SOUTH,
    Field,
    Optical,
    World,
    beyond,
    disc,
    first,
    flat,
    masked,
    only,
    painted,
    reach,
    within,
)

BETTER = Optical(1, "2020-06-01T10:00")
HAZE, HOLE = painted(within(90), 50), painted(within(90), 0, 4)
WORSE = Optical(2, "2020-06-06T10:00", sen2cor=HAZE, classes=HOLE)


def _choice(ask: Ask, recipe: str, *scenes: Optical) -> float:
    """Return the number of the drawn scene, whatever the order of the collection."""
    orders = (scenes, scenes[::-1])
    found = [drawn(ask(World(NORTH, each), ["sentinel2"], recipe)["sentinel2"]) for each in orders]
    assert found[0] == found[1]
    return found[0]


def _fits(ask: Ask, recipe: str, **changes: Any) -> bool:
    return _choice(ask, recipe, replace(BETTER, **changes), WORSE) == 1.0


def _under(screen: str, clouds: Field) -> Optical:
    if screen == "sen2cor":
        return replace(BETTER, sen2cor=clouds)
    return replace(BETTER, s2cloudless=clouds)


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_the_better_scene_is_better(ask: Ask, recipe: str) -> None:
    assert _choice(ask, recipe, BETTER, WORSE) == 1.0
    assert _choice(ask, recipe, WORSE) == 2.0


def test_cover_of_the_square_by_default(ask: Ask) -> None:
    assert _fits(ask, DEFAULT, outline=reach(201))
    assert not _fits(ask, DEFAULT, outline=reach(199))
    # Round the square's corners, 840 · √2 = 1188 m away.
    assert _fits(ask, DEFAULT, outline=disc(1195))
    assert not _fits(ask, DEFAULT, outline=disc(1180))


def test_cover_of_the_circle_at_its_own_size(ask: Ask) -> None:
    assert _fits(ask, PUBLISHED, outline=disc(843))
    assert not _fits(ask, PUBLISHED, outline=disc(837))
    assert _fits(ask, PUBLISHED, outline=reach(203))
    assert not _fits(ask, PUBLISHED, outline=reach(197))


SCREENS = ("sen2cor", "s2cloudless")


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_ten_per_cent_is_cloudy(ask: Ask, screen: str, recipe: str) -> None:
    assert _fits(ask, recipe, **{screen: flat(9)})
    assert not _fits(ask, recipe, **{screen: flat(10)})


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_a_scene_that_nobody_screened_is_refused(ask: Ask, screen: str, recipe: str) -> None:
    assert not _fits(ask, recipe, **{screen: masked()})


def _shares(value: int, other: int, size_m: int = 20) -> list[tuple[str, Field, bool]]:
    """Return fields of which some part is spoilt, and whether a recipe takes them.

    Of 4096 pixels of 20 m 409 are less than a tenth, of 16384 of 10 m 1638. A circle of r
    metres is (r / 640)² of the published one and π · (r / 1280)² of the square, whose corners
    beyond 640 m are 21 % of it.
    """
    most = {20: 409, 10: 1638}[size_m]
    return [
        (DEFAULT, painted(first(most, size_m), value, other), True),
        (DEFAULT, painted(first(most + 1, size_m), value, other), False),
        (DEFAULT, painted(within(215), value, other), True),
        (DEFAULT, painted(beyond(640), value, other), False),
        (PUBLISHED, painted(within(200), value, other), True),
        (PUBLISHED, painted(within(205), value, other), False),
        (PUBLISHED, painted(within(215), value, other), False),
        (PUBLISHED, painted(beyond(640), value, other), True),
    ]


@pytest.mark.parametrize(
    ("screen", "recipe", "clouds", "fits"),
    [
        *(("sen2cor", *share) for share in _shares(100, 0)),
        *(("s2cloudless", *share) for share in _shares(100, 0, 10)),
    ],
)
def test_share_of_clouds(ask: Ask, screen: str, recipe: str, clouds: Field, fits: bool) -> None:
    """A scene with so much cloud may lose to the other one, so it must be taken alone."""
    alone = World(NORTH, [_under(screen, clouds)])
    outcome = ask(alone, ["sentinel2"], recipe)["sentinel2"]
    assert isinstance(outcome, NoDataError) is not fits
    if not fits:
        assert not _fits(ask, recipe, **{screen: clouds})


@pytest.mark.parametrize(("recipe", "classes", "fits"), _shares(0, 4))
def test_share_of_missing_data(ask: Ask, recipe: str, classes: Field, fits: bool) -> None:
    outcome = ask(World(NORTH, [replace(BETTER, classes=classes)]), ["sentinel2"], recipe)
    assert isinstance(outcome["sentinel2"], NoDataError) is not fits
    if not fits:
        assert not _fits(ask, recipe, classes=classes)


@pytest.mark.parametrize("code", [1, 2, 3, 8, 9, 10, 11])
@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_only_class_zero_is_missing_data(ask: Ask, recipe: str, code: int) -> None:
    """Nor does a cloud of Sen2Cor's classes refuse a scene: its probability does."""
    assert _fits(ask, recipe, classes=flat(code))


def _stripes(east: Any, south: Any) -> Any:
    """Whatever does not lie near the middle of a square of 20 m: every square of 10 m does."""
    return (abs(east % 20 - 10) > 4) & (south < 1e9)


@pytest.mark.parametrize(
    ("changes", "at_its_own_size"),
    [
        ({"sen2cor": painted(_stripes, 100)}, True),
        ({"classes": painted(_stripes, 0, 4)}, True),
        ({"s2cloudless": painted(_stripes, 100)}, False),
    ],
)
def test_scale_of_each_band(ask: Ask, changes: dict[str, Any], at_its_own_size: bool) -> None:
    """Each band is judged in pixels of its own size, 20, 20 and 10 m."""
    for recipe in RECIPE_NAMES:
        assert _fits(ask, recipe, **changes) is at_its_own_size


@pytest.mark.parametrize(
    ("recipe", "absent", "fits"),
    [
        (DEFAULT, first(409, 20), True),
        (DEFAULT, first(410, 20), False),
        (PUBLISHED, within(200), True),
        (PUBLISHED, within(205), False),
    ],
)
def test_masked_classes_are_missing_data(ask: Ask, recipe: str, absent: Any, fits: bool) -> None:
    land = only(lambda east, south: ~absent(east, south), flat(4))
    outcome = ask(World(NORTH, [replace(BETTER, classes=land)]), ["sentinel2"], recipe)
    assert isinstance(outcome["sentinel2"], NoDataError) is not fits


@pytest.mark.parametrize(("n", "fits"), [(2_501, True), (2_499, False)])
def test_masked_pixels_are_neither_clear_nor_cloudy(ask: Ask, n: int, fits: bool) -> None:
    """Of n screened pixels 250 are cloudy."""
    clouds = only(first(n, 20), painted(first(250, 20), 100))
    outcome = ask(World(NORTH, [replace(BETTER, sen2cor=clouds)]), ["sentinel2"])["sentinel2"]
    assert isinstance(outcome, NoDataError) is not fits


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_no_partner_no_scene(ask: Ask, recipe: str) -> None:
    """Nor do the probabilities of the square beside it, of the same moment, stand in."""
    assert not _fits(ask, recipe, s2cloudless=None)
    beside = replace(BETTER, number=3, zone=32, classes=flat(0))
    world = World(NORTH, [beside, replace(BETTER, s2cloudless=None)])
    assert isinstance(ask(world, ["sentinel2"], recipe)["sentinel2"], NoDataError)
    outcome = ask(World(NORTH, [replace(BETTER, s2cloudless=None)]), ["sentinel2"], recipe)
    assert "none of the 1 Sentinel-2 scenes" in str(outcome["sentinel2"])


@pytest.mark.parametrize("screen", SCREENS)
def test_best_by_all_that_spoils_or_by_missing_data_only(ask: Ask, screen: str) -> None:
    """3 % of cloud, and no hole, against 2 % of holes, and no cloud; then 1 % of cloud."""
    holes = Optical(2, "2020-06-06T10:00", classes=painted(within(100), 0, 4))
    clouds = _under(screen, painted(within(140), 100))
    assert _choice(ask, DEFAULT, clouds, holes) == 2.0
    assert _choice(ask, PUBLISHED, clouds, holes) == 1.0
    fewer = _under(screen, painted(within(80), 100))
    assert _choice(ask, DEFAULT, fewer, holes) == 1.0


@pytest.mark.parametrize("south", [False, True])
def test_own_zone_first(ask: Ask, south: bool) -> None:
    tile = SOUTH if south else NORTH
    when = "2020-01-10T10:00" if south else "2020-06-01T10:00"
    scenes = [replace(BETTER, when=when, zone=32), replace(WORSE, when=when.replace("T10", "T11"))]
    world = World(tile, scenes)
    assert drawn(ask(world, ["sentinel2"])["sentinel2"]) == 2.0
    assert drawn(ask(world, ["sentinel2"], PUBLISHED)["sentinel2"]) == 1.0
    # Better a neighbour's than none, and among its own the best.
    assert drawn(ask(World(tile, scenes[:1]), ["sentinel2"])["sentinel2"]) == 1.0
    own = [replace(scenes[0], zone=33), scenes[1]]
    assert drawn(ask(World(tile, own), ["sentinel2"])["sentinel2"]) == 1.0


def test_own_zone_before_the_nearest_day(ask: Ask) -> None:
    world = World(NORTH, [replace(BETTER, zone=34), WORSE])
    assert drawn(ask(world, ["sentinel2"], DEFAULT, "2020-06-01")["sentinel2"]) == 2.0
    assert drawn(ask(world, ["sentinel2"], PUBLISHED, "2020-06-01")["sentinel2"]) == 1.0


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_no_scene_no_modality(ask: Ask, recipe: str) -> None:
    """Two cover the tile in its season; one is cloudy, one is full of holes."""
    scenes = [
        Optical(1, "2020-06-01T10:00", sen2cor=flat(100)),
        Optical(2, "2020-06-06T10:00", classes=flat(0)),
        Optical(3, "2020-06-11T10:00", outline=reach(0)),
        Optical(4, "2020-03-01T10:00"),
    ]
    outcomes = ask(World(NORTH, scenes), tuple(MMEARTH_BENCH.layers), recipe)
    reason = "none of the 2 Sentinel-2 scenes that cover the tile in its season is clear"
    assert {name: (type(o), str(o)) for name, o in outcomes.items()} == dict.fromkeys(
        MMEARTH_BENCH.layers, (NoDataError, reason)
    )
    assert "none of the 0 " in str(ask(World(), ["month"], recipe)["month"])


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_a_chosen_scene_without_a_pixel(ask: Ask, recipe: str) -> None:
    """The choice stands, as published; one pixel is enough."""
    names = ["sentinel2", "month"]
    outcomes = ask(World(NORTH, [replace(BETTER, bands=masked()), WORSE]), names, recipe)
    assert isinstance(outcomes["sentinel2"], NoDataError)
    assert str(outcomes["sentinel2"]) == f"no pixel of sentinel2 is valid in {NORTH.id}"
    assert seen(outcomes["month"]).acquired == "2020-06-01"
    one = replace(BETTER, bands=only(first(1), flat(7)))
    array = seen(ask(World(NORTH, [one]), names, recipe)["sentinel2"]).array
    assert array.shape == (12, 128, 128)
    assert (array[:, 0, 0] == 7).all()
    assert np.count_nonzero(array == 65535) == 12 * (128 * 128 - 1)
