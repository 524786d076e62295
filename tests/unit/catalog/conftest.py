"""A packed dataset of six samples, written by hand: two at the antimeridian, one in the south."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import shapely

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import write_catalogue
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import sample_key
from mmearth.catalog.schema import (
    OBSERVATIONS,
    manifest_path,
    manifest_schema,
    member_column,
    write_table,
)
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile

Row = dict[str, Any]

PLACES: dict[str, list[tuple[float, float, str]]] = {
    "biomass": [(10.0, 50.0, "train")],
    "soil_pH": [
        (180.0, -16.5, "train"),
        (-179.5, -16.6, "val"),
        (179.5, -17.0, "geographic_test"),
    ],
    "species": [(25.0, -33.0, "train"), (26.0, -33.0, "random_test")],
}
CATALOGUE = MMEARTH_BENCH.only(
    ("sentinel2", "aster_gdem", "temperature", "geolocation", "biome"), PLACES
)
DIGEST = "ab" * 32


def _member(offset: int, *source_ids: str, stand_in: str | None = None) -> Row:
    return {
        "present": True,
        "valid_fraction": 1.0,
        "byte_offset": offset,
        "byte_length": 1000,
        "sha256": DIGEST,
        "source_ids": list(source_ids),
        "acquired": "2020-06-19",
        "stand_in": stand_in,
    }


def _row(task: str, place: tuple[float, float, str]) -> Row:
    """Return a row whose sample has Sentinel-2, a stand-in for elevation, climate and biome."""
    tile = Tile.at(*place[:2])
    absent = {"present": False, "valid_fraction": 0.0, "source_ids": []}
    row: Row = {member_column(layer): absent for layer in CATALOGUE.layers.values()}
    row |= {
        "key": sample_key(tile, "2020-06-19"),
        "task": task,
        "split": place[2],
        "train_5": False,
        "train_50": place[2] == "train",
        "hilbert": 1,
        "tile": tile.id,
        "epsg": tile.epsg,
        "left": tile.left,
        "top": tile.top,
        "lon": tile.lon,
        "lat": tile.lat,
        "cell": tile.cell,
        "geometry": shapely.to_wkb(tile.geometry),
        "date": datetime.date(2020, 6, 19),
        "biome": 12,
        "label_id": "label",
        "shard": f"shards/{task}/{place[2]}-000000.tar",
        "sentinel2": _member(5120, "S2A_20200619", "https://example.org/S2A_20200619"),
        "aster_gdem": _member(2048, "glo30", stand_in="Copernicus DEM"),
        "temperature": _member(512, "ERA5"),
        "biome_observation": _member(512, "RESOLVE"),
    }
    target = {k: v for k, v in _member(8192, "GEDI").items() if k not in ("present", "acquired")}
    target.pop("stand_in")
    values = {"biomass": {"biomass": {**target, "mean": 42.5}}, "soil_pH": {"target": 6.5}}
    return row | values.get(task, {"species": ["Vulpes vulpes", "Lepus capensis"]})


@pytest.fixture
def card() -> DatasetCard:
    """Of the packed dataset."""
    return DatasetCard(
        name="tiny",
        title='A tiny "dataset": six samples',
        description="To test with.",
        version="1.2.0",
        licence="CC0-1.0",
        recipe="default",
        seed=5,
        config_sha256="0" * 64,
        source="synthetic 1",
        tasks=tuple(CATALOGUE.tasks),
        modalities=tuple(CATALOGUE.layers),
        require=("sentinel2",),
        shard_bytes=1 << 20,
    )


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Directory with the catalogue, the tables and shards (not real ones)."""
    write_catalogue(tmp_path, CATALOGUE)
    for task, places in PLACES.items():
        rows = [_row(task, place) for place in places]
        schema = manifest_schema(CATALOGUE.tasks[task], CATALOGUE.layers.values())
        table = pa.Table.from_pylist(rows, schema=schema)
        write_table(table, tmp_path / manifest_path(task), schema)
        for row in rows:
            shard = tmp_path / row["shard"]
            shard.parent.mkdir(parents=True, exist_ok=True)
            shard.write_bytes(row["shard"].encode())
        (tmp_path / "statistics").mkdir(exist_ok=True)
        (tmp_path / "statistics" / f"{task}.json").write_text("{}")
    write_table(OBSERVATIONS.empty_table(), tmp_path / "observations.parquet", OBSERVATIONS)
    return tmp_path


@pytest.fixture
def published() -> dict[str, Task]:
    """The published tasks."""
    return dict(MMEARTH_BENCH.tasks)
