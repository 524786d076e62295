"""Plug-ins: what installed packages, or a file, bring beside what is here."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from importlib.metadata import entry_points
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.wording import first_line

SOURCES, ENCODERS = "mmearth.sources", "mmearth.encoders"
METHODS, CATALOGUES = "mmearth.methods", "mmearth.catalogues"
GROUPS = {SOURCES: "source", ENCODERS: "encoder", METHODS: "method", CATALOGUES: "catalogue"}
"""Group of entry points → what one of them is called."""


@dataclass(frozen=True, slots=True, order=True)
class Plugin:
    """One entry point of an installed package."""

    group: str
    """A key of GROUPS."""
    name: str
    """That a configuration may use."""
    place: str
    """`package.module:Class`."""
    package: str
    """Name and version."""


def plugins(group: str) -> list[Plugin]:
    """Return what installed packages offer to a group, by name; nothing is imported."""
    return sorted(
        Plugin(group, each.name, f"{each.module}:{each.attr}", _package(each.dist))
        for each in entry_points(group=group)
    )


def place_of(group: str, name: str) -> str | None:
    """Return where a name of a configuration leads; None where nothing offers it.

    Args:
        group: A key of GROUPS.
        name: `module:Class` or `file.py:Class`, which lead to themselves, or of a plug-in.

    Raises:
        ConfigError: Two packages offer different things by that name.
    """
    if ":" in name:
        return name
    places = sorted({each.place for each in plugins(group) if each.name == name})
    if len(places) > 1:
        raise ConfigError(
            f"two packages offer a {GROUPS[group]} {name!r}; write {' or '.join(places)} for it"
        )
    return places[0] if places else None


def load(group: str, place: str, base: Path = Path(), todo: str = "look at what it imports") -> Any:
    """Return what stands at a place.

    Args:
        group: A key of GROUPS.
        place: `package.module:Name` or `file.py:Name`.
        base: Directory that a relative file is in.
        todo: What a person can do where it cannot be imported.

    Raises:
        ConfigError: It cannot be imported, or has nothing of that name.
    """
    module, _, name = place.rpartition(":")
    try:
        return attrgetter(name)(_module(module, base))
    except Exception as exc:  # somebody else's code, or a package of another build of torch
        raise ConfigError(
            f"the {GROUPS[group]} {place} cannot be imported ({first_line(exc)}); expected "
            f"module:Name or a file my.py:Name; {todo}"
        ) from exc


def digest(group: str, name: str) -> str:
    """Return the SHA-256 of the file that a plug-in is in; empty where that cannot be found.

    Args:
        group: A key of GROUPS.
        name: See `place_of`.
    """
    module = (place_of(group, name) or "").rpartition(":")[0]
    try:
        found = None if module.endswith(".py") else importlib.util.find_spec(module)
        return sha256_bytes(Path((found and found.origin) or module).read_bytes())
    except (ImportError, OSError, ValueError):
        return ""


def _module(name: str, base: Path) -> ModuleType:
    path = base / name
    if path.suffix != ".py":
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _package(dist: Any) -> str:
    return f"{dist.name} {dist.version}" if dist is not None else "an unknown package"
