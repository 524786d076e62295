"""The explorer with many samples, over HTTP with 20 ms of latency, and the published one's way."""

from __future__ import annotations

import gzip
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmearth.catalog import explorer_server
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.checksums import read_dataset, seal
from mmearth.catalog.explorer_page import page_files
from mmearth.catalog.explorer_server import listening
from mmearth.catalog.hilbert import hilbert_index
from mmearth.catalog.schema import MEMBER, ROW_GROUP_ROWS, write_parts
from mmearth.catalog.splits import SPLITS
from mmearth.tests.browser import chromium
from mmearth.tests.make_tiny import make_sealed

TASK = "soil_pH"
REAL = 10  # every tenth sample has members that are there, and their checksums
_LATENCY_S = 0.02
_FRAMES = """n => new Promise(done => {
  const times = []; let last = performance.now();
  const step = (now) => {
    times.push(now - last); last = now; mmearth.map.pan(times.length % 60 < 30 ? 4 : -4, 1);
    if (times.length < n) requestAnimationFrame(step); else done(times.slice(5));
  };
  requestAnimationFrame(step);
})"""
_TILE = "#tile[aria-busy=false] h2"
_FILTER = """() => mmearth.state.set({
  where: { 'sentinel1.present': { in: ['true'] }, target: { from: 6 } } })"""
_REFERENCE = """<!doctype html><svg width="1400" height="700"></svg><script>
fetch('rows.geojson').then(r => r.json()).then(({ features }) => {
  const svg = document.querySelector('svg');
  for (const { geometry: { coordinates: [lon, lat] } } of features) {
    const rect = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
    const place = { x: (lon + 180) * 3.9, y: (90 - lat) * 3.9, width: 3, height: 3 };
    for (const name in place) rect.setAttribute(name, place[name]);
    svg.append(rect);
  }
  requestAnimationFrame(() => setTimeout(() => document.body.setAttribute('data-done', '')));
})</script>"""


