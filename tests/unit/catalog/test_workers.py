"""Worker processes end with the process that made them."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from mmearth.catalog.workers import open_pool

_DIES = """
import os
from mmearth.catalog.workers import open_pool
with open_pool(1) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    os.kill(os.getpid(), 9)
"""


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_are_other_processes_and_are_gone_afterwards() -> None:
    with open_pool(1) as pool:
        pid = pool.submit(os.getpid).result()
        assert pid != os.getpid()
        assert _is_alive(pid)
    assert not _is_alive(pid)


def test_workers_have_the_environment_of_their_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("first", None, "last"):
        if value is None:
            monkeypatch.delenv("MMEARTH_TRIED", raising=False)
        else:
            monkeypatch.setenv("MMEARTH_TRIED", value)
        with open_pool(1) as pool:
            assert pool.submit(os.getenv, "MMEARTH_TRIED").result() == value


def test_a_worker_does_not_outlive_a_killed_driver() -> None:
    driver = subprocess.run([sys.executable, "-c", _DIES], capture_output=True, check=False)
    assert driver.returncode == -9
    worker = int(driver.stdout)
    deadline = time.monotonic() + 10.0
    while _is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_alive(worker)


def test_an_error_in_the_block_ends_the_workers() -> None:
    with pytest.raises(KeyboardInterrupt), open_pool(1) as pool:
        pid = pool.submit(os.getpid).result()
        raise KeyboardInterrupt
    assert not _is_alive(pid)


_IGNORES = """
import os, signal
from mmearth.catalog.workers import open_pool
signal.signal(signal.SIGTERM, lambda *_: None)
with open_pool(2) as pool:
    os.killpg(0, signal.SIGTERM)
    print(len({pool.submit(os.getpid).result() for _ in range(20)}))
"""


def test_workers_leave_a_signal_to_the_whole_job_to_the_driver() -> None:
    # Batch systems send SIGTERM to every process of a job, workers that are still starting too.
    driver = subprocess.run(
        [sys.executable, "-c", _IGNORES],
        capture_output=True,
        check=False,
        start_new_session=True,
        timeout=60,
    )
    assert driver.returncode == 0, driver.stderr
    assert int(driver.stdout) in {1, 2}
