"""Where the visits of a run keep what they found: one pack for each process."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.sample import Observation
from mmearth.catalog.store import Location, PackWriter

_RUNS = 8  # whose packs one process, such as a Dask worker's, keeps open


@dataclass(frozen=True, slots=True)
class Packs:
    """Keeps observations with pixels, as shards will have them; travels to worker processes."""

    root: Path
    """The dataset's directory."""
    catalogue: Catalogue
    """Of the dataset; its codec writes the members."""
    is_shared: bool = False
    """Whether workers are on other machines, which a sync here does not reach."""
    run: str = field(default_factory=lambda: secrets.token_hex(8))
    """Another in each run: a process that outlives one begins a new file."""

    def keep(self, observation: Observation) -> Location:
        """Add an observation to this process's pack; return where it is.

        Raises:
            StorageError: The disk is full or the directory cannot be written.
        """
        name = observation.layer.name
        member = observation.array.reshape(self.catalogue.member_shape(name))
        return self.add(self.catalogue.codec.encode(member))

    def add(self, member: bytes) -> Location:
        """Add an encoded observation likewise."""
        return _writer(self.root, self.run).add(member)

    def end_visit(self) -> None:
        """Make what was kept safe, where the process that writes the ledger cannot.

        Raises:
            StorageError: The disk is full.
        """
        if self.is_shared:
            _writer(self.root, self.run).sync()


@lru_cache(_RUNS)
def _writer(root: Path, run: str) -> PackWriter:
    return PackWriter(root)
