"""Reads epochs of a dataset and says how fast each was: a process of its own for each measurement.

python -m mmearth.tests.performance.epochs PLACE EPOCHS VERIFY [CGROUP]
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import mmearth

BATCH = 32


def read(place: str, n: int, verify: Any) -> list[dict[str, float]]:
    """Return tiles, seconds by the clock and seconds of this process, of each epoch."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as cache:
        dataset = mmearth.open(place, cache=cache)
        chosen = dataset.select(dataset.tasks[0])
        loader = chosen.loader(BATCH, "shuffled", verify=verify)
        found = []
        for _ in range(n):
            wall, cpu, tiles = time.perf_counter(), time.process_time(), 0
            for batch in loader:
                tiles += len(batch["key"])
                del batch
            spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
            found.append({"tiles": tiles, **spent})
        return found


def main() -> None:
    """Read, within a control group if one is named, and print JSON."""
    place, n, verify, *group = sys.argv[1:]
    if group:
        (Path(group[0]) / "cgroup.procs").write_text(str(os.getpid()))
    print(json.dumps(read(place, int(n), verify)))


if __name__ == "__main__":
    main()
