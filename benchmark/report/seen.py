"""What the choices behind a number have seen: a number is only as honest as they are."""

from __future__ import annotations

from mmearth.benchmark.adapted import ADAPTED, ORACLES
from mmearth.benchmark.report.content import ABSENT

_FITTED = "train, validation labels"
SEEN = {
    "mean": "train",
    **dict.fromkeys(("neighbours", "boosting", "LP", "FT", "JT"), _FITTED),
    **dict.fromkeys(ADAPTED, f"{_FITTED}, test inputs"),
    **dict.fromkeys(ORACLES, f"{_FITTED}, test inputs, test labels"),
}
"""Method → what its weights, its checkpoint, its K and its rate were fitted to or chosen by."""


def seen_by(method: str) -> str:
    """Return what a method's choices have seen; a dash where that is not known."""
    return SEEN.get(method, ABSENT)
