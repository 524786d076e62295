"""Pixels as the service sends them: NumPy's own format."""

from __future__ import annotations

import io
import threading

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import UnavailableError

_HEADS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# NumPy parses a head with `ast`, whose depth CPython 3.11 counts for all threads together: in two
# at once it ends, now and then, in "SystemError: AST constructor recursion depth mismatch".
_one_head = threading.Lock()


def pixel_array(reply: bytes, size: int) -> NDArray[np.void]:
    """Return the pixels of a reply, (row, column), a named field per band; read-only, not copied.

    Args:
        reply: What was sent.
        size: Rows, and columns, that were asked for.

    Raises:
        UnavailableError: The reply was cut short, or is no such array.
    """
    stream = io.BytesIO(reply)
    try:
        with _one_head:
            shape, fortran, dtype = _HEADS[np.lib.format.read_magic(stream)](stream)
        array = np.frombuffer(reply, dtype, offset=stream.tell()).reshape(shape)
    except (ValueError, KeyError) as exc:
        raise UnavailableError(
            f"Earth Engine sent {len(reply)} bytes that are no whole array"
        ) from exc
    if array.shape != (size, size) or dtype.names is None or fortran:
        raise UnavailableError(
            f"Earth Engine sent an array {array.shape}; expected ({size}, {size}) with a "
            "field a band"
        )
    return array
