"""Dataset: a published dataset in a directory or behind a URL, to ask and to choose from."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from textwrap import shorten
from typing import Any

import pyarrow as pa

from mmearth.catalog.catalogue import CATALOGUE, Catalogue, parse_catalogue
from mmearth.catalog.checksums import (
    DATASET,
    FILES,
    SUMS,
    check_seal,
    checksum_of,
    dataset_bytes,
    parse_dataset,
)
from mmearth.catalog.documents import read_json
from mmearth.catalog.errors import ConfigError, FormatError, IntegrityError
from mmearth.catalog.files import read_regular
from mmearth.catalog.query import Query
from mmearth.catalog.schema import manifest_path
from mmearth.loaders.choose.counting import count_samples, first_held
from mmearth.loaders.fetch.cache import Cache, default_directory, fetched
from mmearth.loaders.fetch.root import Root, open_root
from mmearth.loaders.inputs import Normalisation, without_mean
from mmearth.loaders.query import Tables
from mmearth.loaders.query import query as ask
from mmearth.loaders.selection import Selection


@dataclass(frozen=True, slots=True, repr=False)
class Dataset:
    """A complete dataset; its tables are read when they are needed."""

    root: Root
    """Where it lies."""
    card: dict[str, Any]
    """dataset.json: name, licence, tasks, modalities, recipe, hash."""
    cache: Cache
    """Where the tables of a remote dataset are kept; not used for a local one."""
    _fetched: dict[str, Path] = field(default_factory=dict, repr=False, compare=False)
    _read: list[Catalogue] = field(default_factory=list, repr=False, compare=False)

    def __repr__(self) -> str:
        card = self.card
        return "\n".join(
            [
                f"<Dataset {card.get('name')} {card.get('version')} in {self.root.url}",
                f"  tasks       {', '.join(self.tasks)}",
                f"  modalities  {', '.join(map(str, card.get('modalities') or ()))}",
                f"  source      {card.get('source')}, recipe {card.get('recipe')}",
                f"  licence     {card.get('licence')}",
                f"  hash        {self.hash[:12]}…>",
            ]
        )

    @property
    def hash(self) -> str:
        """SHA-256 of SHA256SUMS: equal for datasets of equal bytes."""
        return str(self.card["dataset_hash"])

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that it has samples of."""
        return tuple(self.card["tasks"])

    @property
    def catalogue(self) -> Catalogue:
        """Its grid, layers and tasks: what every array means; read when it is first asked for.

        Raises:
            FormatError: catalogue.json is not ours; others as `find` says.
            IntegrityError: It has other tasks or modalities than dataset.json.
        """
        if not self._read:
            catalogue = _parsed(read_regular(self.find(CATALOGUE)), self._url(CATALOGUE))
            self._check_agreement(catalogue)
            self._read.append(catalogue)
        return self._read[0]

    def _check_agreement(self, catalogue: Catalogue) -> None:
        for what, names in (("tasks", catalogue.tasks), ("modalities", catalogue.layers)):
            if self.card[what] != list(names):
                raise IntegrityError(
                    f"{self._url(CATALOGUE)} has the {what} {shorten(', '.join(names), 80)}, "
                    f"{DATASET} has {shorten(', '.join(self.card[what]), 80)}; expected the same: "
                    "build the dataset again, or fetch it again"
                )

    @property
    def tables(self) -> Tables:
        """Where DuckDB finds its tables."""
        return Tables(self.root.url, self.catalogue, self.hash, self.find)

    def statistics(self, task: str) -> dict[str, Any]:
        """Return statistics/<task>.json: counts, means and extremes of the train subsets.

        Raises:
            ConfigError: The dataset has no such task.
            FormatError: The file is missing or not JSON; others as `find` says.
        """
        name = f"statistics/{self.catalogue.task(task).name}.json"
        document: dict[str, Any] = read_json(self.find(name))
        if not isinstance(document, dict):
            raise FormatError(
                f"{self._url(name)} is no JSON object; run `mmearth packaging build`, or fetch the "
                "dataset again"
            )
        return document

    def normalisation(self, task: str, subset: str) -> Normalisation:
        """Return the means and deviations of a task's train subset, of all modalities.

        Args:
            task: One of `tasks`.
            subset: `train`, `train_50` or `train_5`: the one that is trained on.

        Raises:
            FormatError: The statistics lack a band of which the manifest has valid values; others
                as `statistics` and `Normalisation.from_statistics` say.
        """
        document = self.statistics(task)
        layers = self.catalogue.layers.values()
        found = Normalisation.from_statistics(document, subset, layers)
        held = first_held(self.tables, task, subset, without_mean(document, subset, layers))
        if held is not None:
            raise FormatError(
                f"{self.root.url}: the statistics of {subset} have no mean of {held[0].name} "
                f"{held[1]}, of which {manifest_path(task)} has valid values; build them again "
                "with `mmearth packaging build`"
            )
        return found

    def sql(self, query: str) -> pa.Table:
        """Return the answer to one DuckDB query that reads.

        There is a view per task under the task's name, `samples` over all of them, `tiles` and
        `observations`. Only the tables that it names are fetched, all if it names none.

        Raises:
            ConfigError: It is not one reading query, or cannot be answered.
        """
        return ask(self.tables, query)

    def select(
        self,
        task: str,
        split: str | Iterable[str] | None = None,
        fraction: int = 100,
        modalities: str | Iterable[str] | None = None,
        where: str | None = None,
        limit: int | None = None,
    ) -> Selection:
        """Return the samples of a task that fit, with their number and bytes; no shard is read.

        Args:
            task: One of `tasks`.
            split: A split, several, or None for all.
            fraction: 5, 50 or 100 percent of the train split; other splits are whole.
            modalities: Those to read, in any order; None for all that it has.
            where: An SQL expression on the manifest's columns: `biome = 12 AND lat < 0`.
            limit: The first so many in the manifest's order: by split, then along a Hilbert curve.

        Raises:
            ConfigError: A value is not known, the SQL is wrong, or no sample is left.
        """
        query = Query.of(self.catalogue, task, split, fraction, modalities, where, limit)
        return Selection(self, query, count_samples(self.tables, query))

    def find(self, name: str) -> Path:
        """Return a table or another small file, compared with its checksum, on this machine.

        A file is compared once a process, and again after somebody touched it.

        Raises:
            ConfigError: The name is no text.
            FormatError: SHA256SUMS does not name it, or it is not there.
            IntegrityError: It, or SHA256SUMS, was changed after the dataset was sealed.
            MMEarthError: As `Root` and `fetched` say.
        """
        if not isinstance(name, str):
            raise ConfigError(f"found name {name!r}; expected a file's, from the dataset's root")
        if name not in self._fetched:
            digest = self.card.get(FILES, {}).get(name)
            if digest is None:  # an older dataset, or a large file
                digest = checksum_of(fetched(self.root, SUMS, self.hash, self.cache), name)
            if digest is None:
                raise FormatError(
                    f"{self.root.url} has no {name}: {SUMS} does not name it; expected a dataset "
                    "with all its tables, so build it again"
                )
            path = fetched(self.root, name, digest, self.cache)
            if self.root.path(name) is not None:
                return path.resolve()  # and look at it again the next time: it may have changed
            self._fetched[name] = path
        return self._fetched[name]

    def check_unchanged(self) -> None:
        """Refuse to go on when the dataset was built again since it was opened.

        Raises:
            IntegrityError: It was, or is being built this moment.
        """
        try:
            found: object = _read_card(self.root)["dataset_hash"]
        except (ConfigError, FormatError):
            found = "none: a build has begun"
        if found != self.hash:
            raise IntegrityError(
                f"{self.root.url} has changed since it was opened: found dataset hash {found}, "
                f"expected {self.hash}; wait until its build has ended and open it again"
            )

    def _url(self, name: str) -> str:
        return f"{self.root.url.rstrip('/')}/{name}"