def grow(root: Path, n: int) -> None:
    """Replace a small sealed dataset's manifest of a task by one of n rows, all over the globe."""
    path = root / f"manifests/{TASK}.parquet"
    few = pq.read_table(path)
    schema = few.schema.remove_metadata()
    generator = np.random.default_rng(0)
    lon, lat = generator.uniform(-170, 170, n), generator.uniform(-55, 70, n)
    order = np.lexsort((hilbert_index(lon, lat), np.arange(n) * len(SPLITS) // n))
    places = lon[order], lat[order]
    begins = range(0, n, ROW_GROUP_ROWS)
    parts = (_part(few, schema, places, slice(b, min(b + ROW_GROUP_ROWS, n)), n) for b in begins)
    write_parts(parts, path, schema)
    card = DatasetCard.from_json(read_dataset(root))
    seal(root, card)


def _part(few: pa.Table, schema: pa.Schema, places: Any, rows: slice, n: int) -> pa.Table:
    count = rows.stop - rows.start
    index = np.arange(rows.start, rows.stop)
    generator = np.random.default_rng(rows.start)
    table = few.take(pa.array(index % len(few)))
    lon, lat = (np.round(axis[rows], 7) for axis in places)
    splits = np.array(SPLITS)[index * len(SPLITS) // n]
    target = np.round(generator.normal(6.3, 1.2, count), 4)
    keys = [f"32{i % 60:03d}_{i}_{4000000 + i}_20200704" for i in index]
    columns = {"lon": lon, "lat": lat, "split": splits, "target": target, "key": keys}
    for name in schema.names:
        column = table[name].combine_chunks()
        if schema.field(name).type == MEMBER:
            columns[name] = _with_digests(column, index, generator)
    for name, values in columns.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, schema.field(name), pa.array(values, schema.field(name).type))
    return table


def _with_digests(column: pa.StructArray, index: Any, generator: Any) -> pa.StructArray:
    """Other checksums and places in most rows: equal ones would compress to nothing."""
    drawn = generator.bytes(32 * len(index)).hex()
    digests = pa.array([drawn[64 * i : 64 * i + 64] for i in range(len(index))])
    is_real = pa.array(index % REAL == 0)
    names = [field.name for field in column.type]
    arrays = [column.field(name) for name in names]
    at = names.index("sha256")
    arrays[at] = pa.compute.if_else(is_real, arrays[at], digests)
    at = names.index("byte_offset")
    moved = pa.compute.add(arrays[at], pa.array(index * 1_290_240))
    arrays[at] = pa.compute.if_else(is_real, arrays[at], moved)
    return pa.StructArray.from_arrays(arrays, names=names)


@contextmanager
def served(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[int]]]:
    """Serve with latency; yield the page's URL and the bytes of each answer."""
    lengths: list[int] = []
    plain = explorer_server._Handler._send

    def slow(self: Any, status: int, length: int, headers: dict[str, str]) -> None:
        time.sleep(_LATENCY_S)
        lengths.append(length)
        plain(self, status, length, headers)

    monkeypatch.setattr(explorer_server._Handler, "_send", slow)
    with listening(root, page_files(root, {"data": "../"}, None), 0) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/explorer/", lengths
        server.shutdown()


@dataclass
class Visit:
    """A page that was opened cold, and what it has cost."""

    page: Any
    lengths: list[int]

    def step(self, act: Callable[[], object]) -> str:
        """Do something; return the seconds that it took, and what was fetched."""
        before, begun = (sum(self.lengths), len(self.lengths)), time.perf_counter()
        act()
        took = time.perf_counter() - begun
        moved = (sum(self.lengths) - before[0]) / 1e6
        return f"{took:.2f} s, {moved:.2f} MB in {len(self.lengths) - before[1]}"

    def wait(self, selector: str) -> None:
        self.page.wait_for_selector(selector)

    @property
    def count(self) -> int:
        self.wait("body[aria-busy=false]")
        return int(self.page.get_attribute("#status", "data-count"))


@pytest.mark.performance
@pytest.mark.parametrize("n", [140, 100_000, 1_000_000])
def test_many_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    root = make_sealed(tmp_path / "dataset")
    grow(root, n)
    table = root / f"manifests/{TASK}.parquet"
    with visited(root, monkeypatch) as (visit, url):
        page = visit.page
        whole = visit.step(lambda: (page.goto(url), visit.wait("body[aria-busy=false]")))
        paint = int(page.get_attribute("body", "data-painted")) / 1000
        assert visit.count == n
        row = n // 2 // REAL * REAL
        tile = visit.step(
            lambda: (page.evaluate("row => mmearth.choose(row)", row), visit.wait(_TILE))
        )
        assert page.locator("#tile .card canvas").count() > 3
        frames, drawn = page.evaluate(_FRAMES, 100), page.evaluate("mmearth.map.frames.slice(-90)")
        heap = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
        chosen = visit.step(lambda: (page.evaluate(_FILTER), visit.wait("body[aria-busy=false]")))
        query = f"SELECT count(*) FROM '{table}' WHERE sentinel1.present AND target >= 6"
        ((expected,),) = duckdb.sql(query).fetchall()
        assert visit.count == expected
    print(
        f"\n{n} rows, manifest {table.stat().st_size / 1e6:.1f} MB: first paint {paint:.2f} s; all "
        f"{whole}; a tile {tile}; frames {np.median(frames):.1f} ms, 95 % "
        f"{np.percentile(frames, 95):.1f}, drawing {np.median(drawn):.1f}; heap {heap:.0f} MB; "
        f"a filter {chosen}"
    )


@contextmanager
def visited(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Visit, str]]:
    """Open a browser that has seen nothing; in the end nothing was thrown."""
    complaints: list[str] = []
    with chromium() as browser, served(root, monkeypatch) as (url, lengths):
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.set_default_timeout(120_000)
        yield Visit(page, lengths), f"{url}#task={TASK}"
    assert complaints == []


@pytest.mark.performance
@pytest.mark.parametrize("n", [140, 100_000, 1_000_000])
def test_the_published_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """A GeoJSON of the rows, and a rectangle each; a million are weighed only."""
    root = make_sealed(tmp_path / "dataset")
    grow(root, n)
    names = ["key", "split", "lon", "lat", "biome", "ecoregion", "target", "label_id"]
    rows = pq.read_table(root / f"manifests/{TASK}.parquet", columns=names).to_pylist()
    features = [{"type": "Feature", "properties": r, "geometry": _point(r)} for r in rows]
    document = json.dumps({"type": "FeatureCollection", "features": features})
    size = (
        f"{len(document) / 1e6:.2f} MB, {len(gzip.compress(document.encode())) / 1e6:.2f} gzipped"
    )
    if n > 100_000:
        print(f"\n{n} rows as GeoJSON: {size}")
        return
    site = tmp_path / "explorer"
    shutil.copytree(root, site)
    (site / "rows.geojson").write_text(document)
    (site / "old.html").write_text(_REFERENCE)
    with visited(site, monkeypatch) as (visit, url):
        page, old = visit.page, url.partition("explorer/")[0] + "old.html"
        took = visit.step(lambda: (page.goto(old), visit.wait("body[data-done]")))
    print(f"\n{n} rows as GeoJSON and SVG: {took}; {size}")


def _point(row: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [row["lon"], row["lat"]]}
