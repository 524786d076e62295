"""What is there of a remote file: a sparse copy, and the list of its bytes that were fetched.

A directory holds both. Bytes count only once they are listed, and they are listed once they are
written: a kill at any moment loses what was on its way and nothing else. The disk is not waited
for. What a power cut may have taken is told by checksums, which are compared after each start of
the machine.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from mmearth.catalog.errors import UnavailableError, storage_errors
from mmearth.curate.remote.address import host_of, public
from mmearth.curate.remote.client import Part
from mmearth.curate.remote.tiff import AbsentBytes, Span

HAVE, DATA = "have.jsonl", "data"
"""Names in the directory; the data's has the suffix of the remote file too."""


_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MOST_SEEN = 2048
_SEEN: OrderedDict[Path, tuple[object, Have]] = OrderedDict()
"""The lists that this process read or wrote last, and is sure of, each with what tells it from
others of its name."""
_lock = threading.Lock()


class ChangedError(UnavailableError):
    """The file behind an address is another one than it was."""


Listed = tuple[int, int, int]
"""First byte, the byte after the last, and the CRC-32 of those between."""


@dataclass(frozen=True, slots=True)
class Have:
    """Which bytes of a file are there."""

    length: int
    """Of the whole file."""
    version: str
    """See `Part.version`."""
    listed: tuple[Listed, ...]
    """As they came."""
    spans: tuple[Span, ...] = field(init=False, compare=False)
    """Sorted, apart from each other."""

    def __post_init__(self) -> None:
        """Join what was listed."""
        object.__setattr__(self, "spans", _joined([(begin, end) for begin, end, _ in self.listed]))

    def holds(self, begin: int, end: int) -> bool:
        """Return whether all of some bytes are there."""
        i = bisect_right(self.spans, (begin, self.length + 1)) - 1
        return i >= 0 and self.spans[i][0] <= begin and end <= self.spans[i][1]

    @property
    def n_bytes(self) -> int:
        """How many bytes are there."""
        return sum(end - begin for begin, end in self.spans)


