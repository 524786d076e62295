"""A Dask cluster of three processes on this machine, to test with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def three_processes(threads_per_worker: int) -> Iterator[Any]:
    """Start them, each under a nanny that starts it anew when it dies; they end with the block."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=3,
        threads_per_worker=threads_per_worker,
        processes=True,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=50,
    ) as started:
        yield started
