"""Which granules a configuration names, HDF5 files or members of ZIP archives, and their bytes."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mmearth.catalog.errors import ConfigError, FormatError, MMEarthError
from mmearth.curate.sources.files.index import content_key

_WILDCARDS = frozenset("*?[")
_HDF5 = frozenset({".h5", ".hdf5", ".he5"})


@dataclass(frozen=True, slots=True, order=True)
class Granule:
    """One HDF5 file, on its own or inside a ZIP archive."""

    name: str
    """The HDF5 file's name: what stands in provenance."""
    size: int
    """Bytes of the file on disk."""
    key: str
    """Hash of the file on disk; see `content_key`."""
    path: Path
    """The file on disk."""
    member: str | None = None
    """Its path inside the archive, or None when the file is HDF5 itself."""

    def __str__(self) -> str:
        """Return where it lies, for messages."""
        return str(self.path) if self.member is None else f"{self.path}:{self.member}"


def find_granules(patterns: Sequence[str], base: Path) -> tuple[Granule, ...]:
    """Return the granules that patterns name, sorted by name: their order does not matter.

    Args:
        patterns: Paths, or patterns with `*` and `**`; relative ones start from `base`.
        base: A directory.

    Raises:
        ConfigError: A pattern matches no file.
        FormatError: A ZIP archive is broken or holds no HDF5 file.
    """
    paths = {path.resolve() for pattern in patterns for path in _match(base, pattern)}
    found: dict[tuple[str, str, str | None], Granule] = {}
    for granule in sorted(g for path in paths for g in _granules(path)):
        # A copy elsewhere is no second one.
        found.setdefault((granule.name, granule.key, granule.member), granule)
    return tuple(found.values())


@contextmanager
def open_granule(granule: Granule) -> Iterator[Any]:
    """Yield a granule as an open h5py.File; one in an archive is unpacked into memory.

    Raises:
        ConfigError: h5py is not installed.
        FormatError: The file is broken; also when the block meets a broken part of it.
    """
    try:
        import h5py
    except ImportError as exc:
        raise ConfigError(
            "GEDI granules need h5py, which is not installed: pip install 'mmearth[gedi]'"
        ) from exc
    try:
        # Read-only file systems of clusters often refuse the lock that HDF5 takes by default.
        with h5py.File(_content(granule), "r", locking=None if granule.member else False) as file:
            yield file
    except MMEarthError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError) as exc:
        raise FormatError(
            f"{granule} cannot be read as HDF5 ({' '.join(str(exc).split())}); fetch it again"
        ) from exc


def _match(base: Path, pattern: str) -> list[Path]:
    parts = (base / pattern).parts
    fixed = next((i for i, part in enumerate(parts) if _WILDCARDS & set(part)), len(parts))
    root = Path(*parts[:fixed])
    paths = [root] if fixed == len(parts) else sorted(root.glob("/".join(parts[fixed:])))
    files = [path for path in paths if path.is_file()]
    if not files:
        raise ConfigError(f"granules: {base / pattern} matches no file; name HDF5 or ZIP files")
    return files


def _granules(path: Path) -> list[Granule]:
    with path.open("rb") as stream:
        is_archive = stream.read(2) == b"PK"
    size, key = path.stat().st_size, content_key(path)
    if not is_archive:
        return [Granule(path.name, size, key, path)]
    with _zip_errors(path), zipfile.ZipFile(path) as archive:
        members = archive.namelist()
    names = [(PurePosixPath(member), member) for member in members]
    # macOS adds `._name` beside every file.
    inside = [
        Granule(inner.name, size, key, path, member)
        for inner, member in names
        if inner.suffix.lower() in _HDF5 and not inner.name.startswith("._")
    ]
    if not inside:
        raise FormatError(f"{path} holds no HDF5 file among {len(members)}; expected GEDI granules")
    return inside


def _content(granule: Granule) -> Path | io.BytesIO:
    if granule.member is None:
        return granule.path
    with _zip_errors(granule.path), zipfile.ZipFile(granule.path) as archive:
        return io.BytesIO(archive.read(granule.member))


@contextmanager
def _zip_errors(path: Path) -> Iterator[None]:
    try:
        yield
    # RuntimeError: encrypted; NotImplementedError: a compression that Python lacks.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as exc:
        raise FormatError(
            f"{path} cannot be read as ZIP ({' '.join(str(exc).split())}); fetch it again"
        ) from exc
