"""What a member must be: its header, its length, its SHA-256; each is hashed once a process."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.codec import npy_header
from mmearth.catalog.documents import parse_json
from mmearth.catalog.errors import ConfigError, FormatError, IntegrityError
from mmearth.loaders.choose.index import Index
from mmearth.loaders.fetch.root import DATASET, Root

Verify = Literal["all", "sampled", "none"]
"""Which members are compared with their SHA-256 when a process reads them first: each; those of a
sixteenth of the samples, of another one each epoch; or none."""
SHARE = 16
"""Epochs after which `sampled` has compared everything."""
_LOOKED, _HASHED = 1, 2  # what was done with a member


@dataclass(frozen=True, slots=True)
class MemberForm:
    """What every member of one kind has in common."""

    header: bytes
    """Of its `.npy`, before the values; of a compact member nothing."""
    nbytes: int
    """Of its values, without the header."""
    dtype: np.dtype[Any]
    """Of its values."""

    @property
    def whole(self) -> int:
        """Bytes of the header and the values, which an `.npy` has."""
        return len(self.header) + self.nbytes


def member_forms(index: Index, raw: bool = False) -> dict[str, MemberForm]:
    """Return the form of each kind of members of an index.

    Args:
        index: Of the samples.
        raw: Compact members are not decoded: `nbytes` is that of the largest.
    """
    forms = {}
    for name in index.offset:
        shape, dtype = index.contract(name).shape, np.dtype(index.contract(name).dtype)
        header = npy_header(dtype.str, shape) if index.codec.is_npy else b""
        nbytes = math.prod(shape) * dtype.itemsize
        if raw and not index.codec.is_npy:
            nbytes = int(index.length[name].max())
        forms[name] = MemberForm(header, nbytes, dtype)
    return forms


class Digests:
    """Compares members with the manifest, and remembers which need not be compared again."""

    def __init__(self, root: Root, index: Index, verify: Verify) -> None:
        """Begin with nothing compared.

        Args:
            root: Where the dataset lies.
            index: Says what each member's SHA-256 is.
            verify: Which members are hashed; their headers are looked at in any case.

        Raises:
            ConfigError: Members are to be hashed and the index was made without SHA-256s.
        """
        missing = [name for name in index.offset if name not in index.sha256]
        if verify != "none" and missing:
            raise ConfigError(
                f"the index has no SHA-256 of {missing[0]}, which verifying needs; make it with "
                "them, or read without verifying (local datasets only)"
            )
        self._root, self._index, self._verify = root, index, verify
        self.forms = member_forms(index)
        # A byte a member; the operating system gives the memory only where one is written.
        self._done = {name: np.zeros(len(index), np.uint8) for name in index.offset}

    def known(self, name: str, rows: NDArray[np.int64] | int, epoch: int) -> NDArray[np.bool_]:
        """Return which rows' members were looked at before, as far as they must be, (k,)."""
        done = self._done[name][rows]
        if self._verify == "sampled":
            return np.asarray(done >= np.where((rows + epoch) % SHARE == 0, _HASHED, _LOOKED))
        return np.asarray(done >= (_HASHED if self._verify == "all" else _LOOKED))

    def lengths(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many bytes members have as they are stored, (k,), where they are there."""
        if self._index.codec.is_npy:
            return np.full(len(rows), self.forms[name].whole)
        return self._index.length[name][rows].astype(np.int64)

    def forget(self, rows: NDArray[np.int64]) -> None:
        """Let the members of some rows be compared again."""
        for done in self._done.values():
            done[rows] = 0

    def expected(self, name: str, row: int) -> str:
        """Return the SHA-256 of a member as the manifest has it, in hexadecimal."""
        return bytes(self._index.sha256[name][row].tobytes()).hex()

    def matches(
        self,
        name: str,
        row: int,
        header: bytes,
        values: memoryview,
        epoch: int = 0,
        checked: set[int] | None = None,
    ) -> bool:
        """Return whether a member is what it must be, and remember that it is.

        Args:
            name: A key of the index' offsets.
            row: Of the index.
            header: Its first bytes.
            values: The others.
            epoch: That is read.
            checked: Marks of members that other readers of the same file found to be right, which
                are not hashed again; what is found here is added.
        """
        if header != self.forms[name].header:
            return False
        is_drawn = self._verify == "sampled" and (row + epoch) % SHARE == 0
        if self._verify == "all" or is_drawn:
            expected = self.expected(name, row)
            # A mark is of 64 bits, and of this place in the file and this digest alone.
            mark = hash((int(self._index.offset[name][row]), expected))
            if checked is None or mark not in checked:
                if _sha256(header, values) != expected:
                    return False
                if checked is not None:
                    checked.add(mark)
            self._done[name][row] = _HASHED
        elif not self._done[name][row]:
            self._done[name][row] = _LOOKED
        return True

    def write(
        self, name: str, row: int, data: memoryview, out: NDArray[np.uint8], raw: bool
    ) -> None:
        """Decode a compact member.

        Args:
            name: A key of the index' offsets.
            row: Of the index.
            data: The member as it is stored.
            out: (nbytes,) where its values go.
            raw: It goes there as it is stored; what is behind it stays.

        Raises:
            IntegrityError: It is none of its layer, though it may be what the manifest says.
        """
        if raw:
            out[: len(data)] = np.frombuffer(data, np.uint8)
            return
        try:
            self._index.codec.decode_into(data, name, out.view(self.forms[name].dtype))
        except FormatError as exc:
            raise IntegrityError(
                f"{self.member(name, row)}: {exc}; run `mmearth packaging verify`, then build or "
                "fetch the shard again"
            ) from exc

    def member(self, name: str, row: int) -> str:
        """Return a member as errors name it: shard, modality, sample."""
        shard = self._index.shards[int(self._index.shard[row])]
        key = self._index.keys(np.array([row], np.int64))[0]
        return f"{self._root.url.rstrip('/')}/{shard}: {name} of sample {key}"

    def misplaced(self, name: str, row: int, begin: int, end: int, nbytes: int) -> IntegrityError:
        """Return the error of a member that cannot be where the manifest says.

        Args:
            name: A key of the index' offsets.
            row: Of the index.
            begin: Its first byte in its shard.
            end: The byte after its last.
            nbytes: That the shard has.
        """
        return IntegrityError(
            f"{self.member(name, row)}: found a shard of {nbytes} bytes, expected a member at "
            f"bytes {begin} to {end}: it is truncated or of another build; run `mmearth packaging "
            "verify`, then build or fetch it again"
        )

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
