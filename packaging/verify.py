"""Prove a dataset: every checksum, range and value, and the published files against each other.

The order is that of a doubt: is it a whole dataset, are its bytes those that were published, and do
they agree with each other? The last finds what was sealed wrong, or changed and sealed again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import CATALOGUE, Catalogue, read_catalogue
from mmearth.catalog.checksums import (
    DATASET,
    FILES,
    SUMS,
    published_files,
    read_dataset,
    read_sums,
    render,
)
from mmearth.catalog.documents import read_json
from mmearth.catalog.errors import FormatError, MMEarthError
from mmearth.catalog.executor import Workers, run
from mmearth.catalog.files import read_regular, sha256_file
from mmearth.catalog.progress import Progress, silent
from mmearth.catalog.schema import (
    OBSERVATIONS,
    check_version,
    found_manifest,
    manifest_path,
    read_batches,
    tiles_schema,
)
from mmearth.catalog.statistics import TaskStatistics
from mmearth.catalog.task import Task
from mmearth.packaging.findings import Finding, guarded, run_all, shorten
from mmearth.packaging.verify_observed import NAME, Observed
from mmearth.packaging.verify_shards import ShardReport, check_shard, shard_jobs
from mmearth.packaging.verify_stac import check_stac
from mmearth.packaging.verify_tables import (
    KEPT,
    check_manifest,
    check_names,
    check_splits,
    load_table,
)
from mmearth.packaging.verify_values import Expected

_ALONE = Workers()


@dataclass(slots=True)
class _Tables:
    """What could be read of a dataset's tables."""

    findings: list[Finding] = field(default_factory=list)
    """What is wrong with them."""
    expected: dict[str, Expected] = field(default_factory=dict)
    """Task → what its samples are made of; tasks whose manifest cannot be used are left out."""
    manifests: dict[str, pa.Table] = field(default_factory=dict)
    """Task → KEPT of its manifest, of the same tasks."""


@dataclass(slots=True)
class _Shards:
    """What came of reading all shards."""

    digests: dict[str, str] = field(default_factory=dict)
    """Shard → its SHA-256."""
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    """Shard → what is wrong with it, apart from its checksum."""
    statistics: dict[str, TaskStatistics] = field(default_factory=dict)
    """Task → of its train samples."""

    def add(self, report: ShardReport) -> None:
        """Keep what came of one; its statistics go into those of its task."""
        self.findings[report.name] = report.findings
        if report.sha256:
            self.digests[report.name] = report.sha256
        self.statistics[report.statistics.task.name].merge(report.statistics)


def verify(root: Path, workers: Workers = _ALONE, progress: Progress = silent) -> list[Finding]:
    """Return everything that is wrong with a dataset; nothing when it is whole.

    Args:
        root: The dataset's directory.
        workers: Who reads the shards, one at a time each.
        progress: Told about every sample of the shards, then about every other file.

    Raises:
        ConfigError: The directory holds no complete dataset.
    """
    try:
        document = read_dataset(root)
        card = DatasetCard.from_json(document)
    except FormatError as exc:
        return [Finding(DATASET, "unreadable", str(exc))]
    try:
        sums = read_sums(root)
    except FormatError as exc:
        return [Finding(SUMS, "unreadable", str(exc))]
    findings = list(_check_seal(root, document, sums))
    files = set(published_files(root))
    findings += [Finding(n, "missing", "SHA256SUMS lists it") for n in sorted(sums.keys() - files)]
    findings += [
        Finding(
            name, "unknown", "it is not in SHA256SUMS: it was added after the dataset was sealed"
        )
        for name in sorted(files - sums.keys())
    ]
    catalogue, found = _read_catalogue(root, card, sums)
    tables = _Tables() if catalogue is None else _read_tables(root, catalogue)
    shards = _check_shards(root, tables, files, workers, progress)
    others = sorted((files & sums.keys()) - shards.findings.keys())
    hashed, unreadable = _hash(root, others, workers.n, progress)
    digests = shards.digests | hashed
    findings += _check_digests(sums, digests)
    findings += unreadable
    findings += found + tables.findings
    findings += guarded(NAME, lambda: _check_store(root, digests))
    findings += guarded("manifests", lambda: _check_names(tables, files))
    findings += [finding for name in sorted(shards.findings) for finding in shards.findings[name]]
    findings += guarded("statistics", lambda: _check_statistics(root, shards))
    progress("verify catalogue", 1)
    if catalogue is not None:
        check = partial(check_stac, root, catalogue, tables.manifests, workers.n)
        findings += guarded("stac", check)
    return list(shorten(findings))


