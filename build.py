"""The whole way on one page: plan → collect → package → catalogue → seal → verify."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from mmearth.catalog import card, checksums, croissant, stac
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.schema import OBSERVATIONS, TILES, write_table
from mmearth.curate.collect import Job, collect
from mmearth.curate.config import BuildConfig, load_config
from mmearth.curate.jobs import pending
from mmearth.curate.ledger import Ledger, Record
from mmearth.curate.plan import Plan, make_plan
from mmearth.curate.run import open_executor, run
from mmearth.curate.source import Source
from mmearth.curate.sources import make_source
from mmearth.packaging import build as packaging
from mmearth.packaging.verify import verify

_FAILURES, _PROBLEMS = 3, 4


@dataclass(frozen=True, slots=True)
class Options:
    """How a build is carried out; none of it changes a byte of the dataset."""

    workers: int
    """Threads or processes."""
    executor: str
    """`processes` or `threads`."""
    scheduler: str | None
    """Address of a Dask scheduler instead."""
    fresh: bool
    """Forget what an earlier build of the directory collected."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a build came to."""

    out: str
    """The dataset's directory."""
    dataset_hash: str
    """SHA-256 of SHA256SUMS."""
    tiles: dict[str, dict[str, int]]
    """Planned tiles by task and split."""
    samples: dict[str, int]
    """Samples by task."""
    dropped: dict[str, int]
    """Tiles that make no sample, by task."""
    states: dict[str, dict[str, int]]
    """Observations by modality and state."""
    failures: int
    """Observations that failed."""
    problems: tuple[str, ...]
    """What verification found."""

    @property
    def exit_code(self) -> int:
        """0 done, 3 finished with failures, 4 verification found problems."""
        return _PROBLEMS if self.problems else _FAILURES if self.failures else 0


Progress = Callable[[str, int | None], None]
"""Called with a step's name and its size when it begins, then with the name and None per tile."""


def build(config_path: Path, out: Path, how: Options, progress: Progress) -> Summary:
    """Build a dataset, or finish one that was interrupted.

    Args:
        config_path: The YAML configuration.
        out: The dataset's directory; made when it is not there.
        how: Workers and executor.
        progress: Told about every step.

    Raises:
        ConfigError: The configuration is wrong, or the directory holds another dataset.
        RefusedError: The source wants a person to act.
        StorageError: The disk is full or refused.
    """
    config = load_config(config_path)
    source = make_source(config.source, config_path.parent)
    if how.fresh:
        clear(out)
    with Ledger(out) as ledger:
        _same_dataset(ledger, config, source, out)
        progress("plan", 1)
        plan = make_plan(config, source, config_path.parent)
        checksums.unseal(out)
        for path in ledger.forget(set(plan.table["tile"].to_pylist())):
            (out / path).unlink(missing_ok=True)
        write_table(plan.table, out / "tiles.parquet", TILES)
        _collect(config, plan, source, ledger, out, how, progress)
        write_table(ledger.export(), out / "observations.parquet", OBSERVATIONS)
        states = _states(ledger)
    about = _card(config, source)
    progress("package", 1)
    built = packaging.build(out, about, how.workers)
    if not config.keep_store:
        shutil.rmtree(out / "store", ignore_errors=True)
    progress("catalogue", 1)
    card.write_readme(out, about)
    stac.build(out, about)
    croissant.build(out, about)
    progress("seal", 1)
    dataset_hash = checksums.seal(out, about, built.sums)
    progress("verify", 1)
    findings = verify(out, how.workers)
    return Summary(
        out=str(out),
        dataset_hash=dataset_hash,
        tiles={report.task: report.splits for report in plan.tasks},
        samples=built.n_samples,
        dropped={task: len(tiles) for task, tiles in built.dropped.items()},
        states=states,
        failures=sum(count.get("failed", 0) for count in states.values()),
        problems=tuple(str(finding) for finding in findings),
    )


def clear(out: Path) -> None:
    """Delete what builds keep in a directory, and nothing else."""
    for name in (checksums.DATASET, checksums.SUMS, *checksums.PUBLISHED, ".curate"):
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _same_dataset(ledger: Ledger, config: BuildConfig, source: Source, out: Path) -> None:
    """Refuse to mix two datasets in one directory."""
    for name, value, what in (
        ("config_sha256", config.sha256, "another configuration"),
        ("source_fingerprint", source.fingerprint, "other source data"),
    ):
        known = ledger.fact(name)
        if known is not None and known != value:
            raise ConfigError(
                f"{out} was begun with {what} ({known[:12]}…, now {value[:12]}…); choose another "
                "directory, or pass --fresh to delete what was collected there"
            )
        ledger.set_fact(name, value)


def _collect(
    config: BuildConfig,
    plan: Plan,
    source: Source,
    ledger: Ledger,
    out: Path,
    how: Options,
    progress: Progress,
) -> None:
    jobs = pending(config, plan, ledger, out)
    progress("collect", len(jobs))
    if not jobs:
        return

    def keep(records: list[Record]) -> None:
        ledger.record(records)
        progress("collect", None)

    work: Callable[[Job], list[Record]] = partial(collect, source=source, root=out.resolve())
    with open_executor(how.executor, min(how.workers, len(jobs)), how.scheduler) as executor:
        run(jobs, work, executor, how.workers, keep)


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
        tasks=tuple(config.tasks),
        modalities=config.modalities,
        require=config.require,
        shard_bytes=config.shard_bytes,
    )
