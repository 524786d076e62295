"""The acceptance run, for whoever has an account; docs/earthengine.md says how."""

from __future__ import annotations

import os

import pytest

from mmearth.tests.online.acceptance import run

pytestmark = pytest.mark.online


def test_the_true_service() -> None:
    if "EARTHENGINE_PROJECT" not in os.environ:
        pytest.skip("set EARTHENGINE_PROJECT")
    done = run()
    print(f"\n{done.tables()}\n")  # noqa: T201 - for the reader, with -s
    odd = [f"{row.step}: {row.found}" for row in done.rows if not row.is_good]
    assert not odd, "\n".join(odd)
