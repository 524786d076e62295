"""A bucket that speaks S3 or Google Cloud Storage, to push to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from mmearth.catalog.errors import ConfigError, RefusedError, UnavailableError
from mmearth.catalog.extras import needing
from mmearth.catalog.files import check_regular
from mmearth.packaging.push import Files

_THREADS = 16
_SHA256 = "sha256"  # the object's own metadata that says what was sent
_BLOCK = 8 << 20  # bytes that are read back at a time


class Bucket:
    """Objects below a prefix; credentials come from the environment."""

    def __init__(self, url: str) -> None:
        """Take a URL apart; nothing is asked yet.

        Raises:
            ConfigError: It names no bucket, or obstore is not installed.
        """
        with needing("cloud"):
            from obstore.exceptions import BaseError
            from obstore.store import from_url

        # Options given here hide the environment's, of which this one must be kept.
        allowed = any(os.environ.get(f"{who}_ALLOW_HTTP") == "true" for who in ("AWS", "GOOGLE"))
        try:
            self._store = from_url(url.rstrip("/"), client_options={"allow_http": allowed})
        except (BaseError, ValueError) as exc:
            raise ConfigError(f"{url} cannot be opened: {_first_line(exc)}; check the URL") from exc
        self._url = url

    def held(self, root: Path, files: Files) -> set[str]:
        """Return files of the right size of which the bucket keeps the right SHA-256."""
        import obstore

        with self._asking():
            sizes = {
                entry["path"]: entry["size"]
                for batch in obstore.list(self._store)
                for entry in batch
            }

        def is_held(name: str) -> bool:
            if sizes.get(name) != check_regular(root / name, root).st_size:
                return False
            head = obstore.get(self._store, name, options={"head": True})
            return head.attributes.get(_SHA256) == files[name]

        return self._each(is_held, files)

    def send(self, root: Path, files: Files) -> None:
        """Copy files, large ones in parts."""
        import obstore

        def put(name: str) -> bool:
            check_regular(root / name, root)
            obstore.put(self._store, name, root / name, attributes={_SHA256: files[name]})
            return True

        self._each(put, files)

    def read(self, name: str) -> bytes | None:
        """Return a file, None if it is not there."""
        import obstore

        with self._asking():
            try:
                return bytes(obstore.get(self._store, name).bytes())
            except FileNotFoundError:
                return None

    def drop(self, names: Collection[str]) -> None:
        """Delete those of the files that are there."""
        import obstore

        def is_gone(name: str) -> bool:
            try:
                obstore.delete(self._store, name)
            except FileNotFoundError:
                return False
            return True

        self._each(is_gone, names)

    def proved(self, root: Path, files: Files) -> set[str]:
        """Return files that, read back, have the right bytes."""
        import obstore

        def is_right(name: str) -> bool:
            digest = hashlib.sha256()
            for block in obstore.get(self._store, name).stream(min_chunk_size=_BLOCK):
                digest.update(block)
            return digest.hexdigest() == files[name]

        return self._each(is_right, files)

    def _each(self, test: Callable[[str], bool], names: Iterable[str]) -> set[str]:
        """Return the names that pass, several asked for at a time."""
        listed = list(names)
        with self._asking(), ThreadPoolExecutor(_THREADS) as pool:
            found = zip(listed, pool.map(test, listed), strict=True)
            return {name for name, passes in found if passes}

    @contextmanager
    def _asking(self) -> Iterator[None]:
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as exc:
            raise RefusedError(
                f"{self._url} may not be written with the credentials of this environment: "
                f"{_first_line(exc)}; sign in, or ask its owner"
            ) from exc
        except (BaseError, FileNotFoundError) as exc:
            raise UnavailableError(
                f"{self._url}: {_first_line(exc)}; push again: what is there already stays"
            ) from exc


def _first_line(exc: Exception) -> str:
    return str(exc).split("\n", maxsplit=1)[0].strip()
