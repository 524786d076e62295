"""Layers of the user's own: what is chosen of an image or a collection, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import shapely

from mmearth.catalog.errors import DataError, NoDataError, RefusedError
from mmearth.catalog.grid import Grid
from mmearth.catalog.tile import Tile
from mmearth.curate.source import Outcome
from mmearth.tests.integration.ee_rules.asking import DEFAULT, Ask, seen
from mmearth.tests.integration.ee_rules.scenes import (
    NORTH,
    Field,
    Optical,
    Piece,
    World,
    first,
    flat,
    masked,
    only,
    painted,
    reach,
)

ASSET = "projects/somebody/assets/series"
DAY = "2020-07-10"


def _own(
    ask: Ask,
    pieces: Sequence[Piece] | Mapping[str, Field],
    date: str = DAY,
    tile: Tile = NORTH,
    layer: Mapping[str, Any] | None = None,
    **earthengine: Any,
) -> Outcome:
    """Return what is observed of a layer `own` of a collection, or of an image by its bands."""
    if isinstance(pieces, Mapping):
        world, where = World(tile, maps={ASSET: pieces}), {"image": ASSET}
    else:
        world, where = World(tile, series={ASSET: pieces}), {"collection": ASSET}
    declared = {"own": {**(layer or {}), "earthengine": where | earthengine}}
    return ask(world, ["own"], DEFAULT, date, own=declared)["own"]


def _numbers(*dated: tuple[str | None, float]) -> list[Piece]:
    """Return images of one band `own` of one value."""
    return [Piece({"own": flat(value)}, when) for when, value in dated]


def _only(outcome: Outcome) -> float:
    """Return the one value of an observation that keeps its contract."""
    found = seen(outcome)
    found.check()
    [value] = np.unique(found.array)
    return float(value)


def test_an_image_on_the_tiles_grid(ask: Ask) -> None:
    """Bilinear of numbers, and no-data where it is masked."""
    half = only(first(64 * 128), flat(0.25))
    found = seen(_own(ask, {"own": half}))
    assert (found.array.dtype, found.array.shape) == (np.float32, (1, 128, 128))
    assert (found.array[0, :64] == 0.25).all()
    assert (found.array[0, 64:] == -9999.0).all()
    assert (found.acquired, found.source_ids) == (None, (ASSET,))
    assert (found.source, len(found.expression or "")) == ("earthengine 2", 64)
    assert isinstance(_own(ask, {"own": masked()}), NoDataError)


SERIES = _numbers(
    ("2019-12-31T23:59:59", 1),
    ("2020-01-01T00:00:00", 2),
    ("2020-07-07T10:00:00", 3),
    ("2020-07-13T00:00:00", 4),
    ("2020-07-31T23:59:59", 9),
    ("2020-12-31T23:59:59", 6),
    ("2021-01-01T00:00:00", 7),
)


@pytest.mark.parametrize(
    ("choose", "date", "value", "acquired", "which"),
    [
        ("nearest", "2020-07-10", 3, "2020-07-07", [2]),  # of two as far the earlier
        ("nearest", "2020-07-11", 4, "2020-07-13", [3]),
        ("nearest", "2018-01-01", 1, "2019-12-31", [0]),
        ("year", "2019-07-01", 1, "2019", [0]),
        ("year", "2020-07-01", 6, "2020", [1, 2, 3, 4, 5]),  # laid together, the last on top
        ("month", "2020-07-10", 9, "2020-07", [2, 3, 4]),
        ("month", "2020-12-01", 6, "2020-12", [5]),
        ("mean", "2020-07-10", 4.8, "2020", [1, 2, 3, 4, 5]),  # (2 + 3 + 4 + 9 + 6) / 5
        ("median", "2020-07-10", 4, "2020", [1, 2, 3, 4, 5]),
        ("mosaic", "2020-07-10", 7, None, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_what_is_chosen(
    ask: Ask, choose: str, date: str, value: float, acquired: str | None, which: list[int]
) -> None:
    outcome = _own(ask, SERIES, date, choose=choose)
    assert _only(outcome) == pytest.approx(value, rel=1e-6)
    found = seen(outcome)
    assert found.acquired == acquired
    assert found.source_ids == tuple(f"{ASSET}/P{i}" for i in which)


@pytest.mark.parametrize(
    ("choose", "told"), [("year", " of 2022"), ("month", " of 2022-05"), ("mode", " of 2022")]
)
def test_a_time_without_images(ask: Ask, choose: str, told: str) -> None:
    outcome = _own(ask, SERIES, "2022-05-01", choose=choose)
    assert isinstance(outcome, NoDataError)
    assert str(outcome) == f"no image of {ASSET}{told} is here"
    assert isinstance(_own(ask, [], choose="nearest"), NoDataError)


def test_images_beside_the_tile_are_not_chosen(ask: Ask) -> None:
    beside = shapely.box(700, -900, 2000, 900)
    pieces = [*_numbers(("2020-07-01", 1)), Piece({"own": flat(2)}, DAY, beside)]
    for choose, value in (("nearest", 1), ("mosaic", 1), ("mean", 1)):
        found = seen(_own(ask, pieces, choose=choose))
        assert (found.array == value).all()
        assert found.source_ids == (f"{ASSET}/P0",)


def test_images_of_the_nearest_day_are_laid_together(ask: Ask) -> None:
    """Two halves of one day, 25 seconds apart; another day's whole image is not mixed in."""
    upper = only(first(64 * 128), flat(1))
    lower = only(lambda east, south: south + 0 * east >= 640, flat(2))
    pieces = [
        Piece({"own": upper}, "2020-07-09T10:00:00", version=5),
        Piece({"own": lower}, "2020-07-09T10:00:25", version=6),
        Piece({"own": flat(3)}, "2020-07-12T10:00:00", version=7),
    ]
    found = seen(_own(ask, pieces))
    assert (found.array[0, :64] == 1).all()
    assert (found.array[0, 64:] == 2).all()
    assert found.source_ids == (f"{ASSET}/P0@5", f"{ASSET}/P1@6")


