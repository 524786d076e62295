"""Names of species, however they are written, as the task knows them."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.labels.table import Table

_LOG = logging.getLogger(__name__)
SPECIES = MMEARTH_BENCH.tasks["species"].outputs
"""The published names, in their order."""
STATUS = "occurrencestatus"
"""Darwin Core's column, in small letters, that says whether a row's species was seen at all."""
_SEPARATORS = re.compile(r"[;,|\n]")
_BLANKS = re.compile(r"[_\s]+")
_ALIKE = 0.88
"""Likeness (difflib) from which a name is taken for a known one misspelt: `Canis lupis` has 0.91,
`Vulpes chama`, a species of its own, 0.87 to `Vulpes cana`."""


def known_name(name: str) -> str | None:
    """Return a species' name as the task has it; None where the task does not know it.

    Case, underscores for blanks and further blanks do not matter.
    """
    return _KNOWN.get(_key(name))


def listed_species(
    table: Table, rows: Sequence[int], ignore_unknown: bool
) -> list[tuple[str, ...]]:
    """Return the species that cells name, separated by `;`, `,` or `|`, in the task's order.

    Names that the task does not know are left out and told, but not those that look like a known
    one: misspelt, abbreviated, with a subspecies or an author.

    Args:
        table: With a column `species`.
        rows: Those that are wanted.
        ignore_unknown: Whether those that look like a known one are left out, too.

    Raises:
        ConfigError: A name looks like a known one, or the task knows none at all.
    """
    cells = table.text["species"].to_pylist()
    unknown: dict[str, int] = {}
    found = []
    for row in rows:
        here = set()
        for name in filter(None, map(str.strip, _SEPARATORS.split(cells[row] or ""))):
            here.add(known_name(name))
            if known_name(name) is None:
                unknown.setdefault(name, row)
        found.append(tuple(name for name in SPECIES if name in here))
    for name, row in unknown.items():
        alike = _alike(name, _ALIKE)
        if not any(found) or (alike and not ignore_unknown):
            raise ConfigError(
                f"{table.cell('species', row)}, and {name!r} is none of the task's 100 species"
                f"{nearest([name])}; correct it"
                + (", or say ignore_unknown: true" if any(found) else "")
            )
    if unknown:
        told = len(unknown), first_few(unknown)
        _LOG.info("%s: %d species are none of the task's: ignored (%s)", table.path.name, *told)
    return found


def not_seen(table: Table) -> NDArray[np.bool_]:
    """Return which rows say that their species was looked for and not seen, (n,).

    Raises:
        ConfigError: The column says something else.
    """
    if STATUS not in table.text:
        return np.zeros(len(table), dtype=np.bool_)
    said = [(text or "present").lower() for text in table.text[STATUS].to_pylist()]
    for row, text in enumerate(said):
        if text not in ("present", "absent"):
            raise ConfigError(
                f"{table.cell(STATUS, row)}, expected PRESENT or ABSENT; correct the cell, or take "
                "its row out"
            )
    return np.array([text == "absent" for text in said], dtype=np.bool_)


def misspelt(names: Iterable[str]) -> dict[str, str]:
    """Return unknown names that look like a known one, and which."""
    return {name: alike[0] for name in names if (alike := _alike(name, _ALIKE))}


def nearest(names: Iterable[str]) -> str:
    """Return the known names nearest to unknown ones, as part of a sentence; empty if none is."""
    found = dict.fromkeys(known for name in names for known in _alike(name, 0.7))
    return f"; the nearest known ones are {', '.join(list(found)[:5])}" if found else ""


def first_few(names: Iterable[str]) -> str:
    """Return names as part of a sentence, the first five of them."""
    listed = list(names)
    return ", ".join(listed[:5]) + (" …" if len(listed) > 5 else "")


def _alike(name: str, cutoff: float) -> list[str]:
    """Return the known names that a name looks like, those that it holds first."""
    key = _key(name)
    longer = [known for known in _KNOWN if known in key]
    if re.match(r"\w\. ", key):
        longer += [known for known in _KNOWN if known[0] == key[0] and known.endswith(key[2:])]
    close = difflib.get_close_matches(key, _KNOWN, n=2, cutoff=cutoff)
    return [_KNOWN[known] for known in dict.fromkeys(longer + close)]


def _key(name: str) -> str:
    return _BLANKS.sub(" ", name).strip().casefold()


_KNOWN = {_key(name): name for name in SPECIES}
