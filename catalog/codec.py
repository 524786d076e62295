"""Codec: how the pixels of a member are written, the same in shards and in what is collected."""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass
from functools import cache
from textwrap import shorten
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mmearth.catalog.errors import FormatError

CodecName = Literal["npy", "blosc-zstd", "blosc-lz4"]
"""`npy`: NumPy's format 1.0, a header of 128 bytes, then the values in C order. `blosc-…`: the
values in C order as one Blosc buffer, bytes shuffled, level 1; what they are stands in the
catalogue."""

_BLOCK_BYTES = 1 << 18  # twice as fast to decode as Blosc's own choice, and no larger
_BLOSC = struct.Struct("<BBBBIII")  # versions, flags, type size; bytes, bytes a block, bytes stored
_BLOSC_FORMAT = 2
_COMPRESSORS = {"blosc-zstd": 4, "blosc-lz4": 1}  # in the three highest bits of the flags
_LITTLE_ENDIAN = {"name": "bytes", "configuration": {"endian": "little"}}


@dataclass(frozen=True, slots=True)
class Codec:
    """A way to write arrays with pixels; the same array gives the same bytes."""

    name: CodecName = "npy"
    """Which way."""

    @property
    def suffix(self) -> str:
        """What a member's name ends in, without the dot."""
        return self.name.partition("-")[0]

    @property
    def media_type(self) -> str:
        """Of a member; Blosc's buffers have none."""
        return "application/x-npy" if self.is_npy else "application/octet-stream"

    def member(self, name: str) -> str:
        """Return what the member of a layer is called in a shard, after its sample's key."""
        return f"{name}.{self.suffix}"

    @property
    def is_npy(self) -> bool:
        """Whether the values stand in a member as they are, after its header."""
        return self.name == "npy"

    def encode(self, array: NDArray[np.generic]) -> bytes:
        """Return the bytes of a member."""
        values = np.ascontiguousarray(array)
        if self.is_npy:
            # The bytes of numpy.save, of which each value is copied once and not three times.
            return b"".join((npy_header(array.dtype.str, array.shape), values.data))
        blosc, name = _blosc(), self._compressor.encode()
        return bytes(blosc.compress(values, name, 1, blosc.SHUFFLE, _BLOCK_BYTES))

    def decode(
        self, data: bytes | memoryview, name: str, dtype: DTypeLike, shape: tuple[int, ...]
    ) -> NDArray[np.generic]:
        """Return the array of a member; of `npy` it is a read-only view of `data`.

        Args:
            data: The member.
            name: What it is, for the sentence.
            dtype: Of the array that it is of, little-endian.
            shape: Of the same.

        Raises:
            FormatError: The bytes are not such an array.
        """
        if self.is_npy:
            return _view_of_npy(data, name, np.dtype(dtype), shape)
        self._check_header(data, name, np.dtype(dtype), shape)
        out: NDArray[np.generic] = np.empty(shape, dtype)
        self._decompress(data, name, out)
        return out

    def decode_into(self, data: bytes | memoryview, name: str, out: NDArray[np.generic]) -> None:
        """Write the array of a member over all of `out`, which is in C order.

        The interpreter's lock is released meanwhile.

        Raises:
            FormatError: As `decode` says; `out` may hold anything then.
        """
        if self.is_npy:
            np.copyto(out, _view_of_npy(data, name, out.dtype, out.shape))
            return
        self._check_header(data, name, out.dtype, out.shape)
        self._decompress(data, name, out)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the codec as Zarr v3 writes it: a chain, from values to bytes."""
        if self.is_npy:
            return [_LITTLE_ENDIAN]
        how = {"clevel": 1, "shuffle": "shuffle", "blocksize": _BLOCK_BYTES}
        return [
            _LITTLE_ENDIAN,
            {"name": "blosc", "configuration": {"cname": self._compressor, **how}},
        ]

    @classmethod
    def from_json(cls, chain: Any, where: str) -> Codec:
        """Return the codec that `to_json` wrote.

        Raises:
            FormatError: It is none of ours.
        """
        for codec in map(cls, get_args(CodecName)):
            if chain == codec.to_json():
                return codec
        raise FormatError(
            f"{where}: found the codecs {shorten(repr(chain), 120)}, expected those of "
            f"{', '.join(get_args(CodecName))}; it is damaged, or from another version"
        )

    @property
    def _compressor(self) -> str:
        return self.name.partition("-")[2]

    def _check_header(
        self, data: bytes | memoryview, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> None:
        """Compare what a Blosc buffer says of itself: Blosc believes it."""
        nbytes = dtype.itemsize * math.prod(shape)
        expected = (_BLOSC_FORMAT, _COMPRESSORS[self.name], dtype.itemsize, nbytes, len(data))
        if len(data) < _BLOSC.size:
            broken = f"has {len(data)} bytes, expected a Blosc buffer"
        else:
            version, _, flags, itemsize, found, block, stored = _BLOSC.unpack_from(data)
            is_ours = (version, flags >> 5, itemsize, found, stored) == expected
            if is_ours and 0 < block <= nbytes:
                return
            broken = f"says that a block has {block} bytes of {nbytes}"
            if not is_ours:
                broken = (
                    f"begins as a Blosc buffer of {found} bytes in {itemsize}, stored in {stored}; "
                    f"expected one of {self.name} of {nbytes} in {dtype.itemsize}, stored in "
                    f"{len(data)}"
                )
        raise FormatError(f"{name} {broken}; it is damaged, or of another codec")

    def _decompress(self, data: bytes | memoryview, name: str, out: NDArray[np.generic]) -> None:
        try:
            _blosc().decompress(data, out)
        except RuntimeError as exc:
            raise FormatError(f"{name} is not a whole Blosc buffer ({exc}); it is damaged") from exc


NPY = Codec()
"""What is read by everything that reads NumPy's files."""


@cache
def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return what stands before an array's values in NumPy's format 1.0."""
    buffer = io.BytesIO()
    fields = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue()


def _view_of_npy(
    data: bytes | memoryview, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> NDArray[np.generic]:
    header = npy_header(dtype.str, shape)
    nbytes = dtype.itemsize * math.prod(shape)
    if len(data) == len(header) + nbytes and data[: len(header)] == header:
        return np.frombuffer(data, dtype, offset=len(header)).reshape(shape)
    stream = io.BytesIO(bytes(data[:256]))
    try:
        np.lib.format.read_magic(stream)
        found, is_fortran, kind = np.lib.format.read_array_header_1_0(stream)
    except ValueError as exc:
        raise FormatError(f"{name} is not a whole .npy array ({exc}); it is damaged") from exc
    if is_fortran:
        raise FormatError(f"{name} is in Fortran order; mmearth writes C order")
    raise FormatError(
        f"{name}: found {kind} {found} in {len(data)} bytes of .npy, expected {dtype} {shape} in "
        f"{len(header) + nbytes}; it is damaged, or of another layer"
    )


def _blosc() -> Any:
    """Return Blosc without threads of its own.

    With them its blocks stand in the order in which they were ready, and it keeps the interpreter's
    lock. Others may have said otherwise since the last time.
    """
    blosc = _imported()
    blosc.use_threads = False
    return blosc


@cache
def _imported() -> Any:
    """Import Blosc when it is first needed: it takes a tenth of a second."""
    from numcodecs import blosc

    return blosc
