"""Whether a classic NetCDF file is as long as its header says.

GDAL's reader believes the header: a damaged one makes it ask for gigabytes, or ends the process.

Source:
    NetCDF Classic Format Specification, Unidata, docs/file_format_specifications.md.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

_DIMENSION, _VARIABLE, _ATTRIBUTE = 10, 11, 12
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
"""Of a value, by the number of its type; those from 7 on in the 64-bit data format only."""
_MAX_HEADER = 16 * 1024 * 1024


@dataclass(slots=True)
class _Reader:
    """Goes through a header from its start to its end."""

    data: bytes
    """The file's first bytes."""
    wide: int
    """Bytes of a count: 8 in the 64-bit data format."""
    at: int = 4
    """Where it is; behind the magic bytes at first."""

    def number(self, width: int) -> int:
        [found] = struct.unpack_from({4: ">I", 8: ">Q"}[width], self.data, self.at)
        self.at += width
        return int(found)

    def skip(self, n_bytes: int) -> None:
        """Pass over bytes and what fills them up to four."""
        self.at += -(-n_bytes // 4) * 4
        if self.at > len(self.data):
            raise ValueError("it ends within a list")

    def count(self, tag: int) -> int:
        """Return the length of a list of one kind."""
        found, n = self.number(4), self.number(self.wide)
        if (found, n) != (0, 0) and (found != tag or n > len(self.data)):
            raise ValueError(f"a list begins with {found}, {n}")
        return n

    def kind(self) -> int:
        """Return the bytes of a value of a type."""
        found = self.number(4)
        if found not in _BYTES:
            raise ValueError(f"there is no type {found}")
        return _BYTES[found]

    def attributes(self) -> None:
        """Pass over a list of attributes."""
        for _ in range(self.count(_ATTRIBUTE)):
            self.skip(self.number(self.wide))
            width = self.kind()
            self.skip(self.number(self.wide) * width)


def fault_of_classic(path: Path) -> str | None:
    """Return what is wrong with the header of a classic NetCDF file; None for any other file.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        magic = stream.read(4)
        if magic[:3] != b"CDF" or magic[3:] not in (b"\x01", b"\x02", b"\x05"):
            return None
        data = magic + stream.read(_MAX_HEADER)
    try:
        return _fault(data, path.stat().st_size)
    except (struct.error, ValueError) as exc:
        return f"its header is damaged: {exc}"


def _fault(data: bytes, n_bytes: int) -> str | None:
    header = _Reader(data, 8 if data[3] == 5 else 4)
    n_records = header.number(header.wide)
    lengths = []
    for _ in range(header.count(_DIMENSION)):
        header.skip(header.number(header.wide))
        lengths.append(header.number(header.wide))
    header.attributes()
    for _ in range(header.count(_VARIABLE)):
        name_bytes = header.number(header.wide)
        header.skip(name_bytes)
        name = data[header.at - -(-name_bytes // 4) * 4 :][:name_bytes].decode("utf-8", "replace")
        dimensions = [header.number(header.wide) for _ in range(_few(header.number(header.wide)))]
        header.attributes()
        width = header.kind()
        header.number(header.wide)  # vsize: redundant, and wrong for large variables
        begin = header.number(4 if data[3] == 1 else 8)
        if any(i >= len(lengths) for i in dimensions):
            return f"{name!r} has a dimension that is not there"
        over = [lengths[i] for i in dimensions]
        records = over[:1] == [0]
        size = math.prod(over[1:] if records else over) * width
        last = begin + size if not records or n_records else begin
        if last > n_bytes:
            return f"{name!r} of {over} reaches beyond its end"
        if records and n_records < 2**31 and n_records * size > n_bytes:
            return f"{name!r} of {n_records} records reaches beyond its end"
    return None


def _few(n: int) -> int:
    """Return a number of dimensions: more than 1024 are the library's own limit."""
    if n > 1024:
        raise ValueError(f"a variable of {n} dimensions")
    return n
