"""tiles.parquet and observations.parquet of published files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmearth.catalog.anchor import anchor_date
from mmearth.catalog.errors import FormatError
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.layer import Layer
from mmearth.catalog.schema import OBSERVATIONS, tiles_schema, write_table
from mmearth.catalog.task import Task
from mmearth.packaging.h5.agreement import (
    check_missing,
    check_reflectances,
    check_unsaid,
    valid_values,
)
from mmearth.packaging.h5.layout import FOLLOWS, FORMAT, KEY_OF
from mmearth.packaging.h5.provenance import Provenance
from mmearth.packaging.h5.rows import Rows
from mmearth.packaging.h5.scratch import Pixels

SOURCE = "MMEarth-Bench HDF5"
"""Source of every observation."""
_SAME_SHARE = 1e-9  # two ways to divide differ in the last bit
_AT_ONCE = 10_000  # rows as Python objects, which take ten times the memory of Arrow's
Row = dict[str, Any]


class Tables:
    """tiles.parquet and observations.parquet, task by task."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        """Begin with no rows; `tasks` are all that will be added."""
        self._schema = tiles_schema(tasks)
        self._tiles: list[pa.Table] = []
        self._observations: list[pa.Table] = []
        self._seen: dict[str, tuple[Path, str]] = {}

    def add(
        self, path: Path, rows: Rows, pixels: dict[str, Pixels], known: Provenance | None
    ) -> None:
        """Add one file's rows.

        Args:
            path: Of the file, for sentences.
            rows: All of it that has no pixels.
            pixels: What was found in the rest.
            known: What stands beside it.

        Raises:
            FormatError: Another task has other observations of a tile, a row has no label, or what
                is said to be missing is there, or the other way round.
        """
        _check_missing(path, rows, pixels)
        tiles = [_planned(rows, row, known) for row in range(len(rows.tiles))]
        observed: list[Row] = []
        for row, tile in enumerate(rows.tiles):
            mine = list(_observed(rows, pixels, row))
            if mine[-1]["modality"] == rows.task.name and mine[-1]["state"] != "done":
                raise FormatError(f"{path}: no pixel of row {row} has a label; take the row out")
            if known is not None:
                mine = _as_known(path, row, tile.id, mine, known.row(row)["observations"])
            shared = sha256_bytes(repr([each for each in mine if _is_shared(each)]).encode())
            before = self._seen.setdefault(tile.id, (path, shared))
            if before[1] != shared:
                raise seen_otherwise(path, row, tile.id, before[0])
            if before[0] != path:
                mine = [each for each in mine if not _is_shared(each)]
            observed += mine
            if len(observed) > _AT_ONCE:
                self._observations.append(pa.Table.from_pylist(observed, OBSERVATIONS))
                observed = []
        self._tiles.append(pa.Table.from_pylist(tiles, self._schema))
        self._observations.append(pa.Table.from_pylist(observed, OBSERVATIONS))

    def write(self, out: Path) -> None:
        """Write both."""
        tiles = pa.concat_tables(self._tiles).sort_by(
            [("task", "ascending"), ("tile", "ascending")]
        )
        order = [("tile", "ascending"), ("modality", "ascending")]
        write_table(tiles, out / "tiles.parquet", self._schema)
        observations = pa.concat_tables(self._observations).sort_by(order)
        write_table(observations, out / "observations.parquet", OBSERVATIONS)


def seen_otherwise(path: Path, row: int, tile: str, other: Path) -> FormatError:
    """Return what to raise where two tasks saw a tile unlike."""
    return FormatError(
        f"{path}: row {row}, tile {tile}, was seen otherwise in {other.name}; import the two tasks "
        "into datasets of their own"
    )


def _is_shared(observation: Row) -> bool:
    """Say whether it is the tile's, whatever the task; a pixel-level target is the task's own."""
    return observation["modality"] in FORMAT.layers


def _check_missing(path: Path, rows: Rows, pixels: dict[str, Pixels]) -> None:
    """Compare missing_modalities with the pixels, and Sentinel-2 with its dates."""
    images = pixels[KEY_OF["sentinel2"]]
    if rows.missing is None:
        check_unsaid(path, images.n_valid == 0)
    else:
        for layer in FORMAT.pixel_layers:
            absent = pixels[KEY_OF[layer.name]].n_valid == 0
            check_missing(path, layer.name, rows.missing, absent)
    check_reflectances(path, images.largest)


def _as_known(path: Path, row: int, tile: str, found: list[Row], known: list[Row]) -> list[Row]:
    """Return what is known of a row's observations, where it is of the same values.

    Raises:
        FormatError: It says that something is there which is not, or the other way round.
    """
    said = {each["modality"]: each for each in known}
    for each in found:
        name = each["modality"]
        theirs = _share(said.get(name, {}))
        # Geolocation and month stand in every file, those of a dataset without them too.
        if abs(theirs - _share(each)) > _SAME_SHARE and not (name in FOLLOWS and not theirs):
            raise FormatError(
                f"{path}: row {row}: {_share(each):.4f} of {name} is valid, and the file of "
                f"provenance beside it says {theirs:.4f}; take it away, or export the dataset again"
            )
    return [{"tile": tile, **each} for each in known]


def _has_image(said: Row) -> bool:
    """Say whether a Sentinel-2 image fixes the date of a row of provenance."""
    images = (each for each in said["observations"] if each["modality"] == "sentinel2")
    return any(each["state"] == "done" and each["acquired"] for each in images)


def _share(observation: Row) -> float:
    return (observation.get("valid_fraction") or 0.0) if observation.get("state") == "done" else 0.0


def _planned(rows: Rows, row: int, known: Provenance | None) -> Row:
    tile, mine = rows.tiles[row], rows.planned(row)
    said = {} if known is None else known.row(row)
    # What another task asked for at the same tile may have won: the file has the day that did.
    asked = said.get("date", rows.dates[row])
    if known is not None and anchor_date(asked, tile.lat) != rows.dates[row]:
        asked = asked if _has_image(said) else rows.dates[row]
    return {
        **mine,
        "epsg": tile.epsg,
        "left": tile.left,
        "top": tile.top,
        "lon": tile.lon,
        "lat": tile.lat,
        "cell": tile.cell,
        "date": asked,
        "label_id": said.get("label_id", str(rows.ids[row])),
    }


def _observed(rows: Rows, pixels: dict[str, Pixels], row: int) -> Iterator[Row]:
    target = [rows.task.target] if rows.task.is_pixel else []
    for layer in (*FORMAT.layers.values(), *target):
        share = _valid_share(rows, pixels, layer, row)
        is_anchor = layer.name == "sentinel2"
        done = {
            "acquired": rows.dates[row] if is_anchor else None,
            "valid_fraction": share,
            "source": SOURCE,
            "source_ids": scene(rows, row) if is_anchor else [],
        }
        missing = {"reason": "the published file has no data there"}
        yield {
            "tile": rows.tiles[row].id,
            "modality": layer.name,
            "state": "done" if share else "missing",
            **(done if share else missing),
        }


def _valid_share(rows: Rows, pixels: dict[str, Pixels], layer: Layer, row: int) -> float:
    key = KEY_OF.get(layer.name, layer.name)
    if layer.is_pixel:
        n_valid = int(pixels[key].n_valid[row])
    else:
        n_valid = int(np.count_nonzero(valid_values(layer, rows.values[key][row])))
    return n_valid / math.prod(layer.shape)


def scene(rows: Rows, row: int) -> list[str]:
    """Return the Sentinel-2 image of a row, where the file names it."""
    scenes = rows.columns.get("sentinel2_system_index")
    return [] if scenes is None else [str(scenes[row])]
