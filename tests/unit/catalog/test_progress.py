"""Progress: lines for a file that do not flood it, a bar for any terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from mmearth.catalog import progress as module
from mmearth.catalog.progress import duration, shown


def test_a_file_gets_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with shown(every_s=30.0) as progress:
        progress("collect", 100)
        for _ in range(100):
            now[0] += 1.0
            progress("collect", None)
        progress("seal", 1)
        progress("verify shards", 2)
        progress("verify shards", None)
        progress("verify shards", None)
    assert capsys.readouterr().err.splitlines() == [
        "collect: 100 tiles",
        "collect: 30 of 100, 1 tiles/s, about 70 s left",
        "collect: 60 of 100, 1 tiles/s, about 40 s left",
        "collect: 90 of 100, 1 tiles/s, about 10 s left",
        "collect: 100 of 100 in 2 min",
        "seal …",
        "verify shards: 2 samples",
    ]


def test_a_unit_has_its_plural(capsys: pytest.CaptureFixture[str]) -> None:
    with shown() as progress:
        progress("predict batches", 2)
    assert capsys.readouterr().err == "predict batches: 2 batches\n"


def test_quiet_is_quiet(
    small_dataset: Path, tmp_path: Path, run_cli: Callable[..., tuple[int, str, str]]
) -> None:
    assert "is whole" in run_cli("packaging", "verify", small_dataset)[2]
    assert run_cli("-q", "packaging", "verify", small_dataset) == (0, "", "")
    out = tmp_path / "a.csv"
    asked = ("-q", "loaders", "query", small_dataset, "SELECT 1 AS one", "-o", out)
    assert run_cli(*asked) == (0, "", "")
    code, _, err = run_cli("-q", "packaging", "verify", tmp_path)
    assert code == 2 and "holds no complete dataset" in err


def test_what_was_interrupted_says_how_far_it_came(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with pytest.raises(KeyboardInterrupt), shown() as progress:
        progress("package", 7)
        progress("package", None)
        now[0] = 8.0
        raise KeyboardInterrupt
    assert capsys.readouterr().err.splitlines()[-1] == "package: 1 of 7 in 8 s"


def test_a_terminal_of_no_size_has_a_bar_too() -> None:
    code = """
from mmearth.catalog.progress import shown
with shown() as progress:
    progress("collect", 2)
    progress("collect", None)
    progress("collect", None)
"""
    ours, theirs = pty.openpty()  # 0 × 0, as `script` and some schedulers make it
    done = subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True)
    os.close(theirs)
    said = ""
    with suppress(OSError):  # which is how the end of a terminal is read
        while part := os.read(ours, 10000):
            said += part.decode()
    os.close(ours)
    assert done.returncode == 0
    assert re.search(r"collect: 100%\|█+\| 2/2 \[00:0\d<00:00, .* tiles/s\]", said), said


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (99, "99 s"), (180, "3 min"), (9000, "2.5 h")]
)
def test_times_are_said_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text
