"""An open world in a process of its own, as far from who asks as a true one is."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mmearth.tests.open_data.world import CATALOG, Scene, world


@dataclass(frozen=True)
class Apart:
    """The world, seen from the other process."""

    pipe: Any
    catalogs: list[dict[str, Any]]
    """Of a configuration."""
    items: list[dict[str, Any]]
    """Of the scenes."""

    def counts(self) -> tuple[int, int, float]:
        """Return requests, bytes and its seconds of CPU since the last call."""
        self.pipe.send("counts")
        found: tuple[int, int, float] = self.pipe.recv()
        return found


@contextmanager
def apart(root: Path, scenes: Sequence[Scene], latency_s: float) -> Iterator[Apart]:
    """Run a world of scenes of one place, whose files are those of the first, until the block ends.

    Args:
        root: Where the files are; made.
        scenes: Which.
        latency_s: Before each answer.
    """
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    arguments = theirs, root, tuple(scenes), latency_s
    running = multiprocessing.get_context("spawn").Process(target=_serve, args=arguments)
    running.start()
    try:
        yield Apart(ours, *ours.recv())
    finally:
        ours.send("end")
        running.join()


def _serve(pipe: Connection, root: Path, scenes: Sequence[Scene], latency_s: float) -> None:
    root.mkdir()
    with world(root) as planet:
        first = planet.add(scenes[0])
        for scene in scenes[1:]:
            planet.add_again(scene, first)
        planet.server.latency_s = latency_s
        pipe.send((planet.catalogs, planet.items[CATALOG[scenes[0].layout]]))
        spent = 0.0
        while pipe.recv() == "counts":
            now = time.process_time()
            pipe.send((planet.server.n_requests, planet.server.n_bytes, now - spent))
            planet.server.forget()
            spent = now