def _read_catalogue(
    root: Path, card: DatasetCard, sums: dict[str, str]
) -> tuple[Catalogue | None, list[Finding]]:
    """Return what the arrays mean and what is wrong with that; None where it is not as sealed.

    Then only checksums can be compared, and the catalogue's own tells of it.
    """
    if CATALOGUE not in sums:
        return None, [Finding(CATALOGUE, "missing", f"{SUMS} does not list it; a dataset has it")]
    try:
        if sha256_file(root / CATALOGUE, root) != sums[CATALOGUE]:
            return None, []
    except (MMEarthError, OSError):
        return None, []
    try:
        catalogue = read_catalogue(root)
    except FormatError as exc:
        return None, [Finding(CATALOGUE, "unreadable", str(exc))]
    try:
        card.check(catalogue)
    except FormatError as exc:
        return catalogue, [Finding(DATASET, "table", str(exc))]
    return catalogue, []


def _check_seal(root: Path, document: dict[str, Any], sums: dict[str, str]) -> Iterator[Finding]:
    """The two files that no list of checksums can hold guard each other and themselves."""
    if read_regular(root / DATASET, root) != render(document):
        yield Finding(DATASET, "checksum", "it was changed after the dataset was sealed")
    found, expected = sha256_file(root / SUMS, root), document.get("dataset_hash")
    if found != expected:
        sentence = f"its sha256 is {found[:12]}…, {DATASET} says {str(expected)[:12]}…"
        yield Finding(SUMS, "checksum", sentence)
    for name, expected in document.get(FILES, {}).items():
        if sums.get(name) != expected:
            sentence = f"it gives {name} another sha256 than {SUMS}: one is of another build"
            yield Finding(DATASET, "checksum", sentence)


def _hash(
    root: Path, names: list[str], workers: int, progress: Progress
) -> tuple[dict[str, str], list[Finding]]:
    """Return checksums by name, and what has none: a named pipe, a symlink out of the dataset."""

    def one(name: str) -> str | Finding:
        try:
            return sha256_file(root / name, root)
        except (MMEarthError, OSError) as exc:
            return Finding(name, "unreadable", str(exc))

    progress("verify files", len(names))
    sums = run_all(one, names, workers, lambda _: progress("verify files", None))
    found = dict(zip(names, sums, strict=True))
    digests = {name: each for name, each in found.items() if isinstance(each, str)}
    return digests, [each for each in found.values() if isinstance(each, Finding)]


def _check_digests(sums: dict[str, str], digests: dict[str, str]) -> Iterator[Finding]:
    for name, expected in sums.items():
        found = digests.get(name, expected)
        if found != expected:
            sentence = (
                f"its sha256 is {found[:12]}…, {SUMS} says {expected[:12]}…: it was damaged or "
                "changed; restore it or build again"
            )
            yield Finding(name, "checksum", sentence)


def _read_tables(root: Path, catalogue: Catalogue) -> _Tables:
    """Read tiles, observations and manifests, and compare them with each other."""
    tables = _Tables()
    tasks = catalogue.tasks.values()
    schema = tiles_schema(tasks)
    columns = [task.column for task in tasks]  # null in rows of other tasks
    planned = _load(root, "tiles.parquet", schema, tables, schema.names, columns)
    if planned is not None:
        names = pc.unique(planned["task"]).to_pylist()
        tables.findings += check_names("tiles.parquet", "task", names, catalogue.tasks)
    observed = _read_observed(root, catalogue, planned, tables)
    for task in tasks:
        name = manifest_path(task.name)
        mine = None if planned is None else planned.filter(pc.equal(planned["task"], task.name))
        if mine is not None:
            in_splits = partial(check_splits, "tiles.parquet", task.name, mine)
            tables.findings += guarded("tiles.parquet", in_splits)
        schema = _manifest_schema(root, catalogue, task)
        # Targets of other tasks are null.
        optional = [t.column for t in tasks if t.optional or t.column != task.column]
        kept = _load(root, name, schema, tables, KEPT, optional)
        if kept is None:
            continue
        tables.expected[task.name] = Expected.of(catalogue, task)
        tables.manifests[task.name] = kept
        if mine is not None and observed is not None:
            check = partial(check_manifest, root, catalogue, task, kept, mine, observed)
            tables.findings += guarded(name, check)
    return tables


def _manifest_schema(root: Path, catalogue: Catalogue, task: Task) -> pa.Schema:
    """Return what a manifest should have, of the version that it is of."""
    try:
        names = check_version(root / manifest_path(task.name), root).names
    except MMEarthError:  # which is a finding later
        names = []
    return found_manifest(names, task, catalogue.tasks.values(), catalogue.layers.values())


def _read_observed(
    root: Path, catalogue: Catalogue, planned: pa.Table | None, tables: _Tables
) -> Observed | None:
    """Return what was collected of the planned tiles; None where a table cannot be used."""
    path = [pa.field("path", pa.string())] if _has_store(root) else []
    if _load(root, NAME, pa.schema([*OBSERVATIONS, *path]), tables, ()) is None:
        return None
    tiles = pa.array([], pa.string()) if planned is None else pc.unique(planned["tile"])
    found = Observed(root, tiles, tuple(catalogue.layers))
    known = {*catalogue.layers, *(t.name for t in catalogue.tasks.values() if t.is_pixel)}
    tables.findings += check_names(NAME, "modality", found.modalities, known)
    return found if len(tiles) and found.modalities else None


