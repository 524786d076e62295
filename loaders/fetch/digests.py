"""What a member must be: its header, its length, its SHA-256; each is hashed once a process."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.codec import npy_header
from mmearth.catalog.documents import parse_json
from mmearth.catalog.errors import ConfigError, FormatError, IntegrityError
from mmearth.loaders.choose.index import Index
from mmearth.loaders.fetch.root import DATASET, Root


@dataclass(frozen=True, slots=True)
class MemberForm:
    """What every member of one kind has in common."""

    header: bytes
    """Of its `.npy`, before the values."""
    nbytes: int
    """Of its values, without the header."""

    @property
    def whole(self) -> int:
        """Bytes of the header and the values."""
        return len(self.header) + self.nbytes


def member_forms(index: Index) -> dict[str, MemberForm]:
    """Return the form of each kind of members of an index."""
    forms = {}
    for name in index.offset:
        shape, dtype = index.contract(name).shape, np.dtype(index.contract(name).dtype)
        forms[name] = MemberForm(npy_header(dtype.str, shape), math.prod(shape) * dtype.itemsize)
    return forms


class Digests:
    """Compares members with the manifest, and remembers which need not be compared again."""

    def __init__(self, root: Root, index: Index, verify: bool) -> None:
        """Begin with nothing compared.

        Args:
            root: Where the dataset lies.
            index: Says what each member's SHA-256 is.
            verify: Whether members are hashed; their headers are looked at in any case.

        Raises:
            ConfigError: Members are to be hashed and the index was made without SHA-256s.
        """
        missing = [name for name in index.offset if name not in index.sha256]
        if verify and missing:
            raise ConfigError(
                f"the index has no SHA-256 of {missing[0]}, which verifying needs; make it with "
                "them, or read without verifying (local datasets only)"
            )
        self._root, self._index, self._verify = root, index, verify
        self.forms = member_forms(index)
        # A byte a member; the operating system gives the memory only where one is written.
        self._known = {name: np.zeros(len(index), np.bool_) for name in index.offset}

    def known(self, name: str, rows: NDArray[np.int64] | int) -> NDArray[np.bool_]:
        """Return which rows' members were compared before, (k,)."""
        return self._known[name][rows]

    def forget(self, rows: NDArray[np.int64]) -> None:
        """Let the members of some rows be compared again."""
        for known in self._known.values():
            known[rows] = False

    def expected(self, name: str, row: int) -> str:
        """Return the SHA-256 of a member as the manifest has it, in hexadecimal."""
        return bytes(self._index.sha256[name][row].tobytes()).hex()

    def matches(
        self,
        name: str,
        row: int,
        header: bytes,
        values: memoryview,
        checked: set[int] | None = None,
    ) -> bool:
        """Return whether a member is what it must be, and remember that it is.

        Args:
            name: A key of the index' offsets.
            row: Of the index.
            header: Its first bytes.
            values: The others.
            checked: Marks of members that other readers of the same file found to be right, which
                are not hashed again; what is found here is added.
        """
        if header != self.forms[name].header:
            return False
        if self._verify:
            expected = self.expected(name, row)
            # A mark is of 64 bits, and of this place in the file and this digest alone.
            mark = hash((int(self._index.offset[name][row]), expected))
            if checked is None or mark not in checked:
                if _sha256(header, values) != expected:
                    return False
                if checked is not None:
                    checked.add(mark)
        self._known[name][row] = True
        return True

    def member(self, name: str, row: int) -> str:
        """Return a member as errors name it: shard, modality, sample."""
        shard = self._index.shards[int(self._index.shard[row])]
        key = self._index.keys(np.array([row], np.int64))[0]
        return f"{self._root.url.rstrip('/')}/{shard}: {name} of sample {key}"

    def damaged(self, name: str, row: int, header: bytes, values: memoryview) -> IntegrityError:
        """Return the error of a member that is not what the manifest says.

        Args:
            name: A key of the index' offsets.
            row: Of the index.
            header: What stands where its header should.
            values: What stands where its values should.
        """
        if header != self.forms[name].header:
            found = f"found {header[:16]!r}…, expected the header of its .npy"
        else:
            digest = _sha256(header, values)
            found = f"found SHA-256 {digest}, the manifest says {self.expected(name, row)}"
        return IntegrityError(
            f"{self.member(name, row)}: {found}; run `mmearth packaging verify`, then build or "
            "fetch the shard again"
        )


def _sha256(header: bytes, values: memoryview) -> str:
    digest = hashlib.sha256(header)
    digest.update(values)
    return digest.hexdigest()


def check_unchanged(root: Root, dataset_hash: str) -> None:
    """Refuse to go on with a dataset that is not the one that was opened.

    A build takes dataset.json away before it changes anything, and writes it last.

    Raises:
        IntegrityError: The dataset was rebuilt, or is being rebuilt.
    """
    try:
        found = parse_json(root.read(DATASET), DATASET)["dataset_hash"]
    except (FormatError, KeyError, TypeError) as exc:
        raise IntegrityError(
            f"{root.url} was rebuilt while it was read, or is being rebuilt: its {DATASET} has "
            "gone or is not whole; open it again when the build has ended"
        ) from exc
    if found != dataset_hash:
        raise IntegrityError(
            f"{root.url} was rebuilt while it was read: its hash was {dataset_hash[:12]}…, now it "
            f"is {str(found)[:12]}…; open it again"
        )