def test_an_embedding_of_64_bands_by_the_year(ask: Ask) -> None:
    """Bands by name in the layer's order, of a collection with others and in another order."""
    names = [f"A{i:02}" for i in range(64)]
    bands = {name: flat(int(name[1:]) / 64 - 0.5) for name in reversed(names)} | {"QA": flat(9)}
    pieces = [Piece(bands, f"{year}-01-01", reach(40_000)) for year in (2019, 2020)]
    layer = {"bands": {"count": 64, "prefix": "A"}, "valid": (-1, 1)}
    found = seen(_own(ask, pieces, layer=layer, choose="year"))
    found.check()
    assert found.array.shape == (64, 128, 128)
    assert found.array[:, 5, 7].tolist() == [i / 64 - 0.5 for i in range(64)]
    assert (found.acquired, found.source_ids) == ("2020", (f"{ASSET}/P1",))
    few = {"bands": ["low", "high"]}
    found = seen(_own(ask, pieces, layer=few, choose="year", bands=["A03", "A60"]))
    assert found.array[:, 0, 0].tolist() == [3 / 64 - 0.5, 60 / 64 - 0.5]


CROPS = {"classes": {3: "maize", 10: "grass", 211: "wheat"}}


def _crops(value: Field, when: str = "2020-01-01") -> Piece:
    return Piece({"crop": value}, when, kind="uint8")


def test_a_yearly_classification(ask: Ask) -> None:
    codes = only(first(127 * 128), painted(first(128), 211, 10))
    pieces = [_crops(flat(3), "2019-01-01"), _crops(codes)]
    found = seen(_own(ask, pieces, layer=CROPS, choose="year", bands=["crop"]))
    found.check()
    assert found.array.dtype == np.uint8
    assert found.array[0, :, 0].tolist() == [211, *[10] * 126, 255]
    stray = seen(_own(ask, [_crops(flat(77))], layer=CROPS, choose="year", bands=["crop"]))
    with pytest.raises(DataError, match="own own: found class code 77, expected one of 3, 10, 211"):
        stray.check()


def test_the_most_frequent_class_of_a_year(ask: Ask) -> None:
    half = painted(first(64 * 128), 211, 10)
    pieces = [_crops(half), _crops(flat(3), "2020-05-05"), _crops(half, "2020-12-31")]
    found = seen(_own(ask, pieces, layer=CROPS, choose="mode", bands=["crop"])).array
    assert (found[0, :64] == 211).all()
    assert (found[0, 64:] == 10).all()


def test_numbers_are_scaled_and_rounded(ask: Ask) -> None:
    layer = {"dtype": "int16", "valid": (-1000, 10_000)}
    pieces = _numbers((DAY, 12.34))
    assert _only(_own(ask, pieces, layer=layer, scale=100, offset=-0.6)) == 1233  # 1233.4
    assert _only(_own(ask, pieces, layer=layer)) == 12
    with pytest.raises(DataError, match="own own: found values 12340 to 12340"):
        _only(_own(ask, pieces, layer=layer, scale=1000))


