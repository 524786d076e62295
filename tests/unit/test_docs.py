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
