"""One published file: opened, and refused in one sentence where it is not as published."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError, FormatError, MMEarthError
from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.tasks import TASKS
from mmearth.packaging.h5.layout import LAYERS, PIXELS, PLACE, TILES, key_of


def import_h5py() -> Any:
    """Return the library.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import h5py
    except ImportError as exc:
        raise ConfigError(
            "HDF5 files need h5py, which is not installed: pip install 'mmearth[h5]'"
        ) from exc
    return h5py


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Yield an h5py.File to read.

    Raises:
        ConfigError: h5py is not installed.
        FormatError: The file is not HDF5, or broken; also when the block meets a broken part.
    """
    h5py = import_h5py()
    try:
        # Read-only file systems of clusters often refuse the lock that HDF5 takes by default.
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except MMEarthError:
        raise
    except (OSError, RuntimeError) as exc:
        raise FormatError(
            f"{path} cannot be read as HDF5 ({' '.join(str(exc).split())}); fetch it again"
        ) from exc


def check(path: Path, task: str, file: Any) -> dict[str, str]:
    """Return published key → its name in this file, after looking at every shape.

    Raises:
        FormatError: A key is missing, or of another shape.
    """
    names = {key_of(name): name for name in file}
    for key in (*PIXELS, *TILES, *PLACE, task):
        if key not in names:
            raise FormatError(
                f"{path} has no {key}; found {', '.join(sorted(file))}: it is not the published "
                f"file of {task}"
            )
    n = len(file[names["id"]])
    for key, name in names.items():
        wanted = _shapes(key, task, n)
        if wanted and file[name].shape not in wanted:
            raise FormatError(
                f"{path}: {name} has shape {file[name].shape}, expected {wanted[0]} for "
                f"{n} tiles; fetch the file again"
            )
        if file[name].shape[:1] != (n,):
            raise FormatError(f"{path}: {name} has shape {file[name].shape}, expected {n} rows")
    return names


def is_pixels(key: str, task: str) -> bool:
    """Say whether a key has a value a pixel, and so is too large for memory."""
    return key in PIXELS or key in LAYERS or (key == task and TASKS[task].level == "pixel")


def column(path: Path, file: Any, name: str) -> NDArray[Any]:
    """Return a small dataset whole; text as objects of `str`.

    Raises:
        FormatError: Its text is not UTF-8.
    """
    dataset = file[name]
    if dataset.dtype.kind not in "OS":
        return np.asarray(dataset[...])
    try:
        return np.array([_text(value) for value in dataset[...].tolist()], dtype=object)
    except UnicodeDecodeError as exc:
        raise FormatError(f"{path}: {name} is not UTF-8 text ({exc}); fetch it again") from exc


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _shapes(key: str, task: str, n: int) -> list[tuple[int, ...]]:
    """Return the shapes that a key may have, the published one first; none where any will do."""
    if key in PIXELS:
        return [(n, *MODALITIES[PIXELS[key]].shape)]
    if key in TILES:
        shape = MODALITIES[TILES[key]].shape
        return [(n,), (n, 1)] if shape == (1,) else [(n, *shape)]
    if key in LAYERS:
        return [(n, 1, 128, 128)]
    if key == task and TASKS[task].kind == "multilabel":
        return [(n,)]
    if key == task:
        return [(n, *TASKS[task].shape)]
    if key in PLACE:
        return [(n, 9) if key == "transform" else (n,)]
    return []
