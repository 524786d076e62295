"""Members: the bytes of the chosen modalities, copied once from where they lie into a batch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol, cast, get_args

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.arguments import one_of, whole
from mmearth.catalog.errors import ConfigError
from mmearth.loaders.choose.index import Index
from mmearth.loaders.fetch.cache import Cache
from mmearth.loaders.fetch.digests import Verify, member_forms
from mmearth.loaders.fetch.finish import Finish
from mmearth.loaders.fetch.members_compact import CompactReader
from mmearth.loaders.fetch.members_local import LocalReader
from mmearth.loaders.fetch.members_remote import RemoteReader
from mmearth.loaders.fetch.root import DATASET, Root

GAP_BYTES = 64 << 10
"""A gap up to which ranges are merged: less than what a connection sends in one round trip."""
Rows = NDArray[np.int64]
Destinations = Mapping[str, NDArray[np.uint8]]
"""Key of `Index.offset` → (≥ k, nbytes), C-contiguous, one row a sample."""
Arrived = Mapping[str, Finish]
"""Key of `Index.offset` → what finishes each member that is there, by its place in `rows`."""


class Reader(Protocol):
    """Reads members in one process."""

    def fill(self, rows: Rows, into: Destinations, arrived: Arrived, epoch: int) -> None:
        """Write each row's members."""


class Members:
    """The members of an index' samples.

    It can be pickled: files and connections are opened by the process that reads. Threads may
    share it. A remote dataset that was read before a fork cannot be read after it.
    """

    def __init__(
        self,
        root: Root,
        index: Index,
        dataset_hash: str,
        verify: Verify = "all",
        gap: int = GAP_BYTES,
        cache: Cache | None = None,
        threads: int = 1,
        raw: bool = False,
    ) -> None:
        """Say what is to be read; nothing is opened yet.

        Args:
            root: Where the dataset lies.
            index: Its samples.
            dataset_hash: Of the dataset that the index was made from.
            verify: Which local members are compared with the manifest's SHA-256 when a process
                reads them first; remote ones always are.
            gap: Bytes between two ranges of a remote shard up to which they are one request.
            cache: Keeps what a remote dataset sent; None keeps nothing.
            threads: That decode compact members of a local dataset.
            raw: Compact members are not decoded: each stands at the begin of its row.

        Raises:
            ConfigError: `gap` is no whole number from 0, or `verify` no level.
        """
        gap = whole("gap", gap)
        verify = cast(Verify, one_of("verify", verify, get_args(Verify)))
        self._root, self._index, self._hash = root, index, dataset_hash
        self._verify, self._gap, self._cache = verify, gap, cache
        self._threads, self._raw = threads, raw
        self._forms = member_forms(index, raw)
        self._reader: tuple[int, Reader] | None = None  # and the process that it belongs to

    def __reduce__(self) -> tuple[Any, ...]:
        state = (self._root, self._index, self._hash, self._verify, self._gap, self._cache)
        return Members, (*state, self._threads, self._raw)

    def fill(
        self, rows: Rows, into: Destinations, arrived: Arrived | None = None, epoch: int = 0
    ) -> None:
        """Write the members of some samples; exactly the members that `into` names are read.

        Args:
            rows: Of the index, (k,).
            into: Where to: row `i` of each array gets the member of `rows[i]`. Where a sample has
                no such member its row is left as it was. After an error rows may be half written.
            arrived: Called for each member that was written, where it has anything to do.
            epoch: That is read: decides which members `sampled` compares.

        Raises:
            ConfigError: A row or a name is not in the index, or an array has another shape.
            IntegrityError: Bytes differ from the manifest, or the dataset was rebuilt.
            FormatError: A shard is not there.
            StorageError: A local shard cannot be opened.
            SourceError: A remote place refuses or does not answer.
        """
        rows = np.asarray(rows, np.int64)
        self._check(rows, into)
        if len(rows):
            self._here().fill(rows, into, arrived or {}, epoch)

    def _here(self) -> Reader:
        """Return this process's reader: a fork inherits no locks, threads or connections."""
        held = self._reader
        if held is None or held[0] != os.getpid():
            reader: Reader
            if self._root.path(DATASET) is None:
                args = (self._root, self._index, self._hash, self._gap, self._cache, self._raw)
                reader = RemoteReader(*args)
            elif self._index.codec.is_npy:
                reader = LocalReader(self._root, self._index, self._hash, self._verify)
            else:
                of = (self._root, self._index, self._hash, self._verify, self._threads, self._raw)
                reader = CompactReader(*of)
            held = self._reader = (os.getpid(), reader)
        return held[1]

    def _check(self, rows: Rows, into: Destinations) -> None:
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self._index)):
            raise ConfigError(
                f"found rows {rows.min()} to {rows.max()}, expected 0 to {len(self._index) - 1}"
            )
        for name, array in into.items():
            if name not in self._index.offset:
                raise ConfigError(
                    f"{name} is not among what was chosen: {', '.join(self._index.offset)}"
                )
            shape = (len(rows), self._forms[name].nbytes)
            fits = array.ndim == 2 and array.shape[0] >= shape[0] and array.shape[1] == shape[1]
            if not fits or array.dtype != np.uint8 or not array.flags.carray:
                raise ConfigError(
                    f"{name}: found an array of {array.dtype} {array.shape}, expected a writable, "
                    f"C-contiguous one of uint8 {shape}"
                )
