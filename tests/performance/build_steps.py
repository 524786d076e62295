"""A whole build, step by step: CPU seconds, milliseconds a sample, bytes and files on the disk.

    python tests/performance/build_steps.py CONFIG DIRECTORY [WORKERS [threads|processes]]

One worker in a thread, unless more are asked for; processes count with what they used. Then the
same command again, of which nothing is left to do.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

from mmearth.build import build
from mmearth.catalog.checksums import published_files
from mmearth.curate.visits import Options
from mmearth.tests.performance.used import cpu_s

STEPS = {"plan": "plan", "collect": "collect", "package": "package", "catalogue": "catalogue"}
STEPS |= {"seal": "seal", "verify shards": "verify"}


class Clock:
    """Which step spent how much."""

    def __init__(self) -> None:
        self.spent: dict[str, tuple[float, float]] = {}
        self._step, self._begin = "start", (cpu_s(), time.perf_counter())

    def __call__(self, step: str, total: int | None) -> None:
        """Begin a step; the CPU seconds until the next one are its own."""
        if total is not None and step in STEPS:
            now = cpu_s(), time.perf_counter()
            cpu, wall = self.spent.get(self._step, (0.0, 0.0))
            since = now[0] - self._begin[0], now[1] - self._begin[1]
            self.spent[self._step] = cpu + since[0], wall + since[1]
            self._step, self._begin = STEPS[step], now


def on_disk(out: Path) -> tuple[int, int]:
    """Return how many bytes a dataset's directory holds, and how many of them are of shards."""
    sizes = {path: path.stat().st_size for path in out.rglob("*") if path.is_file()}
    return sum(sizes.values()), sum(n for path, n in sizes.items() if path.suffix == ".tar")


def main(config: Path, out: Path, how: Options) -> None:
    """Build, and build again."""
    clock = Clock()
    summary = build(config, out, how, clock)
    clock("seal", 0)  # ends the last step
    n, (nbytes, in_shards) = sum(summary.samples.values()), on_disk(out)
    assert summary.exit_code == 0, summary
    for step, (cpu, wall) in clock.spent.items():
        print(f"{step:<10}{cpu:8.1f} CPU s {wall:8.1f} s {cpu / n * 1e3:7.2f} ms a sample")
    package = clock.spent["package"][0]
    both = package + clock.spent["collect"][0]
    print(f"{n} samples; collect and package {both / n * 1e3:.1f} ms a sample")
    print(f"package {in_shards / 1e6 / package:.0f} MB a CPU second")
    files = len(published_files(out))
    print(f"{nbytes / 1e6:.0f} MB on the disk, {in_shards / 1e6:.0f} of shards; {files} files")
    cpu, wall = cpu_s(), time.perf_counter()
    assert build(config, out, how, clock).unchanged
    print(f"again: {cpu_s() - cpu:.2f} CPU s, {time.perf_counter() - wall:.2f} s")
    print(f"peak {resource.getrusage(0).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    given = sys.argv[3:]
    workers = int(given[0]) if given else 1
    executor = given[1] if len(given) > 1 else "threads"
    main(Path(sys.argv[1]), Path(sys.argv[2]), Options(workers, executor, None, False))
