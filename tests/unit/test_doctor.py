"""`mmearth doctor` names the plug-ins of other packages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mmearth.catalog.plugins import METHODS, SOURCES
from mmearth.tests.installed import install

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the machine's own sign-in alone."""
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", True)


def test_plug_ins_are_told_and_why_one_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli: Run
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    entries = {
        SOURCES: {"rain": "plugged_rain:Rain", "snow": "plugged_rain:Snow"},
        METHODS: {"guess": "plugged_rain:guess"},
    }
    install(tmp_path, "weather", entries, plugged_rain="class Rain: ...\ndef guess(job): ...\n")
    code, out, _ = run_cli("doctor", "--offline", "--json")
    rain, snow, guess = json.loads(out)["plugins"]
    assert code == 0
    assert rain == {
        **{"group": "mmearth.sources", "name": "rain", "place": "plugged_rain:Rain"},
        **{"package": "weather 1.0", "problem": None},
    }
    assert "has no attribute 'Snow'" in snow["problem"]
    assert (guess["group"], guess["problem"]) == ("mmearth.methods", None)
    _, out, _ = run_cli("doctor", "--offline")
    assert "source      rain = plugged_rain:Rain, weather 1.0" in out
    assert "the source plugged_rain:Snow cannot be imported" in out


def test_without_plug_ins_none_are_told(run_cli: Run) -> None:
    assert json.loads(run_cli("doctor", "--offline", "--json")[1])["plugins"] == []
    assert "plug-ins" not in run_cli("doctor", "--offline")[1]
