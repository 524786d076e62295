"""Prove a dataset: every checksum, range and value, and the published files against each other.

The order is that of a doubt: is it a whole dataset, are its bytes those that were published, and do
they agree with each other? The last finds what was sealed wrong, or changed and sealed again.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import CATALOGUE, Catalogue, read_catalogue
from mmearth.catalog.checksums import (
    DATASET,
    SUMS,
    published_files,
    read_dataset,
    read_sums,
    render,
)
from mmearth.catalog.documents import read_json
from mmearth.catalog.errors import FormatError, MMEarthError
from mmearth.catalog.files import read_regular, sha256_file
from mmearth.catalog.progress import Progress, silent
from mmearth.catalog.schema import (
    OBSERVATIONS,
    manifest_path,
    manifest_schema,
    tiles_schema,
)
from mmearth.catalog.statistics import TaskStatistics
from mmearth.packaging.findings import Finding, guarded, run_all, shorten
from mmearth.packaging.verify_shards import ShardReport, check_shard
from mmearth.packaging.verify_stac import check_stac
from mmearth.packaging.verify_tables import (
    Row,
    by_tile,
    check_manifest,
    check_names,
    check_schema,
    check_splits,
    load_table,
    rows_by_shard,
)
from mmearth.packaging.verify_values import Expected


@dataclass(slots=True)
class _Tables:
    """What could be read of a dataset's tables."""

    findings: list[Finding] = field(default_factory=list)
    """What is wrong with them."""
    expected: dict[str, Expected] = field(default_factory=dict)
    """Task → what its samples are made of; tasks whose manifest cannot be used are left out."""
    manifests: dict[str, list[Row]] = field(default_factory=dict)
    """Task → rows, of the same tasks."""
    shards: dict[str, list[Row]] = field(default_factory=dict)
    """Shard → its rows."""
    store: dict[str, str] = field(default_factory=dict)
    """Checksum by observations.parquet of every file of the store."""


