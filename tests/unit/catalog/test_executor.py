"""The loop over tiles: a bounded number in flight, one writer, nothing lost on the way out."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmearth.catalog.errors import ConfigError, RefusedError, UnavailableError
from mmearth.catalog.executor import open_executor, run
from mmearth.catalog.tile import Tile
from mmearth.curate.collect import Job
from mmearth.curate.ledger import Record


def _jobs(n: int) -> list[Job]:
    return [
        Job(Tile(32633, 500_000 + 10_000 * i, 5_000_000), ("month",), None, ()) for i in range(n)
    ]


def _visit(job: Job) -> list[Record]:
    return [Record(job.tile.id, "month", "done")]


def test_every_visit_is_kept_once_in_the_calling_thread() -> None:
    kept: list[str] = []

    def keep(records: list[Record]) -> None:
        assert threading.current_thread() is threading.main_thread()
        kept.extend(record.tile for record in records)

    with ThreadPoolExecutor(3) as executor:
        run(_jobs(50), _visit, executor, 3, keep)
    assert sorted(kept) == sorted(job.tile.id for job in _jobs(50))


def test_no_visits() -> None:
    with ThreadPoolExecutor(1) as executor:
        run([], _visit, executor, 1, lambda _: None)


def test_the_plan_is_drawn_as_it_is_needed() -> None:
    drawn, kept, ahead = 0, 0, 0

    def draw() -> Iterator[Job]:
        nonlocal drawn
        for job in _jobs(200):
            drawn += 1
            yield job

    def keep(_: list[Record]) -> None:
        nonlocal kept, ahead
        kept += 1
        ahead = max(ahead, drawn - kept)

    with ThreadPoolExecutor(2) as executor:
        run(draw(), _visit, executor, 2, keep)
    assert kept == 200
    assert ahead <= 16  # 2 workers × 4, and as many again that are done and not yet kept


@pytest.mark.parametrize("error", [RefusedError("sign in"), KeyboardInterrupt()])
def test_what_is_in_flight_is_kept_when_a_run_ends_early(error: BaseException) -> None:
    jobs, kept, begun = _jobs(100), [], []
    lock = threading.Lock()

    def visit(job: Job) -> list[Record]:
        with lock:
            begun.append(job.tile.id)
        if job is jobs[5]:
            raise error
        time.sleep(0.01)
        return _visit(job)

    with ThreadPoolExecutor(2) as executor, pytest.raises(type(error)):
        run(jobs, visit, executor, 2, lambda records: kept.extend(r.tile for r in records))
    assert len(begun) < 30
    assert sorted(kept) == sorted(set(begun) - {jobs[5].tile.id})


def test_an_interrupt_while_keeping_loses_only_that_visit() -> None:
    kept: list[str] = []

    def keep(records: list[Record]) -> None:
        if not kept:
            kept.append("interrupted")
            raise KeyboardInterrupt
        kept.extend(record.tile for record in records)

    with ThreadPoolExecutor(1) as executor, pytest.raises(KeyboardInterrupt):
        run(_jobs(3), _visit, executor, 1, keep)
    assert len(set(kept)) == len(kept)


def test_a_worker_that_dies_is_said_to_have() -> None:
    with (
        pytest.raises(UnavailableError, match=r"worker process died.*fewer --workers"),
        open_executor("processes", 2, None) as (executor, n_at_once),
    ):
        assert n_at_once == 2
        # A function that worker processes can import, whichever way the tests were started.
        run([9, 9, 9], os._exit, executor, n_at_once, lambda _: None)  # type: ignore[list-item, arg-type]


def test_a_scheduler_that_does_not_answer_is_refused() -> None:
    pytest.importorskip("distributed")
    with (
        pytest.raises(ConfigError, match="no Dask scheduler answers at nowhere"),
        open_executor("threads", 1, "nowhere"),
    ):
        pass
