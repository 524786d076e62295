"""A file of text → str: encoding and compression are found out, not asked for."""

from __future__ import annotations

import gzip
import logging
import zlib
from pathlib import Path

from mmearth.catalog.errors import ConfigError

_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
"""Byte order marks (Unicode 16, §23.8), longer ones first, and what they say."""
_GZIP = b"\x1f\x8b"
_log = logging.getLogger(__name__)


def read_text(path: Path) -> str:
    """Return the text of a file: UTF-8, what its byte order mark says, or Windows-1252.

    Windows-1252 has every printable character of Latin-1 at Latin-1's place, so it stands for both.

    Raises:
        ConfigError: The file cannot be read, is empty, or is no text in one encoding.
    """
    data = _bytes(path)
    if not data.strip():
        raise ConfigError(f"{path} is empty; expected a table as CSV or TSV, plain or gzip")
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decoded(path, data, encoding)
    if b"\0" in data:
        raise ConfigError(
            f"{path} is no text in UTF-8, UTF-16 or Windows-1252; expected a table as CSV or TSV, "
            "plain or gzip"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        _refuse_two_encodings(path, data)
    text = _decoded(path, data, "cp1252")
    _log.warning("%s is not in UTF-8: read as Windows-1252", path)
    return text


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(_GZIP) else data
    except (OSError, EOFError, zlib.error) as exc:
        raise ConfigError(
            f"{path} cannot be read as a table ({' '.join(str(exc).split())}); expected CSV or "
            "TSV, plain or gzip"
        ) from exc


def _decoded(path: Path, data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise ConfigError(
            f"{path}, line {line}: cannot be read as {encoding} text; save the table in UTF-8"
        ) from exc


def _refuse_two_encodings(path: Path, data: bytes) -> None:
    """Refuse text of which some lines are UTF-8 and others are not: one of them would be wrong."""
    good, bad = 0, 0
    for number, line in enumerate(data.splitlines(), 1):
        if line.isascii():
            continue
        try:
            line.decode("utf-8")
            good = good or number
        except UnicodeDecodeError:
            bad = bad or number
        if good and bad:
            raise ConfigError(
                f"{path}, line {bad}: is not in UTF-8, but line {good} is; save the table in one "
                "encoding, UTF-8"
            )