def verify(root: Path, workers: int = 1, progress: Progress = silent) -> list[Finding]:
    """Return everything that is wrong with a dataset; nothing when it is whole.

    Args:
        root: The dataset's directory.
        workers: Threads; hashing and looking at arrays release the interpreter.
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
    findings = list(_check_seal(root, document))
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
    reports = _check_shards(root, tables, files, workers, progress)
    digests = {name: report.sha256 for name, report in reports.items() if report.sha256}
    others = sorted((files & sums.keys()) - reports.keys())
    hashed, unreadable = _hash(root, others, workers, progress)
    digests |= hashed
    findings += _check_digests(sums, digests)
    findings += unreadable
    findings += found + tables.findings
    findings += _check_store(tables.store, digests)
    findings += guarded("manifests", lambda: _check_names(tables, files))
    findings += [finding for report in reports.values() for finding in report.findings]
    findings += guarded("statistics", lambda: _check_statistics(root, tables.expected, reports))
    progress("verify catalogue", 1)
    if catalogue is not None:
        check = partial(check_stac, root, catalogue, tables.manifests, workers)
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


def _check_seal(root: Path, document: Row) -> Iterator[Finding]:
    """The two files that no list of checksums can hold guard each other and themselves."""
    if read_regular(root / DATASET, root) != render(document):
        yield Finding(DATASET, "checksum", "it was changed after the dataset was sealed")
    found, expected = sha256_file(root / SUMS, root), document.get("dataset_hash")
    if found != expected:
        sentence = f"its sha256 is {found[:12]}…, {DATASET} says {str(expected)[:12]}…"
        yield Finding(SUMS, "checksum", sentence)


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
    columns = [task.column for task in tasks]  # null in rows of other tasks
    planned = _load(root, "tiles.parquet", tiles_schema(tasks), tables, columns)
    tiles = planned.to_pylist() if planned is not None else []
    if planned is not None:
        tables.findings += check_names("tiles.parquet", planned, "task", catalogue.tasks)
    seen = _load(root, "observations.parquet", OBSERVATIONS, tables)
    observed = by_tile(seen) if seen is not None else {}
    if seen is not None:
        tables.store = dict(zip(seen["path"].to_pylist(), seen["sha256"].to_pylist(), strict=True))
        known = {*catalogue.layers, *(t.name for t in catalogue.tasks.values() if t.is_pixel)}
        tables.findings += check_names("observations.parquet", seen, "modality", known)
    for task in catalogue.tasks.values():
        mine = [row for row in tiles if row["task"] == task.name]
        name = manifest_path(task.name)
        in_splits = partial(check_splits, "tiles.parquet", task.name, mine)
        tables.findings += guarded("tiles.parquet", in_splits)
        schema = manifest_schema(task, catalogue.layers.values())
        manifest = _load(root, name, schema, tables, [task.column] if task.optional else ())
        if manifest is None:
            continue
        tables.expected[task.name] = Expected.of(catalogue, task)
        tables.manifests[task.name] = manifest.to_pylist()
        tables.shards |= rows_by_shard(manifest)
        if tiles and observed:
            check = partial(check_manifest, catalogue, task, manifest, mine, observed)
            tables.findings += guarded(name, check)
    return tables


def _load(
    root: Path, name: str, schema: pa.Schema, tables: _Tables, optional: Collection[str] = ()
) -> pa.Table | None:
    """Return a table that can be compared with others; None, and findings, where there is none."""
    if not os.path.lexists(root / name):
        tables.findings.append(Finding(name, "missing", "a dataset has it"))
        return None
    try:
        table = load_table(root, name)
    except MMEarthError as exc:
        tables.findings.append(Finding(name, "unreadable", str(exc)))
        return None
    wrong = list(check_schema(name, schema, table, optional))
    tables.findings += wrong
    return None if wrong else table


def _check_shards(
    root: Path, tables: _Tables, files: set[str], workers: int, progress: Progress
) -> dict[str, ShardReport]:
    """Read every shard whose manifest can be read; the others are only hashed."""
    names = sorted(n for n in files if n.startswith("shards/") and n.endswith(".tar"))
    jobs = [(name, name.split("/")[1]) for name in names]
    jobs = [(name, task) for name, task in jobs if task in tables.expected]
    samples = {name: tables.shards.get(name, []) for name, _ in jobs}
    progress("verify shards", sum(map(len, samples.values())))

    def done(report: ShardReport) -> None:
        for _ in samples[report.name]:
            progress("verify shards", None)

    reports = run_all(
        lambda job: check_shard(root, job[0], tables.expected[job[1]], samples[job[0]]),
        jobs,
        workers,
        done,
    )
    return {report.name: report for report in reports}


def _check_store(store: dict[str, str], digests: dict[str, str]) -> Iterator[Finding]:
    for name, expected in store.items():
        if (found := digests.get(name, expected)) != expected:
            sentence = f"its sha256 is {found[:12]}…, observations.parquet says {expected!s:.12}…"
            yield Finding(name, "checksum", sentence)


def _check_names(tables: _Tables, files: set[str]) -> Iterator[Finding]:
    for name, rows in sorted(tables.shards.items()):
        task, split = rows[0]["task"], rows[0]["split"]
        if name not in files:
            yield Finding(name, "missing", f"{manifest_path(task)} has {len(rows)} samples in it")
        if not name.startswith(f"shards/{task}/{split}-"):
            sentence = f"sample {rows[0]['key']} of {split} is said to be in {name}"
            yield Finding(manifest_path(task), "table", sentence)


def _check_statistics(
    root: Path, expected: dict[str, Expected], reports: dict[str, ShardReport]
) -> Iterator[Finding]:
    """Compare the published statistics with those of the shards that were just read."""
    for task, each in expected.items():
        name = f"statistics/{task}.json"
        recomputed = TaskStatistics(each.task, tuple(each.catalogue.layers.values()))
        mine = [report for report in reports.values() if report.statistics.task is each.task]
        for report in mine:
            recomputed.merge(report.statistics)
        try:
            published = read_json(root / name, root)
        except FileNotFoundError:
            yield Finding(name, "missing", f"{task} has no statistics")
            continue
        except (MMEarthError, OSError) as exc:
            yield Finding(name, "unreadable", str(exc))
            continue
        if not any(report.findings for report in mine):
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
