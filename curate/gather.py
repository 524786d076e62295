"""What is left of a plan is collected: from a store that others share, and from the source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmearth.catalog.progress import Progress
from mmearth.curate.checkpoint import Checkpoint
from mmearth.curate.collect import Job
from mmearth.curate.identity import Identities
from mmearth.curate.jobs import Difference, Pending, Wanted, pending
from mmearth.curate.ledger import Ledger, Record
from mmearth.curate.packs import Packs
from mmearth.curate.shared_store import SharedStore
from mmearth.curate.source import Price, Source, is_metered, price_of
from mmearth.curate.visits import Options, visit_all


@dataclass(frozen=True, slots=True)
class Gathering:
    """All that one build collects with."""

    wanted: Wanted
    """What is wanted at every tile."""
    identities: Identities
    """What observations are known by."""
    require: tuple[str, ...]
    """Modalities without which a tile makes no sample."""
    source: Source
    """Where observations come from."""
    ledger: Ledger
    """Knows what is there."""
    packs: Packs
    """Where pixels are kept."""
    store: SharedStore | None
    """Has what other builds collected; None for no such store."""
    how: Options
    """Workers and budgets."""
    progress: Progress
    """Told about every tile."""

    def left(self) -> tuple[Pending, Difference]:
        """Return the visits that are left, and how the plan differs from what is there.

        The ledger is told which observations are the dataset's own.
        """
        about = self.wanted, self.identities, self.require, self.ledger, self.packs.root
        return pending(*about, self.ledger.want)

    def price(self, jobs: Iterable[Job], difference: Difference) -> Price | None:
        """Return what visits cost of services, about, beside what the store has.

        Args:
            jobs: The visits.
            difference: Told what the store has.
        """
        if self.store is not None:
            jobs = unstored(jobs, self.store, difference)
        elif not is_metered(self.source):
            return None
        return price_of(self.source, [job.visit for job in jobs])

    def collect(self) -> None:
        """Collect what is left.

        Raises:
            QuotaError: The budget is spent.
            RefusedError: The source wants a person to act.
            StorageError: The disk is full or refused.
        """
        jobs, _ = self.left()
        self._visit(jobs)
        jobs, difference = self.left()
        if difference.n_followed:  # what was found decides about what had been settled
            self._visit(jobs)

    def _visit(self, jobs: Pending) -> None:
        self.progress("collect", len(jobs))
        with Checkpoint(self.packs.root, self.ledger, self._share) as checkpoint:

            def keep(records: list[Record]) -> None:
                stored = [] if self.store is None else self.store.taken(records)
                checkpoint.keep([*records, *stored])
                for _ in {record.tile for record in records}:
                    self.progress("collect", None)

            def rounds(jobs: Iterable[Job]) -> Iterable[Iterable[Job]]:
                return [jobs] if self.store is None else self.store.rounds(jobs, self.packs, keep)

            if jobs:
                # Who asks for many tiles at once is given neighbours.
                jobs = jobs.by_cell() if is_metered(self.source) else jobs
                visit_all(jobs, len(jobs), self.source, self.packs, self.how, keep, rounds)

    def _share(self, records: list[Record]) -> None:
        """Let other builds have what is kept."""
        if self.store is not None:
            self.store.put(records, self.packs.root)
            self.store.release(records)


def unstored(jobs: Iterable[Job], store: SharedStore, difference: Difference) -> Iterator[Job]:
    """Yield what is left of jobs beside what a store has, of which the difference is told."""
    for job in jobs:
        found, left = store.rest(job)
        difference.stored.update(record.modality for record in found)
        if left is not None:
            yield left
