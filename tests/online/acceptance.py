"""The acceptance run against the true Earth Engine: what the loopback service cannot show.

EARTHENGINE_PROJECT=my-project python -m pytest -m online tests/online -s

It sends fewer than 100 requests that are metered, keeps nothing, and ends in a table to paste into
an issue.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ee
import numpy as np
import requests

import mmearth
from mmearth.catalog.errors import MMEarthError, RefusedError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile, tiles_at
from mmearth.curate.collectors import biomass, climate, eth_gch, sentinel2
from mmearth.curate.estimate import estimate
from mmearth.curate.limit import LocalLimit
from mmearth.curate.recipes import RECIPES
from mmearth.curate.source import Visit
from mmearth.curate.sources.earthengine.absent import AbsentError
from mmearth.curate.sources.earthengine.access import access_of_environment
from mmearth.curate.sources.earthengine.doctor import diagnose
from mmearth.curate.sources.earthengine.service import Service
from mmearth.curate.sources.earthengine.source import EarthEngine

TILES = {"default": Tile.at(10.9, 45.3), "mmearth-bench-2026": Tile.at(26.5, -14.6)}
"""Farmland near Verona, savanna in Zambia: one tile of each recipe, north and south."""
FOREST = Tile.at(-57.8, -5.5)
"""In the Amazon, under GEDI."""
PRICED = [(10.9 + 0.2 * i, 45.3) for i in range(10)]
"""Places of the tiles whose cost is held against the plan, in degrees."""
MOST_REQUESTS = 100


@dataclass(frozen=True, slots=True)
class Row:
    """What one step found."""

    step: str
    """What was tried."""
    found: str
    """What came of it."""
    is_good: bool
    """Whether that was expected."""
    seconds: float
    """How long it took."""


@dataclass
class Run:
    """One run: what it was told, what it has found, what it has sent."""

    n_priced: int = len(PRICED)
    """How many tiles are priced."""
    rows: list[Row] = field(default_factory=list)
    """A row a step."""
    sent: Counter[str] = field(default_factory=Counter)
    """Requests by kind: `value:compute` …; pages of folders and the client's start cost nothing."""

    @property
    def metered(self) -> int:
        """Requests that count."""
        return sum(n for kind, n in self.sent.items() if "compute" in kind)

    def source(self, recipe: str) -> EarthEngine:
        """Return the source as a build would use it."""
        access = access_of_environment()
        limit = LocalLimit(access.in_flight, access.per_second)
        return EarthEngine(MMEARTH_BENCH, RECIPES[recipe], 15, access, limit)

    @property
    def service(self) -> Service:
        """The service by itself."""
        return self.source("default").service

    def ask(self, make: Callable[[], Any]) -> Any:
        """Return the value of one expression."""
        return self.service.value(self.service.made(make))

    def tables(self) -> str:
        """Return the rows as Markdown, without the name of the project."""
        project = access_of_environment().project
        head = f"mmearth {mmearth.__version__}, earthengine-api {ee.__version__}"
        lines = [head, "", "| step | found | | s |", "| --- | --- | --- | --- |"]
        for row in self.rows:
            mark = "ok" if row.is_good else "**not as expected**"
            found = " ".join(row.found.split()).replace("|", "\\|")
            found = found.replace(project, "PROJECT") if project else found
            lines.append(f"| {row.step} | {found} | {mark} | {row.seconds:.1f} |")
        sent = ", ".join(f"{n} {kind}" for kind, n in sorted(self.sent.items()))
        return "\n".join([*lines, "", f"requests: {sent}"])


Step = Callable[[Run], tuple[str, bool]]
"""Says what it found and whether that was expected; what it raises is not as expected."""


def run(n_priced: int = len(PRICED)) -> Run:
    """Take every step; none stops the others.

    Args:
        n_priced: How many tiles are priced.
    """
    done = Run(n_priced)
    with _counted(done.sent):
        for name, step in STEPS.items():
            begin = time.perf_counter()
            try:
                found, is_good = step(done)
            except Exception as exc:  # noqa: BLE001 - whatever a step meets belongs into the table
                found, is_good = f"{type(exc).__name__}: {exc}", False
            done.rows.append(Row(name, found, is_good, time.perf_counter() - begin))
    within = done.metered < MOST_REQUESTS
    done.rows.append(Row("requests that are metered", str(done.metered), within, 0.0))
    return done


@contextmanager
def _counted(sent: Counter[str]) -> Iterator[None]:
    """Count what the client library sends."""
    send = requests.Session.request

    def counting(self: Any, method: str, url: str, **about: Any) -> Any:
        sent[url.partition("?")[0].rpartition("/")[2]] += 1
        return send(self, method, url, **about)

    requests.Session.request = counting  # type: ignore[method-assign]
    try:
        yield
    finally:
        requests.Session.request = send  # type: ignore[method-assign]


def _sign_in(run: Run) -> tuple[str, bool]:
    found = diagnose(access_of_environment(), ask=True)
    said = "; ".join(found.missing) or found.answer
    # Neither a path nor an account belongs into an issue.
    return f"{found.identity.partition(',')[0]}: {said}", not found.missing


