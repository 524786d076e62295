"""Where a dataset lies: a directory of this machine, or a place that answers over the network."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from mmearth.catalog.errors import ConfigError, FormatError, IntegrityError, StorageError
from mmearth.catalog.files import open_regular, read_regular
from mmearth.catalog.hub_url import SCHEME, resolved

DATASET = "dataset.json"
"""What makes a dataset complete, as catalog/checksums.py says; that file's tables and cards would
make every worker process start half a second later."""
REMOTE = ("http", "https", "s3", "gs", "hf")
"""Schemes of the URLs that can be read."""
_LONGEST = 1000  # characters of a file's name; ours have a tenth of it


class Root(Protocol):
    """The root of a dataset; files are named relative to it, with `/` between the folders.

    Every method raises FormatError for a file that is not there, IntegrityError for one that is
    shorter than what was asked of it, RefusedError where a person must act first (permission,
    credentials), and UnavailableError when the place did not answer after several attempts.
    """

    @property
    def url(self) -> str:
        """The place as the user wrote it."""

    def read(self, name: str) -> bytes:
        """Return a whole file."""

    def read_range(self, name: str, begin: int, end: int) -> bytes | bytearray:
        """Return the bytes from `begin` until before `end`; exactly so many."""

    def path(self, name: str) -> Path | None:
        """Return the file's own path; None where it is not on this machine."""


@dataclass(frozen=True, slots=True)
class LocalRoot:
    """A dataset in a directory."""

    directory: Path
    """The dataset's own directory."""

    @property
    def url(self) -> str:
        """The place as the user wrote it."""
        return str(self.directory)

    def read(self, name: str) -> bytes:
        """Return a whole file.

        Raises:
            ConfigError: The directory is not there.
            FormatError: The file is not there, no regular file, or too large to be read as a whole.
            StorageError: It may not be read.
        """
        with self._reading(name) as path:
            return read_regular(path, self.directory)

    def read_range(self, name: str, begin: int, end: int) -> bytes:
        """Return the bytes from `begin` until before `end`; exactly so many.

        Raises:
            ConfigError: The directory is not there.
            FormatError: The file is not there.
            IntegrityError: It ends before `end`.
            StorageError: It may not be read.
        """
        with self._reading(name) as path, open_regular(path, self.directory) as stream:
            stream.seek(begin)
            found = stream.read(end - begin)
        if len(found) != end - begin:
            raise IntegrityError(
                f"{path} ends at byte {begin + len(found)}, expected {end} or more: it is "
                "truncated; run `mmearth packaging verify`"
            )
        return found

    def path(self, name: str) -> Path:
        """Return the file's own path, whether or not it is there.

        Raises:
            FormatError: The name leads out of the dataset.
        """
        return self.directory / relative(name)

    @contextmanager
    def _reading(self, name: str) -> Iterator[Path]:
        path = self.path(name)
        try:
            yield path
        except (FileNotFoundError, NotADirectoryError) as exc:
            if not self.directory.is_dir():
                raise ConfigError(
                    f"{self.directory} is not a directory; expected a dataset's"
                ) from exc
            raise FormatError(
                f"{path} is not there; expected a file of a complete dataset: run "
                "`mmearth packaging verify`, or the build again"
            ) from exc
        except OSError as exc:
            raise StorageError(f"cannot read {path}: {str(exc.strerror).lower()}") from exc


def open_root(place: str | Path) -> Root:
    """Return where a dataset lies; nothing is read yet.

    Args:
        place: A directory, or a URL that begins with `http://`, `https://`, `s3://`, `gs://`,
            `hf://` or `file://`. Credentials come from the environment and never from a URL.

    Raises:
        ConfigError: It is neither, or the extra `cloud` is not installed.
    """
    text = os.fspath(place) if isinstance(place, str | os.PathLike) else None
    if not isinstance(text, str) or not text:
        raise ConfigError(f"found place {place!r}; expected a directory or a URL")
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", text)
    if found is None:
        return LocalRoot(Path(text).expanduser())
    scheme = found.group(1).lower()
    if scheme == "file":
        return LocalRoot(Path(text[found.end() :]))
    if scheme not in REMOTE:
        raise ConfigError(
            f"{text} begins with {scheme}://; expected a directory or one of "
            + ", ".join(f"{known}://" for known in REMOTE)
        )
    from mmearth.loaders.fetch.remote import RemoteRoot

    return RemoteRoot(resolved(text) if scheme == SCHEME else text)


def relative(name: str) -> str:
    """Return a file's name; refuse one that leads out of the dataset.

    Raises:
        FormatError: It is absolute, empty, or has `..`, a backslash or a NUL in it, as none of
            ours.
    """
    parts = PurePosixPath(name).parts
    if len(name) > _LONGEST:
        name = f"{name[:80]}…"
        parts = ()
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise FormatError(
            f"{name!r} is no file of a dataset; expected a path below its root: the table that "
            "names it is damaged"
        )
    return name