@dataclass(frozen=True, slots=True)
class Copy:
    """The sparse copy of one remote file."""

    url: str
    """Its address."""
    folder: Path
    """Where the copy is."""

    data: Path = field(init=False, compare=False)
    """The file that GDAL opens."""
    record: Path = field(init=False, compare=False)
    """Tells which of its bytes are there."""

    def __post_init__(self) -> None:
        """Name the files."""
        object.__setattr__(self, "data", self.folder / _name(self.url))
        object.__setattr__(self, "record", self.folder / HAVE)

    def have(self) -> Have | None:
        """Return what is there; None where nothing is, or nothing that is sure."""
        try:
            which = _which(self.record)
            with _lock:
                known, have = _SEEN.get(self.folder, (None, None))
            if have is None or known != which:
                have = self._read_list()
            if have is None or self.data.stat().st_size != have.length:
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        _note(self.folder, which, have)
        return have

    def _read_list(self) -> Have | None:
        """Return what is listed; None where it is not sure that it is there."""
        told = list(_lines(self.record.read_bytes()))
        if not told:
            return None
        listed = {(int(b), int(e), int(crc)) for line in told for b, e, crc in line["listed"]}
        boots = {line["boot"] for line in told}
        have = Have(int(told[0]["length"]), str(told[0]["version"]), tuple(sorted(listed)))
        is_sure = boots == {_boot()} != {None}
        return have if is_sure or self._is_whole(have) else None

    def _is_whole(self, have: Have) -> bool:
        """Return whether what is listed was not lost when the machine stopped."""
        with self.data.open("rb") as stream:
            for begin, end, crc in have.listed:
                stream.seek(begin)
                if zlib.crc32(stream.read(end - begin)) != crc:
                    return False
        return True

    def read(self, have: Have, begin: int, end: int) -> bytes:
        """Return bytes that are there.

        Raises:
            AbsentBytes: They are not.
        """
        if not have.holds(begin, end):
            raise AbsentBytes(begin, end)
        with self.data.open("rb") as stream:
            stream.seek(begin)
            return stream.read(end - begin)

    def keep(self, parts: Sequence[Part]) -> Have:
        """Write bytes, one part at least, to their places and list them.

        Raises:
            ChangedError: They are of another file than what was there, which is forgotten.
            StorageError: The disk is full or refused.
        """
        with storage_errors(f"write {self.folder}"), self.locked(fcntl.LOCK_EX):
            known, first = self.have(), parts[0]
            same = (first.length, first.version)
            if any((part.length, part.version) != same for part in parts) or (
                known is not None and (known.length, known.version) != same
            ):
                self._forget()
                raise ChangedError(f"{public(self.url)} changed while it was read")
            if known is None:  # nothing that is listed counts
                self.record.unlink(missing_ok=True)
            self._write(parts, first.length)
            new = [(p.begin, p.begin + len(p.data), zlib.crc32(p.data)) for p in parts]
            written = {"url": public(self.url), "length": first.length, "version": first.version}
            written |= {"boot": _boot(), "listed": new}
            # A line more, not the list anew: file systems are slow to make files and delete them.
            with self.record.open("ab", buffering=0) as stream:
                stream.write(f"\n{json.dumps(written)}\n".encode())
            have = Have(*same, tuple({*(known.listed if known else ()), *new}))
            _note(self.folder, _which(self.record), have)
            return have

    def _write(self, parts: Sequence[Part], length: int) -> None:
        handle = os.open(self.data, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if os.fstat(handle).st_size != length:
                os.ftruncate(handle, 0)
                os.ftruncate(handle, length)
            for part in parts:
                view, at = memoryview(part.data), part.begin
                while view:
                    n = os.pwrite(handle, view, at)
                    view, at = view[n:], at + n
        finally:
            os.close(handle)

    def forget(self) -> None:
        """Delete what is there, unless somebody reads it just now."""
        with suppress(BlockingIOError), self.locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
            self._forget()

    def _forget(self) -> None:
        # The list first: what is listed is there at any moment.
        self.record.unlink(missing_ok=True)
        for path in self.folder.glob(f"{DATA}*"):
            path.unlink(missing_ok=True)

    @contextmanager
    def locked(self, how: int) -> Iterator[None]:
        """Hold the copy: shared to read pixels, alone to write; until the process ends at most.

        GDAL reads ahead of what it is asked for: bytes that were written while it had the file open
        would be those of before to it.
        """
        try:
            handle = os.open(self.folder, os.O_RDONLY)
        except FileNotFoundError:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, how)
            yield
        finally:
            os.close(handle)


@lru_cache(maxsize=4096)
def copy_of(url: str, cache: Path) -> Copy:
    """Return where a remote file's copy is: its name holds nothing that signs the address."""
    name = public(url)
    key = hashlib.sha256(name.encode()).hexdigest()[:40]
    host = "".join(c if c.isalnum() or c in ".-" else "_" for c in host_of(url)) or "_"
    return Copy(url, cache / host / key)


@lru_cache(maxsize=4096)
def _name(url: str) -> str:
    suffix = Path(public(url).partition("?")[0]).suffix
    return f"{DATA}{suffix if len(suffix) <= 6 else ''}"


def _lines(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield what the lines of a list say; one that a kill or a full disk cut short says nothing."""
    for line in filter(None, data.split(b"\n")):
        with suppress(ValueError):
            yield json.loads(line)


def _which(path: Path) -> object:
    """Return what tells a list from others that had its name, and from itself when it grew."""
    told = path.stat()
    return told.st_ino, told.st_mtime_ns, told.st_size


def _note(folder: Path, which: object, have: Have) -> None:
    with _lock:
        _SEEN[folder] = which, have
        _SEEN.move_to_end(folder)
        while len(_SEEN) > _MOST_SEEN:
            _SEEN.popitem(last=False)


@cache
def _boot() -> str | None:
    """Return what names the time since the machine started; None where nobody tells."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return None


def _joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Return spans sorted, those that touch made one."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return tuple(found)
