"""Threads, processes and a Dask cluster make the same bytes, with any number of workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmearth.build import Options, build
from mmearth.catalog.errors import ConfigError
from mmearth.tests.killing import published


def _silent(step: str, total: int | None) -> None:
    del step, total


def test_processes_make_the_bytes_of_one_thread(
    small_config: Path, small_dataset: Path, tmp_path: Path
) -> None:
    summary = build(small_config, tmp_path / "data", Options(2, "processes", None, False), _silent)
    assert summary.exit_code == 0
    assert published(tmp_path / "data") == published(small_dataset)


def test_a_dask_cluster_makes_the_bytes_of_one_thread(
    small_config: Path, small_dataset: Path, tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        how = Options(1, "processes", cluster.scheduler_address, False)
        assert how.scheduler is not None
        assert how.scheduler.startswith("tcp://")
        summary = build(small_config, tmp_path / "data", how, _silent)
    assert summary.exit_code == 0
    assert published(tmp_path / "data") == published(small_dataset)


def test_a_dask_cluster_without_workers_is_refused(small_config: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=0, protocol="tcp://", host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        how = Options(1, "processes", cluster.scheduler_address, False)
        with pytest.raises(ConfigError, match="has no workers; start some"):
            build(small_config, tmp_path / "data", how, _silent)
