"""Checksums: SHA256SUMS over every published file, and dataset.json, which is written last.

A dataset with dataset.json is complete. Its hash is the SHA-256 of SHA256SUMS.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import CATALOGUE
from mmearth.catalog.documents import parse_json
from mmearth.catalog.errors import ConfigError, FormatError, IntegrityError, storage_errors
from mmearth.catalog.files import (
    TEMPORARY,
    check_inside,
    is_sha256,
    read_regular,
    remove_temporaries,
    sha256_bytes,
    sha256_file,
    sync,
    sync_files,
    write_atomic,
)
from mmearth.catalog.schema import SCHEMA_VERSION

SUMS = "SHA256SUMS"
"""Name of the list of checksums, in the form that `sha256sum -c` reads."""
DATASET = "dataset.json"
"""Name of the file that makes a dataset complete."""
_SUMS_BYTES = 1 << 30  # of SHA256SUMS, which has about 120 a file
FILES = "files"
"""The field of dataset.json with the SHA-256 of all that is no shard and no item, by name: who
opens a dataset elsewhere need not fetch SHA256SUMS."""
_LARGE = re.compile("shards/|store/|stac/[^/]*/items/")
SELF = "sha256_of_the_rest"
"""The field of dataset.json that guards its other fields."""
_MOST_SUMS = 4 << 30  # bytes of a list of checksums: of tens of millions of files
DATA = (
    CATALOGUE,
    "tiles.parquet",
    "observations.parquet",
    "README.md",
    "croissant.json",
    "huggingface",
    "manifests",
    "shards",
    "statistics",
    "stac",
    "store",
    "published",
)
"""What a dataset publishes; anything else in its directory is not ours to judge."""


def published_files(root: Path) -> list[str]:
    """Return every published file but dataset.json and SHA256SUMS, sorted, relative to the root."""
    found = [name for name in DATA if (root / name).is_file()]
    for name in DATA:
        for folder, folders, files in os.walk(root / name):
            folders[:] = [each for each in folders if not each.endswith(TEMPORARY)]
            inside = Path(folder).relative_to(root).as_posix()
            found += [f"{inside}/{file}" for file in files if not file.endswith(TEMPORARY)]
    return sorted(found)


def seal(root: Path, card: DatasetCard, known: dict[str, str] | None = None) -> str:
    """Write SHA256SUMS, then dataset.json; return the dataset's hash.

    Every published file is on the disk before dataset.json is: a power cut leaves a dataset that is
    complete, or one that is not sealed.

    Args:
        root: The dataset's directory.
        card: Goes into dataset.json.
        known: Checksums by relative path of files that were hashed while they were written.

    Raises:
        StorageError: The disk is full.
    """
    files = published_files(root)
    sums = dict(known or {})
    unknown = [name for name in files if name not in sums]
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter lock
        hashed = pool.map(lambda name: sha256_file(root / name, root), unknown)
        sums.update(zip(unknown, hashed, strict=True))
    text = "".join(f"{sums[name]}  {name}\n" for name in files).encode()
    sync_files(root, files)
    write_atomic(root / SUMS, text, durable=True)
    document = {
        "schema_version": SCHEMA_VERSION,
        **card.to_json(),
        "n_files": len(files),
        FILES: {name: sums[name] for name in files if not _LARGE.match(name)},
        "dataset_hash": sha256_bytes(text),
    }
    write_atomic(root / DATASET, render(document), durable=True)
    return sha256_bytes(text)


def render(document: dict[str, Any]) -> bytes:
    """Return the bytes of dataset.json: the document and, last, the checksum of all before it.

    No other file could hold that checksum: dataset.json is written last.
    """
    facts = {name: value for name, value in document.items() if name != SELF}
    facts[SELF] = sha256_bytes(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode())
    return (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode()


def clear(root: Path) -> None:
    """Delete all that a dataset publishes, and nothing else."""
    for name in (DATASET, SUMS, *DATA):
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def remove_unfinished(root: Path) -> None:
    """Delete what an interrupted writer of published files left."""
    for leftover in root.glob(f".*{TEMPORARY}"):
        leftover.unlink(missing_ok=True)
    for name in DATA:
        remove_temporaries(root / name)


def unseal(root: Path) -> None:
    """Say that a dataset is not complete, before anything in it changes."""
    with storage_errors(f"write {root}"):
        (root / DATASET).unlink(missing_ok=True)
        (root / SUMS).unlink(missing_ok=True)
        sync(root)


def refuse_outside(root: Path) -> None:
    """Refuse a dataset of which a folder leads elsewhere, before files are written or deleted.

    Raises:
        FormatError: There is such a symlink.
    """
    for name in (*DATA, ".curate"):
        check_inside(root / name, root)
        for folder, inside, _ in os.walk(root / name):
            for each in inside:
                check_inside(Path(folder, each), root)


def read_dataset(root: Path) -> dict[str, Any]:
    """Return dataset.json; `check_seal` compares it with its own checksum.

    Raises:
        ConfigError: The directory holds no complete dataset.
        FormatError: dataset.json is not ours or of another schema version.
        StorageError: It may not be read.
    """
    return parse_dataset(dataset_bytes(root), str(root / DATASET))


def dataset_bytes(root: Path) -> bytes:
    """Return the bytes of dataset.json.

    Raises:
        ConfigError: The directory holds no complete dataset.
        FormatError: dataset.json is no regular file, or far too large.
        StorageError: It may not be read.
    """
    try:
        return read_regular(root / DATASET, root)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise ConfigError(
            f"{root} holds no complete dataset: there is no {DATASET}; build one with "
            "`mmearth curate build CONFIG -o DIR`, or finish the build that was interrupted"
        ) from exc


def parse_dataset(data: bytes, name: str) -> dict[str, Any]:
    """Return the document of dataset.json, which came from `name`.

    Raises:
        FormatError: It is not ours or of another schema version.
    """
    document: dict[str, Any] = parse_json(data, name)
    if not isinstance(document, dict):
        raise FormatError(f"{name} is not ours (no JSON object); run the build again")
    found = str(document.get("schema_version"))
    if found.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        raise FormatError(
            f"{name} has schema version {found}, this mmearth reads {SCHEMA_VERSION}; "
            "install the version that made it, or build again"
        )
    DatasetCard.from_json(document)
    if not is_sha256(digest := document.get("dataset_hash")):
        raise FormatError(
            f"{name}: dataset_hash is {str(digest)[:70]!r}, expected 64 hexadecimal digits; fetch "
            "it again, or run the build again"
        )
    known = document.get(FILES, {})
    if not isinstance(known, dict) or not all(map(is_sha256, known.values())):
        raise FormatError(
            f"{name}: {FILES} has no 64 hexadecimal digits for each file; fetch it again, or run "
            "the build again"
        )
    return document


def check_seal(data: bytes, document: dict[str, Any], name: str) -> None:
    """Refuse a dataset.json that is not as `seal` wrote it.

    Args:
        data: Its bytes.
        document: What they say.
        name: Where they came from.

    Raises:
        IntegrityError: It was changed after the dataset was sealed.
    """
    try:
        is_sealed = render(document) == data
    except (ValueError, RecursionError):  # text or numbers that cannot be written
        is_sealed = False
    if not is_sealed:
        raise IntegrityError(
            f"{name} was changed after the dataset was sealed: its checksum, or its form, is "
            "another; fetch it again, or run the build again"
        )


def checksum_of(sums: Path, name: str) -> str | None:
    """Return what a list of checksums says of a file; None where it does not name it.

    The list may be of millions of lines: it is searched, and no line is parsed.
    """
    line = f"  {name}\n".encode(errors="surrogatepass")
    with sums.open("rb") as stream:
        if not os.fstat(stream.fileno()).st_size:
            return None
        with mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as text:
            at = text.find(line)
            while at >= 0:
                begin = at - 64
                if begin == 0 or (begin > 0 and text[begin - 1 : begin] == b"\n"):
                    return text[begin:at].decode(errors="replace")
                at = text.find(line, at + 1)
    return None


def read_sums(root: Path) -> dict[str, str]:
    """Return the checksums of SHA256SUMS by relative path.

    Raises:
        FormatError: The file is missing, or a line is not a checksum and a path of its own.
        StorageError: It may not be read.
    """
    path = root / SUMS
    try:
        lines = read_regular(path, root, _MOST_SUMS).decode().splitlines()
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError) as exc:
        raise FormatError(f"{path} is missing or unreadable; run the build again") from exc
    return parse_sums(lines, str(path))


def parse_sums(lines: Iterable[str], name: str) -> dict[str, str]:
    """Return the checksums in the lines of a SHA256SUMS that has that name.

    Raises:
        FormatError: A line is not a checksum and a path of its own.
    """
    sums: dict[str, str] = {}
    for line in lines:
        digest, _, path = line.partition("  ")
        if not is_sha256(digest) or not path or path in sums:
            raise FormatError(
                f"{name}: {line[:200]!r} is not a checksum and a path of its own; run the build "
                "again"
            )
        sums[path] = digest
    return sums
