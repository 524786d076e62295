"""Every exception that mmearth raises on purpose, in one tree.

    MMEarthError
    ├── ConfigError (also ValueError)   the caller asked for something that cannot be
    │   └── MissingExtraError (also ImportError)   a package is not installed
    ├── StorageError                    the disk or directory refused: full, read-only
    ├── SourceError                     a source did not give what was asked
    │   ├── UnavailableError            try again: time-out, connection, server busy
    │   │   ├── AggregationsError         Earth Engine: ask for fewer tiles in one request
    │   │   ├── ServerError               a host of files failed: fewer requests at once may pass
    │   │   ├── _BusyError                a host of files says when to come again
    │   │   ├── ChangedError              a file was replaced between two requests
    │   │   └── OutOfReachError           the service was out of reach for longer than is waited
    │   ├── _DeniedError                a host of files refuses our signature
    │   ├── AbsentError                 Earth Engine: one scene or table is not there any more
    │   ├── RefusedError                will not work until a person acts: sign-in, permission
    │   │   └── QuotaError                the budget or the service's quota is spent
    │   └── NoDataError                 the source has nothing there: coverage, cloud, date
    │       └── MissingError              a host of files has no such file
    ├── DataError                       an array breaks its modality's or task's contract
    └── FormatError                     a file is not what its schema says
        └── IntegrityError              its bytes differ from their checksum

Each is built from one sentence (what was found, what was expected, what to do) and nothing else, so
that it survives pickling between worker processes. Where it happened goes into `add_note`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The operating system's codes for "no room": full disk, quota reached, file too large."""
FAILING_DISK = frozenset({errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.ETIMEDOUT})
"""Its codes for a disk, or a network that stands for one, that does not do what it is for."""
_IN_THE_WAY = frozenset(
    {errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ENOTEMPTY}
)
"""Its codes for something else than expected under a name, such as a directory for a file."""


def printable(text: str) -> str:
    r"""Return a text with every control character, newline and surrogate written as its escape.

    Names in a dataset may come from a stranger: an ANSI sequence or a newline in one could make a
    sentence say something else. Python's `str.isprintable` decides; a text twice through is the
    same.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class MMEarthError(Exception):
    """Anything that mmearth reports in one sentence instead of a traceback."""

    exit_code = 1
    """What the command line exits with when this error ends the run (docs/exit-codes.md)."""

    def __init__(self, sentence: str = "") -> None:
        """Keep one sentence, without what would command the terminal that shows it."""
        super().__init__(printable(sentence))


class ConfigError(MMEarthError, ValueError):
    """The caller asked for something that cannot be: a wrong key, value, path or place."""

    exit_code = 2


class MissingExtraError(ConfigError, ImportError):
    """A package is not installed that one of mmearth's extras brings."""


class StorageError(MMEarthError):
    """The disk or the directory refused to keep a file: full, read-only or not permitted."""

    exit_code = 3


class SourceError(MMEarthError):
    """A source did not give what was asked."""

    exit_code = 3


class UnavailableError(SourceError):
    """The source may answer later: time-out, lost connection, server busy."""


class RefusedError(SourceError):
    """The source will not answer until a person acts: sign-in, permission, a missing asset."""

    exit_code = 6


class QuotaError(RefusedError):
    """The budget or the service's quota is spent; the same command goes on when there is more."""

    exit_code = 5


class NoDataError(SourceError):
    """The source works and has nothing at this place or date."""


class DataError(MMEarthError):
    """An array breaks its modality's or task's contract: shape, dtype, range or unit."""

    exit_code = 3


class FormatError(MMEarthError):
    """A file is not what its schema says: version, columns or layout."""


class IntegrityError(FormatError):
    """A file's bytes differ from their checksum, or two published files contradict each other."""

    exit_code = 4


class MMEarthWarning(UserWarning):
    """Something worth a person's attention that does not stop the work."""


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turn the operating system's refusals inside the block into one StorageError.

    Args:
        doing: What was going on, as it reads after "cannot": "write data/demo/tiles.parquet".

    Raises:
        StorageError: The disk is full or fails, or the place cannot be written.
    """
    try:
        yield
    except OSError as exc:
        if exc.errno in FULL_DISK:
            raise StorageError(
                f"cannot {doing}: no space is left on the disk; free some and run the same "
                "command again, it goes on where it stopped"
            ) from exc
        if exc.errno in FAILING_DISK:
            raise StorageError(
                f"cannot {doing}: {str(exc.strerror).lower()}; the disk fails, or the network that "
                "it is on: look after it, then run the same command again"
            ) from exc
        if exc.errno in _IN_THE_WAY:
            raise StorageError(
                f"cannot {doing}: {str(exc.strerror).lower()}; move away what stands there"
            ) from exc
        if exc.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise StorageError(
                f"cannot {doing}: {str(exc.strerror).lower()}; choose a directory you may write to"
            ) from exc
        raise
