"""What tests of builds that die have in common."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_LIBRARIES = Path(__file__).parent / "integration" / "power"


def published(out: Path) -> dict[str, bytes]:
    """Return every file of a build but those that are its own, by its path."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".curate" not in path.parts
    }


def preloaded(name: str, folder: Path) -> Path:
    """Compile a library that stands before the C library; skip the test where none can."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("what stands before the C library is compiled, for Linux")
    path = folder / f"{name}.so"
    source = _LIBRARIES / f"{name}.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", path, source], check=True)
    return path
