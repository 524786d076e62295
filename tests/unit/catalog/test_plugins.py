"""What installed packages bring: found by entry points, loaded by place, refused in a sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mmearth.catalog.catalogues import catalogue_named
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.plugins import CATALOGUES, SOURCES, Plugin, load, place_of, plugins
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.tests.installed import install


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with three packages."""
    monkeypatch.syspath_prepend(tmp_path)
    offered = {"moon": "plugged_moon:Moon", "sun": "plugged_moon:Sun.Core"}
    code = "class Moon: ...\nclass Sun:\n    class Core: ...\n"
    install(tmp_path, "luna", {SOURCES: offered}, plugged_moon=code)
    entries = {
        SOURCES: {"moon": "other_moon:Moon"},
        CATALOGUES: {"ours": "plugged_catalogue:ALL", "none": "plugged_catalogue:NAME"},
    }
    code = "from mmearth.catalog.published import MMEARTH_BENCH as ALL\nNAME = 'x'\n"
    install(tmp_path, "rival", entries, plugged_catalogue=code)
    return tmp_path


def test_what_packages_offer_is_listed_by_name(site: Path) -> None:
    assert plugins(SOURCES) == [
        Plugin(SOURCES, "moon", "other_moon:Moon", "rival 1.0"),
        Plugin(SOURCES, "moon", "plugged_moon:Moon", "luna 1.0"),
        Plugin(SOURCES, "sun", "plugged_moon:Sun.Core", "luna 1.0"),
    ]
    assert "plugged_moon" not in sys.modules


def test_a_name_leads_to_one_place(site: Path) -> None:
    assert place_of(SOURCES, "sun") == "plugged_moon:Sun.Core"
    assert place_of(SOURCES, "any.module:Class") == "any.module:Class"
    assert place_of(SOURCES, "mars") is None
    said = "offer a source 'moon'; write other_moon:Moon or plugged_moon:Moon for it"
    with pytest.raises(ConfigError, match=said):
        place_of(SOURCES, "moon")
    assert load(SOURCES, "plugged_moon:Sun.Core").__qualname__ == "Sun.Core"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("no_such_module:A", "the source no_such_module:A cannot be imported (No module named 'no"),
        ("json:Moon", "module 'json' has no attribute 'Moon'"),
        ("wrong.py:A", "cannot be imported (division by zero); expected module:Name or a file my"),
        ("absent.py:A", "there is no file "),
        ("json:", "cannot be imported"),
        (":A", "cannot be imported"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(place: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError) as caught:
        load(SOURCES, place, tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_catalogue_of_a_package(site: Path) -> None:
    assert catalogue_named("ours") is MMEARTH_BENCH
    assert catalogue_named("plugged_catalogue:ALL") is MMEARTH_BENCH
    with pytest.raises(ConfigError, match="plugged_catalogue:NAME is str, expected a Catalogue"):
        catalogue_named("none")
    said = (
        r"no catalogue 'our' \(did you mean 'ours'\?\); expected one of mmearth-bench, none, ours"
    )
    with pytest.raises(ConfigError, match=said):
        catalogue_named("our")
