"""Damaged vector files: they are read, or refused in a sentence."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import geopandas as gpd
import pytest
import shapely

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.curate.declared import TargetConfig, own_task
from mmearth.curate.labels.points import point_labels
from mmearth.curate.places import PointsPlaces
from mmearth.curate.vector import read_polygons
from mmearth.tests.damage import TIMES

pytestmark = pytest.mark.fuzz

_FILES = 50 * TIMES


@pytest.mark.parametrize("damaged", ["geojson", "gpkg", "dbf", "prj", "parquet"])
def test_a_damaged_file_is_read_or_refused(
    damaged: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="mmearth")
    kind = {"dbf": "shp", "prj": "shp"}.get(damaged, damaged)
    points = gpd.points_from_xy([8, 9, 10], [50, 51, 52])
    boxes = [shapely.box(8, 50, 9, 51), shapely.box(170, -20, 190, -10), shapely.box(0, 0, 1, 1)]
    refused = 0
    for name, shapes in (("points", points), ("boxes", boxes)):
        columns = {"id": ["007", "008", "009"], "value": [1.5, 2.0, 3.0]}
        frame = gpd.GeoDataFrame(columns, geometry=shapes, crs=4326)
        path = tmp_path / f"{name}.{kind}"
        frame.to_parquet(path) if kind == "parquet" else frame.to_file(path)
        part = path.with_suffix(f".{damaged}")
        whole = part.read_bytes()
        for number in range(_FILES // 2):
            draw = random.Random(f"{name} {damaged} {number}")
            data = bytearray(whole)
            for _ in range(draw.choice([1, 2, 9])):
                at = draw.randrange(len(data))
                put = bytes(draw.choices(range(256), k=draw.choice([0, 1, 1, 2])))
                data[at : at + draw.choice([0, 1, 1, 5])] = put
            part.write_bytes(bytes(data))
            try:
                if name == "points":
                    point_labels(
                        own_task("custom", TargetConfig()),
                        PointsPlaces(path=path.name, id="id"),
                        tmp_path,
                        DEFAULT_GRID,
                    )
                else:
                    read_polygons(path, "id")
            except ConfigError as exc:
                refused += 1
                assert path.name in str(exc)
    assert refused > 3
