"""Write a manifest of many rows, sorted as packaging sorts or not at all, a row group at a time.

    python tests/performance/make_manifest.py FILE ROWS sorted|shuffled [whole]

The columns are those of the published catalogue, so that the footer is as large as a real one; but
unless `whole` is said, only two of the twelve structs of modalities are filled, sentinel2 and
sentinel1, and the geometry is empty. Places are spread over all longitudes and the latitudes of
land; splits are dealt row by row, the hardest case for pruning. The low bits of `hilbert` are
random numbers, not hashes of keys.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from mmearth.catalog.hilbert import KEY_BITS, hilbert_index
from mmearth.catalog.layer import Layer
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.schema import (
    BBOX,
    MEMBER,
    ROW_GROUP_ROWS,
    member_column,
    write_parts,
    written_manifest,
)
from mmearth.catalog.splits import SPLITS

KEPT = ("sentinel2", "sentinel1")
SHARES = (0.58, 0.12, 0.13, 0.17)
SAMPLES_PER_SHARD = 200
Row = NDArray[Any]


def make_manifest(path: Path, n_rows: int, is_sorted: bool, is_whole: bool = False) -> None:
    """Write the file; the same rows in either order."""
    draw = np.random.default_rng(0)
    lon = draw.uniform(-180, 180, n_rows)
    lat = np.degrees(np.arcsin(draw.uniform(-0.8, 0.95, n_rows)))
    split = np.searchsorted(np.cumsum(SHARES)[:-1], draw.random(n_rows)).astype(np.uint8)
    hilbert = np.empty(n_rows, dtype=np.uint64)
    for begin in range(0, n_rows, ROW_GROUP_ROWS):
        part = slice(begin, begin + ROW_GROUP_ROWS)
        low = draw.integers(0, 1 << KEY_BITS, lon[part].size, dtype=np.uint64)
        hilbert[part] = (hilbert_index(lon[part], lat[part]) << np.uint64(KEY_BITS)) | low
    rows = np.lexsort((hilbert, split)) if is_sorted else draw.permutation(n_rows)
    schema = written_manifest(MMEARTH_BENCH.tasks.values(), MMEARTH_BENCH.layers.values())

    def parts() -> Iterator[pa.Table]:
        for begin in range(0, n_rows, ROW_GROUP_ROWS):
            here = rows[begin : begin + ROW_GROUP_ROWS]
            place = lon[here], lat[here]
            yield _table(*place, split[here], hilbert[here], begin, schema, is_whole)

    write_parts(parts(), path, schema)


def _table(
    lon: Row, lat: Row, split: Row, hilbert: Row, begin: int, schema: pa.Schema, is_whole: bool
) -> pa.Table:
    n, draw = lon.size, np.random.default_rng(begin)
    epsg = (32601 + ((lon + 180) // 6).astype(np.int32) + 100 * (lat < 0)).astype(np.int32)
    left = (np.abs(lon) * 400).astype(np.int32) * 10
    top = (np.abs(lat) * 11_100).astype(np.int32) * 10
    tile = _joined(epsg, left, top)
    day = draw.integers(18_262, 18_628, n, dtype=np.int32)  # 2020
    shard = (begin + np.arange(n)) // SAMPLES_PER_SHARD
    names = pa.array([f"shards/soil_pH/train-{i:06d}.tar" for i in range(shard[0], shard[-1] + 1)])
    columns: dict[str, Any] = {
        "key": pc.binary_join_element_wise(tile, pa.array(day).cast(pa.string()), "_"),
        "task": pa.array(["soil_pH"] * n),
        "split": pa.array(SPLITS).take(pa.array(split)),
        "train_5": draw.random(n) < 0.05,
        "train_50": draw.random(n) < 0.5,
        "hilbert": hilbert,
        "tile": tile,
        "epsg": epsg,
        "left": left,
        "top": top,
        "lon": lon.round(7),
        "lat": lat.round(7),
        "cell": _joined((lat + 90).astype(np.int32), (lon + 180).astype(np.int32)),
        "date": pa.array(day).cast(pa.date32()),
        "biome": _regions(lon, lat, 14),
        "ecoregion": _regions(lon, lat, 846),
        "target": draw.uniform(3, 10, n).round(2),
        "label_id": _joined(draw.integers(0, 10**7, n)),
        "shard": names.take(pa.array(shard - shard[0])),
    }
    layers = MMEARTH_BENCH.layers.values()
    for i, layer in enumerate(each for each in layers if is_whole or each.name in KEPT):
        columns[member_column(layer)] = _members(n, layer, i, draw)
    if is_whole:
        columns |= _outlines(lon, lat)
    filled = [
        pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(n, f.type)
        for f in schema
    ]
    return pa.table(filled, schema=schema)


def _regions(lon: Row, lat: Row, n: int) -> Row:
    """Codes that, as real ones do, hold over some degrees."""
    return (((lon + 180) // 7 * 31 + (lat + 90) // 5 * 17) % n).astype(np.int16)


def _joined(*numbers: Row) -> pa.Array:
    parts = [pa.array(values).cast(pa.string()) for values in numbers]
    return pc.binary_join_element_wise(*parts, "_") if len(parts) > 1 else parts[0]


def _outlines(lon: Row, lat: Row) -> dict[str, pa.Array]:
    """Return geometry and bbox: turned a little, as tiles of UTM are in degrees."""
    east, north = np.array([-7, 8, 7, -8, -7]) * 1e-3, np.array([-6, -5, 6, 5, -6]) * 1e-3
    ring = np.stack([lon[:, np.newaxis] + east, lat[:, np.newaxis] + north], axis=2).round(7)
    shapes = shapely.polygons(ring)
    sides = shapely.bounds(shapes).astype(np.float32)
    bbox = pa.StructArray.from_arrays([*map(pa.array, sides.T)], fields=list(BBOX))
    return {"geometry": pa.array(shapely.to_wkb(shapes, byte_order=1)), "bbox": bbox}


def _members(n: int, layer: Layer, i: int, draw: np.random.Generator) -> pa.Array:
    offset = (np.arange(n) % SAMPLES_PER_SHARD) * 1_220_096 + 2048 + 400_384 * i
    text = np.frombuffer(draw.bytes(32 * n).hex().encode(), dtype="S64")
    present = draw.random(n) < 0.97
    shares = np.ones((n, len(layer.bands)))
    if layer.name == "sentinel1":  # six samples in ten were never seen in HH and HV
        shares[draw.random(n) < 0.6, 2:4] = 0
        shares[shares[:, 2] == 0, 6:8] = 0
    fields = {
        "present": pa.array(present),
        "valid_fraction": pa.array(np.where(present, shares.mean(axis=1), 0.0)),
        "byte_offset": pa.array(offset, mask=~present),
        "byte_length": pa.array(np.full(n, layer.nbytes + 128), mask=~present),
        "sha256": pa.array(text, mask=~present).cast(pa.string()),
        "source_ids": _lists(pa.array(draw.integers(0, 10**9, n)).cast(pa.string())),
        "acquired": pa.array(["2020-06-15"] * n),
    }
    if layer.is_pixel:
        fields["band_valid_fraction"] = _numbers(shares, present)
    else:
        fields["values"] = _numbers(draw.normal(280, 9, shares.shape).round(3), present)
    columns = [fields[f.name] if f.name in fields else pa.nulls(n, f.type) for f in MEMBER]
    return pa.StructArray.from_arrays(columns, fields=list(MEMBER))


def _numbers(values: Row, present: Row) -> pa.Array:
    found = pa.FixedSizeListArray.from_arrays(
        values.ravel(), values.shape[1], mask=pa.array(~present)
    )
    return found.cast(pa.list_(pa.float64()))


def _lists(values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(np.arange(len(values) + 1, dtype=np.int32), values)


if __name__ == "__main__":
    make_manifest(
        Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "sorted", sys.argv[4:] == ["whole"]
    )
