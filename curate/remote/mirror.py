"""A mirror of remote rasters: headers and blocks are fetched, many at once, each of them once.

A file of the remote one's length holds them at their own offsets; the rest of it is a hole. GDAL
opens it as any local file, so that what reads pixels is one and the same for both.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mmearth.catalog.errors import FormatError, MMEarthError, UnavailableError
from mmearth.curate.remote.address import public
from mmearth.curate.remote.client import Client, Part
from mmearth.curate.remote.eviction import make_room
from mmearth.curate.remote.have import ChangedError, Copy, Have, Listed, copy_of
from mmearth.curate.remote.threads import Threads, at_once
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
_MOST_TOLD = 512
PIECE_BYTES, _PIECES = 4 << 20, 16
"""Of a file that is fetched whole: what one request asks for, and how many are sent together."""
_EMPTIED = (
    "the cache of remote files is emptied while it is read; give it more room with MMEARTH_CACHE_GB"
)


@dataclass(frozen=True, slots=True)
class Mirror:
    """The remote rasters that are here in part."""

    client: Client
    """Fetches what is not here."""

    def copy(self, url: str) -> Copy:
        """Return where the copy of a file is."""
        return copy_of(url, self.client.access.cache)

    def header(self, url: str) -> None:
        """Fetch the header of a file: what must be there before it is opened.

        Raises:
            MMEarthError: It cannot be had.
        """
        self._layouts(self.copy(url))

    def fetch(self, url: str, regions: Sequence[Region]) -> None:
        """Fetch the blocks of a file under rectangles, each block once.

        Raises:
            MMEarthError: They cannot be had.
        """
        mine: list[Span] = []
        theirs: list[Future[None]] = []
        for span in self._lacking(self.copy(url), regions):  # block by block: others want some
            claimed = _CLAIMS.claim(public(url), span)
            if claimed is None:
                mine.append(span)
            else:
                theirs.append(claimed)
        try:
            n_new = self._kept(url, _together(mine))
        finally:
            for span in mine:
                _CLAIMS.release(public(url), span)
        for claim in theirs:
            claim.result()
        make_room(self.client.access.cache, self.client.access.cache_bytes, n_new)

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
            with ExitStack() as held:
                for url in sorted(wanted):
                    held.enter_context(self.copy(url).locked(fcntl.LOCK_SH))
                if all(self._is_here(self.copy(url), wanted[url]) for url in wanted):
                    yield {url: self.copy(url).data for url in wanted}
                    return
            for url, regions in wanted.items():
                self.fetch(url, regions)
        raise UnavailableError(_EMPTIED)

    @contextmanager
    def whole(self, url: str) -> Iterator[Path]:
        """Hold a file all of whose bytes are here: what cannot be read in parts.

        Yields:
            Where it is.

        Raises:
            MMEarthError: It cannot be had.
            UnavailableError: See `opened`.
        """
        copy = self.copy(url)
        for _ in range(_TRIES):
            with suppress(ChangedError), _CLAIMS.alone(public(url)):
                self._fetch_whole(copy)
            with copy.locked(fcntl.LOCK_SH):
                have = copy.have()
                if have is not None and have.holds(0, have.length):
                    os.utime(copy.folder)
                    yield copy.data
                    return
        raise UnavailableError(_EMPTIED)

    def _fetch_whole(self, copy: Copy) -> None:
        have = copy.have() or copy.keep([self.client.part(copy.url, 0, HEADER_BYTES)])
        begins = range(0, have.length, PIECE_BYTES)
        pieces = ((begin, min(begin + PIECE_BYTES, have.length)) for begin in begins)
        lacking = [piece for piece in pieces if not have.holds(*piece)]
        for i in range(0, len(lacking), _PIECES):
            self._kept(copy.url, lacking[i : i + _PIECES])

    def _kept(self, url: str, wanted: Sequence[Span]) -> int:
        """Fetch bytes of a file and write them; return how many."""
        found = at_once(wanted, lambda span: self.client.part(url, *span), Threads.SPANS)
        parts = [part for part in found.values() if isinstance(part, Part)]
        # Whoever changed is begun anew by `opened`, which sees that it is not here.
        with suppress(ChangedError):
            if parts:
                self.copy(url).keep(parts)
        for error in found.values():
            if isinstance(error, MMEarthError):
                raise error
        return sum(len(part.data) for part in parts)

    def _is_here(self, copy: Copy, regions: Sequence[Region]) -> bool:
        have = copy.have()
        if have is None:
            return False
        try:
            found = _layouts_of(copy, have)
        except AbsentBytes:
            return False
        os.utime(copy.folder)  # what was used last is deleted last
        return all(have.holds(*span) for span in _spans(found, regions, have.length))

    def _lacking(self, copy: Copy, regions: Sequence[Region]) -> list[Span]:
        """Return the blocks that are to be fetched of a file."""
        found, have = self._layouts(copy)
        spans = _spans(found, regions, have.length)
        if spans and max(end for _, end in spans) > have.length:
            raise FormatError(f"{public(copy.url)} is shorter than its directory says: cut short")
        return [span for span in spans if not have.holds(*span)]

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
                    return _layouts_of(copy, have), have
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


class _Told:
    """What headers told, of the files that were looked at last; of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, tuple[Have, tuple[Layout, ...]]] = OrderedDict()

    def get(self, copy: Copy, have: Have) -> tuple[Layout, ...] | None:
        """Return where a file's blocks lie, if all that told it is still here."""
        with self._lock:
            header, found = self._known.get(copy.folder, (None, None))
        if header is None or (header.length, header.version) != (have.length, have.version):
            return None
        return found if all(have.holds(*span) for span in header.spans) else None

    def keep(self, copy: Copy, header: Have, found: tuple[Layout, ...]) -> None:
        """Take note of what the bytes of a header told; of a file without a version, nothing."""
        with self._lock:
            if header.version:
                self._known[copy.folder] = header, found
            while len(self._known) > _MOST_TOLD:
                self._known.popitem(last=False)


_TOLD = _Told()


def _layouts_of(copy: Copy, have: Have) -> tuple[Layout, ...]:
    """Return where a file's blocks lie.

    Raises:
        AbsentBytes: Some of its header is not here.
        FormatError: It is no TIFF, or damaged.
    """
    known = _TOLD.get(copy, have)
    if known is not None:
        return known
    read, spans = _reader(copy, have), set[Listed]()

    def noted(begin: int, end: int) -> bytes:
        data = read(begin, end)
        spans.add((begin, begin + len(data), 0))
        return data

    found = layouts(noted, have.length, public(copy.url))
    _TOLD.keep(copy, Have(have.length, have.version, tuple(sorted(spans))), found)
    return found


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
