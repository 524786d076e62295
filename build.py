"""The whole way on one page: plan → collect → package → catalogue → seal → verify."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmearth.catalog import card, checksums, croissant, stac
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import read_catalogue, write_catalogue
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.executor import Workers
from mmearth.catalog.observed_sql import LEDGER
from mmearth.catalog.own_store import adopt
from mmearth.catalog.progress import Progress
from mmearth.catalog.schema import (
    OBSERVATIONS,
    manifest_path,
    read_parts,
    read_table,
    write_parts,
    write_table,
)
from mmearth.catalog.splits import SPLITS
from mmearth.catalog.untouched import is_untouched, note_proved
from mmearth.curate.config import BuildConfig, load_config
from mmearth.curate.directory import forget_lost, open_ledger, refuse_foreign, refuse_moves, sweep
from mmearth.curate.gather import Gathering
from mmearth.curate.identity import Identities
from mmearth.curate.jobs import Difference, wanted
from mmearth.curate.ledger import METERED, Ledger
from mmearth.curate.lock import only_build
from mmearth.curate.packs import Packs
from mmearth.curate.painters import with_targets
from mmearth.curate.plan import Plan, make_plan
from mmearth.curate.shared_store import SharedStore
from mmearth.curate.source import Price, Source, is_metered
from mmearth.curate.sources import make_source
from mmearth.curate.visits import Options, patient
from mmearth.packaging import build as packaging
from mmearth.packaging.inputs import read_inputs
from mmearth.packaging.verify import verify

_FAILURES, _PROBLEMS = 3, 4


@dataclass(frozen=True, slots=True)
class Summary:
    """What a build came to."""

    out: str
    """The dataset's directory."""
    dataset_hash: str | None
    """SHA-256 of SHA256SUMS; None where it is not sealed."""
    tiles: dict[str, dict[str, int]]
    """Planned tiles by task and split."""
    samples: dict[str, int]
    """Samples by task; none where nothing was packaged."""
    splits: dict[str, dict[str, int]]
    """Samples by task and split; likewise."""
    dropped: dict[str, dict[str, int]]
    """Task → why tiles make no sample → how many; likewise."""
    notes: tuple[str, ...]
    """What the readers of labels tell: what they left out, and why."""
    states: dict[str, dict[str, int]]
    """Observations by modality and state."""
    failures: int
    """Observations that failed."""
    problems: tuple[str, ...]
    """What verification found."""
    unsealed: str | None
    """Why it is not sealed; None where it is."""
    difference: dict[str, Any]
    """What the configuration wanted and was not there; see `Difference.to_json`."""
    unchanged: bool
    """It was complete before: nothing was left to do."""

    @property
    def exit_code(self) -> int:
        """0 done, 3 not sealed, with failures or a task without samples, 4 problems were found."""
        if self.problems:
            return _PROBLEMS
        empty = not all(self.samples.values())
        return _FAILURES if self.failures or self.unsealed or empty else 0


@dataclass(frozen=True, slots=True)
class _Published:
    """What came of packing, sealing and verifying."""

    dropped: dict[str, dict[str, int]] = field(default_factory=dict)
    """Task → why tiles make no sample → how many; none where nothing was packaged."""
    unsealed: str | None = None
    """Why it is not sealed; None where it is."""
    problems: tuple[str, ...] = ()
    """What verification found."""


def _nothing(*_: object) -> None:
    pass


def build(
    config_path: Path,
    out: Path,
    how: Options,
    progress: Progress,
    tell: Callable[[Difference, Price | None], None] = _nothing,
) -> Summary:
    """Build a dataset, finish one that was interrupted, or bring one up to its configuration.

    Of a dataset that is there only what differs is collected, and its bytes are then those of a
    new one.

    Args:
        config_path: The YAML configuration.
        out: The dataset's directory; made when it is not there.
        how: Workers and executor.
        progress: Told about every step.
        tell: Told, before anything is asked for, how the configuration differs from what is there,
            and what that costs of services; None where the source asks none.

    Raises:
        ConfigError: The configuration is wrong, the directory holds what no build has left, or
            tiles would change their split.
        RefusedError: The source wants a person to act.
        StorageError: The disk is full or refused.
    """
    config, base = load_config(config_path), config_path.parent
    plain = make_source(config, base)
    refuse_foreign(out)
    with (
        only_build(out),
        open_ledger(out, how.fresh) as ledger,
        nullcontext() if how.store is None else SharedStore(how.store) as store,
    ):
        scratch = (out / LEDGER).parent / "gedi"
        source = patient(with_targets(config, base, plain, scratch), how.wait_s)
        plan = make_plan(config, source, base, progress)
        if not (how.redeal or ledger.is_empty()):
            refuse_moves(out, plan)
        if is_metered(source):
            ledger.set_fact(METERED, "1")
        known_by = Identities(config.catalogue, source, config.require)
        packs = Packs(out.resolve(), config.catalogue, how.scheduler is not None)
        about = wanted(config, plan), known_by, config.require, source, ledger, packs
        gathering = Gathering(*about, store, how, progress)
        jobs, difference = gathering.left()
        tell(difference, gathering.price(jobs, difference))
        told = plan, difference.to_json()
        states = _states(ledger)
        finished = not jobs and _is_finished(config, plan, ledger, out)
        if finished and _is_whole(out, how, progress):
            catalogue = config.catalogue
            adopt(out, catalogue)
            dropped = {
                name: read_inputs(out, catalogue, task, config.require).dropped
                for name, task in catalogue.tasks.items()
            }
            return _summary(out, told, states, _Published(dropped), unchanged=True)
        if finished:
            forget_lost(ledger)
        checksums.unseal(out)
        write_catalogue(out, config.catalogue)
        write_table(plan.table, out / "tiles.parquet", plan.table.schema)
        try:
            published = _finish(config, gathering, out)
        except FormatError:
            if not forget_lost(ledger):
                raise
            published = _finish(config, gathering, out)
        return _summary(out, told, _states(ledger), published)


