"""Make a folder look like installed packages, without installing any."""

from __future__ import annotations

from pathlib import Path


def install(site: Path, package: str, entries: dict[str, dict[str, str]], **modules: str) -> None:
    """Write a package of version 1.0 into a folder, for a test to put on the path.

    Args:
        site: The folder.
        package: Its name.
        entries: Group → name → place, as its entry points.
        modules: Name → source of each of its modules.
    """
    info = site / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [
        line
        for group, names in entries.items()
        for line in (f"[{group}]", *(f"{name} = {place}" for name, place in names.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for name, text in modules.items():
        (site / f"{name}.py").write_text(text)
