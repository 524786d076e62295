"""Fabricate a collected dataset of many small samples, and pack it: peak memory and CPU time.

    python tests/performance/packaging_scale.py N DIRECTORY

Tiles of 32 pixels, one layer with pixels of 2 kB, one of a class code, one tile-level task. What is
on the disk is what collecting leaves: tiles.parquet, packs, the ledger, observations.parquet. All
samples share the bytes of a thousand members, so that the disk need not be large.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import Catalogue, write_catalogue
from mmearth.catalog.executor import Workers
from mmearth.catalog.grid import Grid
from mmearth.catalog.observed_sql import INSERT, LEDGER, connect
from mmearth.catalog.own_store import adopt
from mmearth.catalog.schema import OBSERVATIONS, tiles_schema, write_parts, write_table
from mmearth.catalog.splits import SPLITS
from mmearth.catalog.store import Location, PackWriter
from mmearth.catalog.tile import cells_at, centres, tiles_at
from mmearth.curate.ledger import Ledger
from mmearth.packaging.build import build
from mmearth.tests.make_tiny import CARD, OWN
from mmearth.tests.performance.used import cpu_s

_MEMBERS = 1_000
CATALOGUE = Catalogue(
    Grid(32, 10),
    {name: OWN.layers[name] for name in ("landsat", "zone")},
    {"yields": OWN.tasks["yields"]},
)


def fabricate(root: Path, n: int) -> DatasetCard:
    """Write what collecting `n` tiles leaves; return the card."""
    side = int(np.ceil(np.sqrt(n)))
    row, column = np.divmod(np.arange(n), side)
    tiles = tiles_at(-150.0 + column * 250.0 / side, -40.0 + row * 100.0 / side, CATALOGUE.grid)
    lon, lat = centres(tiles)
    cells = [f"{a}_{b}" for a, b in zip(*cells_at(lon, lat), strict=True)]
    columns = {"epsg": tiles.epsg, "left": tiles.left, "top": tiles.top}
    ids = [f"{a}_{b}_{c}" for a, b, c in zip(*(v.tolist() for v in columns.values()), strict=True)]
    is_train = np.arange(n) % 10 < 7
    schema = tiles_schema(CATALOGUE.tasks.values())
    rest = {
        **{"task": ["yields"] * n, "tile": ids, "lon": lon, "lat": lat, "cell": cells},
        **{"date": ["2020-06-01"] * n, "label_id": [f"place {i}" for i in range(n)]},
        **{"split": [SPLITS[0] if train else SPLITS[1] for train in is_train]},
        **{"train_5": is_train & (row % 20 == 0), "train_50": is_train & (row % 2 == 0)},
        "target": np.arange(n) % 20 / 2,
    }
    table = pa.table(columns | rest).select(schema.names).cast(schema).sort_by("tile")
    write_table(table, root / "tiles.parquet", schema)
    write_catalogue(root, CATALOGUE)
    _collect(root, sorted(ids))
    return CARD.__class__(
        **{name: getattr(CARD, name) for name in CARD.__dataclass_fields__}
        | {"tasks": ("yields",), "modalities": tuple(CATALOGUE.layers), "require": ()}
        | {"shard_bytes": 1 << 26}
    )


def _collect(root: Path, ids: list[str]) -> None:
    """Write the packs, the ledger and observations.parquet of some tiles."""
    draw, writer = np.random.default_rng(0), PackWriter(root)
    layer = CATALOGUE.layers["landsat"]
    arrays = (draw.integers(1, 9_000, layer.shape).astype(layer.dtype) for _ in range(_MEMBERS))
    members = [writer.add(CATALOGUE.codec.encode(array)) for array in arrays]
    writer.close()
    with Ledger(root) as ledger:
        with closing(connect((root / LEDGER).absolute().as_uri())) as database:
            database.execute("BEGIN")
            database.executemany(INSERT, _records(ids, members))
            database.execute("COMMIT")
        write_parts(ledger.export(), root / "observations.parquet", OBSERVATIONS)


def _records(ids: list[str], members: list[Location]) -> Iterator[dict[str, object]]:
    empty = dict.fromkeys(("kind", "reason", "path", "byte_offset", "bytes", "sha256", "values"))
    empty |= dict.fromkeys(("acquired", "stand_in", "expression"))
    same = {"state": "done", "permanent": True, "valid_fraction": 1.0, "source": "random 1"}
    for i, tile in enumerate(ids):
        at = members[i % len(members)]
        place = {"path": at.path, "byte_offset": at.byte_offset}
        place |= {"bytes": at.nbytes, "sha256": at.sha256}
        common = {
            "tile": tile,
            "identity": "",
            **empty,
            **same,
            "source_ids": json.dumps([f"scene {i}"]),
        }
        yield common | {"modality": "landsat", **place}
        yield common | {"modality": "zone", "values": "[5]"}


def _tell(step: str, n: int, begin: float, cpu: float) -> None:
    peak, took = resource.getrusage(0).ru_maxrss / 1024, cpu_s() - cpu
    print(
        f"{step:<12}{time.perf_counter() - begin:8.1f} s  {took:8.1f} CPU s  "
        f"{took / n * 1e3:6.2f} ms a sample  peak {peak:6.0f} MB",
        flush=True,
    )


def main(n: int, root: Path, workers: int) -> None:
    """Fabricate, unless it is there, and pack."""
    if not (root / "card").exists():
        card = fabricate(root, n)
        (root / "card").write_text(json.dumps(card.to_json()))
        return
    card = DatasetCard.from_json(json.loads((root / "card").read_text()))
    begin, cpu = time.perf_counter(), cpu_s()
    built = build(root, card, Workers(workers))
    _tell("package", n, begin, cpu)
    assert sum(built.n_samples.values()) == n
    begin, cpu = time.perf_counter(), cpu_s()
    adopt(root, CATALOGUE)
    _tell("adopt", n, begin, cpu)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1)
