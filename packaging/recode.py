"""`mmearth packaging recode`: a copy of a dataset whose members are of another codec.

The first dataset stays as it is, so that nothing is lost whatever happens meanwhile.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmearth.catalog import card as cards
from mmearth.catalog import checksums, croissant, stac
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import Catalogue, read_catalogue, write_catalogue
from mmearth.catalog.codec import Codec
from mmearth.catalog.errors import ConfigError, FormatError, IntegrityError, storage_errors
from mmearth.catalog.executor import Pool, Workers, run
from mmearth.catalog.files import open_regular, sha256_bytes, sha256_file
from mmearth.catalog.progress import Progress, silent
from mmearth.catalog.schema import (
    OBSERVATIONS,
    found_manifest,
    manifest_path,
    member_column,
    read_table,
    write_table,
)
from mmearth.packaging.codec import Members
from mmearth.packaging.manifest import name_members
from mmearth.packaging.shard import MemberRange, Shard, ShardWriter

_OBSERVED = "observations.parquet"
_MADE = ("shards/", "manifests/", "stac/", "huggingface/", "store/")
_MADE_FILES = frozenset((_OBSERVED, "catalogue.json", "README.md", "croissant.json"))
_MOST_BYTES = 64 << 20  # of a member that is no array
Row = dict[str, Any]


def recode(
    source: Path,
    out: Path,
    codec: Codec,
    workers: Workers | None = None,
    progress: Progress = silent,
) -> str:
    """Copy a dataset, with its members in another codec; return the copy's hash.

    Values, samples, splits and statistics are those of `source`, and so is what is in which shard.
    Each member is compared with its SHA-256 before it is decoded. Memory holds the manifest of a
    task and observations.parquet.

    Args:
        source: A complete dataset.
        out: The copy's directory; not there, or empty.
        codec: Of the copy.
        workers: Who writes shards; None for one. The bytes do not depend on it.
        progress: Told about every step.

    Raises:
        ConfigError: There is no complete dataset, or `out` holds something.
        FormatError: A file of the dataset is missing or damaged.
        IntegrityError: A file or a member is not what was sealed.
        StorageError: The disk is full.
    """
    card = DatasetCard.from_json(checksums.read_dataset(source))
    before = read_catalogue(source)
    card.check(before)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} holds something; name a folder that is not there, or empty it")
    _copy(source, out)
    after = replace(before, codec=codec)
    sums: dict[str, str] = {}
    write_catalogue(out, after)
    observed = read_table(source / _OBSERVED, OBSERVATIONS.names, source)
    with (workers or Workers()).open() as pool:
        for name in card.tasks:
            made = _recode_task(source, out, before, after, name, pool, progress)
            observed = name_members(observed, made.rows, after.members(after.task(name)))
            sums |= made.sums
    write_table(observed, out / _OBSERVED, OBSERVATIONS)
    progress("catalogue", 1)
    cards.write_readme(out, card)
    stac.build(out, card)
    croissant.build(out, card, sums)
    progress("seal", 1)
    return checksums.seal(out, card, sums)


@dataclass(frozen=True, slots=True)
class _Task:
    """One task of the copy."""

    rows: pa.Table
    """Of its manifest."""
    sums: dict[str, str]
    """Checksums of its shards, by relative path."""


def _recode_task(
    source: Path,
    out: Path,
    before: Catalogue,
    after: Catalogue,
    name: str,
    pool: Pool,
    progress: Progress,
) -> _Task:
    """Write the shards and the manifest of one task."""
    work = partial(_write_shard, source.resolve(), out.resolve(), before, after.codec)
    manifest = read_table(source / manifest_path(name), root=source)
    jobs, made = list(_by_shard(manifest)), dict[str, _Written]()
    progress("recode", len(jobs))
    run(jobs, work, *pool, partial(_keep, made, progress))
    tasks, layers = after.tasks.values(), after.layers.values()
    schema = found_manifest(manifest.column_names, after.task(name), tasks, layers)
    about = {b"geo": (manifest.schema.metadata or {}).get(b"geo", b"{}")}
    table = pa.concat_tables([schema.empty_table(), *(made[job.shard].rows for job in jobs)])
    write_table(table, out / manifest_path(name), schema.with_metadata(about))
    return _Task(table, {shard: each.shard.sha256 for shard, each in made.items()})


@dataclass(frozen=True, slots=True)
class _Job:
    """One shard, and its rows of the manifest."""

    shard: str
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class _Written:
    """A shard of the copy, and its rows."""

    shard: Shard
    rows: pa.Table


def _keep(made: dict[str, _Written], progress: Progress, written: _Written) -> None:
    made[written.shard.name] = written
    progress("recode", None)


def _copy(source: Path, out: Path) -> None:
    """Copy the files that do not depend on the codec.

    Raises:
        IntegrityError: One is not what was sealed.
    """
    for name, sha256 in checksums.read_sums(source).items():
        if name.startswith(_MADE) or name in _MADE_FILES:
            continue
        with storage_errors(f"write {out / name}"):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            with open_regular(source / name, source) as stream, (out / name).open("wb") as to:
                shutil.copyfileobj(stream, to)
        if sha256_file(out / name) != sha256:
            raise IntegrityError(
                f"{source / name} is not what SHA256SUMS says; run `mmearth packaging verify`"
            )


def _by_shard(manifest: pa.Table) -> Iterator[_Job]:
    """Yield the shards of a manifest in its order, whose rows stand together."""
    names, begin = manifest["shard"].to_pylist(), 0
    for end in range(1, len(names) + 1):
        if end == len(names) or names[end] != names[begin]:
            rows = pa.array(range(begin, end))  # taken: a slice is pickled as a whole
            yield _Job(names[begin], manifest.take(rows))
            begin = end


def _write_shard(source: Path, out: Path, before: Catalogue, codec: Codec, job: _Job) -> _Written:
    """Write one shard of the copy."""
    rows = {row["key"]: row for row in job.rows.to_pylist()}
    writer = ShardWriter(out, job.shard)
    try:
        for key, members in _samples(source, job.shard):
            if key not in rows:
                raise FormatError(f"{source / job.shard} holds {key}, which no row names")
            new = _recoded(members, rows[key], f"{source / job.shard}: {key}", before, codec)
            _move(rows[key], writer.write(key, new), before, codec)
        shard = writer.close()
    except BaseException:
        writer.abandon()
        raise
    if shard.n_samples != len(rows):
        raise FormatError(
            f"{source / job.shard} has {shard.n_samples} samples, its manifest {len(rows)}; run "
            "`mmearth packaging verify`"
        )
    table = pa.Table.from_pylist(list(rows.values()), schema=job.rows.schema.remove_metadata())
    return _Written(shard, table)


def _samples(source: Path, shard: str) -> Iterator[tuple[str, Members]]:
    """Yield key and members of each sample of a shard.

    Raises:
        FormatError: It is no tar of ours.
    """
    key = ""
    members: Members = {}
    try:
        with (
            open_regular(source / shard, source) as stream,
            tarfile.open(fileobj=stream, mode="r:") as tar,
        ):
            for entry in tar:
                found, _, suffix = entry.name.partition(".")
                data = tar.extractfile(entry)
                if data is None or entry.size > _MOST_BYTES:
                    raise FormatError(f"{source / shard}: {entry.name} is no member of ours")
                if found != key and members:
                    yield key, members
                    members = {}
                key = found
                members[suffix] = data.read()
    except (tarfile.TarError, EOFError) as exc:
        raise FormatError(
            f"{source / shard} is no whole tar ({exc}); run `mmearth packaging verify`"
        ) from exc
    if members:
        yield key, members


def _recoded(members: Members, row: Row, where: str, before: Catalogue, codec: Codec) -> Members:
    """Return a sample's members in the other codec, compared with their row before."""
    new: Members = {}
    layers = {before.codec.member(n): n for n in (*before.layers, row["task"])}
    for suffix, data in members.items():
        said = _said(row, suffix, layers, before)
        if said is not None and sha256_bytes(data) != said["sha256"]:
            raise IntegrityError(
                f"{where}.{suffix} is not what its manifest says (SHA-256); run `mmearth "
                "packaging verify`"
            )
        if suffix == "json":
            new[suffix] = data
        elif said is None:
            raise FormatError(f"{where}.{suffix} is in no row of the manifest")
        else:
            name = layers[suffix]
            stored = before.observed(name).dtype, before.member_shape(name)
            array = before.codec.decode(data, f"{where}.{suffix}", *stored)
            new[codec.member(name)] = codec.encode(array)
    return new


def _said(row: Row, suffix: str, layers: dict[str, str], before: Catalogue) -> Row | None:
    """Return what a row says of a member; None where it says nothing."""
    if suffix == "json":
        structs = (row[member_column(layer)] for layer in before.tile_layers)
        return next((struct for struct in structs if struct["present"]), None)
    said: Row | None = row[layers[suffix]] if suffix in layers else None
    return said if said and said["sha256"] is not None else None


def _move(row: Row, ranges: dict[str, MemberRange], before: Catalogue, codec: Codec) -> None:
    """Write into a row where its members are now."""
    members = before.members(before.task(row["task"]))
    columns = {layer.name: codec.member(layer.name) for layer in members}
    columns |= {member_column(layer): "json" for layer in before.tile_layers}
    for column, suffix in columns.items():
        if row[column] and row[column]["sha256"] is not None:
            at = ranges[suffix]
            row[column] |= {"byte_offset": at.offset, "byte_length": at.length, "sha256": at.sha256}
