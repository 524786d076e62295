"""mmearth: curate, package, query, stream and benchmark multimodal Earth-observation datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth.loaders.dataset import Dataset
    from mmearth.loaders.fetch.cache import Cache

__version__ = "0.1.0"


def open(place: str | Path, cache: Cache | str | Path | None = None) -> Dataset:
    """Open a dataset in a directory or behind a URL; see `mmearth.loaders.dataset.open_dataset`."""
    # Imported here: `import mmearth` costs nothing, and the command line begins with it.
    from mmearth.loaders.dataset import open_dataset

    return open_dataset(place, cache)
