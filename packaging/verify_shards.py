"""One pass over a shard: its bytes, its members against the manifest, and every value.

Each byte is read once. A member is hashed, compared and looked at while it is in the processor's
cache, and the shard's own checksum grows beside it.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import DataError, FormatError
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.schema import CLASS_COLUMNS, member_column
from mmearth.catalog.statistics import TaskStatistics
from mmearth.catalog.tasks import TASKS
from mmearth.packaging.codec import decode_npy, decode_target, decode_tile_level, npy
from mmearth.packaging.findings import Finding, Problem
from mmearth.packaging.shard import TAR_BLOCK

_BLOCK_BYTES = 1 << 20
Row = dict[str, Any]
"""A row of a manifest."""


@dataclass(slots=True)
class ShardReport:
    """What one pass over a shard brought."""

    name: str
    """Relative to the dataset's root."""
    statistics: TaskStatistics
    """Of the train samples in it."""
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
    """By modality, or by task for a pixel-level target."""
    document: dict[str, Any] | None = None
    """Of `<key>.json`."""


@dataclass(frozen=True, slots=True)
class _Member:
    """One member as it stands in the tar."""

    name: str
    offset: int
    payload: memoryview
    sha256: str


def check_shard(root: Path, name: str, task: str, rows: list[Row]) -> ShardReport:
    """Read a shard once and compare it with the rows of its manifest.

    Args:
        root: The dataset's directory.
        name: Of the shard, relative to it; the file exists.
        task: A key of TASKS.
        rows: Those that name this shard; none when the manifest cannot be read.
    """
    report = ShardReport(name, TaskStatistics(task))
    by_key = {row["key"]: row for row in rows}
    digest = hashlib.sha256()
    seen: set[str] = set()
    current: _Open | None = None
    with (root / name).open("rb", buffering=0) as stream:
        for member in _members(stream, digest, report):
            key, _, suffix = member.name.partition(".")
            row = by_key.get(key)
            if row is None:
                report.add("range", f"it holds {member.name}, which no row of the manifest names")
                continue
            if current is None or current.row is not row:
                _finish(current, task, report)
                current = _Open(row)
            seen.add(member.name)
            _look(member, suffix, current, task, report)
        _finish(current, task, report)
    for row in rows:
        for suffix in _suffixes(row, task):
            if f"{row['key']}.{suffix}" not in seen:
                report.add("range", f"{row['key']}.{suffix} is not in it; the manifest says it is")
    report.sha256 = digest.hexdigest()
    return report


