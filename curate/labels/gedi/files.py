"""Which granules a configuration names, HDF5 files or members of ZIP archives, and their bytes."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from mmearth.catalog.errors import ConfigError, FormatError, MMEarthError, storage_errors
from mmearth.catalog.hdf5 import refuse_external_links
from mmearth.curate.sources.files.index import content_key

_WILDCARDS = frozenset("*?[")
_ANY_BYTES = 64 << 20  # of a member, however well it is packed
_MOST_RATIO = 50  # of larger ones: HDF5 is compressed already; a subset of 5.7 MB shrank 9 times
_MOST_BYTES = 4 << 30  # of any: a whole granule has half a gigabyte
_BLOCK_BYTES = 1 << 20
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
    """Yield a granule as an open h5py.File; one in an archive is unpacked into a temporary file.

    Raises:
        ConfigError: h5py is not installed.
        FormatError: The file is broken, or leads to another; also when the block meets a broken
            part of it.
        StorageError: There is no room for what an archive holds.
    """
    try:
        import h5py
    except ImportError as exc:
        raise ConfigError(
            "GEDI granules need h5py, which is not installed: pip install 'mmearth[gedi]'"
        ) from exc
    try:
        # Read-only file systems of clusters often refuse the lock that HDF5 takes by default.
        with (
            _content(granule) as content,
            h5py.File(content, "r", locking=None if granule.member else False) as file,
        ):
            refuse_external_links(file, str(granule))
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


@contextmanager
def _content(granule: Granule) -> Iterator[Path | IO[bytes]]:
    """Yield a granule's file; what is unpacked goes with the block, and never is in memory."""
    if granule.member is None:
        yield granule.path
        return
    with tempfile.TemporaryFile() as unpacked:
        with _zip_errors(granule.path), zipfile.ZipFile(granule.path) as archive:
            packed = archive.getinfo(granule.member)
            _check_ratio(granule, packed)
            with storage_errors(f"unpack {granule}"), archive.open(packed) as member:
                shutil.copyfileobj(member, unpacked, _BLOCK_BYTES)
        unpacked.seek(0)
        yield unpacked


def _check_ratio(granule: Granule, packed: zipfile.ZipInfo) -> None:
    """Refuse a member that becomes far more than a granule does: zeros shrink a thousandfold.

    Python reads no more of a member than its archive says it has.

    Raises:
        FormatError: It does.
    """
    most = min(_MOST_BYTES, max(_ANY_BYTES, _MOST_RATIO * packed.compress_size))
    if packed.file_size > most:
        raise FormatError(
            f"{granule} would be {packed.file_size / 1e6:.0f} MB, unpacked from "
            f"{packed.compress_size / 1e6:.1f} MB; expected {most / 1e6:.0f} MB at most of a GEDI "
            "granule: unpack it yourself and name the HDF5 file"
        )


@contextmanager
def _zip_errors(path: Path) -> Iterator[None]:
    try:
        yield
    # RuntimeError: encrypted; NotImplementedError: a compression that Python lacks.
    except MMEarthError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as exc:
        raise FormatError(
            f"{path} cannot be read as ZIP ({' '.join(str(exc).split())}); fetch it again"
        ) from exc
