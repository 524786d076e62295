"""Where a TIFF's blocks lie: its directories, read from the bytes that are there.

Source:
    TIFF 6.0; BigTIFF (www.awaresystems.be/imaging/tiff/bigtiff.html).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import FormatError

Read = Callable[[int, int], bytes]
"""(begin, end) → those bytes; raises AbsentBytes where they are not there yet."""
Span = tuple[int, int]
"""First byte, and the byte after the last."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
_MOST_DIRECTORIES = 64
_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType."""


class AbsentBytes(Exception):  # noqa: N818  # no error: the reader fetches them and goes on
    """Bytes of a file that are needed and not there yet."""

    def __init__(self, begin: int, end: int) -> None:
        super().__init__(f"bytes {begin} to {end}")
        self.begin, self.end = begin, end


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of an image's pixels."""

    column: int
    """The first."""
    row: int
    """The first."""
    width: int
    """Columns."""
    height: int
    """Rows."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the blocks of one full-size image lie: the pixels, or their mask."""

    width: int
    """Columns."""
    height: int
    """Rows."""
    block: tuple[int, int]
    """Columns and rows of a block."""
    planes: int
    """How many times the image is there, a plane a band; 1 where a block has all bands."""
    offsets: NDArray[np.int64]
    """First byte of each block, (planes × rows × columns of blocks,)."""
    counts: NDArray[np.int64]
    """Bytes of each block, likewise; 0 where it was never written."""

    def spans(self, region: Region) -> list[Span]:
        """Return where the blocks under a rectangle lie; those never written have no bytes."""
        across, down = (
            -(-n // b) for n, b in zip((self.width, self.height), self.block, strict=True)
        )
        first, last = (
            region.column // self.block[0],
            (region.column + region.width - 1) // self.block[0],
        )
        top, bottom = region.row // self.block[1], (region.row + region.height - 1) // self.block[1]
        columns = np.arange(max(first, 0), min(last, across - 1) + 1)
        rows = np.arange(max(top, 0), min(bottom, down - 1) + 1)
        blocks = (rows[:, None] * across + columns).ravel()
        planes = np.arange(self.planes)[:, None] * (across * down)
        at = (planes + blocks).ravel()
        begins, counts = self.offsets[at].tolist(), self.counts[at].tolist()
        return [(b, b + n) for b, n in zip(begins, counts, strict=True) if n]


def layouts(read: Read, length: int, name: str) -> tuple[Layout, ...]:
    """Return the layouts of a file's full-size images; all of its directories are read on the way.

    Args:
        read: Gives bytes of the file.
        length: Of the file.
        name: Of the file, for sentences.

    Raises:
        AbsentBytes: Some of the bytes are not there yet.
        FormatError: It is no TIFF, or its directories lead nowhere.
    """
    found = []
    for i, tags in enumerate(_directories(read, length, name)):
        kind = _number(tags, 254, 0)
        if i == 0 or (kind & _MASK and not kind & _REDUCED):
            found.append(_layout(tags, name))
    first = found[0]
    return tuple(x for x in found if (x.width, x.height) == (first.width, first.height))


def _directories(read: Read, length: int, name: str) -> Iterator[dict[int, NDArray[Any]]]:
    head = read(0, min(16, length))
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        raise FormatError(f"{name} is no TIFF; expected a (cloud-optimised) GeoTIFF")
    magic = struct.unpack(f"{order}H", head[2:4])[0]
    if magic not in (42, 43):
        raise FormatError(f"{name} is no TIFF; expected a (cloud-optimised) GeoTIFF")
    is_big = magic == 43
    at = struct.unpack(f"{order}{'Q' if is_big else 'I'}", head[8:16] if is_big else head[4:8])[0]
    for _ in range(_MOST_DIRECTORIES):
        if not at:
            return
        tags, at = _directory(read, at, order, is_big, length, name)
        yield tags


def _directory(
    read: Read, at: int, order: str, is_big: bool, length: int, name: str
) -> tuple[dict[int, NDArray[Any]], int]:
    """Return a directory's numbers by tag, and where the next one is."""
    n_count, n_entry, code = (8, 20, "Q") if is_big else (2, 12, "I")
    count = struct.unpack(f"{order}{'Q' if is_big else 'H'}", _at(read, at, n_count, length, name))[
        0
    ]
    if not 0 < count < 4096:
        raise FormatError(f"{name} has a directory of {count} entries; it is damaged")
    size = count * n_entry + (8 if is_big else 4)
    body = _at(read, at + n_count, size, length, name)
    entries, needed = [], []
    for i in range(count):
        entry = body[i * n_entry : (i + 1) * n_entry]
        tag, kind = struct.unpack(f"{order}HH", entry[:4])
        n = struct.unpack(f"{order}{code}", entry[4 : 4 + (n_entry - 4) // 2])[0]
        value, n_bytes = entry[4 + (n_entry - 4) // 2 :], n * _SIZES.get(kind, 0)
        if n_bytes > len(value):
            begin = struct.unpack(f"{order}{code}", value)[0]
            needed.append((begin, begin + n_bytes))
        entries.append((tag, kind, value[:n_bytes], n_bytes > len(value)))
    _need(read, needed, length, name)
    places = iter(needed)
    tags = {}
    for tag, kind, value, is_outside in entries:
        data = read(*next(places)) if is_outside else value
        if kind in _INTEGERS:
            tags[tag] = np.frombuffer(data, f"{order}{_INTEGERS[kind]}").astype(np.int64)
    return tags, int(struct.unpack(f"{order}{code}", body[count * n_entry :])[0])


def _need(read: Read, spans: list[Span], length: int, name: str) -> None:
    """Ask for all that a directory points to at once: what lies between is of other directories."""
    if any(end > length for _, end in spans):
        raise FormatError(f"{name} points beyond its end; it is cut short or damaged")
    absent = []
    for begin, end in spans:
        try:
            read(begin, end)
        except AbsentBytes:
            absent.append((begin, end))
    if absent:
        raise AbsentBytes(min(b for b, _ in absent), max(e for _, e in absent))


def _at(read: Read, begin: int, size: int, length: int, name: str) -> bytes:
    if begin + size > length:
        raise FormatError(f"{name} points beyond its end; it is cut short or damaged")
    return read(begin, begin + size)


def _layout(tags: dict[int, NDArray[Any]], name: str) -> Layout:
    width, height = _number(tags, 256), _number(tags, 257)
    is_tiled = 324 in tags
    block = (_number(tags, 322), _number(tags, 323))
    if not is_tiled:
        block = width, min(_number(tags, 278, height), height)
    planes = _number(tags, 277, 1) if _number(tags, 284, 1) == 2 else 1
    offsets, counts = (tags.get(324), tags.get(325)) if is_tiled else (tags.get(273), tags.get(279))
    if offsets is None or counts is None or not all((width, height, *block)):
        raise FormatError(f"{name} does not say where its blocks lie; it is damaged")
    expected = planes * -(-width // block[0]) * -(-height // block[1])
    if len(offsets) != len(counts) or len(offsets) < expected:
        raise FormatError(f"{name} lists {len(offsets)} blocks, expected {expected}; it is damaged")
    return Layout(width, height, block, planes, offsets, counts)


def _number(tags: dict[int, NDArray[Any]], tag: int, default: int = 0) -> int:
    return int(tags[tag][0]) if tag in tags and len(tags[tag]) else default
