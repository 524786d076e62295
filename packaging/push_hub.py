"""A dataset's repository on Hugging Face's hub, to push to."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mmearth.catalog.errors import RefusedError, UnavailableError
from mmearth.catalog.extras import needing
from mmearth.catalog.files import check_regular, read_regular, sha256_bytes
from mmearth.catalog.hub_url import endpoint, repository
from mmearth.packaging.push import Files

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.hf_api import RepoFile

_AT_ONCE = 1000
"""Files that are asked for, or deleted, in one request."""


class Repository:
    """Files of one revision; a batch is a commit. The token is that of Hugging Face's own tools."""

    def __init__(self, url: str, private: bool) -> None:
        """Make the repository if there is none.

        Raises:
            ConfigError: The URL names none, or huggingface_hub is not installed.
            SourceError: The hub refuses, or did not answer.
        """
        with needing("hub"):
            from huggingface_hub import HfApi
            from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()  # a bar a file; ours tells of all
        self._url, (self._name, self._revision) = url, repository(url)
        self._api = HfApi(endpoint=endpoint())
        with self._asking():
            self._api.create_repo(self._name, repo_type="dataset", private=private, exist_ok=True)

    def held(self, root: Path, files: Files) -> set[str]:
        """Return files of the right bytes: of all there, the hub tells a hash that it has made."""
        from huggingface_hub.hf_api import RepoFile

        with self._asking():
            tree = self._api.list_repo_tree(
                self._name, recursive=True, revision=self._revision, repo_type="dataset"
            )
            return {
                entry.path
                for entry in tree
                if isinstance(entry, RepoFile)
                and entry.path in files
                and _is_right(entry, root, files[entry.path])
            }

    def send(self, root: Path, files: Files) -> None:
        """Commit files; what is not text goes to the hub's large-file store."""
        from huggingface_hub import CommitOperationAdd

        for name in files:
            check_regular(root / name, root)
        self._commit([CommitOperationAdd(name, str(root / name)) for name in files], "Add")

    def read(self, name: str) -> bytes | None:
        """Return a file, None if it is not there."""
        from huggingface_hub.errors import RemoteEntryNotFoundError

        with self._asking(), TemporaryDirectory() as folder:
            try:
                path = self._api.hf_hub_download(
                    self._name,
                    name,
                    repo_type="dataset",
                    revision=self._revision,
                    local_dir=folder,
                )
            except RemoteEntryNotFoundError:
                return None
            return Path(path).read_bytes()

    def drop(self, names: Collection[str]) -> None:
        """Delete those of the files that are there, so many in a commit."""
        from huggingface_hub import CommitOperationDelete

        listed = list(names)
        for begin in range(0, len(listed), _AT_ONCE):
            with self._asking():
                found = self._api.get_paths_info(
                    self._name,
                    listed[begin : begin + _AT_ONCE],
                    revision=self._revision,
                    repo_type="dataset",
                )
            if gone := [CommitOperationDelete(entry.path) for entry in found]:
                self._commit(gone, "Delete")

    def proved(self, root: Path, files: Files) -> set[str]:
        """Return files of which the hub, which hashes what it is sent, has the right bytes."""
        return self.held(root, files)

    def _commit(
        self, operations: Sequence[CommitOperationAdd | CommitOperationDelete], what: str
    ) -> None:
        n = len(operations)
        with self._asking():
            self._api.create_commit(
                self._name,
                operations,
                commit_message=f"{what} {n} file{'s' * (n > 1)}",
                repo_type="dataset",
                revision=self._revision,
            )

    @contextmanager
    def _asking(self) -> Iterator[None]:
        from huggingface_hub.errors import HfHubHTTPError

        # Its bases are the errors of the HTTP library that it uses, which is not always the same;
        # RuntimeError is of a file that could not be sent.
        silence: tuple[type[Exception], ...] = (OSError, RuntimeError, *HfHubHTTPError.__bases__)
        try:
            yield
        except HfHubHTTPError as exc:
            status = exc.response.status_code
            said = str(exc).split("\n", maxsplit=1)[0]
            if status in {401, 403, 404}:
                raise RefusedError(
                    f"{self._url} may not be written ({said}); sign in with `hf auth login`, or "
                    "set HF_TOKEN"
                ) from exc
            raise UnavailableError(
                f"{self._url}: {said}; push again: what is there already stays"
            ) from exc
        except silence as exc:
            raise UnavailableError(
                f"{self._url} was not answered ({exc.__cause__ or exc}); push again: what is there "
                "already stays"
            ) from exc


def _is_right(entry: RepoFile, root: Path, sha256: str) -> bool:
    """Compare what the hub has made of a file: its SHA-256, or Git's SHA-1 of a small one."""
    if entry.lfs is not None:
        return bool(entry.lfs.sha256 == sha256)
    data = read_regular(root / entry.path, root)
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return sha256_bytes(data) == sha256 and blob == entry.blob_id
