"""Keep observations that a test makes up as a build does, and read back what a build kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mmearth.catalog.catalogue import Catalogue, read_catalogue, write_catalogue
from mmearth.catalog.observed import open_observed
from mmearth.catalog.sample import Observation
from mmearth.catalog.schema import OBSERVATIONS, write_parts
from mmearth.catalog.store import Location, StoreReader
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile
from mmearth.curate.collect import Job, collect
from mmearth.curate.ledger import Ledger
from mmearth.curate.packs import Packs
from mmearth.curate.source import Label, Outcome, Visit


@dataclass(frozen=True)
class Seen:
    """A source that has been asked: it answers one visit."""

    outcomes: Mapping[str, Outcome]
    name: str = "seen 1"

    def fingerprint(self, name: str) -> str:
        """Return the same for every layer."""
        return f"seen {name}"

    def observe(self, visit: Visit) -> dict[str, Outcome]:
        """Return what it was given."""
        return {name: self.outcomes[name] for name in visit.wanted}

    def labels(self, task: Task, count: int, seed: int) -> Iterator[Label]:
        """Yield no place."""
        del task, count, seed
        yield from ()


def keep_collected(
    root: Path, catalogue: Catalogue, seen: Iterable[tuple[Tile, Mapping[str, Outcome]]]
) -> None:
    """Write packs, the ledger, `observations.parquet` and `catalogue.json`.

    Args:
        root: The dataset's directory.
        catalogue: Of the dataset.
        seen: Each tile once, with what is there of modalities and pixel-level targets.
    """
    packs = Packs(root, catalogue)
    with Ledger(root) as ledger:
        for tile, outcomes in seen:
            ledger.record(collect(Job(tile, tuple(outcomes), None, ()), Seen(outcomes), packs))
        write_parts(ledger.export(), root / "observations.parquet", OBSERVATIONS)
    write_catalogue(root, catalogue)


def kept(root: Path, tile: str) -> dict[str, Observation]:
    """Return all that a dataset's directory holds of a tile, by modality or target."""
    catalogue = read_catalogue(root)
    with open_observed(root, catalogue, [tile]) as observed, StoreReader(root) as reader:
        rows = observed.of_tile(tile).values()
        return {row.modality: row.read(reader, catalogue) for row in rows if row.is_here}


def read_location(root: Path, at: Location, what: str) -> bytes:
    """Return the bytes of one member, as `StoreReader.read` does."""
    with StoreReader(root) as reader:
        return reader.read(at, what)
