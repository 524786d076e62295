"""One tile: ask the source, check, keep, and say what became of every modality."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from mmearth.catalog.errors import (
    MMEarthError,
    NoDataError,
    RefusedError,
    StorageError,
    UnavailableError,
)
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.ledger import NOT_KEPT, Record
from mmearth.curate.packs import Packs
from mmearth.curate.source import Outcome, Source, Visit


@dataclass(frozen=True, slots=True)
class Job:
    """One visit to one tile."""

    tile: Tile
    """Where."""
    wanted: tuple[str, ...]
    """Modalities, and tasks with pixel-level targets, that are not settled yet."""
    date: str | None
    """What the label asks for; None lets the source choose."""
    require: tuple[str, ...]
    """Modalities without which the tile makes no sample, of those that are wanted."""
    anchor: str | None = None
    """The anchor date, where an earlier visit settled it."""
    settled: tuple[str, ...] = ()
    """What earlier visits found out about the tile."""
    identities: tuple[str, ...] = ()
    """What the observation of each of `wanted` will be known by."""

    @property
    def visit(self) -> Visit:
        """What the source is asked."""
        return Visit(self.tile, self.wanted, self.date, self.anchor, self.settled)


def collect(job: Job, source: Source, packs: Packs) -> list[Record]:
    """Visit a tile and keep what is there.

    Nothing is asked for again here: a source that asks a service knows best what may pass, and
    has tried when it says UnavailableError; the next run tries again.

    When a required modality is missing nothing else is kept: the tile will make no sample.

    Args:
        job: The visit.
        source: Where observations come from.
        packs: Where pixels are kept.

    Returns:
        One record for each of `job.wanted`, in that order.

    Raises:
        RefusedError: The source wants a person to act: the whole run stops.
        StorageError: The disk is full or refused: the whole run stops.
    """
    records = _records(job, _observe(job, source), packs)
    if not job.identities:
        return records
    known_by = zip(records, job.identities, strict=True)
    return [replace(record, identity=identity) for record, identity in known_by]


def _records(job: Job, outcomes: dict[str, Outcome], packs: Packs) -> list[Record]:
    for name in job.require:
        outcome = outcomes[name]
        if isinstance(outcome, MMEarthError):
            return [_without(job, name, outcome, other, outcomes[other]) for other in job.wanted]
    return [_keep(job, name, outcomes[name], packs) for name in job.wanted]


def _observe(job: Job, source: Source) -> dict[str, Outcome]:
    """Ask the source; an error of the whole visit is that of each modality."""
    try:
        return source.observe(job.visit)
    except RefusedError:
        raise
    except MMEarthError as exc:
        return dict.fromkeys(job.wanted, exc)


def _keep(job: Job, name: str, outcome: Outcome, packs: Packs) -> Record:
    if not isinstance(outcome, Observation):
        return _failed(job, name, outcome)
    try:
        outcome.check()
        kept = _kept(outcome, packs)
    except (RefusedError, StorageError):
        raise
    except MMEarthError as exc:
        return _failed(job, name, exc)
    return Record(
        tile=job.tile.id,
        modality=name,
        state="done",
        **kept,
        acquired=outcome.acquired,
        valid_fraction=outcome.valid_fraction,
        source=outcome.source,
        source_ids=tuple(sorted(outcome.source_ids)),
        stand_in=outcome.stand_in,
        expression=outcome.expression,
    )


def _kept(observation: Observation, packs: Packs) -> dict[str, Any]:
    """Keep an observation: pixels in a pack, a few values in the ledger's row itself."""
    if not observation.layer.is_pixel:
        return {"values": json.dumps(observation.array.tolist())}
    at = packs.keep(observation)
    return {
        "path": at.path,
        "byte_offset": at.byte_offset,
        "bytes": at.nbytes,
        "sha256": at.sha256,
    }


def _failed(job: Job, name: str, error: MMEarthError) -> Record:
    """Return the record of an error: missing for good, failed for now, or failed for good."""
    return Record(
        tile=job.tile.id,
        modality=name,
        state="missing" if isinstance(error, NoDataError) else "failed",
        permanent=not isinstance(error, UnavailableError),
        kind=type(error).__name__,
        reason="; ".join([str(error), *getattr(error, "__notes__", [])]),
    )


def _without(job: Job, required: str, error: MMEarthError, name: str, outcome: Outcome) -> Record:
    """Return the record of a modality whose tile lacks a required one."""
    if name == required or isinstance(outcome, NoDataError):
        return _failed(job, name, outcome if isinstance(outcome, MMEarthError) else error)
    if isinstance(error, NoDataError):
        return _failed(job, name, NoDataError(f"{NOT_KEPT}the tile has no {required}"))
    return _failed(job, name, type(error)(f"{NOT_KEPT}{required} failed"))