def _members(stream: BinaryIO, digest: Any, report: ShardReport) -> Iterator[_Member]:
    """Yield a tar's members; hash all of the file on the way, whatever is in it."""
    offset = 0
    while header := stream.read(TAR_BLOCK):
        digest.update(header)
        offset += len(header)
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except tarfile.EOFHeaderError:
            break
        except (tarfile.HeaderError, UnicodeDecodeError) as exc:
            report.add("range", f"there is no tar header at byte {offset - len(header)} ({exc})")
            break
        padded = -(-info.size // TAR_BLOCK) * TAR_BLOCK
        data = stream.read(padded)
        digest.update(data)
        if len(data) != padded:
            report.add("range", f"it ends inside {info.name}: it is truncated")
            return
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


def _suffixes(row: Row, task: str) -> list[str]:
    """Return the members that a row of the manifest names."""
    pixel = [f"{name}.npy" for name in _pixel_level() if row[name]["present"]]
    return ["json", *([f"{task}.npy"] if TASKS[task].level == "pixel" else []), *pixel]


def _look(member: _Member, suffix: str, sample: _Open, task: str, report: ShardReport) -> None:
    """Compare one member with its row, and look at its values when the bytes are right."""
    expected = _expected(sample.row, suffix, task)
    if expected is None:
        report.add("range", f"it holds {member.name}, which the manifest says is missing")
        return
    if expected and not _same_place(member, expected, report):
        return
    try:
        if suffix == "json":
            sample.document = json.loads(bytes(member.payload))
            _check_document(sample, task)
        else:
            _check_array(member, suffix.removesuffix(".npy"), sample, expected)
    except (DataError, FormatError, ValueError, KeyError, TypeError) as exc:
        report.add("value", f"{member.name}: {exc}")


def _expected(row: Row, suffix: str, task: str) -> Row | None:
    """Return the manifest's struct of a member; empty where it has none, None where none may be."""
    name = suffix.removesuffix(".npy")
    if suffix == "json":
        tile_level = [n for n, modality in MODALITIES.items() if modality.level == "tile"]
        structs = (row[member_column(name)] for name in tile_level)
        return next((struct for struct in structs if struct["present"]), {})
    if name == task and TASKS[task].level == "pixel":
        return dict(row[task])
    if name in _pixel_level() and row[name]["present"]:
        return dict(row[name])
    return None


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


def _check_document(sample: _Open, task: str) -> None:
    """Refuse a `<key>.json` that contradicts its row.

    Raises:
        FormatError: It does.
        DataError: A tile-level value breaks its contract.
    """
    row, document = sample.row, sample.document or {}
    for name in ("key", "tile", "task", "split"):
        _same(name, document[name], row[name])
    _same("date", document["date"], str(row["date"]))
    if TASKS[task].level == "tile":
        _same("target", document["target"], row[task if task in row else "target"])
        TASKS[task].check(decode_target(document))
    for name, array in decode_tile_level(document):
        MODALITIES[name].check(array)
        sample.arrays[name] = array
        if name in CLASS_COLUMNS:
            _same(name, int(array[0]), row[name])
    for name, modality in MODALITIES.items():
        present = row[member_column(name)]["present"]
        if modality.level == "tile":
            _same(f"presence of {name}", name in document["modalities"], present)
        if present and name in document["missing"]:
            raise FormatError(f"it says that {name} is missing, the manifest that it is present")


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise FormatError(f"its {what} is {found!r}, the manifest says {expected!r}")


def _check_array(member: _Member, name: str, sample: _Open, expected: Row) -> None:
    """Refuse an array that breaks its contract or is not as valid as the manifest says.

    Raises:
        FormatError: It is not an array, or the share of valid values differs.
        DataError: Its dtype, shape or values are not the modality's.
    """
    array = _array(member, name)
    sample.arrays[name] = array
    if name in MODALITIES and _all_valid(name, array):
        share = 1.0
    elif name in MODALITIES:
        MODALITIES[name].check(array)
        share = int(np.count_nonzero(MODALITIES[name].valid(array))) / array.size
    else:
        TASKS[name].check(array)
        share = int(np.count_nonzero(array != TASKS[name].nodata)) / array.size
    _same("valid_fraction", share, expected["valid_fraction"])


def _array(member: _Member, name: str) -> NDArray[np.generic]:
    header, dtype, shape = _layout(name)
    if bytes(member.payload[: len(header)]) == header:
        size = len(header) + dtype.itemsize * int(np.prod(shape))
        if len(member.payload) == size:
            return np.frombuffer(member.payload, dtype, offset=len(header)).reshape(shape)
    return decode_npy(member.payload, member.name)


def _all_valid(name: str, array: NDArray[np.generic]) -> bool:
    """Return whether every value is in its band's valid range; no-data values are not.

    Two reductions at the speed of memory settle the usual case; the rest is `Modality.check`'s.
    """
    if (array.shape, array.dtype) != (MODALITIES[name].shape, np.dtype(MODALITIES[name].dtype)):
        return False
    low, high = _limits(name)
    flat: NDArray[Any] = array.reshape(array.shape[0], -1)
    return bool((flat.min(axis=1) >= low).all() and (flat.max(axis=1) <= high).all())


@cache
def _limits(name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    bands = MODALITIES[name].bands
    return np.array([b.valid[0] for b in bands]), np.array([b.valid[1] for b in bands])


@cache
def _layout(name: str) -> tuple[bytes, np.dtype[Any], tuple[int, ...]]:
    """Return the .npy header, dtype and shape that a member must have."""
    spec = MODALITIES[name] if name in MODALITIES else TASKS[name]
    values = np.zeros(spec.shape, dtype=spec.dtype)
    return npy(values)[: -values.nbytes], values.dtype, spec.shape


@cache
def _pixel_level() -> tuple[str, ...]:
    return tuple(name for name, modality in MODALITIES.items() if modality.level == "pixel")


def _finish(sample: _Open | None, task: str, report: ShardReport) -> None:
    """Add a train sample to the statistics, once all of it has been read."""
    if sample is None or sample.row["split"] != "train":
        return
    arrays: Mapping[str, NDArray[np.generic]] = sample.arrays
    target = arrays.get(task)
    if target is None and sample.document is not None:
        target = decode_target(sample.document)
    if target is not None:
        subsets = ("train", *(n for n in ("train_50", "train_5") if sample.row[n]))
        modalities = {name: arrays[name] for name in MODALITIES if name in arrays}
        report.statistics.update(subsets, modalities, target)
