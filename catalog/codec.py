"""Codec: how the pixels of a member are written, the same in shards and in the store."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import FormatError


@dataclass(frozen=True, slots=True)
class Codec:
    """A way to write arrays with pixels; the same array gives the same bytes."""

    name: str = "npy"
    """`npy`: NumPy's format 1.0, a header of 128 bytes, then the values in C order."""

    @property
    def suffix(self) -> str:
        """What a member's name ends in, without the dot."""
        return "npy"

    def encode(self, array: NDArray[np.generic]) -> bytes:
        """Return the bytes of a member."""
        # The bytes of numpy.save, of which each value is copied once and not three times.
        header = npy_header(array.dtype.str, array.shape)
        return b"".join((header, np.ascontiguousarray(array).data))

    def decode(self, data: bytes | memoryview, name: str) -> NDArray[np.generic]:
        """Return the array of a member without copying it, where that can be; it is read-only.

        Raises:
            FormatError: The bytes are not an array, or fewer than its header says.
        """
        stream = io.BytesIO(bytes(data[:256]))
        try:
            np.lib.format.read_magic(stream)
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            flat = np.frombuffer(data, dtype=dtype, count=int(np.prod(shape)), offset=stream.tell())
        except ValueError as exc:
            raise FormatError(f"{name} is not a whole .npy array ({exc}); it is damaged") from exc
        if fortran:
            raise FormatError(f"{name} is in Fortran order; mmearth writes C order")
        return flat.reshape(shape)


NPY = Codec()
"""What is read by everything that reads NumPy's files."""


@cache
def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return what stands before an array's values in NumPy's format 1.0."""
    buffer = io.BytesIO()
    fields = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue()
