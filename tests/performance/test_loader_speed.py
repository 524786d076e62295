"""Our loader against the others: the same samples, one run, paired rounds, a process for each.

Every contender holds bit-identical arrays, which is checked before anything is timed, and gives
batches of 32 as tensors, out of the page cache. CPU seconds are those of the contender's process;
a ratio is taken within a round, and its median, least and greatest are told. What cannot be equal
stands in the contenders' notes. MMEARTH_PERF_TILES, MMEARTH_PERF_COPIES (of them, for one percent
of many) and MMEARTH_PERF_ROUNDS change how much is measured.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.tests.performance.contenders.case import TWO, Case, Order
from mmearth.tests.performance.contenders.child import COMPRESSED, CONTENDERS, Child, Timing
from mmearth.tests.performance.loader_samples import Samples, make_many, make_samples
from mmearth.tests.range_server import RangeServer, serving

N_TILES = int(os.environ.get("MMEARTH_PERF_TILES", "384"))
N_COPIES = int(os.environ.get("MMEARTH_PERF_COPIES", "8"))
N_ROUNDS = int(os.environ.get("MMEARTH_PERF_ROUNDS", "5"))
NPY_HEADER = 128
Rounds = dict[str, list[Timing]]
"""Contender → its measurement in each round."""
Rate = Callable[[Timing], float]
Say = Callable[[str], None]

NEEDED = ("torch", "streaming", "litdata", "h5py")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.performance,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(MISSING), reason=f"needs {MISSING}: `make perf` installs them"),
]


@dataclass(frozen=True, slots=True)
class Aim:
    """How many times as fast as another we must be."""

    other: str
    least: float
    rate: Rate


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return make_samples(tmp_path_factory.mktemp("few"), N_TILES)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def out(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)

    return out


def per_cpu(timing: Timing) -> float:
    return timing.tiles / timing.cpu


def per_wall(timing: Timing) -> float:
    return timing.tiles / timing.wall


def opened_cpu(timing: Timing) -> float:
    return timing.tiles / (timing.cpu - timing.opening_cpu)


def opened_wall(timing: Timing) -> float:
    return timing.tiles / (timing.wall - timing.opening_wall)


def median(timings: list[Timing], rate: Rate) -> float:
    return statistics.median(rate(timing) for timing in timings)


class Contest:
    """All contenders, each in its process."""

    def __init__(self, samples: Samples, folder: Path, names: Sequence[str]) -> None:
        self.children: dict[str, Child] = {}
        self.titles: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self._stack = ExitStack()
        for name in names:
            with Child(name, samples, folder / name.replace(" ", "_")) as child:
                # A process for the writing alone: litdata's changes how others are started.
                child.ask("prepare")
                self.titles[name], self.notes[name] = child.ask("title")
            child = Child(name, samples, folder / name.replace(" ", "_"))
            self.children[name] = self._stack.enter_context(child)

    def __enter__(self) -> Contest:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def rounds(self, case: Case, fresh: bool = False) -> Rounds:
        """Check and warm up everyone, then measure them in turn, N_ROUNDS times."""
        taking_part = {k: c for k, c in self.children.items() if c.ask("takes_part", case)}
        for child in taking_part.values():
            child.ask("check", case)
            child.ask("measure", case, fresh)
        found: Rounds = {name: [] for name in taking_part}
        for _ in range(N_ROUNDS):
            for name, child in taking_part.items():
                found[name].append(child.ask("measure", case, fresh))
        for child in taking_part.values():
            child.ask("close")
        return found

    def table(
        self, title: str, found: Rounds, say: Say, cpu: Rate = per_cpu, wall: Rate = per_wall
    ) -> None:
        """Show everyone's rates, and how many times as fast we were."""
        load = os.getloadavg()[0]
        say(f"\n### {title}\n\n{N_ROUNDS} rounds, load {load:.1f} on {os.cpu_count()} cores\n")
        say("| | tiles/CPU-s | tiles/s | ours ÷ it, CPU | ours ÷ it, by the clock |")
        say("|---|---|---|---|---|")
        for name, timings in found.items():
            cells = [spread([rate(t) for t in timings], ".0f") for rate in (cpu, wall)]
            cells += [spread(ratios(found, name, rate), ".2f") for rate in (cpu, wall)]
            say(f"| {self.titles.get(name, name)} | {' | '.join(cells)} |")


@pytest.fixture(scope="module")
def contest(few: Samples, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contest]:
    with Contest(few, tmp_path_factory.mktemp("contest"), list(CONTENDERS)) as contest:
        yield contest


def test_notes(contest: Contest, say: Say) -> None:
    """What is not equal, and cannot be."""
    say("\n" + "\n".join(f"- {contest.titles[name]}: {contest.notes[name]}" for name in CONTENDERS))


@pytest.mark.parametrize("order", ["sequential", "shuffled"])
def test_all_modalities(contest: Contest, order: Order, say: Say) -> None:
    found = contest.rounds(Case(order=order))
    contest.table(str(Case(order=order)), found, say)
    meets(
        found,
        say,
        Aim("webdataset", 15, per_cpu),
        Aim("litdata", 3, per_cpu),
        Aim("streaming", 5, per_cpu),
        Aim("memory", 0.8, per_cpu),
    )


@pytest.mark.parametrize("order", ["sequential", "shuffled"])
def test_two_modalities(contest: Contest, order: Order, say: Say) -> None:
    found = contest.rounds(Case(TWO, order))
    contest.table(str(Case(TWO, order)), found, say)
    meets(found, say, Aim("webdataset", 30, per_cpu))


