"""What the choices behind a number have seen: a number is only as honest as they are."""

from __future__ import annotations

_FITTED = "train, validation labels"
SEEN = {
    "mean": "train",
    "neighbours": _FITTED,
    "boosting": _FITTED,
    "LP": _FITTED,
    "FT": _FITTED,
    "JT": _FITTED,
    "TTT-MMR": f"{_FITTED}, test inputs",
    "TTT-MMR-Geo": f"{_FITTED}, test inputs",
}
"""Method → what its weights, its checkpoint and its K were fitted to or chosen by."""


def seen_by(method: str) -> str:
    """Return what a method's choices have seen; a dash where that is not known."""
    return SEEN.get(method, "–")
