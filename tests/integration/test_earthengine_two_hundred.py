"""Two hundred tiles through everything that passes, in one run: the same as if nothing had been.

The waits are the product's own, a hundred times shorter; `tests/performance/earthengine_outage.py`
takes them as they are.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.collect import Job
from mmearth.curate.ledger import Record
from mmearth.curate.limit import LocalLimit
from mmearth.curate.packs import Packs
from mmearth.curate.recipes import RECIPES
from mmearth.curate.sources.earthengine import session
from mmearth.curate.sources.earthengine.access import Access
from mmearth.curate.sources.earthengine.sign_in import KEY_FILE, TOKEN
from mmearth.curate.sources.earthengine.source import EarthEngine
from mmearth.curate.visits import Options, visit_all
from mmearth.tests.earthengine.evaluate import Evaluate
from mmearth.tests.earthengine.faults import Faults
from mmearth.tests.earthengine.planet.places import planet_of, write_places
from mmearth.tests.earthengine.server import Server
from mmearth.tests.earthengine.tokens import Tokens

_N = 200
_PAUSE_S, _MINUTE_S, _OUTAGE_S, _SLEEP_S = 0.005, 0.1, 0.6, 1.2


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Tokens]:
    """An account whose token is renewed at a loopback endpoint."""
    with Tokens("first").running() as running:
        monkeypatch.delenv(TOKEN, raising=False)
        monkeypatch.setenv(KEY_FILE, str(running.key_file(tmp_path / "key.json")))
        yield running
    session.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """The planet, where tables are lost and scenes lack bands; it answers twice alike."""
    planet = planet_of(write_places(tmp_path / "places.csv", _N))
    with Server(Evaluate(planet), replies={}, users={"first": "me"}).running() as running:
        yield running
        assert running.crashes == []


def _collect(server: Server, out: Path, tmp_path: Path) -> list[Record]:
    """Collect all tiles as a build does: a season of a few days, biomass at every hundredth."""
    access = Access("demo", server.url, pause_s=_PAUSE_S, longest_pause_s=_MINUTE_S)
    source = EarthEngine(MMEARTH_BENCH, RECIPES["default"], 2, access, LocalLimit(40, 1000.0))
    tiles = sorted(write_places(tmp_path / "places.csv", _N))
    few, more = ("sentinel2", "month"), ("sentinel2", "month", "biomass")
    jobs = [
        Job(tile, few, "2020-07-05", few[:1]) if i % 100 else Job(tile, more, None, ())
        for i, tile in enumerate(tiles)
    ]
    how = Options(None, None, None, fresh=False, wait_s=60.0)
    records: list[Record] = []
    visit_all(jobs, len(jobs), source, Packs(out, MMEARTH_BENCH), how, records.extend)
    return sorted(records, key=lambda record: (record.tile, record.modality))


def _content(record: Record) -> Record:
    """Return a record without where in which pack its bytes are."""
    return replace(record, path=None, byte_offset=None)


def _disturb(server: Server, tokens: Tokens) -> None:
    """Cut the network, refuse the token, and let the machine sleep, one after the other."""

    def after(n: int) -> None:
        while server.counters.total < n:
            time.sleep(0.001)

    def renew(token: str) -> None:
        tokens.token, server.users = token, {token: "me"}

    def cut(seconds: float) -> None:
        server.is_down = True
        time.sleep(seconds)
        server.is_down = False

    after(20)
    cut(_OUTAGE_S)
    after(60)
    renew("second")
    after(90)
    renew("third")  # who sleeps finds his connections dead and his token too old
    cut(_SLEEP_S)


def test_two_hundred_tiles_in_one_run(
    server: Server, tokens: Tokens, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults = Faults(("per-minute",), share=0.1, seed=1)
    threading.Thread(target=_disturb, args=(server, tokens), daemon=True).start()
    with caplog.at_level(logging.WARNING, "mmearth"):
        wild = _collect(server, tmp_path / "wild", tmp_path)
    said = [record.getMessage() for record in caplog.records]
    assert sum("all wait" in line for line in said) == 2
    assert sum("answers again" in line for line in said) == 2
    assert len(server.faults.seen) >= 5
    assert tokens.asked.count("jwt") >= 3
    assert server.counters.total <= 1.5 * _N
    calm = _collect(server, tmp_path / "calm", tmp_path)
    assert len(calm) == 2 * _N + _N // 100
    assert not [record for record in calm if record.state == "failed"]
    assert [_content(record) for record in wild] == [_content(record) for record in calm]
    assert any(record.state == "done" for record in calm if record.modality == "biomass")
