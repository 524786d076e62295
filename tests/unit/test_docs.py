"""The documentation names what is there, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *ROOT.glob("*/README.md"),
    *ROOT.glob("tests/*/README.md"),
]


def test_the_architecture_shows_every_file_of_the_folders() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = page.split("## Every file")[1]
    for folder in ("catalog", "curate", "packaging", "loaders", "benchmark"):
        part = re.search(rf"^    {folder}/\n((?:      .*\n)+)", tree, re.M)
        assert part is not None, folder
        shown = {line.split()[0] for line in part.group(1).splitlines()}
        files = {path.name for path in (ROOT / folder).glob("*.py")}
        assert {name for name in shown if not name.endswith("/")} == files, folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_every_tool_has_a_test_or_says_why_not() -> None:
    lines = (ROOT / "docs" / "tools.md").read_text(encoding="utf-8").splitlines()
    rows = [line.replace("\\|", "") for line in lines if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith(("| tool |", "| place |", "| --- |"))]
    assert len(rows) > 25
    for row in rows:
        _, tool, command, test, _ = (cell.strip() for cell in row.split("|"))
        named = re.findall(r"`([\w/]+\.py)`", test)
        assert tool and command, row
        assert named or test.startswith("none") or test.startswith("the same"), row
        assert all((ROOT / "tests" / path).is_file() for path in named), row
