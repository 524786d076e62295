"""Words that many sentences need: a list of choices, and the nearest of them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def one_of(names: Iterable[object]) -> str:
    """Return choices as a sentence has them: `'a', 'b' or 'c'`."""
    *rest, last = [repr(name) for name in names]
    return f"{', '.join(rest)} or {last}" if rest else last


def nearest(found: str, names: Iterable[str]) -> str:
    """Return ` (did you mean 'source'?)` for a slip of the keyboard; empty where none is near."""
    by_small = {name.lower(): name for name in names}
    near = get_close_matches(found.lower(), by_small, n=1, cutoff=0.6)
    return f" (did you mean {by_small[near[0]]!r}?)" if near else ""


def folded(name: str) -> str:
    """Return a name as people mean it: no case, blanks for underscores, none around it."""
    return " ".join(name.replace("_", " ").split()).casefold()


def first_line(exc: BaseException) -> str:
    """Return the first line of what an error of somebody else's says, or its name."""
    return (str(exc).splitlines() or [type(exc).__name__])[0]
