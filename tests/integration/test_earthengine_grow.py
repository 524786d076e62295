"""A dataset of Earth Engine that grows: exactly the requests of what is new, and the same bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmearth.build import Summary, build
from mmearth.curate.sources.earthengine import session, sign_in
from mmearth.curate.sources.earthengine.source import AHEAD
from mmearth.curate.visits import Options
from mmearth.tests.earthengine.evaluate import Evaluate
from mmearth.tests.earthengine.planet.places import planet_of, write_places
from mmearth.tests.earthengine.server import TOKEN, Server

_FIRST, _ALL = 4, 6
_PARTS = ["sentinel2", "dynamic_world", "precipitation", "month", "biome"]
Build = Callable[..., tuple[Summary, Counter[str]]]


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """Builds some places with some modalities; returns the summary and what was asked."""
    tiles = write_places(tmp_path / "all.csv", _ALL)
    lines = (tmp_path / "all.csv").read_text().splitlines(keepends=True)
    with Server(Evaluate(planet_of(tiles))).running() as server:
        monkeypatch.setenv("MMEARTH_EE_URL", server.url)
        monkeypatch.setenv("EARTHENGINE_PROJECT", "demo")
        monkeypatch.setenv(sign_in.TOKEN, TOKEN)

        def run(
            out: str, count: int, modalities: list[str], quirks: dict[str, bool] | None = None
        ) -> tuple[Summary, Counter[str]]:
            (tmp_path / "places.csv").write_text("".join(lines[: count + 1]))
            document: dict[str, Any] = {
                "name": "ee",
                "title": "It grows",
                "source": {"kind": "earthengine", "quirks": quirks or {}},
                "modalities": modalities,
                "tasks": {
                    "soil_pH": {
                        "points": {"path": "places.csv", "value": "ph"},
                        "split": {"buffer_m": 0},
                    }
                },
            }
            path = tmp_path / "ee.yaml"
            path.write_text(yaml.safe_dump(document))
            before = Counter(server.counters.requests)
            how = Options(1, "threads", None, False)
            summary = build(path, tmp_path / out, how, lambda *_: None)
            return summary, Counter(server.counters.requests) - before

        yield run
        assert server.crashes == []
    session.close()


def _sums(folder: Path, out: str) -> str:
    return (folder / out / "SHA256SUMS").read_text()


def test_places_layers_and_rules_cost_only_what_is_new(built: Build, tmp_path: Path) -> None:
    built("out", _FIRST, _PARTS)
    summary, asked = built("out", _ALL, _PARTS)
    n_new = _ALL - _FIRST
    assert summary.exit_code == 0
    assert asked["value:compute"] == -(-n_new // AHEAD)
    assert asked["image:computePixels"] == n_new
    fresh, _ = built("fresh", _ALL, _PARTS)
    assert _sums(tmp_path, "out") == _sums(tmp_path, "fresh")
    n_seen = fresh.samples["soil_pH"]

    summary, asked = built("out", _ALL, [*_PARTS, "esa_worldcover"])
    assert set(summary.difference["collect"]) == {"esa_worldcover"}
    assert asked["image:computePixels"] == n_seen
    built("fresh-2", _ALL, [*_PARTS, "esa_worldcover"])
    assert _sums(tmp_path, "out") == _sums(tmp_path, "fresh-2")

    quirks = {"january_looks_ahead": True}
    summary, asked = built("out", _ALL, [*_PARTS, "esa_worldcover"], quirks)
    assert summary.difference["collect"] == {"precipitation": {"recipe or source changed": n_seen}}
    assert (asked["value:compute"], asked["image:computePixels"]) == (-(-n_seen // AHEAD), 0)
    built("fresh-3", _ALL, [*_PARTS, "esa_worldcover"], quirks)
    assert _sums(tmp_path, "out") == _sums(tmp_path, "fresh-3")
