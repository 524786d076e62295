"""What verification finds: one sentence about one file, and what kind of problem it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Literal, TypeVar

import pyarrow as pa
import shapely

from mmearth.catalog.errors import MMEarthError, printable

Problem = Literal[
    "missing", "unknown", "checksum", "unreadable", "range", "value", "table", "split",
    "statistics", "stac", "source",
]  # fmt: skip
"""`missing`, `unknown`: a file that should, or should not, be there. `checksum`: other bytes than
were published. `unreadable`: not what its name says. `range`: a member is not where its manifest
says. `value`: an array breaks its contract. `table`, `split`, `statistics`, `stac`: two published
files contradict each other. `source`: fetched again, it is something else."""

Job = TypeVar("Job")
Result = TypeVar("Result")
DAMAGE = (
    MMEarthError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    pa.ArrowException,
    shapely.errors.ShapelyError,
)
"""What values that mmearth never wrote make Python and its libraries raise."""
MAX_ALIKE = 5
"""How many findings of one kind about one file are told one by one."""
MOST = 10_000
"""How many findings of one check are kept: of a million rows each may be wrong."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of a dataset."""

    path: str
    """The file, relative to the dataset's root."""
    problem: Problem
    """Its kind."""
    sentence: str
    """What was found and what was expected, without the path."""

    def __post_init__(self) -> None:
        """Keep names and values of a stranger from commanding the terminal that shows them."""
        object.__setattr__(self, "path", printable(self.path))
        object.__setattr__(self, "sentence", printable(self.sentence))

    def __str__(self) -> str:
        return f"{self.path}: {self.sentence}"


def shorten(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield findings with each long run of the same kind about one file cut to `MAX_ALIKE`.

    A shard of another build contradicts every row of its manifest; a person needs to hear it once.
    """
    for (path, problem), group in groupby(findings, key=lambda f: (f.path, f.problem)):
        alike = list(group)
        yield from alike[:MAX_ALIKE]
        if len(alike) > MAX_ALIKE:
            yield Finding(path, problem, f"and {len(alike) - MAX_ALIKE} more like these")


def guarded(path: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return what a check finds, and what it met where a stranger's file is like no other.

    A null, a number that is none, an array of another shape: what one part holds must not keep the
    other parts from being checked. Where nothing is right, the first findings will do.
    """
    found: list[Finding] = []
    try:
        found.extend(islice(check(), MOST))
    except DAMAGE as exc:
        said = str(exc) if isinstance(exc, MMEarthError) else repr(exc)
        found.append(Finding(path, "unreadable", f"it cannot be checked any further: {said}"))
    return found


def run_all(
    do: Callable[[Job], Result],
    jobs: Iterable[Job],
    workers: int,
    done: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Return `do` of every job, in order; a single worker goes without threads, which cost more.

    Args:
        do: What a job is.
        jobs: All of them.
        workers: Threads.
        done: Told of each result, in this thread.
    """
    with ThreadPoolExecutor(workers) if workers > 1 else nullcontext() as pool:
        results = []
        for result in map(do, jobs) if pool is None else pool.map(do, jobs):
            results.append(result)
            done(result)
        return results
