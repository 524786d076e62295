"""A million tiles planned and scheduled: how much memory the driver takes, and how long."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmearth.catalog.executor import open_executor, run
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.schema import OBSERVATIONS, write_parts, write_table
from mmearth.catalog.store import PACKS
from mmearth.catalog.task import Task
from mmearth.curate.collect import Job
from mmearth.curate.config import BuildConfig
from mmearth.curate.identity import Identities
from mmearth.curate.jobs import Difference, Pending, pending, wanted
from mmearth.curate.ledger import Ledger, Record
from mmearth.curate.plan import make_plan
from mmearth.curate.source import Label, Outcome, Visit

_PLACES = int(os.environ.get("MMEARTH_SCALE", "1000000"))
_LIMIT_MB = 4000


@dataclass(frozen=True, slots=True)
class Instant:
    """A source that answers at once: in June, everywhere."""

    name: str = "instant 1"

    def fingerprint(self, name: str) -> str:
        return name

    def observe(self, visit: Visit) -> dict[str, Outcome]:
        june = np.array([-1.0, 0.0])  # cosine and sine of half a year
        return {
            name: Observation(
                MMEARTH_BENCH.layers[name], june, "2020-06-01", self.name, ("everywhere",)
            )
            for name in visit.wanted
        }

    def labels(self, task: Task, count: int, seed: int) -> Iterator[Label]:
        del task, count, seed
        yield from ()


def _visit(job: Job, source: Instant) -> list[Record]:
    """Ask the source, and say what `collect` would; the disk is not what is measured."""
    records = []
    for identity, (name, seen) in zip(
        job.identities, source.observe(job.visit).items(), strict=True
    ):
        assert isinstance(seen, Observation)
        place = (f"{PACKS}/a.pack", 0, 1, "0" * 64, None)
        known = (seen.acquired, seen.valid_fraction, seen.source, seen.source_ids)
        record = Record(job.tile.id, name, "done", True, None, None, *place, *known)
        records.append(replace(record, identity=identity))
    return records


def _config() -> BuildConfig:
    points = {"path": "places.parquet", "value": "ph", "id": "name"}
    return BuildConfig.model_validate(
        {
            "name": "scale",
            "title": "A million places",
            "source": {"kind": "synthetic"},
            "modalities": ["month"],
            "require": ["month"],
            "tasks": {"soil_pH": {"points": points, "split": {"rule": "published"}}},
        }
    )


def _write_places(path: Path, n: int) -> None:
    """Write places on a grid, 3 km apart or more, from 40° S to 60° N."""
    side = int(np.ceil(np.sqrt(n)))
    row, column = np.divmod(np.arange(n), side)
    columns = {
        "lon": -150.0 + column * 250.0 / side,
        "lat": -40.0 + row * 100.0 / side,
        "ph": np.full(n, 6.5),
        "name": [f"place {i}" for i in range(n)],
    }
    pq.write_table(pa.table(columns), path)


def _tell(stage: str, begin: float) -> float:
    now, peak = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{stage:<42}{now - begin:8.1f} s   peak {peak:6.0f} MB", flush=True)
    return time.perf_counter()


def _drive(n: int, out: Path) -> None:
    """Plan and collect, as `mmearth.build` does it, and say what each step takes."""
    config, source = _config(), Instant()
    _write_places(out / "places.parquet", n)
    begin = _tell("modules and places", time.perf_counter())
    plan = make_plan(config, source, out)
    assert plan.table.num_rows == n
    begin = _tell(f"plan of {n:,} places", begin)
    write_table(plan.table, out / "tiles.parquet", plan.table.schema)
    everything = wanted(config, plan)
    identities = Identities(config.catalogue, source, config.require)

    def left(ledger: Ledger) -> tuple[Pending, Difference]:
        return pending(everything, identities, config.require, ledger, out, ledger.want)

    (out / PACKS).mkdir(parents=True)
    (out / PACKS / "a.pack").write_bytes(b"x")
    with Ledger(out) as ledger:
        jobs, _ = left(ledger)
        assert len(jobs) == n
        begin = _tell("what is left, none collected", begin)
        work = partial(_visit, source=source)
        with open_executor("threads", 1, None) as (executor, n_at_once):
            run(jobs, work, executor, n_at_once, ledger.record)
        begin = _tell("schedule and record, one thread", begin)
        assert not left(ledger)[0]
        begin = _tell("what is left, all collected", begin)
        write_parts(ledger.export(), out / "observations.parquet", OBSERVATIONS)
        assert ledger.counts() == [("month", "done", True, n)]
    _tell("observations.parquet", begin)


@pytest.mark.performance
def test_the_driver_stays_flat(tmp_path: Path) -> None:
    # Another process, so that the peak is the driver's and not that of other tests.
    command = [sys.executable, __file__, str(_PLACES), str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    print(f"\n{found.stdout}")
    assert found.returncode == 0, found.stderr
    assert float(found.stdout.split()[-2]) < _LIMIT_MB


if __name__ == "__main__":
    _drive(int(sys.argv[1]), Path(sys.argv[2]))
