"""A mirror of remote rasters: headers and blocks are fetched, many at once, each of them once.

A file of the remote one's length holds them at their own offsets; the rest of it is a hole. GDAL
opens it as any local file, so that what reads pixels is one and the same for both.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mmearth.catalog.errors import (
    FormatError,
    MMEarthError,
    RefusedError,
    StorageError,
    UnavailableError,
)
from mmearth.curate.remote.address import public
from mmearth.curate.remote.client import Client, Part
from mmearth.curate.remote.eviction import make_room
from mmearth.curate.remote.have import ChangedError, Copy, Have, copy_of
from mmearth.curate.remote.threads import at_once
from mmearth.curate.remote.tiff import AbsentBytes, Layout, Region, Span, layouts

HEADER_BYTES = 8_192
"""Asked for first: all directories of a Sentinel-2 band of 512² blocks end before 7 kB."""
_MOST_HEADER_BYTES = 64 << 20
_GAP_BYTES = 512
"""So few bytes between two blocks are fetched with them: GDAL writes eight."""
_ROUND_BYTES = 4
"""Before and behind each block: GDAL repeats its length there, and may look."""
_TRIES = 4
"""How often a file may change, or be deleted by another process, while it is read."""
_HEAD_BYTES = 1 << 17


@dataclass(frozen=True, slots=True)
class Mirror:
    """The remote rasters that are here in part."""

    client: Client
    """Fetches what is not here."""

    def copy(self, url: str) -> Copy:
        """Return where the copy of a file is."""
        return copy_of(url, self.client.access.cache)

    def headers(self, urls: Iterable[str]) -> dict[str, MMEarthError | None]:
        """Fetch the headers of files: what must be there before one is opened.

        Returns:
            None for each that is here, or why it is not.

        Raises:
            RefusedError: A person must act, or the budget is spent.
            StorageError: The disk is full or refused.
        """
        found = at_once(urls, lambda url: self._layouts(self.copy(url)))
        errors = {u: e if isinstance(e, MMEarthError) else None for u, e in found.items()}
        _stop(errors.values())
        return errors

    def blocks(self, wanted: Mapping[str, Sequence[Region]]) -> dict[str, MMEarthError | None]:
        """Fetch the blocks of files under rectangles, each block once, many at a time.

        Returns:
            As `headers`.

        Raises:
            RefusedError: As `headers`.
            StorageError: As `headers`.
        """
        plans = at_once(wanted, lambda url: self._lacking(self.copy(url), wanted[url]))
        errors = {u: p if isinstance(p, MMEarthError) else None for u, p in plans.items()}
        mine: list[tuple[str, Span]] = []
        theirs: list[Future[None]] = []
        for url, plan in plans.items():
            for span in [] if isinstance(plan, MMEarthError) else plan:
                claimed = _CLAIMS.claim(public(url), span)
                if claimed is None:
                    mine.append((url, span))
                else:
                    theirs.append(claimed)
        try:
            found = at_once(mine, lambda at: self.client.part(at[0], *at[1]))
            errors |= self._kept(found)
        finally:
            for url, span in mine:
                _CLAIMS.release(public(url), span)
        for claim in theirs:
            claim.result()
        _stop(errors.values())
        access = self.client.access
        make_room(access.cache, access.cache_bytes, _n_bytes(found.values()))
        return errors

    @contextmanager
    def opened(self, wanted: Mapping[str, Sequence[Region]]) -> Iterator[dict[str, Path]]:
        """Hold files of which the blocks under rectangles are here, so that nobody writes to them.

        Yields:
            Where each is.

        Raises:
            MMEarthError: One of them cannot be had; the first of them says why.
            UnavailableError: They keep changing, or another process deletes them.
        """
        for _ in range(_TRIES):
            for error in self.blocks(wanted).values():
                if error is not None:
                    raise error
            with ExitStack() as held:
                for url in sorted(wanted):
                    held.enter_context(self.copy(url).locked(fcntl.LOCK_SH))
                if all(self._is_here(self.copy(url), wanted[url]) for url in wanted):
                    yield {url: self.copy(url).data for url in wanted}
                    return
        raise UnavailableError(
            "the cache of remote files is emptied while it is read; give it more room with "
            "MMEARTH_CACHE_GB"
        )

    def _kept(
        self, found: Mapping[tuple[str, Span], Part | MMEarthError]
    ) -> dict[str, MMEarthError]:
        """Write what came, file by file; return what went wrong."""
        errors: dict[str, MMEarthError] = {}
        parts: dict[str, list[Part]] = {}
        for (url, _), part in found.items():
            if isinstance(part, Part):
                parts.setdefault(url, []).append(part)
            else:
                errors.setdefault(url, part)
        for url, some in parts.items():
            try:
                self.copy(url).keep(some)
            except ChangedError as exc:
                errors.setdefault(url, exc)
        # Whoever changed is begun anew by `opened`, which sees that it is not here.
        return {url: error for url, error in errors.items() if not isinstance(error, ChangedError)}

    def _is_here(self, copy: Copy, regions: Sequence[Region]) -> bool:
        have = copy.have()
        if have is None:
            return False
        try:
            found = layouts(_reader(copy, have), have.length, copy.url)
        except AbsentBytes:
            return False
        os.utime(copy.folder)  # what was used last is deleted last
        return all(have.holds(*span) for span in _spans(found, regions, have.length))

    def _lacking(self, copy: Copy, regions: Sequence[Region]) -> list[Span]:
        """Return what is to be fetched of a file, adjacent blocks together."""
        found, have = self._layouts(copy)
        spans = _spans(found, regions, have.length)
        if spans and max(end for _, end in spans) > have.length:
            raise FormatError(f"{public(copy.url)} is shorter than its directory says: cut short")
        return _together([span for span in spans if not have.holds(*span)])

    def _layouts(self, copy: Copy) -> tuple[tuple[Layout, ...], Have]:
        """Return where a file's blocks lie; its header is fetched where it is not here."""
        for _ in range(_TRIES):
            try:
                return self._layouts_once(copy)
            except ChangedError:
                continue
        raise UnavailableError(f"{copy.url.partition('?')[0]} changes all the time")

    def _layouts_once(self, copy: Copy) -> tuple[tuple[Layout, ...], Have]:
        with _CLAIMS.alone(public(copy.url)):
            have = copy.have() or copy.keep([self.client.part(copy.url, 0, HEADER_BYTES)])
            while True:
                try:
                    name = public(copy.url)
                    return layouts(_reader(copy, have), have.length, name), have
                except AbsentBytes as absent:
                    have = copy.keep([self.client.part(copy.url, *_more(absent, have))])


