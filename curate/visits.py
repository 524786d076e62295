"""All visits of a build: with as many workers, and under the limit, that the source asks for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.executor import open_executor, run
from mmearth.curate.collect import Job, collect
from mmearth.curate.ledger import Record
from mmearth.curate.limit import LocalLimit, Purse
from mmearth.curate.meter import Meter
from mmearth.curate.outage import WAIT_S, Patience
from mmearth.curate.packs import Packs
from mmearth.curate.shared_limit import address_towards, serve_limit
from mmearth.curate.source import Farsighted, Source, is_metered
from mmearth.curate.sources.mixed import asked_of, parts_of

CALIBRATED = 4
"""Tiles, spread over the plan, that tell the price before the build begins to follow it."""
_HERE = "127.0.0.1"
_QUEUED = 32  # visits a worker: enough that none waits while the disk syncs

Jobs = tuple[Job, ...]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Options:
    """How a build is carried out; none of it changes a byte of the dataset."""

    workers: int | None
    """Threads or processes; None for what suits the source, and all cores."""
    executor: str | None
    """`processes` or `threads`; None for what suits the source."""
    scheduler: str | None
    """Address of a Dask scheduler instead."""
    fresh: bool
    """Forget what an earlier build of the directory collected."""
    budget_requests: int | None = None
    """Most requests that a metered source may send."""
    budget_bytes: int | None = None
    """Most bytes that hosts of rasters may be asked for."""
    budget_eecu: float | None = None
    """Most EECU-hours that Earth Engine may charge, by what it says of its answers."""
    wait_s: float = WAIT_S
    """How long a service that is out of reach is waited for."""
    seal_incomplete: bool = False
    """Seal the dataset though tiles could not be asked for."""
    verify: bool = False
    """Read every byte of a dataset that is complete and was proved before."""
    redeal: bool = False
    """Go on though tiles change their split."""
    store: Path | None = None
    """Of a store that several builds share."""

    @property
    def cores(self) -> int:
        """How many processes compute side by side."""
        n_cores = os.cpu_count() or 1
        return min(self.workers or n_cores, n_cores)


def visit_all(
    jobs: Iterable[Job],
    n_jobs: int,
    source: Source,
    packs: Packs,
    how: Options,
    keep: Callable[[list[Record]], None],
    rounds: Callable[[Iterable[Job]], Iterable[Iterable[Job]]] = lambda jobs: [jobs],
) -> None:
    """Visit every tile.

    Args:
        jobs: The visits, drawn as they are needed.
        n_jobs: How many there are.
        source: What is asked.
        packs: Where pixels are kept.
        how: Workers, executor, budget.
        keep: Called in this thread with the records of each finished visit.
        rounds: Says which of them are visited together; each is drawn when those before are done.

    Raises:
        QuotaError: The budget is spent.
        RefusedError: The source wants a person to act.
        StorageError: The disk is full or refused.
    """
    purse, meter = _budgets(source, jobs, n_jobs, how)
    ahead, suited, kind = 1, how.cores, "processes"
    if is_metered(source):
        ahead, suited, kind = source.ahead, source.visitors(how.cores), "threads"
    n_workers = max(1, min(how.workers or suited, -(-n_jobs // ahead)))
    executor = how.executor or kind
    with (
        _limited(source, executor, n_workers, how, purse, meter) as (ready, give_up),
        open_executor(executor, n_workers, how.scheduler) as (pool, n_at_once),
    ):
        work = partial(_visit, source=ready, packs=packs)
        for some in rounds(jobs):
            run(_together(some, ahead), work, pool, n_at_once, keep, give_up, _QUEUED)


def patient(source: Source, wait_s: float) -> Source:
    """Return a source that waits so long for a service that is out of reach."""
    if not is_metered(source):
        return source
    patience = Patience(*source.pauses_s, wait_s)
    return source.limited(LocalLimit(source.in_flight, source.per_second, patience=patience))


def _visit(jobs: Jobs, source: Source, packs: Packs) -> list[Record]:
    """Carry out a few visits, one after the other."""
    if isinstance(source, Farsighted) and len(jobs) > 1:
        source.look_ahead([job.visit for job in jobs])
    records = [record for job in jobs for record in collect(job, source, packs)]
    packs.end_visit()
    return records


def _together(jobs: Iterable[Job], size: int) -> Iterator[Jobs]:
    rest = iter(jobs)
    while some := tuple(islice(rest, size)):
        yield some


def spread(items: Iterable[Item], n: int, length: int | None = None) -> list[Item]:
    """Return n items from the first to the last, as far apart as can be; all if there are fewer.

    Args:
        items: The items; drawn once.
        n: How many.
        length: How many there are; None where `items` says so.
    """
    total = len(items) if isinstance(items, Sequence) else length or 0
    chosen = {i * total // n for i in range(min(n, total))} if total > n else set(range(total))
    return [item for i, item in enumerate(items) if i in chosen]


def _budgets(
    source: Source, jobs: Iterable[Job], n_jobs: int, how: Options
) -> tuple[Purse, Meter | None]:
    """Return what keeps the requests and bytes, and what keeps the EECU-hours; None for no limit.

    Raises:
        ConfigError: The source is not metered, or does not say what its answers cost.
    """
    purse = Purse(how.budget_requests, how.budget_bytes)
    if how.budget_eecu is None:
        return purse, None
    if not is_metered(source):
        raise ConfigError(f"{source.name} charges nothing; leave --budget-eecu out")
    from mmearth.curate.sources.earthengine.cost import calibrate, prices_for_budget
    from mmearth.curate.sources.earthengine.source import EarthEngine

    part = next((p for p in parts_of(source) if isinstance(p.source, EarthEngine)), None)
    if part is None:
        raise ConfigError(f"{source.name} charges nothing; leave --budget-eecu out")
    service = part.source
    assert isinstance(service, EarthEngine)
    tried = [job.visit for job in spread(jobs, CALIBRATED, n_jobs)]
    tried = asked_of(source, part, tried)
    patience = Patience(*source.pauses_s, how.wait_s)
    limit = LocalLimit(source.in_flight, source.per_second, None, patience, purse=purse)
    found = calibrate(service.limited(limit), tried, service.ahead)
    prices = prices_for_budget(found)
    return purse, Meter(how.budget_eecu * 3600.0 - found.eecu_s, prices)


@contextmanager
def _limited(
    source: Source,
    executor: str,
    n_workers: int,
    how: Options,
    purse: Purse,
    meter: Meter | None,
) -> Iterator[tuple[Source, Callable[[], None]]]:
    """Yield the source under one limit that all its workers share, and how it is given up."""
    if not is_metered(source):
        yield source, lambda: None
        return
    pace = source.in_flight, source.per_second
    patience = Patience(*source.pauses_s, how.wait_s)
    if how.scheduler is None and (executor == "threads" or n_workers == 1):
        limit = LocalLimit(*pace, None, patience, meter, purse)
        yield source.limited(limit), limit.give_up
        return
    host = _HERE if how.scheduler is None else address_towards(how.scheduler)
    with serve_limit(*pace, host, None, patience, meter, purse) as shared:
        yield source.limited(shared), shared.give_up
