"""What is there of a remote file: a sparse copy, and the list of its bytes that were fetched.

A directory holds both. Bytes count only once they are listed, and they are listed only once they
are on the disk: a crash at any moment loses what was on its way and nothing else.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mmearth.catalog.errors import UnavailableError, storage_errors
from mmearth.catalog.files import write_atomic
from mmearth.curate.remote.address import host_of, public
from mmearth.curate.remote.client import Part
from mmearth.curate.remote.tiff import AbsentBytes, Span

HAVE, DATA = "have.json", "data"
"""Names in the directory; the data's has the suffix of the remote file too."""


class ChangedError(UnavailableError):
    """The file behind an address is another one than it was."""


@dataclass(frozen=True, slots=True)
class Have:
    """Which bytes of a file are there."""

    length: int
    """Of the whole file."""
    version: str
    """See `Part.version`."""
    spans: tuple[Span, ...]
    """Sorted, apart from each other."""

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

    @property
    def data(self) -> Path:
        """The file that GDAL opens."""
        suffix = Path(public(self.url).partition("?")[0]).suffix
        return self.folder / f"{DATA}{suffix if len(suffix) <= 6 else ''}"

    def have(self) -> Have | None:
        """Return what is there; None where nothing is, or nothing that is sure."""
        try:
            found = json.loads((self.folder / HAVE).read_bytes())
            spans = tuple((int(b), int(e)) for b, e in found["spans"])
            have = Have(int(found["length"]), str(found["version"]), spans)
            size = self.data.stat().st_size
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return have if size == have.length else None

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
        """Write bytes to their places and list them.

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
            self._write(parts, first.length)
            spans = [
                *(known.spans if known else ()),
                *((p.begin, p.begin + len(p.data)) for p in parts),
            ]
            have = Have(first.length, first.version, _joined(spans))
            written = {"url": public(self.url), "length": have.length, "version": have.version}
            write_atomic(self.folder / HAVE, json.dumps(written | {"spans": have.spans}).encode())
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
            os.fdatasync(handle)
        finally:
            os.close(handle)

    def forget(self) -> None:
        """Delete what is there, unless somebody reads it just now."""
        with suppress(BlockingIOError), self.locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
            self._forget()

    def _forget(self) -> None:
        # The list first: what is listed is there at any moment.
        (self.folder / HAVE).unlink(missing_ok=True)
        for path in self.folder.glob(f"{DATA}*"):
            path.unlink(missing_ok=True)

    @contextmanager
    def locked(self, how: int) -> Iterator[None]:
        """Hold the copy: shared to read pixels, alone to write; until the process ends at most.

        GDAL reads ahead of what it is asked for: bytes that were written while it had the file open
        would be those of before to it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, how)
            yield
        finally:
            os.close(handle)


def copy_of(url: str, cache: Path) -> Copy:
    """Return where a remote file's copy is: its name holds nothing that signs the address."""
    name = public(url)
    key = hashlib.sha256(name.encode()).hexdigest()[:40]
    host = "".join(c if c.isalnum() or c in ".-" else "_" for c in host_of(url)) or "_"
    return Copy(url, cache / host / key[:2] / key)


def _joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Return spans sorted, those that touch made one."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return tuple(found)
