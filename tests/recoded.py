"""A dataset with its members in another codec, made member by member with the standard library."""

from __future__ import annotations

import io
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmearth.catalog.catalogue import read_catalogue, write_catalogue
from mmearth.catalog.checksums import read_dataset
from mmearth.catalog.codec import Codec
from mmearth.catalog.files import sha256_bytes
from mmearth.tests.hand_index import resealed

Row = dict[str, Any]


def recoded(source: Path, to: Path, codec: Codec) -> Path:
    """Copy what loaders read of a dataset of `.npy` members; its STAC stays behind."""
    shutil.copytree(source, to, ignore=shutil.ignore_patterns("store", "stac", "shards", ".curate"))
    names = ["catalogue.json"]
    for task in read_dataset(source)["tasks"]:
        path = to / "manifests" / f"{task}.parquet"
        table = pq.read_table(path)
        rows = {row["key"]: row for row in table.to_pylist()}
        for shard in dict.fromkeys(row["shard"] for row in rows.values()):
            _write(source / shard, to / shard, codec, rows)
            names.append(shard)
        pq.write_table(pa.Table.from_pylist(list(rows.values()), schema=table.schema), path)
        names.append(f"manifests/{task}.parquet")
    write_catalogue(to, replace(read_catalogue(source), codec=codec))
    return resealed(to, *names)


def _write(source: Path, to: Path, codec: Codec, rows: dict[str, Row]) -> None:
    """Write a shard anew, and what its rows say of its members."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(source) as before, tarfile.open(to, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member in before:
            stream = before.extractfile(member)
            assert stream is not None
            data, name = stream.read(), member.name
            key, suffix = name.split(".", 1)
            layer = suffix.removesuffix(".npy")
            if layer != suffix:
                data, name = codec.encode(np.load(io.BytesIO(data))), f"{key}.{codec.member(layer)}"
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            at = {"byte_offset": tar.offset + tarfile.BLOCKSIZE, "byte_length": len(data)}
            tar.addfile(entry, io.BytesIO(data))
            for column in [layer] if layer != suffix else _tile_level(rows[key]):
                rows[key][column] |= {**at, "sha256": sha256_bytes(data)}


def _tile_level(row: Row) -> list[str]:
    """Return the columns of what stands in the sample's JSON."""
    return [name for name, said in row.items() if isinstance(said, dict) and said.get("values")]
