"""One published file: opened, and refused in one sentence where it is not as published."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError, FormatError, MMEarthError, MMEarthWarning
from mmearth.catalog.files import check_regular
from mmearth.catalog.hdf5 import refuse_elsewhere
from mmearth.catalog.stops import stops_held
from mmearth.catalog.task import Task
from mmearth.packaging.h5.layout import FORMAT, KEYS, LAYERS, PLACE, TEXTS, key_of

TEXT = "text"
"""First word of a text's dtype; then `ascii` where it is that, then its size where it has one."""
_NUMBERS, _ANY_NUMBERS = "iuf", "biuf"  # NumPy's kinds of dtypes
_COLUMNS_BYTES = 1 << 30
"""Of all that has no pixels, which is read as a whole: a row of a published file has 400 bytes."""
_NAME_BYTES = 200  # of a dataset's name, which becomes a file's name
_TEXT_ROWS = 16  # read at once: many rows may point to one long text of a small file


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
    check_regular(path)
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


@contextmanager
def created(path: Path) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Yield a new h5py.File, and what raises the OSError or the stop that writing met, if any.

    Stops are held back: raised while HDF5 writes, it could not close its file.
    """
    h5py = import_h5py()
    with stops_held() as carry_out, _Stream(path, "w+") as stream:

        def check() -> None:
            stream.check()
            carry_out()

        with h5py.File(stream, "w") as file:
            yield file, check
        check()


class _Stream(io.FileIO):
    """A file that keeps what writing met for later: HDF5 crashes where it cannot close a file."""

    _failure: OSError | None = None

    def check(self) -> None:
        """Raise what writing met, if anything."""
        if self._failure is not None:
            raise self._failure

    def write(self, data: Any, /) -> int:
        """Write all of it; from the first failure on, nothing."""
        rest = memoryview(data).cast("B")
        n_bytes = len(rest)
        try:
            while rest and self._failure is None:
                rest = rest[super().write(rest) :]
        except OSError as exc:
            self._failure = exc
        return n_bytes

    def truncate(self, size: int | None = None, /) -> int:
        """Set the length; after a failure, not."""
        try:
            return self.tell() if self._failure else super().truncate(size)
        except OSError as exc:
            self._failure = exc
            return self.tell()


def check(path: Path, task: Task, file: Any) -> dict[str, str]:
    """Return published key → its name in this file, after looking at every dtype and shape.

    Raises:
        FormatError: A key is missing, twice there, or of another dtype or shape.
    """
    names = _names(path, file)
    for key in (*KEYS, *PLACE, task.name):
        if key not in names:
            raise FormatError(
                f"{path} has no {key}; found {', '.join(sorted(file))}: it is not the published "
                f"file of {task.name}"
            )
    n = len(file[names["id"]]) if file[names["id"]].shape else 0
    if not n:
        raise FormatError(f"{path} has no rows; fetch it again")
    _check_sizes(path, file, names)
    for key, name in names.items():
        _check_dtype(path, key, task, file[name])
        shape, wanted = file[name].shape, shapes_of(key, task, n)
        if wanted and shape not in wanted:
            raise FormatError(
                f"{path}: {name} has shape {shape}, expected {wanted[0]} for {n} tiles; fetch the "
                "file again"
            )
        if shape[:1] != (n,) or 0 in shape:
            raise FormatError(f"{path}: {name} has shape {shape}, expected {n} rows")
    return names


def pixel_keys(file: Any, names: Mapping[str, str]) -> list[str]:
    """Return the keys that have a value a pixel, and so are too large for memory."""
    return [key for key, name in names.items() if file[name].ndim > 2]


def column(path: Path, file: Any, name: str) -> NDArray[Any]:
    """Return a small dataset whole; text as objects of `str`.

    Raises:
        FormatError: Its text is not UTF-8.
    """
    dataset = file[name]
    if dataset.dtype.kind not in "OS":
        return np.asarray(dataset[...])
    flat: list[str] = []
    left = max(path.stat().st_size, _COLUMNS_BYTES)
    try:
        for first in range(0, len(dataset), _TEXT_ROWS):
            found = dataset[first : first + _TEXT_ROWS].reshape(-1).tolist()
            left -= sum(map(len, found))
            flat += [value.decode() for value in found]
            if left < 0:
                raise FormatError(
                    f"{path}: {name} holds more text than the file has bytes; fetch it again"
                )
    except UnicodeDecodeError as exc:
        raise FormatError(f"{path}: {name} is not UTF-8 text ({exc}); fetch it again") from exc
    return np.array(flat, dtype=object).reshape(dataset.shape)


def dtype_name(dataset: Any) -> str:
    """Return NumPy's name of a dataset's dtype, or the words of `TEXT`."""
    text = import_h5py().check_string_dtype(dataset.dtype)
    if text is None:
        return str(dataset.dtype.str)
    words = [TEXT, *(["ascii"] if text.encoding == "ascii" else [])]
    return " ".join([*words, *([] if text.length is None else [str(text.length)])])


def dtype_of(name: str) -> Any:
    """Return the dtype that `dtype_name` named, as h5py wants it."""
    first, *words = name.split()
    if first != TEXT:
        return np.dtype(name)
    encoding = "ascii" if "ascii" in words else "utf-8"
    length = next((int(word) for word in words if word.isdigit()), None)
    return import_h5py().string_dtype(encoding, length)


def _names(path: Path, file: Any) -> dict[str, str]:
    names: dict[str, str] = {}
    for name in file:
        _check_link(path, file, name)
        if key_of(name) in names:
            raise FormatError(
                f"{path} has {names[key_of(name)]} and {name}, which are two names of one thing; "
                "take one out"
            )
        names[key_of(name)] = name
    if any(len(each.attrs) for each in (file, *(file[name] for name in names.values()))):
        warnings.warn(
            f"{path} has attributes, which published files do not have; they are left out",
            MMEarthWarning,
            stacklevel=2,
        )
    return names


def _check_link(path: Path, file: Any, name: str) -> None:
    """Refuse what is no dataset with all its bytes in this very file."""
    h5py = import_h5py()
    if not name.isprintable() or len(name.encode()) > _NAME_BYTES:
        raise FormatError(
            f"{path} has a dataset {name[:40]!r}; expected a name of at most {_NAME_BYTES} bytes "
            "without control characters: take it out"
        )
    link = file.get(name, getlink=True)
    # To look at its target would open another file already.
    if not isinstance(link, h5py.HardLink):
        target = f"{getattr(link, 'filename', '')} {getattr(link, 'path', '')}".strip()
        raise FormatError(
            f"{path}: {name} is a link to {target}; expected a dataset of the file itself: copy "
            "its values into the file"
        )
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise FormatError(
            f"{path}: {name} is not a dataset; published files have nothing else: take it out"
        )
    refuse_elsewhere(dataset, f"{path}: {name}")


def _check_sizes(path: Path, file: Any, names: Mapping[str, str]) -> None:
    """Refuse what a small compressed file cannot be read for within bounded memory."""
    columns = [file[name] for name in names.values() if file[name].ndim <= 2]
    nbytes = sum(dataset.size * dataset.dtype.itemsize for dataset in columns)
    if nbytes > _COLUMNS_BYTES:
        raise FormatError(
            f"{path}: what has no pixels takes {nbytes / 1e9:.1f} GB, expected "
            f"{_COLUMNS_BYTES / 1e9:.1f} GB at most; it is not a published file"
        )


def _check_dtype(path: Path, key: str, task: Task, dataset: Any) -> None:
    """Refuse text where numbers belong, numbers where text does, and what is neither."""
    is_label = key == task.name and task.kind == "multilabel"
    is_text = import_h5py().check_string_dtype(dataset.dtype) is not None
    kind = "text" if is_text else dataset.dtype.kind
    if is_label or key in TEXTS:
        wanted, is_right = "text", is_text
    elif key in {*KEYS, *PLACE, task.name}:
        wanted, is_right = "numbers", not is_text and kind in _NUMBERS
    else:
        wanted, is_right = "numbers or text", is_text or kind in _ANY_NUMBERS
    if not is_right or (is_text and dataset.ndim > 2):
        raise FormatError(
            f"{path}: {dataset.name[1:]} has dtype {dataset.dtype}, expected {wanted}; fetch the "
            "file again"
        )


def shapes_of(key: str, task: Task, n: int) -> list[tuple[int, ...]]:
    """Return the shapes that a key may have, the published one first; none where any will do."""
    if key in KEYS:
        shape = KEYS[key].shape
        return [(n,), (n, 1)] if shape == (1,) else [(n, *shape)]
    if key in LAYERS:
        return [(n, 1, FORMAT.grid.pixels, FORMAT.grid.pixels)]
    if key == task.name and task.kind != "multilabel":
        return [(n, *task.shape)]
    if key in {"geolocation", "transform"}:
        return [(n, 2 if key == "geolocation" else 9)]
    return [(n,)] if key in {*PLACE, "missing_modalities", task.name} else []
