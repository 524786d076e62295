"""Targets that are made here from files, over whatever source."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from shapely import box

from mmearth.catalog.errors import ConfigError, NoDataError
from mmearth.catalog.sample import Observation
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile
from mmearth.curate.labels.local import WithTargets
from mmearth.curate.limit import Limit
from mmearth.curate.painters import with_targets
from mmearth.curate.plan import make_plan
from mmearth.curate.source import Label, Outcome, Visit, is_metered
from mmearth.curate.sources.synthetic import Synthetic
from mmearth.tests.own_config import GRID, config_of, write_polygons

TILE = Tile(32633, 500_000, 5_000_000, GRID)
LAND = {"level": "pixel", "classes": {1: "crop", 4: "wood"}}


@dataclass(frozen=True)
class Service:
    """A metered source that keeps what it is asked for."""

    limit: Any = None
    asked: list[Any] = field(default_factory=list)
    name = "service 1"

    def fingerprint(self, name: str) -> str:
        return "0" * 64

    in_flight, per_second, pauses_s = 7, 3.5, (1.0, 60.0)

    def observe(self, visit: Visit) -> dict[str, Outcome]:
        self.asked.append((visit.wanted, visit.date, visit.anchor, visit.settled))
        return {name: NoDataError("nothing") for name in visit.wanted}

    def labels(self, task: Task, count: int, seed: int) -> Iterator[Label]:
        return iter([Label(8.0, 50.0, float(count + seed))])

    def look_ahead(self, visits: Sequence[Visit]) -> None:
        self.asked.append([(visit.wanted, visit.settled) for visit in visits])

    def limited(self, limit: Limit) -> Service:
        return Service(limit, self.asked)


def _over(source: Any, base: Path, **polygons: Any) -> WithTargets:
    """Return a source over which the class `wood` lies on all of TILE, but its upper half."""
    path = base / "a.geojson"
    if not path.exists():
        lower = box(499_000, 4_999_000, 501_000, 5_000_000 - 160)
        write_polygons(path, [lower], 32633, kind=["wood"])
    task = {"target": LAND, "polygons": {"path": "a.geojson", "field": "kind", **polygons}}
    config = config_of(grid={"pixels": 32}, tasks={"own": task})
    found = with_targets(config, base, source, None)
    assert isinstance(found, WithTargets)
    return found


def test_the_source_is_asked_for_all_else(tmp_path: Path) -> None:
    service = Service()
    over = _over(service, tmp_path)
    found = over.observe(Visit(TILE, ("own", "month"), "2020-07-01", None, ("own", "biome")))
    assert service.asked == [(("month",), "2020-07-01", None, ("biome",))]
    painted = found["own"]
    assert isinstance(painted, Observation)
    assert np.array_equal(painted.array[0, :, 0], [255] * 16 + [4] * 16)
    assert isinstance(found["month"], NoDataError)
    assert list(over.observe(Visit(TILE, ("own",), None))) == ["own"]
    assert len(service.asked) == 1  # of nothing else it is not asked at all
    over.look_ahead([Visit(TILE, ("own", "month"), None)])
    assert service.asked[1] == [(("month",), ())]
    assert [x.value for x in over.labels(over.painters[0].task, 2, 3)] == [5.0]  # type: ignore[attr-defined]


def test_a_metered_source_is_metered_beneath(tmp_path: Path) -> None:
    over = _over(Service(), tmp_path)
    assert is_metered(over)
    assert (over.in_flight, over.per_second, over.pauses_s) == (7, 3.5, (1.0, 60.0))
    limited = over.limited("limit")  # type: ignore[arg-type]
    assert isinstance(limited, WithTargets) and limited.painters == over.painters
    inner: Any = limited.inner
    assert inner.limit == "limit"
    assert not is_metered(_over(Synthetic(), tmp_path))


def test_what_is_painted_is_in_the_fingerprint(tmp_path: Path) -> None:
    first = _over(Synthetic(1), tmp_path).fingerprint("own")
    assert _over(Synthetic(1), tmp_path).fingerprint("own") == first
    assert _over(Synthetic(2), tmp_path).fingerprint("own") == first
    assert _over(Synthetic(2), tmp_path).fingerprint("biome") == Synthetic(2).fingerprint("biome")
    assert _over(Synthetic(1), tmp_path, all_touched=True).fingerprint("own") != first
    assert pickle.loads(pickle.dumps(_over(Synthetic(1), tmp_path))).fingerprint("own") == first
    write_polygons(tmp_path / "a.geojson", [box(8, 50, 9, 51)], kind=["crop"])
    assert _over(Synthetic(1), tmp_path).fingerprint("own") != first


def test_a_field_that_is_wrong_is_the_outcome_and_a_file_that_is_missing_stops(
    tmp_path: Path,
) -> None:
    found = _over(Synthetic(), tmp_path, field="klass").observe(Visit(TILE, ("own",), None))["own"]
    assert isinstance(found, ConfigError)
    (tmp_path / "a.geojson").rename(tmp_path / "b.geojson")
    task = {"target": LAND, "polygons": {"path": "a.geojson", "field": "kind"}}
    config = config_of(tasks={"own": task})
    with pytest.raises(ConfigError, match=r"tasks\.own\.polygons: there is no .*a\.geojson"):
        _ = with_targets(config, tmp_path, Synthetic(), None).fingerprint("own")


def test_places_are_where_polygons_are(tmp_path: Path) -> None:
    fields = [box(x, 5_000_000, x + 60, 5_000_060) for x in (500_000, 504_000, 508_000)]
    write_polygons(tmp_path / "f.geojson", fields, 32633, kind=["wood", "crop", None])
    task = {"target": LAND, "polygons": {"path": "f.geojson", "field": "kind"}}
    config = config_of(grid={"pixels": 32}, tasks={"own": task})
    source = with_targets(config, tmp_path, Synthetic(), None)
    table = make_plan(config, source, tmp_path).table
    lefts = sorted(table["left"].to_pylist())
    assert all(500_000 - 320 <= x <= 504_060 for x in lefts)  # the third is of no class
    assert any(x <= 500_060 for x in lefts) and any(x >= 504_000 - 320 for x in lefts)
    for row in table.to_pylist():
        tile = Tile.parse(row["tile"], GRID)
        assert isinstance(
            source.observe(Visit(tile, ("own",), None))["own"], (Observation, NoDataError)
        )


def test_a_raster_below_another_root(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    codes = np.full((1, 200, 200), 4, dtype=np.uint8)
    codes[0, :100] = 255
    profile = {"driver": "GTiff", "count": 1, "height": 200, "width": 200, "dtype": "uint8"}
    profile |= {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    with rasterio.open(tmp_path / "elsewhere" / "land.tif", "w", **profile) as dataset:
        dataset.write(codes)
    raster = {"root": "elsewhere", "path": "land.tif", "limit": 9}
    config = config_of(grid={"pixels": 32}, tasks={"own": {"target": LAND, "raster": raster}})
    source = with_targets(config, tmp_path, Synthetic(), None)
    table = make_plan(config, source, tmp_path).table
    # 2 km hold five centres 370 m apart each way, or six.
    assert 1 <= len(table) <= 9
    found = source.observe(Visit(Tile(32633, 500_840, 4_999_160, GRID), ("own",), None))["own"]
    assert isinstance(found, Observation), found
    assert np.array_equal(found.array[0, :, 5], [255] * 16 + [4] * 16)