@pytest.mark.parametrize("value", [300.0, 70_000.0, -1.0, 1e12])
def test_what_does_not_fit_is_refused_and_not_cut(ask: Ask, value: float) -> None:
    """The service brings 300 to 255 when it makes bytes of it, which is the layer's no-data."""
    outcome = _own(ask, _numbers((DAY, value)), layer={"dtype": "uint8"})
    assert isinstance(outcome, DataError)
    assert "which uint8 cannot hold; check scale, offset and dtype" in str(outcome)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("uint32", 4_000_000_000.0), ("int32", -2_000_000_001.0), ("float64", 0.1), ("int8", -100)],
)
def test_types_keep_their_digits(ask: Ask, dtype: str, value: float) -> None:
    layer = {"dtype": dtype}
    pieces = [Piece({"own": flat(value)}, DAY, kind="float64")]
    found = seen(_own(ask, pieces, layer=layer)).array
    assert found.dtype == dtype
    assert (found == np.asarray(value).astype(dtype)).all()


def test_a_layer_of_the_tile(ask: Ask) -> None:
    """The mean, and the commonest class, of the valid pixels: in the first question."""
    tile = {"level": "tile"}
    rows = only(first(100 * 128), painted(first(25 * 128), 8, 4))
    pieces = [Piece({"own": rows}, DAY)]
    found = seen(_own(ask, pieces, layer=tile))
    assert (found.array.dtype, found.array.tolist()) == (np.float32, [5.0])  # (25·8 + 75·4) / 100
    assert (found.acquired, found.source_ids) == (DAY, (f"{ASSET}/P0",))
    whole = {**tile, "dtype": "int16"}
    assert seen(_own(ask, pieces, layer=whole, scale=10, offset=0.4)).array.tolist() == [50]
    fields = only(first(100 * 128), painted(first(51 * 128), 211, 10))
    year = {"choose": "year", "bands": ["crop"]}
    found = seen(_own(ask, [_crops(fields)], layer={**CROPS, **tile}, **year))
    assert (found.array.dtype, found.array.tolist()) == (np.uint8, [211])
    assert isinstance(_own(ask, [], layer={**CROPS, **tile}, **year), NoDataError)
    assert seen(_own(ask, {"own": flat(7)}, layer=tile)).array.tolist() == [7.0]
    outcome = _own(ask, {"own": masked()}, layer=tile)
    assert str(outcome) == "no pixel of own is valid on the tile"


def test_another_grid(ask: Ask) -> None:
    """64 pixels of 20 m over the same square; a step lies at 640 m, at the 32nd row."""
    tile = Tile(NORTH.epsg, NORTH.left, NORTH.top, Grid(64, 20))
    step = painted(lambda east, south: south + 0 * east < 640, 1, 2)
    found = seen(_own(ask, [Piece({"own": step}, DAY)], tile=tile))
    found.check()
    assert found.array.shape == (1, 64, 64)
    assert (found.array[0, :32] == 1).all()
    assert (found.array[0, 32:] == 2).all()


def test_all_of_it_in_two_requests(ask: Ask) -> None:
    world = World(
        optical=[Optical(4, "2020-07-05T10:00")],
        series={ASSET: SERIES, "other": [_crops(flat(3))]},
        maps={"still/life": {"height": flat(2)}},
    )
    own = {
        "near": {"earthengine": {"collection": ASSET, "bands": ["own"]}},
        "year": {"earthengine": {"collection": ASSET, "bands": ["own"], "choose": "mean"}},
        "crop": {**CROPS, "earthengine": {"collection": "other", "choose": "year"}},
        "mean": {"level": "tile", "earthengine": {"image": "still/life", "bands": ["height"]}},
    }
    before = dict(ask.server.counters.requests)
    found = ask(world, ["sentinel2", *own], DEFAULT, own=own)
    asked = ask.server.counters.requests
    kinds = ("value:compute", "image:computePixels")
    assert [asked[kind] - before.get(kind, 0) for kind in kinds] == [1, 1]
    values = {name: float(np.unique(seen(found[name]).array)[0]) for name in found}
    assert values == {
        "sentinel2": 4.0,
        "near": 3.0,  # of 7 July, two days from the anchor
        "year": pytest.approx(4.8, rel=1e-6),
        "crop": 3.0,
        "mean": 2.0,
    }
    hashes = {name: seen(found[name]).expression for name in found}
    assert len(set(hashes.values())) == 5


def test_bands_that_are_not_there_stop_the_build(ask: Ask) -> None:
    with pytest.raises(
        RefusedError, match=r"own\.earthengine: .* has no band 'owm'; correct bands"
    ):
        _own(ask, _numbers((DAY, 1)), bands=["owm"])


def test_a_collection_that_is_not_there_stops_the_build(ask: Ask) -> None:
    world = World()
    own = {"own": {"earthengine": {"collection": "nowhere"}}}
    with pytest.raises(RefusedError, match="Earth Engine has no asset nowhere, or not for this"):
        ask(world, ["own"], DEFAULT, DAY, own=own)
