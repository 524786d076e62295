"""One pass over a shard: its bytes, its members against the manifest, and every value.

Each byte is read once. A member is hashed, compared and looked at while it is in the processor's
cache, and the shard's own checksum grows beside it.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmearth.catalog.files import check_written, open_regular, sha256_bytes
from mmearth.catalog.schema import manifest_path, member_column, read_batches
from mmearth.catalog.statistics import TaskStatistics
from mmearth.packaging.findings import DAMAGE, Finding, Problem, guarded
from mmearth.packaging.shard import TAR_BLOCK
from mmearth.packaging.verify_values import Expected, Row, read_array, read_document

_BLOCK_BYTES = 1 << 20
_MEMBER_BYTES = 16 << 20  # of one member, or what its layer has: most have half a megabyte


@dataclass(slots=True)
class ShardReport:
    """What one pass over a shard brought."""

    name: str
    """Relative to the dataset's root."""
    statistics: TaskStatistics
    """Of the train samples in it."""
    n_rows: int
    """Of the manifest, that name it."""
    sha256: str = ""
    """Of the whole file."""
    findings: list[Finding] = field(default_factory=list)
    """What is wrong with it, apart from its checksum."""

    def add(self, problem: Problem, sentence: str) -> None:
        """Keep one finding."""
        self.findings.append(Finding(self.name, problem, sentence))


@dataclass(slots=True)
class _Open:
    """The sample whose members are being read."""

    row: Row
    """Of the manifest."""
    arrays: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    """By modality; the target under `target`."""


@dataclass(frozen=True, slots=True)
class _Member:
    """One member as it stands in the tar."""

    name: str
    offset: int
    payload: memoryview
    sha256: str


@dataclass(frozen=True, slots=True)
class Job:
    """One shard to be read; it may travel to another process."""

    name: str
    """Relative to the dataset's root."""
    expected: Expected
    """What the samples of its task are made of."""
    rows: tuple[bytes, ...]
    """Those of the manifest that name it, as Arrow streams."""


def shard_jobs(root: Path, expected: Expected, counts: dict[str, int]) -> Iterator[Job]:
    """Yield the jobs of a task's shards, whose rows are read from its manifest on the way.

    Args:
        root: The dataset's directory.
        expected: What the samples of the task are made of.
        counts: Shard that is there → rows that name it.
    """
    yield from (Job(name, expected, ()) for name, n in counts.items() if not n)
    left, parts = dict(counts), dict[str, tuple[bytes, ...]]()
    for part in read_batches(root / manifest_path(expected.task.name), root=root):
        for name in pc.unique(part["shard"]).to_pylist():
            if name not in left:
                continue
            rows = part.filter(pc.equal(part["shard"], name))
            parts[name] = (*parts.get(name, ()), _packed(rows))
            left[name] -= len(rows)
            if not left[name]:
                yield Job(name, expected, parts.pop(name))


def check_shard(root: Path, job: Job) -> ShardReport:
    """Read a shard once and compare it with the rows of its manifest.

    Args:
        root: The dataset's directory.
        job: The shard; the file exists.
    """
    expected = job.expected
    rows = [row for part in job.rows for row in pa.ipc.open_stream(part).read_all().to_pylist()]
    layers = tuple(expected.catalogue.layers.values())
    report = ShardReport(job.name, TaskStatistics(expected.task, layers), len(rows))
    report.findings += guarded(job.name, lambda: _read(root, job.name, expected, rows, report))
    return report