def open_dataset(place: str | Path, cache: Cache | str | Path | None = None) -> Dataset:
    """Open a dataset: read its dataset.json and nothing else.

    Args:
        place: A directory, or a URL that begins with `http://`, `https://`, `s3://`, `gs://` or
            `hf://`.
        cache: Where to keep what is fetched: a directory or a `Cache`; None for MMEARTH_CACHE,
            else the user's cache directory.

    Raises:
        ConfigError: There is no complete dataset.
        FormatError: dataset.json is not ours, or of a schema this version does not read.
        SourceError: A remote place refuses, or did not answer.
    """
    root = open_root(place)
    if not isinstance(cache, Cache | str | os.PathLike | None) or cache == "":
        raise ConfigError(f"found cache {cache!r}; expected a directory, a Cache or None")
    if not isinstance(cache, Cache):
        cache = Cache(default_directory() if cache is None else Path(cache))
    return Dataset(root, _read_card(root), cache)


_parsed = lru_cache(maxsize=8)(parse_catalogue)  # of a thousand classes it takes some ms


def _read_card(root: Root) -> dict[str, Any]:
    path, name = root.path(DATASET), f"{root.url.rstrip('/')}/{DATASET}"
    data = root.read(DATASET) if path is None else dataset_bytes(path.parent)
    card = parse_dataset(data, name)
    check_seal(data, card, name)
    return card
