"""Layers of several sources: who is asked for what, at which date, under which limit."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mmearth.catalog.errors import ConfigError, NoDataError, UnavailableError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.config import load_config
from mmearth.curate.limit import LocalLimit
from mmearth.curate.source import Outcome, Visit, is_metered
from mmearth.curate.sources.files import Files
from mmearth.curate.sources.files.config import FilesConfig
from mmearth.curate.sources.mixed import Part, mixed
from mmearth.curate.sources.synthetic import Synthetic

TILE = Tile(32633, 500_000, 5_000_000)


@dataclass(frozen=True)
class Asked:
    """A source that keeps what it is asked for."""

    name: str = "asked 1"
    outcome: Outcome | None = None
    asked: list[Any] = field(default_factory=list)

    def fingerprint(self, name: str) -> str:
        return f"{self.name} {name}"

    def observe(self, visit: Visit) -> dict[str, Outcome]:
        self.asked.append((visit.wanted, visit.date, visit.anchor, visit.settled))
        found = self.outcome or NoDataError("nothing")
        if isinstance(found, Observation):
            return {n: replace(found, layer=MMEARTH_BENCH.layers[n]) for n in visit.wanted}
        return dict.fromkeys(visit.wanted, found)

    labels = Synthetic().labels


@dataclass(frozen=True)
class Service(Asked):
    """The same, metered."""

    limit: Any = None
    in_flight, per_second, pauses_s, ahead = 3, 7.0, (1.0, 60.0), 2

    def visitors(self, n_cores: int) -> int:
        return n_cores

    def look_ahead(self, visits: Sequence[Visit]) -> None:
        self.asked.append(len(visits))

    def limited(self, limit: Any) -> Service:
        return replace(self, limit=limit)


def scene(day: str) -> Observation:
    layer = MMEARTH_BENCH.layers["sentinel2"]
    return Observation(layer, None, day)  # type: ignore[arg-type]


def test_the_scene_of_one_fixes_the_date_of_the_others() -> None:
    first, second = Asked(), Asked(outcome=scene("2020-08-03"))
    source = mixed([Part(first, "a", ()), Part(second, "b", ("sentinel2",))])
    found = source.observe(Visit(TILE, ("biome", "sentinel2", "month"), None, None, ("sentinel1",)))
    assert set(found) == {"biome", "sentinel2", "month"}
    assert second.asked == [(("sentinel2",), None, None, ())]
    assert first.asked == [(("biome", "month"), None, "2020-08-03", ("sentinel1",))]
    assert not is_metered(source) and source.name == "asked 1"


@pytest.mark.parametrize(
    ("date", "anchor", "expected"),
    [
        (None, None, "2020-07-16"),
        ("2019-03-02", None, "2019-03-02"),
        (None, "2020-06-01", "2020-06-01"),
    ],
)
def test_without_a_scene_the_label_or_the_season_gives_the_date(
    date: str | None, anchor: str | None, expected: str
) -> None:
    first, second = Asked(), Asked()
    source = mixed([Part(first, "a", ()), Part(second, "b", ("biome",))])
    source.observe(Visit(TILE, ("sentinel2", "biome"), date, anchor))
    assert second.asked == [(("biome",), date, expected, ())]


def test_while_the_date_is_not_known_nothing_is_kept() -> None:
    first = Asked(outcome=scene("2020-08-03"))
    second = Asked(outcome=UnavailableError("later"))
    source = mixed([Part(first, "a", ()), Part(second, "b", ("sentinel2",))])
    found = source.observe(Visit(TILE, ("biome", "sentinel2"), None))
    assert all(isinstance(each, UnavailableError) for each in found.values())


def test_each_service_has_a_limit_of_its_own_and_as_many_visits_as_suit_it() -> None:
    first, second = Service(), Service()
    source = mixed([Part(first, "a", ()), Part(second, "b", ("biome",))])
    assert is_metered(source)
    limit = LocalLimit(1, 1.0, budget=5)
    limited = source.limited(limit)
    limits = [part.source.limit for part in limited.parts]  # type: ignore[attr-defined]
    assert limits == [limit.of("a", 3, 7.0), limit.of("b", 3, 7.0)]
    visits = [Visit(replace(TILE, left=10 * i), ("biome", "month"), None) for i in range(5)]
    source.look_ahead(visits)  # type: ignore[attr-defined]
    assert [each for each in second.asked if isinstance(each, int)] == [2, 2]
    n_asked = len(second.asked)
    source.observe(Visit(visits[0].tile, tuple(visits[0].wanted), None))
    assert len(second.asked) == n_asked
    again = pickle.loads(pickle.dumps(source))
    assert again.fingerprint("biome") == source.fingerprint("biome")


def test_what_an_observation_depends_on_is_its_own_source_and_the_scene() -> None:
    first, second = Asked("first 1"), Asked("second 1")
    source = mixed([Part(first, "a", ()), Part(second, "b", ("sentinel2", "biome"))])
    assert source.fingerprint("sentinel1") == "first 1 sentinel1"
    assert source.fingerprint("biome") == "second 1 biome"
    both = ("sentinel2", "sentinel1")
    layers = MMEARTH_BENCH.layers
    assert source.dating(layers["sentinel1"], both, False) == "second 1 sentinel2"
    assert source.dating(layers["sentinel1"], ("sentinel1",), False) == ""
    assert source.dating(layers["aster_gdem"], both, False) == ""
    assert source.under(TILE, "biome") == source.otherwise("biome") == ""


def test_a_layer_of_files_follows_the_scene_of_another_source_where_it_has_dates(
    tmp_path: Path,
) -> None:
    layer, names = MMEARTH_BENCH.layers["aster_gdem"], ("sentinel2", "aster_gdem")
    for date in ({"value": "2021-01-01"}, None):
        entry = {"path": "https://a.example/2021/{lat1}{lon1}.tif", "date": date}
        config = FilesConfig(kind="files", root=".", rasters={"aster_gdem": [entry]})
        files = Files(config, tmp_path, MMEARTH_BENCH)
        source = mixed([Part(Asked(), "a", ()), Part(files, "b", ("aster_gdem",))])
        follows = source.dating(layer, names, True)
        assert follows == ("asked 1 sentinel2" if date else "")


SMALL = """
name: small
title: Two
source: {{kind: synthetic, seed: 7}}
modalities: [sentinel2, biome]
sources: {sources}
tasks: {{soil_pH: {{labels: {{count: 3}}}}}}
"""


def test_the_configuration_names_a_source_for_each_layer(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL.format(sources="{biome: {kind: synthetic, seed: 8}}"))
    config = load_config(path)
    assert [(each.kind, names) for each, names in config.layers_of_sources] == [
        ("synthetic", ("biome",))
    ]
    path.write_text(SMALL.format(sources="{}"))
    one = load_config(path)
    path.write_text(SMALL.replace("sources: {sources}\n", "").format())
    assert load_config(path).sha256 == one.sha256 != config.sha256
    path.write_text(SMALL.format(sources="{biom: {kind: synthetic, seed: 8}}"))
    with pytest.raises(ConfigError, match=r"'biom' is none of the modalities.*biome"):
        load_config(path)
