"""Labelled places from a table of points."""

from __future__ import annotations

import datetime
import math
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.tasks import TASKS
from mmearth.curate.labels.identity import check_ids, feature_ids, id_text
from mmearth.curate.labels.ranges import species_in_ranges
from mmearth.curate.places import PointsPlaces
from mmearth.curate.source import Label
from mmearth.curate.vector import read_vector


def point_labels(task: str, config: PointsPlaces, base: Path) -> list[Label]:
    """Return the labelled places of a table.

    Rows without coordinates or, for a tile-level regression, without a value are left out; where
    the task does without targets, a row without a value is a place without one, and the
    identifiers, which lead predictions back to their places, must tell the rows apart.

    Raises:
        ConfigError: The file cannot be read, a column is missing, an identifier is missing or
            twice there, or no row is left.
    """
    path = base / config.path
    frame = _read(path, config)
    _check_columns(frame, config, path)
    _check_target(task, config, path)
    if config.id is not None and TASKS[task].optional:
        check_ids(frame[config.id].tolist(), path)
    names = ("lon", "lat", config.value, config.species, config.date, config.id)
    cells = [frame[name].tolist() if name else repeat(None, len(frame)) for name in names]
    keep = TASKS[task].optional
    rows = (_label(row, config, path, keep) for row in zip(*cells, strict=True))
    labels = [label for label in rows if label is not None]
    if not labels:
        raise ConfigError(
            f"{path} has no usable row among {len(frame)}; check its columns and values"
        )
    if config.ranges is None:
        return labels
    lons, lats = [label.lon for label in labels], [label.lat for label in labels]
    present = species_in_ranges(config.ranges, base, lons, lats)
    return [replace(label, species=here) for label, here in zip(labels, present, strict=True)]


def _read(path: Path, config: PointsPlaces) -> pd.DataFrame:
    """Return the table with its coordinates in the columns lon and lat."""
    ids = feature_ids(path) if config.id == "id" else None
    try:
        if path.suffix.lower() == ".csv":
            frame = pa.csv.read_csv(path).to_pandas()
        elif path.suffix.lower() in {".parquet", ".geoparquet"}:
            geo = b"geo" in (pq.read_schema(path).metadata or {})
            frame = gpd.read_parquet(path) if geo else pq.read_table(path).to_pandas()
        else:
            frame = read_vector(path)
            if ids is not None:
                frame["id"] = [ids[i] for i in frame.index]
    except (OSError, pa.ArrowInvalid) as exc:
        raise ConfigError(
            f"{path} cannot be read as a table of points ({' '.join(str(exc).split())}); expected "
            "CSV, Parquet, GeoParquet, GeoJSON or another vector file"
        ) from exc
    if isinstance(frame, gpd.GeoDataFrame):
        if frame.crs is None:
            raise ConfigError(
                f"{path} names no CRS; write it into the file or give lon, lat columns"
            )
        frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)].to_crs(4326)
        points = frame.geometry
        if not (points.geom_type == "Point").all():
            raise ConfigError(f"{path} has geometries that are no points; use `grid:` for polygons")
        return pd.DataFrame(frame.drop(columns=frame.geometry.name)).assign(
            lon=points.x, lat=points.y
        )
    if config.lon in frame and config.lat in frame:
        return pd.DataFrame(frame).assign(lon=frame[config.lon], lat=frame[config.lat])
    raise ConfigError(
        f"{path} has the columns {', '.join(frame.columns)}; expected coordinates in "
        f"{config.lon!r} and {config.lat!r}: name them with lon: and lat:"
    )


def _check_columns(frame: pd.DataFrame, config: PointsPlaces, path: Path) -> None:
    for key in ("value", "species", "date", "id"):
        column = getattr(config, key)
        found = 0 if column is None else list(frame.columns).count(column)
        if found > 1:
            raise ConfigError(f"{path} has {found} columns {column!r} for {key}:; keep one of them")
        if column is not None and not found:
            raise ConfigError(
                f"{path} has no column {column!r} for {key}:; its columns are "
                f"{', '.join(map(str, frame.columns))}"
            )


def _check_target(task: str, config: PointsPlaces, path: Path) -> None:
    spec = TASKS[task]
    wants = spec.level == "tile" and spec.kind == "regression" and not spec.optional
    if wants and config.value is None:
        raise ConfigError(f"tasks.{task}.points: value: must name the column of {path} with {task}")
    if spec.kind == "multilabel" and config.species is None and config.ranges is None:
        raise ConfigError(f"tasks.{task}.points: give species: (a column) or ranges: (polygons)")


def _label(row: tuple[Any, ...], config: PointsPlaces, path: Path, keep: bool) -> Label | None:
    """Return the label of (lon, lat, value, species, date, id); None where it lacks a number.

    `keep`: a place without a value is kept, unlabelled.
    """
    lon, lat = _number(row[0], path), _number(row[1], path)
    value = _number(row[2], path) if config.value else None
    if value is not None and math.isnan(value):
        if not keep:
            return None
        value = None
    if math.isnan(lon) or math.isnan(lat):
        return None
    species = None
    if config.species is not None:
        known = TASKS["species"].outputs
        names = {name.strip().replace("_", " ") for name in str(row[3]).split(";")}
        species = tuple(name for name in known if name in names)
    date = _date(row[4], path) if config.date else None
    return Label(lon, lat, value, species, date, id_text(row[5]))


def _number(value: Any, path: Path) -> float:
    try:
        return float("nan") if value is None else float(value)
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"{path} holds {value!r} where a number was expected") from exc


def _date(value: Any, path: Path) -> str | None:
    if pd.isna(value) or value == "":
        return None
    try:
        return datetime.date.fromisoformat(str(value)[:10]).isoformat()
    except ValueError as exc:
        raise ConfigError(f"{path} holds the date {value!r}; expected YYYY-MM-DD") from exc
