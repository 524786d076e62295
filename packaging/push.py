"""A dataset into a bucket or a repository: what is there already stays, dataset.json comes last."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from mmearth.catalog import checksums
from mmearth.catalog.errors import ConfigError, FormatError, IntegrityError
from mmearth.catalog.files import sha256_bytes, sha256_file
from mmearth.catalog.hub_url import SCHEME
from mmearth.catalog.progress import Progress, silent

BATCH = 100
"""Files that are sent together; on the hub they are one commit."""

Files = Mapping[str, str]
"""File, relative to the dataset's root → its SHA-256."""


class Place(Protocol):
    """Where datasets are kept; every method may raise SourceError."""

    def held(self, root: Path, files: Files) -> set[str]:
        """Return those files that are there and, as the place says, have the right bytes."""

    def send(self, root: Path, files: Files) -> None:
        """Copy files there, over those of the same names."""

    def read(self, name: str) -> bytes | None:
        """Return a file, None if it is not there."""

    def drop(self, names: Collection[str]) -> None:
        """Delete those of the files that are there."""

    def proved(self, root: Path, files: Files) -> set[str]:
        """Return those files whose bytes are proved to be right."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did."""

    place: str
    """Where the dataset is now."""
    dataset_hash: str
    """Of it."""
    n_files: int
    """That it has there, dataset.json and SHA256SUMS among them."""
    n_sent: int
    """Those that were not there before."""
    bytes_sent: int
    """Of them."""
    n_deleted: int
    """Files of the dataset that was there before, which this one has not."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)


def push(root: Path, place: str, private: bool = False, progress: Progress = silent) -> Pushed:
    """Copy a complete dataset to a bucket or a repository, and prove every byte there.

    What an interrupted push has copied is not copied again. While files differ there is no
    dataset.json, so nobody opens a mixture of two datasets; and what the dataset that was there
    before had besides is deleted, so that no `manifests/*.parquet` finds it. SHA256SUMS goes
    first: it names whatever a push may leave there.

    Args:
        root: The dataset's directory.
        place: `hf://datasets/organisation/name`, `s3://bucket/prefix` or `gs://bucket/prefix`.
        private: Whether a new repository is private.
        progress: Told about every step.

    Raises:
        ConfigError: The directory holds no complete dataset, or the place is none.
        IntegrityError: A file was changed after the dataset was sealed, or arrived otherwise.
        SourceError: The place refuses, or did not answer.
    """
    files, seal = _sealed(root)
    there = open_place(place, private)
    progress("compare", len(files))
    held = there.held(root, {**files, **seal})
    missing = [name for name in files if name not in held]
    is_sealed = not missing and set(seal) <= held
    gone = set() if checksums.SUMS in held else _left_over(there, files)
    if not is_sealed:
        there.drop([checksums.DATASET])
        there.drop(sorted(gone))
    progress("send files", len(missing))
    for batch in _batches(missing):
        there.send(root, {name: files[name] for name in batch})
        for _ in batch:
            progress("send files", None)
    progress("verify files", len(files))
    _check(there, root, files, place)
    if not is_sealed:
        there.send(root, seal)
        _check(there, root, seal, place)
    sent = [*missing, *([] if is_sealed else seal)]
    nbytes = sum((root / name).stat().st_size for name in sent)
    return Pushed(place, files[checksums.SUMS], len(files) + 1, len(sent), nbytes, len(gone))


def open_place(place: str, private: bool = False) -> Place:
    """Return where a URL leads.

    Raises:
        ConfigError: It leads nowhere that datasets can be pushed to.
    """
    scheme = place.partition("://")[0]
    if scheme == SCHEME:
        from mmearth.packaging.push_hub import Repository

        return Repository(place, private)
    if scheme in {"s3", "gs"}:
        from mmearth.packaging.push_bucket import Bucket

        return Bucket(place)
    raise ConfigError(
        f"{place} is no place to push to; expected hf://datasets/ORGANISATION/NAME, s3://… or gs://…"
    )


def _sealed(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the files of a dataset, SHA256SUMS last, and dataset.json, by SHA-256."""
    data = checksums.dataset_bytes(root)
    document = checksums.parse_dataset(data, str(root / checksums.DATASET))
    checksums.check_seal(data, document, str(root / checksums.DATASET))
    found = sha256_file(root / checksums.SUMS, root)
    if found != document["dataset_hash"]:
        raise IntegrityError(
            f"{root / checksums.SUMS}: found SHA-256 {found}, expected "
            f"{document['dataset_hash']}; run `mmearth packaging verify {root}`"
        )
    files = checksums.read_sums(root)
    for name in files:
        if not os.path.isfile(root / name):  # noqa: PTH113 - of a million files
            raise IntegrityError(
                f"{root / name} is not there; expected every file of {checksums.SUMS}: run "
                f"`mmearth packaging verify {root}`"
            )
    return files | {checksums.SUMS: found}, {checksums.DATASET: sha256_bytes(data)}


def _left_over(there: Place, files: Files) -> set[str]:
    """Return what the SHA256SUMS that is there names and the dataset has not."""
    data = there.read(checksums.SUMS)
    if data is None:
        return set()
    try:
        before = checksums.parse_sums(data.decode().splitlines(), checksums.SUMS)
    except (FormatError, UnicodeDecodeError):  # of somebody else: what it names is not ours
        return set()
    return {
        name for name in before if name not in files and not {"", ".", ".."} & {*name.split("/")}
    }


def _batches(missing: list[str]) -> Iterator[list[str]]:
    """Yield files to be sent together, SHA256SUMS by itself and first."""
    first = [name for name in missing if name == checksums.SUMS]
    if first:
        yield first
    rest = [name for name in missing if name != checksums.SUMS]
    for begin in range(0, len(rest), BATCH):
        yield rest[begin : begin + BATCH]


def _check(there: Place, root: Path, files: Files, place: str) -> None:
    wrong = sorted(set(files) - there.proved(root, files))
    if wrong:
        there.drop(wrong)
        raise IntegrityError(
            f"{place}: {wrong[0]} has not the bytes of {checksums.SUMS}, as {len(wrong)} of "
            f"{len(files)} files; run `mmearth packaging verify {root}`, then push again"
        )