def _load(
    root: Path,
    name: str,
    schema: pa.Schema,
    tables: _Tables,
    kept: Collection[str],
    optional: Collection[str] = (),
) -> pa.Table | None:
    """Return columns of a table that can be compared with others; None, and findings, else."""
    if not os.path.lexists(root / name):
        tables.findings.append(Finding(name, "missing", "a dataset has it"))
        return None
    try:
        table, wrong = load_table(root, name, schema, kept, optional)
    except MMEarthError as exc:
        tables.findings.append(Finding(name, "unreadable", str(exc)))
        return None
    tables.findings += wrong
    return None if wrong else table


def _check_shards(
    root: Path, tables: _Tables, files: set[str], workers: Workers, progress: Progress
) -> _Shards:
    """Read every shard whose manifest can be read; the others are only hashed."""
    found = _Shards()
    jobs = []
    for name, expected in tables.expected.items():
        layers = tuple(expected.catalogue.layers.values())
        found.statistics[name] = TaskStatistics(expected.task, layers)
        mine = [n for n in files if n.startswith(f"shards/{name}/") and n.endswith(".tar")]
        counts = Counter(tables.manifests[name]["shard"].to_pylist())
        jobs.append((expected, {n: counts[n] for n in mine}))
    total = sum(sum(counts.values()) for _, counts in jobs)
    progress("verify shards", total)

    def keep(report: ShardReport) -> None:
        found.add(report)
        for _ in range(report.n_rows):
            progress("verify shards", None)

    all_jobs = (job for expected, counts in jobs for job in shard_jobs(root, expected, counts))
    with workers.open() as (pool, n_at_once):
        run(all_jobs, partial(check_shard, root.absolute()), pool, n_at_once, keep)
    return found


def _check_store(root: Path, digests: dict[str, str]) -> Iterator[Finding]:
    """Compare the files that observations.parquet names."""
    if not _has_store(root):
        return
    for part in read_batches(root / NAME, ["path", "sha256"], root):
        for name, expected in zip(*(column.to_pylist() for column in part.columns), strict=True):
            if (found := digests.get(name, expected)) != expected:
                said = f"its sha256 is {found[:12]}…, {NAME} says {expected!s:.12}…"
                yield Finding(name, "checksum", said)


def _has_store(root: Path) -> bool:
    """Say whether a dataset names GeoTIFFs: those of before packs had a store of them."""
    try:
        return "path" in check_version(root / NAME, root).names
    except MMEarthError:
        return False


def _check_names(tables: _Tables, files: set[str]) -> Iterator[Finding]:
    """Every shard that a manifest names is there, and is of the split that its samples are of."""
    for name, task, split, key, count in sorted(_first_rows(tables)):
        if name not in files:
            yield Finding(name, "missing", f"{manifest_path(task)} has {count} samples in it")
        if not name.startswith(f"shards/{task}/{split}-"):
            sentence = f"sample {key} of {split} is said to be in {name}"
            yield Finding(manifest_path(task), "table", sentence)


def _first_rows(tables: _Tables) -> Iterator[tuple[str, str, str, str, int]]:
    """Yield each shard with task, split and key of its first row, and how many it has."""
    for table in tables.manifests.values():
        shards = table["shard"].combine_chunks().dictionary_encode()
        _, first, counts = np.unique(shards.indices, return_index=True, return_counts=True)
        rows = table.select(["shard", "task", "split", "key"]).take(first)
        columns = (column.to_pylist() for column in rows.columns)
        yield from zip(*columns, counts.tolist(), strict=True)


def _check_statistics(root: Path, shards: _Shards) -> Iterator[Finding]:
    """Compare the published statistics with those of the shards that were just read."""
    for task, recomputed in shards.statistics.items():
        name = f"statistics/{task}.json"
        try:
            published = read_json(root / name, root)
        except FileNotFoundError:
            yield Finding(name, "missing", f"{task} has no statistics")
            continue
        except (MMEarthError, OSError) as exc:
            yield Finding(name, "unreadable", str(exc))
            continue
        damaged = [n for n, findings in shards.findings.items() if findings]
        if not any(n.startswith(f"shards/{task}/") for n in damaged):
            for where, found, given in _differences(published, recomputed.to_json()):
                sentence = f"{where} is {found}, the shards give {given}"
                yield Finding(name, "statistics", sentence)


def _differences(found: Any, expected: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, found, expected) for every leaf of two documents that is not the same."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted(found.keys() | expected.keys()):
            inside = f"{where}.{key}" if where else key
            yield from _differences(found.get(key), expected.get(key), inside)
    elif found != expected:
        yield where, found, expected
