"""A change of a dataset with a million observations, planned: CPU seconds and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mmearth.catalog.schema import write_table
from mmearth.catalog.tile import Tile
from mmearth.curate.config import load_config
from mmearth.curate.identity import Identities
from mmearth.curate.jobs import wanted
from mmearth.curate.ledger import Ledger, Record
from mmearth.curate.plan import make_plan
from mmearth.curate.source import Source
from mmearth.curate.sources import make_source
from mmearth.curate.store_index import IndexWriter

_TILES = int(os.environ.get("MMEARTH_GROW_TILES", "83334"))
_MORE = 1_000
_MOST_S, _MOST_MB = 30, 2_000
_AT_ONCE = 10_000
_MODALITIES = [
    *("sentinel2", "sentinel1", "aster_gdem", "eth_gch", "dynamic_world", "esa_worldcover"),
    *("precipitation", "temperature", "geolocation", "month", "biome", "ecoregion"),
]
_PLAN = """
import resource, sys
from mmearth.cli import main
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]
    print(used.ru_utime + used.ru_stime, int(peak) / 1024, file=sys.stderr)
"""


def _configured(folder: Path, n: int, modalities: list[str]) -> Path:
    """Write a configuration of places that are 4 km apart; return its path."""
    rows = (f"{-120 + 0.1 * (i % 2000)},{-40 + 0.05 * (i // 2000)},6.5\n" for i in range(n))
    (folder / "places.csv").write_text("lon,lat,ph\n" + "".join(rows))
    points = {"path": "places.csv", "value": "ph"}
    document = {
        "name": "large",
        "title": "A million observations",
        "source": {"kind": "synthetic", "seed": 7},
        "modalities": modalities,
        "tasks": {"soil_pH": {"points": points, "split": {"buffer_m": 0}}},
    }
    path = folder / "large.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def _collected(config_path: Path, out: Path) -> Iterator[list[Record]]:
    """Plan a dataset; yield the records of all that it wants, as if they had been collected."""
    config = load_config(config_path)
    source: Source = make_source(config, config_path.parent)
    plan = make_plan(config, source, config_path.parent)
    out.mkdir(exist_ok=True)
    write_table(plan.table, out / "tiles.parquet", plan.table.schema)
    everything = wanted(config, plan)
    identities = Identities(config.catalogue, source, config.require)
    records: list[Record] = []
    for name, names, date in everything.planned():
        known = identities.all_of(Tile.parse(name, everything.grid), names, date, names)
        base = {"values": "[1.0]", "acquired": "2020-07-01", "source": source.name}
        pairs = zip(names, known, strict=True)
        records += [Record(name, n, "done", identity=each, **base) for n, each in pairs]  # type: ignore[arg-type]
        if len(records) >= _AT_ONCE:
            yield records
            records = []
    yield records


def _planned(config: Path, *options: str) -> tuple[float, float, dict[str, object]]:
    """Run `curate plan`; return its CPU seconds, peak megabytes, and the difference."""
    command = [sys.executable, "-c", _PLAN, "-q", "curate", "plan", str(config), *options, "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, peak = map(float, done.stderr.split()[-2:])
    return seconds, peak, json.loads(done.stdout)["difference"]


@pytest.mark.performance
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("place", ["ledger", "store"])
def test_a_change_of_a_million_observations_is_planned_in_half_a_minute(
    place: str, tmp_path: Path
) -> None:
    config, out = _configured(tmp_path, _TILES, _MODALITIES[:-1]), tmp_path / "out"
    store = IndexWriter(tmp_path / "store")
    with Ledger(out) as ledger:
        for records in _collected(config, out):
            if place == "ledger":
                ledger.record(records)
            else:
                store.add(records)
    config = _configured(tmp_path, _TILES + _MORE, _MODALITIES)
    options = ["-o", str(out)]
    if place == "store":
        options += ["--store", str(tmp_path / "store")]
    seconds, peak, difference = _planned(config, *options)
    print(f"{place}: {_TILES * 11:,} observations: {seconds:.1f} CPU s, peak {peak:.0f} MB")
    assert (seconds < _MOST_S, peak < _MOST_MB) == (True, True)
    if place == "ledger":
        tiles = difference["tiles"]
        assert isinstance(tiles, dict)
        # A buffer of 0 m leaves out what touches a block of tests.
        assert 0.9 * _MORE < tiles["new"] <= _MORE
        assert tiles["gone"] == 0