def _finish(config: BuildConfig, gathering: Gathering, out: Path) -> _Published:
    """Collect what is left, and publish all of it."""
    ledger, how = gathering.ledger, gathering.how
    gathering.collect()
    sweep(out, ledger)
    write_parts(ledger.export(), out / "observations.parquet", OBSERVATIONS)
    unasked = None if how.seal_incomplete else _unasked(ledger)
    return unasked or _publish(config, gathering.source, out, how, gathering.progress)


def _unasked(ledger: Ledger) -> _Published | None:
    """Return that a dataset is not to be packaged yet; None where it is."""
    n = ledger.n_unasked()
    if not n:
        return None
    return _Published(
        unsealed=f"INCOMPLETE: {n} tile{'s' * (n > 1)} could not be asked; run the same command "
        "again, or with --seal-incomplete to have it without them"
    )


def _publish(
    config: BuildConfig, source: Source, out: Path, how: Options, progress: Progress
) -> _Published:
    """Package, catalogue, seal and verify what was collected."""
    about = _card(config, source)
    workers = Workers(how.cores, how.executor or "processes", how.scheduler)
    built = packaging.build(out, about, workers, progress)
    if not any(built.n_samples.values()):
        why = "It has no sample; mend what the lines above name, and build again"
        return _Published(built.dropped, why)
    progress("catalogue", 1)
    card.write_readme(out, about)
    stac.build(out, about)
    croissant.build(out, about, built.sums)
    progress("seal", 1)
    checksums.seal(out, about, built.sums)
    problems = _prove(out, how, progress)
    if not problems:
        adopt(out, config.catalogue)
    return _Published(built.dropped, problems=problems)


def _is_whole(out: Path, how: Options, progress: Progress) -> bool:
    """Return whether a sealed dataset is as it was proved; of one that was touched all is read."""
    return (is_untouched(out) and not how.verify) or not _prove(out, how, progress)


def _prove(out: Path, how: Options, progress: Progress) -> tuple[str, ...]:
    """Return what is wrong with a sealed dataset; where nothing is, note that it was proved."""
    workers = Workers(how.cores, how.executor or "threads", how.scheduler)
    problems = tuple(map(str, verify(out, workers, progress)))
    if not problems:
        note_proved(out)
    return problems


def _summary(
    out: Path,
    told: tuple[Plan, dict[str, Any]],
    states: dict[str, dict[str, int]],
    published: _Published,
    unchanged: bool = False,
) -> Summary:
    plan, difference = told
    splits = {task: _splits(out, task) for task in published.dropped}
    sealed = None if published.unsealed else checksums.read_dataset(out)
    return Summary(
        out=str(out),
        dataset_hash=None if sealed is None else str(sealed["dataset_hash"]),
        tiles={report.task: report.splits for report in plan.tasks},
        samples={task: sum(counts.values()) for task, counts in splits.items()},
        splits=splits,
        dropped=published.dropped,
        notes=tuple(note for report in plan.tasks for note in report.notes),
        states=states,
        failures=sum(count.get("failed", 0) for count in states.values()),
        problems=published.problems,
        unsealed=published.unsealed,
        difference=difference,
        unchanged=unchanged,
    )


def _splits(out: Path, task: str) -> dict[str, int]:
    """Return a task's samples by split."""
    found = read_table(out / manifest_path(task), ["split"])["split"]
    return {split: pc.sum(pc.equal(found, split)).as_py() or 0 for split in SPLITS}


def _is_finished(config: BuildConfig, plan: Plan, ledger: Ledger, out: Path) -> bool:
    """Return whether a directory is sealed and holds what would be made again."""
    try:
        return (
            checksums.read_dataset(out)["config_sha256"] == config.sha256
            and read_catalogue(out) == config.catalogue
            and read_table(out / "tiles.parquet").equals(plan.table)
            and _equal(read_parts(out / "observations.parquet"), ledger.export())
        )
    except (ConfigError, FormatError, KeyError):
        return False


def _equal(found: Iterator[pa.Table], expected: Iterator[pa.Table]) -> bool:
    pairs = zip_longest(found, expected)
    return all(a is not None and b is not None and a.equals(b) for a, b in pairs)


def _states(ledger: Ledger) -> dict[str, dict[str, int]]:
    states: dict[str, dict[str, int]] = {}
    for modality, state, _, count in ledger.counts():
        states.setdefault(modality, {}).setdefault(state, 0)
        states[modality][state] += count
    return states


def _card(config: BuildConfig, source: Source) -> DatasetCard:
    return DatasetCard(
        name=config.name,
        title=config.title,
        description=config.description,
        version=config.version,
        licence=config.licence,
        recipe=config.recipe,
        seed=config.seed,
        config_sha256=config.sha256,
        source=source.name,
        tasks=tuple(config.catalogue.tasks),
        modalities=tuple(config.catalogue.layers),
        require=config.require,
        shard_bytes=config.shard_bytes,
        stac_items=config.stac.items or card.BY_SIZE,
    )
