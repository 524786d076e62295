"""STAC, audit and verification of many samples: CPU seconds, peak memory, files a sample.

    python tests/performance/flat_memory.py ROWS DIRECTORY [--tables] [STEP ...]

Makes a dataset of twelve layers, six with pixels, and one task from a packed one of one tile: rows
are replicated with tiles, keys, geometry, source ids of their own. Shards hold real members of
32 × 32 pixels, 12 kB a sample; with --tables there are none, and verification says so. Each step
runs in a process of its own, on one thread; all of stac, audit and verify unless some are named.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from mmearth.catalog import stac
from mmearth.catalog.audit import audit_dataset
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import Catalogue, read_catalogue, write_catalogue
from mmearth.catalog.checksums import DATASET, SUMS, published_files, read_dataset, seal
from mmearth.catalog.grid import Grid
from mmearth.catalog.hilbert import row_key
from mmearth.catalog.schema import (
    OBSERVATIONS,
    ROW_GROUP_ROWS,
    manifest_path,
    manifest_schema,
    member_column,
    tiles_schema,
    write_parts,
)
from mmearth.catalog.splits import SPLITS
from mmearth.catalog.statistics import TaskStatistics
from mmearth.catalog.tile import Tiles, cells_at, centres, tiles_at
from mmearth.catalog.utm import to_lonlat
from mmearth.packaging.shard import ShardWriter, shard_name
from mmearth.packaging.verify import verify
from mmearth.packaging.verify_shards import check_shard, shard_jobs
from mmearth.packaging.verify_values import Expected
from mmearth.tests.make_tiny import CARD, make_sealed, own_layer, own_task

DATE = "2020-06-19"
PER_SHARD = 192  # a row group is a whole number of them
SHARES = (0.58, 0.12, 0.13, 0.17)
_PIXELS = [own_layer(f"band{i}", {"b": (-30, 3000)}) for i in range(6)]
_SCALARS = [own_layer(f"value{i}", {"v": (-30, 3000)}, level="tile") for i in range(6)]
_TASK = own_task("yields", "regression", {"value": (0, 20)})
CATALOGUE = Catalogue(
    Grid(32, 10), {each.name: each for each in (*_PIXELS, *_SCALARS)}, {_TASK.name: _TASK}
)
Column = NDArray[Any]


@dataclass(slots=True)
class Places:
    """All samples, in the order of their ids."""

    tiles: Tiles
    ids: pa.Array
    lon: Column
    lat: Column
    split: Column
    """Number in SPLITS."""

    @property
    def keys(self) -> pa.Array:
        """Their keys."""
        return pc.binary_join_element_wise(self.ids, DATE.replace("-", ""), "_")


def places(n: int) -> Places:
    draw = np.random.default_rng(0)
    lon = draw.uniform(-170, 170, n)
    tiles = tiles_at(lon, np.degrees(np.arcsin(draw.uniform(-0.8, 0.95, n))), CATALOGUE.grid)
    parts = [pa.array(column).cast(pa.string()) for column in (tiles.epsg, tiles.left, tiles.top)]
    ids = pc.binary_join_element_wise(*parts, "_")
    order = pc.sort_indices(ids).to_numpy()
    ids = ids.take(order)
    once = np.r_[True, pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)]
    tiles, ids = tiles[order[once]], ids.filter(once)
    lon, lat = centres(tiles)
    split = np.searchsorted(np.cumsum(SHARES)[:-1], draw.random(len(ids)))
    return Places(tiles, ids, lon, lat, split)


def outlines(tiles: Tiles) -> Column:
    """Return the polygons in longitude and latitude, as WKB."""
    side = tiles.grid.side_m
    corners = np.empty((len(tiles), 5, 2))
    dx, dy = np.array([0, side, side, 0, 0]), np.array([-side, -side, 0, 0, -side])
    for code in np.unique(tiles.epsg):
        rows = tiles.epsg == code
        x, y = tiles.left[rows, None] + dx, tiles.top[rows, None] + dy
        corners[rows] = np.stack(to_lonlat(int(code)).transform(x, y), axis=2)
    return np.asarray(shapely.to_wkb(shapely.polygons(corners.round(7)), byte_order=1))


class Template:
    """A packed dataset of one tile."""

    def __init__(self, root: Path) -> None:
        make_sealed(root, 1, CATALOGUE)
        self.sample = pq.read_table(root / manifest_path(_TASK.name))
        self.planned = pq.read_table(root / "tiles.parquet")
        self.observed = pq.read_table(root / "observations.parquet")
        (shard,) = root.glob("shards/*/*.tar")
        with tarfile.open(fileobj=io.BytesIO(shard.read_bytes())) as tar:
            names = [info.name.partition(".")[2] for info in tar]
            streams = [tar.extractfile(info) for info in tar]
            self.members = {
                name: stream.read() for name, stream in zip(names, streams, strict=True) if stream
            }
        expected = Expected.of(CATALOGUE, _TASK)
        jobs = shard_jobs(root, expected, {shard.relative_to(root).as_posix(): 1})
        self.statistics = check_shard(root, next(jobs)).statistics


def repeated(table: pa.Table, n: int, changes: dict[str, Any]) -> pa.Table:
    """Return the rows of a table again and again, n in all, with other columns."""
    table = table.take(np.arange(n) % len(table)).combine_chunks()
    for name, values in changes.items():
        i = table.schema.get_field_index(name)
        table = table.set_column(i, name, pa.array(values, table.schema.field(i).type))
    return table


def source_ids(name: str, rows: Column) -> pa.Array:
    text = pc.binary_join_element_wise(pa.scalar(name), pa.array(rows).cast(pa.string()), "-")
    return pa.ListArray.from_arrays(np.arange(len(rows) + 1, dtype=np.int32), text)


def plan_columns(here: Places, rows: Column) -> dict[str, Any]:
    tiles, train = here.tiles[rows], here.split[rows] == 0
    cells = [pa.array(column).cast(pa.string()) for column in cells_at(here.lon, here.lat)]
    return {
        "tile": here.ids.take(rows),
        **{"epsg": tiles.epsg, "left": tiles.left, "top": tiles.top},
        **{"lon": here.lon[rows], "lat": here.lat[rows]},
        "cell": pc.binary_join_element_wise(*cells, "_").take(rows),
        "split": pa.array(SPLITS).take(here.split[rows]),
        "train_5": train & (rows % 20 == 0),
        "train_50": train & (rows % 2 == 0),
    }


def chunks(rows: Column, size: int) -> Iterator[Column]:
    return (rows[begin : begin + size] for begin in range(0, len(rows), size))


def write_collected(root: Path, here: Places, template: Template) -> None:
    everything = np.arange(len(here.ids))
    tiles = repeated(template.planned, len(everything), plan_columns(here, everything))
    write_parts([tiles], root / "tiles.parquet", tiles_schema([_TASK]))
    names = template.observed["modality"].to_pylist()

    def observed() -> Iterator[pa.Table]:
        for rows in chunks(everything, ROW_GROUP_ROWS // len(names)):
            ids = pa.chunked_array([source_ids(name, rows) for name in names])
            mixed = np.arange(len(ids)).reshape(len(names), -1).T.ravel()
            tile = here.ids.take(rows.repeat(len(names)))
            changes = {"tile": tile, "source_ids": ids.take(mixed).combine_chunks()}
            yield repeated(template.observed, len(mixed), changes)

    write_parts(observed(), root / "observations.parquet", OBSERVATIONS)


def write_packed(root: Path, here: Places, template: Template, with_shards: bool) -> None:
    hilbert = row_key(here.lon, here.lat, here.keys.to_pylist())
    order = np.lexsort((hilbert, here.split))
    geo = template.sample.schema.metadata[b"geo"]
    schema = manifest_schema(_TASK, CATALOGUE.layers.values()).with_metadata({b"geo": geo})
    first = np.searchsorted(here.split[order], np.arange(len(SPLITS)))

    def packed() -> Iterator[pa.Table]:
        for i, rows in enumerate(chunks(order, ROW_GROUP_ROWS)):
            number = (i * ROW_GROUP_ROWS + np.arange(len(rows))) // PER_SHARD
            number -= first[here.split[rows]] // PER_SHARD
            splits = [SPLITS[code] for code in here.split[rows]]
            pairs = zip(splits, number.tolist(), strict=True)
            shards = [shard_name(_TASK.name, *pair) for pair in pairs]
            changes = plan_columns(here, rows) | {
                "key": here.keys.take(rows),
                "hilbert": hilbert[rows],
                "geometry": outlines(here.tiles[rows]),
                "date": pa.array([DATE] * len(rows)).cast(pa.date32()),
                "shard": shards,
            }
            table = repeated(template.sample, len(rows), changes)
            written = write_shards(root, table, template) if with_shards else {}
            yield with_members(table, rows, written)

    write_parts(packed(), root / manifest_path(_TASK.name), schema)


def write_shards(root: Path, table: pa.Table, template: Template) -> dict[str, list[Any]]:
    """Write the shards of some rows; return suffix → where the member of each row is."""
    found: dict[str, list[Any]] = {suffix: [] for suffix in template.members}
    document = json.loads(template.members["json"])
    writer, current = None, ""
    columns = [table[name].to_pylist() for name in ("shard", "key", "tile", "split")]
    for shard, key, tile, split in zip(*columns, strict=True):
        if shard != current:
            if writer is not None:
                writer.close()
            writer, current = ShardWriter(root, shard), shard
        own = {**document, "key": key, "tile": tile, "split": split, "date": DATE}
        members = template.members | {"json": json.dumps(own).encode()}
        assert writer is not None
        for suffix, place in writer.write(key, members).items():
            found[suffix].append(place)
    if writer is not None:
        writer.close()
    return found


def with_members(table: pa.Table, rows: Column, written: dict[str, list[Any]]) -> pa.Table:
    for layer in CATALOGUE.layers.values():
        i = table.schema.get_field_index(member_column(layer))
        struct = table.column(i).combine_chunks()
        fields = dict(zip(struct.type.names, struct.flatten(), strict=True))
        fields["source_ids"] = source_ids(layer.name, rows)
        places = written.get(f"{layer.name}.npy" if layer.is_pixel else "json")
        if places:
            fields["byte_offset"] = pa.array([place.offset for place in places], pa.int64())
            fields["byte_length"] = pa.array([place.length for place in places], pa.int64())
            fields["sha256"] = pa.array([place.sha256 for place in places])
        new = pa.StructArray.from_arrays(list(fields.values()), fields=list(struct.type))
        table = table.set_column(i, table.schema.field(i), new)
    return table


def times(statistics: TaskStatistics, counts: dict[tuple[str, ...], int]) -> TaskStatistics:
    """Return the statistics of a sample as if it were there so many times, by its subsets."""
    total = TaskStatistics(statistics.task, statistics.layers)
    for subsets, left in counts.items():
        n, part = left, TaskStatistics(statistics.task, statistics.layers)
        for subset in subsets:
            part.n_samples[subset] = 1
        for (_, *rest), band in statistics.bands.items():
            part.bands[subsets, rest[0], rest[1]] = band
        while n:
            if n & 1:
                total.merge(part)
            double = TaskStatistics(statistics.task, statistics.layers)
            double.merge(part)
            double.merge(part)
            part, n = double, n >> 1
    return total


def make(root: Path, n: int, with_shards: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        template = Template(Path(folder))
    write_catalogue(root, CATALOGUE)
    here = places(n)
    write_collected(root, here, template)
    write_packed(root, here, template, with_shards)
    number = np.arange(len(here.ids))[here.split == 0]
    fifty, five = int((number % 2 == 0).sum()), int((number % 20 == 0).sum())
    counts = {
        ("train", "train_50", "train_5"): five,
        ("train", "train_50"): fifty - five,
        ("train",): len(number) - fifty,
    }
    (root / "statistics").mkdir()
    document = times(template.statistics, counts).to_json()
    (root / f"statistics/{_TASK.name}.json").write_text(json.dumps(document))
    tasks, layers = tuple(CATALOGUE.tasks), tuple(CATALOGUE.layers)
    seal(root, replace(CARD, tasks=tasks, modalities=layers, require=()))


def make_stac(root: Path) -> str:
    stac.build(root, DatasetCard.from_json(read_dataset(root)))
    return ""


def audit(root: Path) -> str:
    (found,) = audit_dataset(root, 0.0)
    return f"{len(found.violations)} violations"


def prove(root: Path) -> str:
    found = verify(root)
    kinds = sorted({f"{finding.problem}" for finding in found})
    return f"{len(found)} findings {' '.join(kinds)}: {found[0]}" if found else "whole"


STEPS: dict[str, Callable[[Path], str]] = {"stac": make_stac, "audit": audit, "verify": prove}


def peak_mb() -> float:
    """Return the peak of this process, without that of the process that began it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def step(name: str, root: Path) -> None:
    begin, before = time.process_time(), peak_mb()
    said = STEPS[name](root)
    used = time.process_time() - begin
    peak = f"peak {peak_mb():6.0f} MB (imports {before:.0f} MB)"
    print(f"{name:<8}{used:9.1f} CPU s  {peak}  {said}", flush=True)


def main(n: int, root: Path, with_shards: bool, steps: list[str]) -> None:
    begin = time.process_time()
    make(root, n, with_shards)
    n = pq.read_metadata(root / manifest_path(_TASK.name)).num_rows
    print(f"{n} samples made in {time.process_time() - begin:.0f} CPU s", flush=True)
    for name in steps or STEPS:
        subprocess.run([sys.executable, __file__, "--step", name, str(root)], check=True)
        if name == "stac":
            seal(root, DatasetCard.from_json(read_dataset(root)))
    assert read_catalogue(root) == CATALOGUE
    names = [*published_files(root), DATASET, SUMS]
    sizes = " ".join(f"{name} {(root / name).stat().st_size} B" for name in (DATASET, SUMS))
    print(f"{len(names)} files, {len(names) / n:.4f} a sample; {sizes}")


if __name__ == "__main__":
    if sys.argv[1] == "--step":
        step(sys.argv[2], Path(sys.argv[3]))
    else:
        some = [name for name in sys.argv[3:] if name in STEPS]
        main(int(sys.argv[1]), Path(sys.argv[2]), "--tables" not in sys.argv, some)
