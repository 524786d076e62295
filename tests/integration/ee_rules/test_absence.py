"""Tables, bands, partners, months and scenes that are not there: data, never the end of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from mmearth.catalog.errors import NoDataError, RefusedError, SourceError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.limit import LocalLimit
from mmearth.curate.recipes import RECIPES
from mmearth.curate.source import Visit
from mmearth.curate.sources.earthengine import granules
from mmearth.curate.sources.earthengine.absent import AbsentError
from mmearth.curate.sources.earthengine.access import Access
from mmearth.curate.sources.earthengine.source import EarthEngine
from mmearth.tests.earthengine.evaluate import Evaluate
from mmearth.tests.earthengine.memory import Memory
from mmearth.tests.integration.ee_rules import test_biomass as gedi
from mmearth.tests.integration.ee_rules.asking import RECIPE_NAMES, Ask, drawn, seen
from mmearth.tests.integration.ee_rules.scenes import Optical, World, flat, painted, within
from mmearth.tests.integration.ee_rules.test_climate import SERIES

CLOUDY = painted(lambda east, south: (east >= 0) & (south >= 0), 100)
"""All of the tile under cloud."""


@pytest.fixture(autouse=True)
def _fresh_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index of GEDI is read once a process; here each test has its own."""
    monkeypatch.setattr(granules, "_indices", {})


def _gedi(*absent: str) -> World:
    """Return a world of two tables, and an index that lists some more."""
    rows = {"GOOD": [gedi._shot(*gedi.HERE)], "ALSO": [gedi._shot(*gedi.THERE, 50.0)]}
    about = gedi.GRANULES["GOOD"]
    index = [gedi._granule(name, *about) for name in (*rows, *absent)]
    tables = {f"{gedi.FOLDER}/{name}": row for name, row in rows.items()}
    scenes = [Optical(1, "2020-07-01T10:00")]
    return World(optical=scenes, tables={f"{gedi.FOLDER}_INDEX": index, **tables})


class Unlisted(Memory):
    """An archive whose folders nobody may list."""

    def assets(self, folder: str) -> Sequence[str]:
        """Refuse."""
        raise KeyError(folder)


class Silent(Memory):
    """An archive whose folders list nothing."""

    def assets(self, folder: str) -> Sequence[str]:
        """Return nothing."""
        return []


def _observe(ask: Ask, archive: Memory, world: World, names: Sequence[str]) -> Mapping[str, Any]:
    ask.server.evaluate = Evaluate(archive)
    access = Access("demo", ask.server.url, tries=1)
    source = EarthEngine(MMEARTH_BENCH, RECIPES["default"], 15, access, LocalLimit(4, 1000.0))
    return source.observe(Visit(world.tile, tuple(names), None))


def test_tables_of_the_index_that_are_absent(ask: Ask) -> None:
    """The folder is listed once; what it does not have is never asked for."""
    world = _gedi("LOST", "GONE")
    counters = ask.server.counters
    listed = counters.listed
    for requests in (1 + 2, 2):  # the index, and two questions a tile
        before = counters.total
        assert gedi._labels(ask, world) == {(64, 63): 100.0, (69, 61): 50.0}
        assert counters.total - before == requests
    assert counters.listed == listed + 1


@pytest.mark.parametrize("kind", [Unlisted, Silent])
def test_tables_that_are_absent_where_the_folder_does_not_say(ask: Ask, kind: type[Memory]) -> None:
    """Each is found out once; the next tile does not ask for it again."""
    world = _gedi("LOST", "GONE")
    about = world.archive()
    archive = kind(about.images, about.collections, about.tables)
    counters = ask.server.counters
    for requests in (2 + 2 + 1, 2):  # two refusals, two questions; and the index
        before = counters.total
        found = seen(_observe(ask, archive, world, gedi.NAMES)["biomass"])
        assert found.array[0, 63, 64] == 100.0
        assert found.source_ids == (f"{gedi.FOLDER}/ALSO", f"{gedi.FOLDER}/GOOD")
        assert counters.total - before == requests


def test_an_index_that_is_absent_stops_the_run(ask: Ask) -> None:
    world = World(optical=[Optical(1)])
    with pytest.raises(RefusedError, match="leave its modality out"):
        ask(world, gedi.NAMES)


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_a_scene_without_the_cloud_band_is_not_judged(ask: Ask, recipe: str) -> None:
    best = Optical(1, "2020-07-01T10:00", sen2cor=None)
    hazy = Optical(2, "2020-07-11T10:00", sen2cor=painted(within(90), 50))
    assert drawn(ask(World(optical=[best, hazy]), ["sentinel2"], recipe)["sentinel2"]) == 2.0


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_scenes_that_could_not_be_judged_are_counted(ask: Ask, recipe: str) -> None:
    """Two have no cloud band, one no partner, and the fourth is cloudy."""
    scenes = [Optical(number, f"2020-07-0{number}T10:00") for number in (1, 2, 3, 4)]
    scenes[0] = replace(scenes[0], sen2cor=None)
    scenes[1] = replace(scenes[1], sen2cor=None, s2cloudless=None)
    scenes[2] = replace(scenes[2], s2cloudless=None)
    scenes[3] = replace(scenes[3], sen2cor=CLOUDY)
    outcome = ask(World(optical=scenes), ["sentinel2"], recipe)["sentinel2"]
    assert isinstance(outcome, NoDataError)
    assert str(outcome) == (
        "none of the 4 Sentinel-2 scenes that cover the tile in its season is clear; not judged: "
        "2 without the band MSK_CLDPRB and 1 without a partner in s2cloudless"
    )


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_a_date_after_the_last_month(ask: Ask, recipe: str) -> None:
    """ERA5-Land ends in December 2020: climate is missing, the rest of the tile is there."""
    scene = Optical(1, "2021-03-01T10:00")
    world = World(optical=[scene], months=SERIES)
    names = ["sentinel2", "temperature", "precipitation"]
    outcomes = ask(world, names, recipe, "2021-03-01")
    assert drawn(outcomes["sentinel2"]) == 1.0
    for name in names[1:]:
        assert isinstance(outcomes[name], NoDataError)
        assert str(outcomes[name]) == "ERA5-Land has no twelve months that end with 2021-03"
    assert isinstance(ask(World(optical=[scene]), names, recipe)["temperature"], NoDataError)


def test_a_scene_that_vanished_fails_its_tile(ask: Ask) -> None:
    """It is chosen, and processed anew under another name before its pixels are asked for."""
    world = World(optical=[Optical(1)])
    about = world.archive()
    archive = Memory({}, about.collections, about.tables)
    outcomes = _observe(ask, archive, world, ["sentinel2", "month"])
    for outcome in outcomes.values():
        assert type(outcome) is AbsentError
        assert isinstance(outcome, SourceError)
        assert str(outcome).startswith(
            "Earth Engine no longer has COPERNICUS/S2_SR_HARMONIZED/2020"
        )
        assert "`mmearth curate retry`" in str(outcome)


def test_a_map_that_is_refused_stops_the_run(ask: Ask) -> None:
    world = World(optical=[Optical(1)], maps={"users/x": {"b1": flat(1)}})
    with pytest.raises(RefusedError, match="no asset ESA/WorldCover/v100/2020, or not for this"):
        ask(world, ["sentinel2", "esa_worldcover"])