@pytest.mark.parametrize("order", ["sequential", "shuffled"])
def test_two_workers(contest: Contest, order: Order, say: Say) -> None:
    case = Case(order=order, workers=2)
    found = contest.rounds(case)
    contest.table(str(case), found, say)
    # Worker processes are an option of ours: of the two ways the faster is what a user takes.
    found["mmearth"] = max(
        (found["mmearth"], found["mmearth thread"]), key=lambda timings: median(timings, per_wall)
    )
    others = [name for name in found if not name.startswith("mmearth")]
    meets(found, say, *[Aim(name, 4, per_wall) for name in others])


def test_one_percent(contest: Contest, say: Say) -> None:
    case = Case(selected=True)
    found = contest.rounds(case, fresh=True)
    contest.table(f"{case} of {N_TILES}, opening included", found, say)
    contest.table(f"{case} of {N_TILES}, once it is open", found, say, opened_cpu, opened_wall)
    first = median(found["mmearth"], lambda timing: timing.first)
    say(f"first batch of ours, opening included: {first:.3f} s (aim 0.3)")
    # Four samples: what is fixed weighs more than they do. `test_one_percent_of_many` has the aim.
    assert first < 0.3


def test_one_percent_of_many(few: Samples, tmp_path: Path, say: Say) -> None:
    many = make_many(tmp_path / "many", few, N_COPIES)
    case, names = Case(selected=True), ("mmearth", "webdataset ours")
    with Contest(many, tmp_path, names) as contest:
        found = contest.rounds(case, fresh=True)
    contest.table(f"{case} of {len(many.keys)}, opening included", found, say)
    contest.table(
        f"{case} of {len(many.keys)}, once it is open", found, say, opened_cpu, opened_wall
    )
    meets(found, say, Aim("webdataset ours", 50, opened_cpu))


@pytest.mark.parametrize("order", ["sequential", "shuffled"])
def test_compact_members(few: Samples, tmp_path: Path, order: Order, say: Say) -> None:
    """Compact members against what others compress, each with its own compression."""
    with Contest(few, tmp_path, ["mmearth", *COMPRESSED]) as contest:
        found = contest.rounds(Case(order=order))
    contest.table(f"{Case(order=order)}, compressed", found, say)
    # Whoever wants the smallest files waits longer for later epochs.
    for ours, least in (("mmearth zstd", 2.5), ("mmearth lz4", 4)):
        say(f"{ours}:")
        aims = Aim("webdataset gz", 10, per_cpu), Aim("litdata zstd", least, per_cpu)
        meets(found | {"mmearth": found[ours]}, say, *aims)


@pytest.mark.parametrize(
    ("case", "merged"),
    [
        (Case(gap=0), False),
        (Case(), True),
        (Case(TWO, gap=0), False),
        (Case(TWO), True),
        (Case(selected=True, gap=0), False),
    ],
    ids=str,
)
def test_over_http(contest: Contest, few: Samples, case: Case, merged: bool, say: Say) -> None:
    n = len(few.chosen) if case.selected else len(few.keys)
    pixels = [
        MMEARTH_BENCH.layers[m] for m in case.modalities if MMEARTH_BENCH.layers[m].level == "pixel"
    ]
    wanted = n * sum(NPY_HEADER + modality.nbytes for modality in pixels)
    with serving(few.root) as server:
        case = replace(case, url=server.url)
        say(f"\n### {case}: {n} samples, {wanted / 1e6:.1f} MB wanted\n")
        sent, n_requests, first = {}, {}, {}
        for name in ("mmearth", "webdataset ours"):
            child = contest.children[name]
            server.forget()
            timing = child.ask("measure", case, True)
            sent[name], n_requests[name], first[name] = *shard_traffic(server), timing.first
            say(
                f"- {name}: {sent[name] / wanted:.3f} × the bytes in {n_requests[name]} requests "
                f"of shards ({server.n_requests} in all), {per_wall(timing):.0f} tiles/s, "
                f"first batch {timing.first:.2f} s"
            )
            child.ask("close")
    assert first["mmearth"] < 1.0
    if merged:
        assert n_requests["mmearth"] < n * len(pixels)
    else:
        assert sent["mmearth"] <= 1.05 * wanted


def shard_traffic(server: RangeServer) -> tuple[int, int]:
    """Return bytes and requests of shards."""
    n_bytes = n_requests = 0
    for path, asked in server.asked:
        if not path.endswith(".tar"):
            continue
        n_requests += 1
        size = (server.directory / path.lstrip("/")).stat().st_size
        if asked is None:
            n_bytes += size
        else:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            n_bytes += (min(int(last), size - 1) if last else size - 1) - int(first) + 1
    return n_bytes, n_requests


def ratios(found: Rounds, other: str, rate: Rate) -> list[float]:
    """Return how many times as fast as another we were, round by round."""
    pairs = zip(found["mmearth"], found[other], strict=True)
    return [rate(ours) / rate(theirs) for ours, theirs in pairs]


def spread(values: list[float], form: str) -> str:
    low, middle, high = (format(f(values), form) for f in (min, statistics.median, max))
    return f"{middle} [{low}–{high}]"


def meets(found: Rounds, say: Say, *aims: Aim) -> None:
    """Say which aims were reached; refuse less than three fifths of one.

    So much a neighbour on a shared machine takes: docs/performance.md has what was measured alone.
    """
    low = []
    for aim in aims:
        reached = statistics.median(ratios(found, aim.other, aim.rate))
        say(f"- {aim.other}: {reached:.2f} × reached, {aim.least:g} × is the aim")
        if reached < 0.6 * aim.least:
            low.append(f"{aim.least:g} × {aim.other} is the aim, {reached:.2f} × was reached")
    assert not low, "; ".join(low)