def _tile(recipe: str) -> Step:
    def observe(run: Run) -> tuple[str, bool]:
        outcomes = run.source(recipe).observe(
            Visit(TILES[recipe], tuple(MMEARTH_BENCH.layers), None)
        )
        lacking = [f"{n}: {o}" for n, o in outcomes.items() if isinstance(o, MMEarthError)]
        for outcome in outcomes.values():
            if isinstance(outcome, Observation):
                outcome.check()
        scene = outcomes["sentinel2"]
        which = ", ".join(scene.source_ids) if isinstance(scene, Observation) else "no scene"
        return f"{which}; lacking: {'; '.join(lacking) or 'nothing'}", not lacking

    return observe


def _again(run: Run) -> tuple[str, bool]:
    source, tile = run.source("default"), TILES["default"]
    one, two = (source.observe(Visit(tile, ("sentinel2", "eth_gch"), None)) for _ in range(2))
    same = all(
        isinstance(one[name], Observation)
        and isinstance(two[name], Observation)
        and one[name].expression == two[name].expression
        and np.array_equal(one[name].array, two[name].array)
        for name in one
    )
    return "the same bytes" if same else "other bytes", same


def _draw(run: Run) -> tuple[str, bool]:
    source = run.source("default")
    label = next(source.labels(MMEARTH_BENCH.tasks["biomass"], 1, 1))
    [tile] = tiles_at([label.lon], [label.lat], DEFAULT_GRID)
    return f"shot {label.label_id} on {tile.id}", True


def _biomass(run: Run) -> tuple[str, bool]:
    outcomes = run.source("default").observe(Visit(FOREST, ("sentinel2", "biomass"), None))
    painted = outcomes["biomass"]
    if isinstance(painted, Observation):
        n_tables, share = len(painted.source_ids), painted.valid_fraction
        return f"{share:.2%} of the tile, from {n_tables} tables", 0 < share < 1
    return f"{type(painted).__name__}: {painted}", False


def _missing(asset: str, expected: type[MMEarthError]) -> Step:
    def ask(run: Run) -> tuple[str, bool]:
        try:
            answer = run.ask(lambda: ee.Image(asset).bandNames())
        except MMEarthError as exc:
            return f"{type(exc).__name__}: {exc}", type(exc) is expected and asset in str(exc)
        return f"an answer: {answer}", False

    return ask


def _folder(run: Run) -> tuple[str, bool]:
    first = next(run.service.assets(biomass.TABLES), None)
    return f"its first table is {first}", first is not None


def _no_bands(run: Run) -> tuple[str, bool]:
    """Either is well: nothing depends on it."""

    def reduced() -> Any:
        square = ee.Geometry.Rectangle([10, 45, 10.1, 45.1])
        nothing = ee.ImageCollection(climate.MONTHS).filterDate("1900-01-01", "1900-02-01")
        return nothing.mean().reduceRegion(ee.Reducer.mean(), square, 10_000)

    try:
        return f"an answer: {run.ask(reduced)}", True
    except RefusedError:
        raise
    except MMEarthError as exc:
        return str(exc), True


def _integers(run: Run) -> tuple[str, bool]:
    """Any is well: maps are cast to float before they are resampled."""
    tile = FOREST
    a, b, c, d, e, f = tile.transform

    def difference() -> Any:
        stored = ee.Image(eth_gch.HEIGHT)
        as_it_is, as_float = stored.resample("bilinear"), stored.toFloat().resample("bilinear")
        left, bottom, right, top = tile.bounds
        square = ee.Geometry.Rectangle(
            [left, bottom, right, top], proj=f"EPSG:{tile.epsg}", geodesic=False
        )
        grid = {"crs": f"EPSG:{tile.epsg}", "crsTransform": [a, b, c + 3, d, e, f + 3]}
        return as_float.subtract(as_it_is).reduceRegion(ee.Reducer.mean(), square, **grid)

    (mean,) = run.ask(difference).values()
    return f"as float {mean:+.3f} m higher than as integers, on average", True


def _price(run: Run) -> tuple[str, bool]:
    """Two tiles tell the price of ten; then the ten are asked for."""
    places = PRICED[: run.n_priced]
    with tempfile.TemporaryDirectory() as folder:
        table = "\n".join(["lon,lat,ph", *(f"{lon},{lat},7" for lon, lat in places)])
        Path(folder, "places.csv").write_text(table)
        config = Path(folder, "price.yaml")
        config.write_text(_CONFIG)
        planned, spent = estimate(config, 2), estimate(config, len(places))
    if planned.eecu_hours is None or spent.eecu_hours is None or not spent.eecu_hours:
        return "the service does not say what its answers cost", False
    said, true = planned.eecu_hours * 3600, spent.eecu_hours * 3600
    off = said / true - 1
    return (
        f"{spent.n_tiles} tiles: planned {said:.1f} EECU-s from 2, spent {true:.1f} ({off:+.0%})",
        abs(off) < 0.5,
    )


_CONFIG = """
name: acceptance
title: Ten tiles
source: {kind: earthengine}
tasks:
  soil_pH: {points: {path: places.csv, value: ph}}
"""

STEPS: dict[str, Step] = {
    "sign-in": _sign_in,
    **{f"a tile of `{recipe}`": _tile(recipe) for recipe in TILES},
    "the same request again": _again,
    "a footprint drawn from GEDI": _draw,
    "biomass in the Amazon": _biomass,
    "a scene that is not there": _missing(f"{sentinel2.SCENES}/20200101T000000", AbsentError),
    "a map that is not there": _missing("ESA/WorldCover/v100/1920", RefusedError),
    "the folder of GEDI's tables": _folder,
    "an image of no bands": _no_bands,
    "integers between pixels": _integers,
    "the price of ten tiles": _price,
}
"""What is tried, in order."""
