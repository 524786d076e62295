"""A file of text → str: encoding and compression are found out, not asked for."""

from __future__ import annotations

import codecs
import gzip
import logging
import re
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
_HARDLY = re.compile(r"[\xc0-\xff]{4}")
"""Accented letters in a row, as no Western European word has them: Cyrillic, Greek, Chinese."""
_log = logging.getLogger(__name__)


def read_text(path: Path, said: str | None = None) -> str:
    """Return the text of a file: UTF-8, what its byte order mark says, or Windows-1252.

    Windows-1252 has every printable character of Latin-1 at Latin-1's place, so it stands for both.

    Args:
        path: The file, plain or gzip.
        said: `encoding:` of the configuration, in place of all that.

    Raises:
        ConfigError: The file cannot be read, is empty, is no text in one encoding, or hardly
            Windows-1252.
    """
    data = _bytes(path)
    if not data.strip():
        raise ConfigError(f"{path} is empty; expected a table as CSV or TSV, plain or gzip")
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            _refuse_another(path, encoding, said)
            return _decoded(path, data, encoding)
    if said is not None:
        return _decoded(path, data, said)
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
    if hardly := _HARDLY.search(text):
        raise ConfigError(
            f"{path}, line {text.count(chr(10), 0, hardly.start()) + 1}: is not in UTF-8, and "
            f"hardly in Windows-1252, where it reads {hardly[0]!r}; say encoding: with its own, "
            "such as cp1251 (Cyrillic), or cp1252 if that is right"
        )
    _log.warning("%s is not in UTF-8: read as Windows-1252; encoding: names another", path)
    return text


def _refuse_another(path: Path, marked: str, said: str | None) -> None:
    family = marked.removesuffix("-sig")
    if said is not None and not codecs.lookup(said).name.startswith(family):
        raise ConfigError(
            f"{path} begins with the byte order mark of {family.upper()}, and encoding: says "
            f"{said}; leave encoding: out"
        )


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
            f"{path}, line {line}: cannot be read as {encoding} text; say encoding:, or save the "
            "table in UTF-8"
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