class _Claims:
    """Who fetches what just now, in this process: the same block is not fetched twice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: dict[tuple[str, Span], Future[None]] = {}
        self._files: dict[str, list[object]] = {}

    def claim(self, url: str, span: Span) -> Future[None] | None:
        """Return None to who is the first, to the others what ends when it is there."""
        with self._lock:
            known = self._spans.get((url, span))
            if known is None:
                self._spans[url, span] = Future()
            return known

    def release(self, url: str, span: Span) -> None:
        """Tell the others that the span is there, or will not be."""
        with self._lock:
            self._spans.pop((url, span)).set_result(None)

    @contextmanager
    def alone(self, url: str) -> Iterator[None]:
        """Keep all others from the header of a file."""
        with self._lock:
            entry = self._files.setdefault(url, [threading.Lock(), 0])
            entry[1] += 1  # type: ignore[operator]
        try:
            with entry[0]:  # type: ignore[attr-defined]
                yield
        finally:
            with self._lock:
                entry[1] -= 1  # type: ignore[operator]
                if not entry[1]:
                    self._files.pop(url, None)


_CLAIMS = _Claims()


def _stop(errors: Iterable[MMEarthError | None]) -> None:
    """Raise what ends the run.

    Raises:
        RefusedError: A person must act.
        StorageError: The disk is full or refused.
    """
    for error in errors:
        if isinstance(error, RefusedError | StorageError):
            raise error


def _reader(copy: Copy, have: Have) -> Callable[[int, int], bytes]:
    """Return what reads bytes that are there; the first ones, most of any header, are read once."""
    first = have.spans[0] if have.spans else (0, 0)
    begin, end = first[0], min(first[1], first[0] + _HEAD_BYTES)
    head = copy.read(have, begin, end)

    def read(at: int, after: int) -> bytes:
        if begin <= at and after <= end:
            return head[at - begin : after - begin]
        return copy.read(have, at, min(after, have.length))

    return read


def _more(absent: AbsentBytes, have: Have) -> Span:
    """Return what is fetched of a header that is longer than was thought: once, not table by table.

    The tables of the overviews follow, together a third as long.
    """
    begin = next((e for b, e in have.spans if b <= absent.begin < e), absent.begin)
    size = max(HEADER_BYTES, min((absent.end - begin) * 3 // 2, _MOST_HEADER_BYTES))
    return begin, min(max(begin + size, absent.end), have.length)


def _spans(found: Sequence[Layout], regions: Sequence[Region], length: int) -> list[Span]:
    """Return where the blocks under rectangles lie, of pixels and masks, each once."""
    spans = {span for layout in found for region in regions for span in layout.spans(region)}
    # No further than to the end, unless the block itself goes there.
    ends = {end: max(min(end + _ROUND_BYTES, length), end) for _, end in spans}
    return [(max(begin - _ROUND_BYTES, 0), ends[end]) for begin, end in sorted(spans)]


def _together(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for begin, end in spans:
        if joined and begin - joined[-1][1] <= _GAP_BYTES:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return joined


def _n_bytes(found: Iterable[Part | MMEarthError]) -> int:
    return sum(len(part.data) for part in found if isinstance(part, Part))
