"""What a shared store knows: a line for each observation, in a file for each build that adds.

A line is written after the bytes that it names were synced, and only at the end of a file that
nobody else writes to. So any number of builds add at the same time, on one machine or on a shared
file system; and of one that was killed the last line may be cut short, which its checksum tells.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import storage_errors
from mmearth.curate.ledger import Record

INDEX = "index"
"""Folder of a store with the files of lines."""
_KEY, _CHECKSUM = 16, 8  # hexadecimal digits at the beginning of a line, each with a space behind
_BEGIN = _KEY + _CHECKSUM + 2
_AT_ONCE = 64 << 20  # bytes that are looked at together
_NEWLINE = 10
_COLUMNS = [field.name for field in fields(Record)]
_SOURCE_IDS = _COLUMNS.index("source_ids")
Place = tuple[int, int]
"""Which file, and where in it a line begins."""


class StoreIndex:
    """Finds the lines of an observation; for one thread.

    A dozen bytes of memory for each line that is there at the beginning, more for later ones.
    """

    def __init__(self, root: Path) -> None:
        """Look at all that is there.

        Args:
            root: The store's directory.
        """
        self._folder = root / INDEX
        self._files: list[Path] = []
        self._ends: dict[Path, int] = {}
        self._later: dict[int, list[Place]] = {}
        self._open: tuple[int, BinaryIO] = -1, io.BytesIO()
        found = [part for path in self._names() for part in self._new_lines(path)]
        keys, files, begins = (np.concatenate(column) for column in zip(_NONE, *found, strict=True))
        order = np.argsort(keys, kind="stable")
        self._keys, self._where = keys[order], (files[order], begins[order])

    def refresh(self) -> None:
        """Look at the lines that came since."""
        for path in self._names():
            for keys, files, begins in self._new_lines(path):
                columns = keys.tolist(), files.tolist(), begins.tolist()
                for key, file, begin in zip(*columns, strict=True):
                    self._later.setdefault(key, []).append((file, begin))

    def close(self) -> None:
        """Read no more."""
        self._open[1].close()

    def find(
        self, tile: str, names: Sequence[str], identities: Sequence[str]
    ) -> list[list[Record]]:
        """Return what is known of each of several observations of a tile, the latest first.

        An identity's last part, which only tells why something is not there, may be another.
        """
        keys = [_key(tile, *each) for each in zip(names, identities, strict=True)]
        begin = np.searchsorted(self._keys, np.array(keys, dtype=np.uint64), "left")
        found = []
        for name, key, at in zip(names, keys, begin.tolist(), strict=True):
            places: list[Place] = []
            while at < len(self._keys) and int(self._keys[at]) == key:
                places.append((int(self._where[0][at]), int(self._where[1][at])))
                at += 1  # noqa: PLW2901
            places += self._later.get(key, [])
            records = filter(None, map(self._read, reversed(places)))
            found.append([r for r in records if (r.tile, r.modality) == (tile, name)])
        return found

    def _names(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(path for path in self._folder.iterdir() if path.suffix == ".lines")

    def _new_lines(
        self, path: Path
    ) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.int64]]]:
        """Yield key, number of the file and beginning of the whole lines that were not seen yet."""
        if path not in self._ends:
            self._files.append(path)
        number = self._files.index(path)
        with storage_errors(f"read {path}"), path.open("rb") as file:
            at = file.seek(self._ends.setdefault(path, 0))
            while data := file.read(_AT_ONCE):
                ends = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE)
                if not ends.size:
                    break
                begins = np.concatenate([[0], ends[:-1] + 1])
                begins = begins[ends - begins > _BEGIN]
                yield _keys(data, begins), np.full(len(begins), number, np.int32), begins + at
                at = file.seek(at + int(ends[-1]) + 1)
            self._ends[path] = at

    def _read(self, place: Place) -> Record | None:
        """Return the record of a line; None where it is not what was written."""
        number, begin = place
        if self._open[0] != number:
            self._open[1].close()
            self._open = number, self._files[number].open("rb")
        file = self._open[1]
        file.seek(begin)
        line = file.readline().rstrip(b"\n")
        said, checksum = line[_BEGIN:], line[_KEY + 1 : _BEGIN - 1]
        if checksum != b"%08x" % zlib.crc32(said):
            return None
        row = json.loads(said.decode())  # of bytes it would guess the encoding first
        if len(row) != len(_COLUMNS):
            return None
        row[_SOURCE_IDS] = tuple(row[_SOURCE_IDS])
        return Record(*row)


_NONE = (np.empty(0, np.uint64), np.empty(0, np.int32), np.empty(0, np.int64))


class IndexWriter:
    """Adds lines to a file of its own."""

    def __init__(self, root: Path) -> None:
        """Begin with no file; the first lines make one.

        Args:
            root: The store's directory.
        """
        self._path = root / INDEX / f"{secrets.token_hex(8)}.lines"

    def add(self, records: Sequence[Record]) -> None:
        """Add what is known; it is on the disk when this returns.

        Raises:
            StorageError: The disk is full or the directory cannot be written.
        """
        with storage_errors(f"write {self._path}"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(b"".join(map(_line, records)))
                file.flush()
                os.fsync(file.fileno())


def _line(record: Record) -> bytes:
    said = json.dumps(astuple(record)).encode()
    key = _key(record.tile, record.modality, record.identity)
    return b"%016x %08x %s\n" % (key, zlib.crc32(said), said)


def _key(tile: str, name: str, identity: str) -> int:
    """Return eight bytes of a hash of what an observation is known by."""
    text = f"{tile} {name} {identity.rpartition('.')[0]}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _keys(data: bytes, begins: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the keys of lines: the number that the first digits of each are."""
    digits = np.frombuffer(data, np.uint8)[begins[:, None] + np.arange(_KEY)]
    values = np.where(digits > ord("9"), digits - ord("a") + 10, digits - ord("0"))
    powers = np.uint64(16) ** np.arange(_KEY - 1, -1, -1, dtype=np.uint64)
    return np.asarray((values.astype(np.uint64) * powers).sum(axis=1, dtype=np.uint64))
