"""HDF5 of a stranger: all values in the file itself, and read in bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmearth.catalog.errors import FormatError

CHUNK_BYTES = 256 << 20
"""Of one chunk, which HDF5 inflates as a whole: a published tile has half a megabyte."""


def refuse_external_links(file: Any, where: str) -> None:
    """Refuse a file that leads to other files, before any of it is followed.

    Args:
        file: An open h5py.File.
        where: The file, for the sentence.

    Raises:
        FormatError: A link in it is to another file.
    """

    def look(name: str, link: Any) -> str | None:
        # Of h5py's links only the external one has the name of a file.
        other = getattr(link, "filename", None)
        return None if other is None else f"{name} is a link to {other} {link.path}"

    found = file.visititems_links(look)
    if found is not None:
        raise FormatError(
            f"{where}: {found}; expected a dataset of the file itself: copy its values into the "
            "file"
        )


def refuse_elsewhere(dataset: Any, where: str) -> None:
    """Refuse a dataset that has its values in other files, or chunks too large for memory.

    Args:
        dataset: An h5py.Dataset; nothing of it is read.
        where: The file and its name in it, for the sentence.

    Raises:
        FormatError: It has.
    """
    if dataset.is_virtual or dataset.external:
        raise FormatError(
            f"{where} has its values in other files; expected them in the file itself: copy them "
            "into it"
        )
    chunk = int(np.prod(dataset.chunks or (0,), dtype=np.float64)) * dataset.dtype.itemsize
    if chunk > CHUNK_BYTES:
        raise FormatError(
            f"{where} has chunks of {chunk / 1e6:.0f} MB, expected {CHUNK_BYTES / 1e6:.0f} MB at "
            "most; write it with smaller chunks"
        )
