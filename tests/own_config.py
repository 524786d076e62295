"""Configurations of one's own layers and tasks, and the small files that they name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import shapely
from pydantic import ValidationError
from shapely.geometry.base import BaseGeometry

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import Grid
from mmearth.catalog.task import Task
from mmearth.catalog.utm import to_lonlat
from mmearth.catalog.wrong_keys import sentences
from mmearth.curate.config import BuildConfig
from mmearth.curate.declared import TargetConfig, own_task

GRID = Grid(32, 10)


def config_of(**changed: Any) -> BuildConfig:
    """Return the smallest configuration with some keys changed.

    Raises:
        ConfigError: A key is wrong, in the sentence of `load_config`.
    """
    document = {
        "name": "own",
        "title": "Own",
        "source": {"kind": "synthetic"},
        "modalities": ["month"],
        "require": [],
        "tasks": {"biomass": {"labels": {"count": 3}}},
    }
    try:
        return BuildConfig.model_validate(document | changed)
    except ValidationError as exc:
        raise ConfigError(sentences(exc, BuildConfig)) from exc


def task_of(**target: Any) -> Task:
    """Return the task `own` that a `target:` declares, with the pixels of GRID."""
    task = own_task("own", TargetConfig.model_validate(target))
    points = {"points": {"path": "p.csv"}} if not task.is_pixel else {}
    makes = points or {"polygons": {"path": "p.geojson", "field": "class"}}
    known = config_of(grid={"pixels": 32}, tasks={"own": {"target": target, **makes}})
    return known.catalogue.tasks["own"]


def write_polygons(
    path: Path, shapes: Sequence[BaseGeometry], epsg: int = 4326, **fields: Sequence[Any]
) -> Path:
    """Write GeoJSON of shapes in a UTM zone, brought to degrees, or in degrees already."""
    if epsg != 4326:
        zone = to_lonlat(epsg)
        shapes = [shapely.transform(s, zone.transform, interleaved=False) for s in shapes]
    features = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(shape),
            "properties": {name: column[i] for name, column in fields.items()},
        }
        for i, shape in enumerate(shapes)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path
