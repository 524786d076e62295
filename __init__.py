"""mmearth: curate, package, query, stream and benchmark multimodal Earth-observation datasets."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth.catalog.catalogue import Catalogue
    from mmearth.catalog.layer import Layer
    from mmearth.catalog.task import Task
    from mmearth.loaders.dataset import Dataset
    from mmearth.loaders.fetch.cache import Cache
    from mmearth.loaders.inputs import Normalisation

__version__ = "0.1.0"
__all__ = ["Catalogue", "Layer", "Normalisation", "Task", "__version__", "open"]
_NOUNS = {
    "Catalogue": "mmearth.catalog.catalogue",
    "Layer": "mmearth.catalog.layer",
    "Task": "mmearth.catalog.task",
    "Normalisation": "mmearth.loaders.inputs",
}
"""Where each lives; imported when it is asked for, as `import mmearth` costs nothing."""


def __getattr__(name: str) -> object:
    if name not in _NOUNS:
        raise AttributeError(f"module 'mmearth' has no attribute {name!r}")
    return getattr(import_module(_NOUNS[name]), name)


def open(place: str | Path, cache: Cache | str | Path | None = None) -> Dataset:
    """Open a dataset: read its dataset.json and nothing else.

        dataset = mmearth.open("data/demo")
        chosen = dataset.select("soil_pH", "train", modalities=["sentinel2"], where="lat < 0")
        for batch in chosen.loader(batch_size=32):
            ...

    `dataset.select` chooses samples, `dataset.sql` answers questions, `dataset.statistics` has what
    values are normalised with, `dataset.catalogue` what every array means.

    Args:
        place: A directory, or a URL that begins with `http://`, `https://`, `s3://` or `gs://`;
            credentials come from the environment (docs/loaders.md).
        cache: Where to keep what is fetched from a URL: a directory or a `Cache`; None for
            MMEARTH_CACHE, else `~/.cache/mmearth`. A local dataset is never copied.

    Raises:
        ConfigError: There is no complete dataset, or an argument is neither of these.
        FormatError: dataset.json is not ours, or of a schema this version does not read.
        IntegrityError: It was changed after the dataset was sealed.
        SourceError: A remote place refuses, or did not answer.
    """
    from mmearth.loaders.dataset import open_dataset

    return open_dataset(place, cache)
