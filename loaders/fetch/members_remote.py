"""Members of a dataset behind a URL: ranges fetched side by side, verified, kept in a cache."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import FormatError, SourceError
from mmearth.loaders.choose.index import Index
from mmearth.loaders.fetch.cache import Cache
from mmearth.loaders.fetch.digests import Digests, MemberForm, check_unchanged
from mmearth.loaders.fetch.finish import Finish
from mmearth.loaders.fetch.ranges import Span, merged
from mmearth.loaders.fetch.root import Root

REQUESTS = 8
"""Requests that one process has under way."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One member that a batch wants."""

    name: str
    """A key of the index' offsets."""
    row: int
    """Of the index."""
    begin: int
    """First byte in its shard."""
    end: int
    """The byte after its last."""
    into: NDArray[np.uint8]
    """(nbytes,) where its values go."""
    form: MemberForm
    """Of the member."""


class RemoteReader:
    """Reads members in one process; every member that arrives is verified."""

    def __init__(
        self,
        root: Root,
        index: Index,
        dataset_hash: str,
        gap: int,
        cache: Cache | None,
        raw: bool = False,
    ) -> None:
        """Ask for nothing yet; the arguments are those of `Members`."""
        self._root, self._index, self._hash = root, index, dataset_hash
        self._gap, self._cache, self._raw = gap, cache, raw
        self._digests = Digests(root, index, "all")
        # When the inode of each entry of the cache changed that was compared by this process.
        self._compared = {name: np.zeros(len(index), np.int64) for name in index.offset}
        self._pool = ThreadPoolExecutor(REQUESTS, thread_name_prefix="mmearth-range")
        self._asked = False  # whether the dataset is still the one that was opened

    def fill(
        self,
        rows: NDArray[np.int64],
        into: Mapping[str, NDArray[np.uint8]],
        arrived: Mapping[str, Finish],
        epoch: int,
    ) -> None:
        """Write each row's members; see `Members.fill`."""
        wanted = self._wanted(rows, into)
        missing: dict[int, list[Wanted]] = {}
        for each, is_kept in zip(wanted, self._all_from_cache(wanted), strict=True):
            if not is_kept:
                missing.setdefault(int(self._index.shard[each.row]), []).append(each)
        if missing:
            self._fetch(missing)
        for name, finish in arrived.items():
            for slot in np.flatnonzero(self._index.offset[name][rows]).tolist():
                if finish.look[slot]:
                    finish(slot)

    def _wanted(
        self, rows: NDArray[np.int64], into: Mapping[str, NDArray[np.uint8]]
    ) -> list[Wanted]:
        found = []
        for name, array in into.items():
            begins = self._index.offset[name][rows]
            ends = (begins.astype(np.int64) + self._digests.lengths(name, rows)).tolist()
            form = self._digests.forms[name]
            found += [
                Wanted(name, row, begin, end, into_row, form)
                for row, begin, end, into_row in zip(
                    rows.tolist(), begins.tolist(), ends, array, strict=False
                )
                if begin
            ]
        return found

    def _all_from_cache(self, wanted: list[Wanted]) -> list[bool]:
        """Take what the cache has; say of which it was."""
        if self._cache is None or self._index.codec.is_npy:
            return [self._from_cache(each) for each in wanted]
        # To decode takes longer than to let a thread do it.
        kept = [False] * len(wanted)
        parts = [wanted[i::REQUESTS] for i in range(REQUESTS)]
        asked = [self._pool.submit(self._some_from_cache, part) for part in parts]
        for i, part in enumerate(_all_of(asked)):
            kept[i::REQUESTS] = part
        return kept

    def _some_from_cache(self, wanted: list[Wanted]) -> list[bool]:
        return [self._from_cache(each) for each in wanted]

    def _fetch(self, missing: Mapping[int, list[Wanted]]) -> None:
        if not self._asked:
            check_unchanged(self._root, self._hash)
            self._asked = True
        asked: list[Future[Any]] = []
        for shard, wanted in missing.items():
            ranges = [(each.begin, each.end) for each in wanted]
            for span in merged(ranges, self._gap):
                members = [wanted[at] for at in span.members]
                asked.append(self._pool.submit(self._get, shard, span, members))
        _all_of(asked)

    def _get(self, shard: int, span: Span, members: list[Wanted]) -> None:
        """Fetch one span of a shard and give each member its part."""
        data = memoryview(self._range(shard, span.begin, span.end, members[0]))
        for wanted in members:
            part = data[wanted.begin - span.begin : wanted.end - span.begin]
            if not self._accept(wanted, part):
                # Damaged on the way, perhaps: once more, alone.
                part = memoryview(self._range(shard, wanted.begin, wanted.end, wanted))
                if not self._accept(wanted, part):
                    check_unchanged(self._root, self._hash)
                    n = len(wanted.form.header)
                    header, values = bytes(part[:n]), part[n:]
                    raise self._digests.damaged(wanted.name, wanted.row, header, values)

    def _range(self, shard: int, begin: int, end: int, wanted: Wanted) -> bytes | bytearray:
        try:
            return self._root.read_range(self._index.shards[shard], begin, end)
        except (FormatError, SourceError) as exc:
            if isinstance(exc, FormatError):
                # A build that began meanwhile is the better explanation, where there is one.
                check_unchanged(self._root, self._hash)
            member = self._digests.member(wanted.name, wanted.row)
            raise type(exc)(f"{member}: {exc}") from exc

    def _accept(self, wanted: Wanted, part: memoryview) -> bool:
        """Take a member if it is the manifest's, and keep it."""
        n = len(wanted.form.header)
        if not self._digests.matches(wanted.name, wanted.row, bytes(part[:n]), part[n:]):
            return False
        if self._index.codec.is_npy:
            wanted.into[:] = np.frombuffer(part[n:], np.uint8)
        else:
            self._digests.write(wanted.name, wanted.row, part, wanted.into, self._raw)
        if self._cache is not None:
            self._cache.put(self._digests.expected(wanted.name, wanted.row), part)
        return True

    def _from_cache(self, wanted: Wanted) -> bool:
        """Take a member from the cache, compared again after a change; drop a damaged entry."""
        if self._cache is None:
            return False
        sha256 = self._digests.expected(wanted.name, wanted.row)
        path = self._cache.get(sha256)
        if path is None:
            return False
        header, is_npy = bytearray(len(wanted.form.header)), self._index.codec.is_npy
        stored = wanted.end - wanted.begin
        values = wanted.into.data if is_npy else memoryview(bytearray(stored))
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # evicted meanwhile, or not this user's to read
            return False
        try:
            changed = os.fstat(file).st_ctime_ns
            n_read = os.readv(file, [header, values])
            is_same = os.fstat(file).st_ctime_ns == changed
        finally:
            os.close(file)
        compared = self._compared[wanted.name]
        whole = n_read == stored and header == wanted.form.header
        is_right = whole and is_same and compared[wanted.row] == changed
        if not is_right and whole:
            is_right = self._digests.matches(wanted.name, wanted.row, bytes(header), values)
        if not is_right:
            self._cache.drop(sha256)
            return False
        compared[wanted.row] = changed
        if not is_npy:
            self._digests.write(wanted.name, wanted.row, values, wanted.into, self._raw)
        return True


def _all_of(asked: list[Future[Any]]) -> list[Any]:
    """Wait for tasks and return their results; after a first error the rest is not begun."""
    wait(asked, return_when=FIRST_EXCEPTION)
    for future in asked:
        future.cancel()
    # Nothing may still write into the batch when this returns, whatever happened.
    wait(asked)
    return [future.result() for future in asked if not future.cancelled()]
