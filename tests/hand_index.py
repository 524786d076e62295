"""An index made from a manifest row by row, and members read by tarfile: what to compare with."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmearth.catalog.catalogue import CATALOGUE, read_catalogue
from mmearth.catalog.checksums import FILES, read_sums, render
from mmearth.catalog.files import sha256_bytes, sha256_file, write_atomic
from mmearth.catalog.layer import Layer
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.loaders.choose.index import Index


def hand_index(root: Path, task: str, modalities: tuple[str, ...]) -> Index:
    """Return the index of all samples of a task, for pixel-level modalities."""
    rows = pq.read_table(root / "manifests" / f"{task}.parquet").to_pylist()
    shards = tuple(dict.fromkeys(row["shard"] for row in rows))
    catalogue = read_catalogue(root)
    layers = {name: catalogue.layer(name) for name in modalities}
    spec = catalogue.task(task)
    kinds = [*modalities, *([task] if spec.is_pixel else [])]
    offset = {name: np.zeros(len(rows), np.uint64) for name in kinds}
    length = {name: np.zeros(len(rows), np.uint32) for name in kinds}
    sha256 = {name: np.zeros(len(rows), "V32") for name in kinds}
    for i, row in enumerate(rows):
        for name in kinds:
            if row[name]["sha256"] is not None:
                offset[name][i] = row[name]["byte_offset"]
                length[name][i] = row[name]["byte_length"]
                sha256[name][i] = np.void(bytes.fromhex(row[name]["sha256"]))
    days = [np.datetime64(row["date"], "D").astype(int) for row in rows]
    return Index(
        task=spec,
        layers=layers,
        grid=catalogue.grid,
        codec=catalogue.codec,
        shards=shards,
        shard=np.array([shards.index(row["shard"]) for row in rows], np.uint32),
        place=np.array([(row["epsg"], row["left"], row["top"]) for row in rows], np.int32),
        date=np.array(days, np.int32),
        lon=np.array([row["lon"] for row in rows]),
        lat=np.array([row["lat"] for row in rows]),
        offset=offset,
        length={} if catalogue.codec.is_npy else length,
        sha256=sha256,
        known={name: _known(rows, catalogue.observed(name)) for name in kinds},
        values={},
        present={name: offset[name] > 0 for name in modalities},
        target=None,
        labelled=np.ones(len(rows), np.bool_),
    )


def _known(rows: list[dict[str, Any]], layer: Layer) -> NDArray[np.int8]:
    """Return what is known of each band, as `Index.known` has it."""
    found = np.zeros((len(rows), len(layer.bands)), np.int8)
    for i, row in enumerate(rows):
        at = row[layer.name]
        if at["sha256"] is not None:
            shares = at.get("band_valid_fraction", [at["valid_fraction"]])
            found[i] = [share if share in (0, 1) else -1 for share in shares]
    return found


def tar_members(root: Path, task: str) -> dict[str, bytes]:
    """Return every member of a task's shards by its name."""
    found = {}
    for path in sorted((root / "shards" / task).glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                stream = tar.extractfile(member)
                assert stream is not None
                found[member.name] = stream.read()
    return found


def destinations(index: Index, n: int, fill: int = 0) -> dict[str, NDArray[np.uint8]]:
    """Return arrays for n samples, every byte of them `fill`."""
    members = {**index.layers, index.task.name: index.task.target}
    return {name: np.full((n, members[name].nbytes), fill, np.uint8) for name in index.offset}


def nbytes(name: str) -> int:
    """Return the bytes of a published member's values."""
    return MMEARTH_BENCH.observed(name).nbytes


def copy_to_read(source: Path, to: Path, task: str) -> Path:
    """Copy what reading one task needs, so that a test may damage it."""
    for name in (
        f"manifests/{task}.parquet",
        f"statistics/{task}.json",
        CATALOGUE,
        "dataset.json",
        "SHA256SUMS",
    ):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, to / name)
    shutil.copytree(source / "shards" / task, to / "shards" / task)
    return to


def resealed(root: Path, *names: str) -> Path:
    """Write SHA256SUMS and dataset.json anew after some files changed: what an attacker does.

    Files are replaced, not written into: a copy may be made of hard links.
    """
    sums = read_sums(root)
    for name in names:
        sums[name] = sha256_file(root / name)
    text = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    document = json.loads((root / "dataset.json").read_bytes())
    listed = document.get(FILES, {}).keys() & sums.keys()
    document[FILES] = {name: sums[name] for name in sorted(listed)}
    document["dataset_hash"] = sha256_bytes(text.encode())
    write_atomic(root / "SHA256SUMS", text.encode())
    write_atomic(root / "dataset.json", render(document))
    return root