def _packed(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    return bytes(sink.getvalue())


def _read(
    root: Path, name: str, expected: Expected, rows: list[Row], report: ShardReport
) -> tuple[Finding, ...]:
    """Fill in a report; what is found is in it, and nothing more."""
    by_key = {row["key"]: row for row in rows}
    digest = hashlib.sha256()
    seen: set[str] = set()
    current: _Open | None = None
    sizes = [2 * layer.nbytes for layer in expected.catalogue.members(expected.task)]
    most = max([_MEMBER_BYTES, *sizes])
    with open_regular(root / name, root) as stream:
        check_written(stream, root / name)
        for member in _members(stream, digest, report, most):
            key, _, suffix = member.name.partition(".")
            row = by_key.get(key)
            if row is None:
                report.add("range", f"it holds {member.name}, which no row of the manifest names")
                continue
            if current is None or current.row is not row:
                _finish(current, report)
                current = _Open(row)
            seen.add(member.name)
            _look(member, suffix, current, expected, report)
        _finish(current, report)
    for row in rows:
        for suffix in _suffixes(row, expected):
            if f"{row['key']}.{suffix}" not in seen:
                report.add("range", f"{row['key']}.{suffix} is not in it; the manifest says it is")
    report.sha256 = digest.hexdigest()
    return ()


def _members(stream: BinaryIO, digest: Any, report: ShardReport, most: int) -> Iterator[_Member]:
    """Yield a tar's members; hash all of the file on the way, whatever is in it."""
    offset, nbytes = 0, os.fstat(stream.fileno()).st_size
    while header := stream.read(TAR_BLOCK):
        digest.update(header)
        offset += len(header)
        if not any(header):
            break
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as exc:
            report.add("range", f"there is no tar header at byte {offset - len(header)} ({exc})")
            break
        padded = -(-info.size // TAR_BLOCK) * TAR_BLOCK
        if wrong := _wrong_header(info, padded, nbytes - offset, most):
            report.add("range", wrong)
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
            return
        data = stream.read(padded)
        digest.update(data)
        payload = memoryview(data)[: info.size]
        yield _Member(info.name, offset, payload, sha256_bytes(payload))
        offset += padded
    else:
        report.add("range", f"it ends at byte {offset} without a tar's end: it is truncated")
    rest = 0
    while block := stream.read(_BLOCK_BYTES):
        digest.update(block)
        rest += len(block) - block.count(0)
    if rest:
        report.add("range", f"after byte {offset} there is something else than a tar's end")


def _wrong_header(info: tarfile.TarInfo, padded: int, left: int, most: int) -> str:
    """Return what is wrong with a tar header before memory is taken for its member."""
    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        return f"{info.name} is of the tar type {info.type!r}, expected a plain file"
    if info.size < 0:
        return f"{info.name} has {info.size} bytes"
    if padded > left:
        return f"it ends inside {info.name}: it is truncated"
    if info.size > most:
        return f"{info.name} has {info.size} bytes, expected {most} at most"
    return ""


def _suffixes(row: Row, expected: Expected) -> list[str]:
    """Return the members that a row of the manifest names."""
    members = expected.members.items()
    return ["json", *(suffix for suffix, name in members if _is_there(row[name]))]


def _is_there(said: Row | None) -> bool:
    """Return whether a struct is of a member: a target's has no `present`, and may be null."""
    return said is not None and bool(said.get("present", True))


def _look(
    member: _Member, suffix: str, sample: _Open, expected: Expected, report: ShardReport
) -> None:
    """Compare one member with its row, and look at its values when the bytes are right."""
    said = _said(sample.row, suffix, expected)
    if said is None:
        report.add("range", f"it holds {member.name}, which the manifest says is missing")
        return
    if said and not _same_place(member, said, report):
        return
    try:
        if suffix == "json":
            sample.arrays |= read_document(bytes(member.payload), sample.row, expected)
        else:
            name = expected.members[suffix]
            array = read_array(member.payload, name, expected, said)
            sample.arrays["target" if name == expected.task.name else name] = array
    except DAMAGE as exc:
        report.add("value", f"{member.name}: {exc}")


def _said(row: Row, suffix: str, expected: Expected) -> Row | None:
    """Return the manifest's struct of a member; empty where it has none, None where none may be."""
    if suffix == "json":
        structs = (row[member_column(layer)] for layer in expected.catalogue.tile_layers)
        return next((struct for struct in structs if struct["present"]), {})
    said = row[expected.members[suffix]] if suffix in expected.members else None
    return said if _is_there(said) else None


def _same_place(member: _Member, expected: Row, report: ShardReport) -> bool:
    place = (member.offset, len(member.payload))
    said = (expected["byte_offset"], expected["byte_length"])
    if place != said:
        report.add(
            "range",
            f"{member.name} is {place[1]} bytes at byte {place[0]}, the manifest says {said[1]} at "
            f"{said[0]}: one of the two is from another build",
        )
    if member.sha256 != expected["sha256"]:
        report.add(
            "range",
            f"{member.name} has sha256 {member.sha256[:12]}…, the manifest says "
            f"{str(expected['sha256'])[:12]}…",
        )
        return False
    return place == said


def _finish(sample: _Open | None, report: ShardReport) -> None:
    """Add a train sample to the statistics, once all of it has been read."""
    if sample is None or sample.row["split"] != "train":
        return
    target = sample.arrays.get("target")
    if target is None and not report.statistics.task.optional:
        return
    subsets = ("train", *(name for name in ("train_50", "train_5") if sample.row[name]))
    report.statistics.update(subsets, sample.arrays, target)
