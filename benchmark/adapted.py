"""Names of the methods that adapt: to which batches, and by what the answering iteration is chosen.

`TTT-MMR` and `TTT-MMR-Geo` choose on validation, as published. A suffix names another choice, made
for each test batch by itself: `TTT-MMR-Geo-pixels`.
"""

from __future__ import annotations

from typing import Literal

MODES = ("TTT-MMR", "TTT-MMR-Geo")
"""Random batches, and batches of neighbours."""
Choice = Literal["validation", "held-back", "pixels", "change", "oracle"]
CHOICES: tuple[Choice, ...] = ("validation", "held-back", "pixels", "change", "oracle")
"""By the task's loss on validation, one K for all; by the reconstruction of modalities, or of
pixels, that are not adapted to; by how little the next step changes predictions; by test labels."""
_PARTS: dict[str, tuple[str, Choice]] = {
    mode if choice == "validation" else f"{mode}-{choice}": (mode, choice)
    for choice in CHOICES
    for mode in MODES
}
ADAPTED = tuple(_PARTS)
"""All of them: they start from a JT run of the same setting."""
ORACLES = tuple(name for name, (_, choice) in _PARTS.items() if choice == "oracle")
"""Upper bounds: they look at the labels that they are scored by, and are no result."""
PREDICTING = ("JT", *(name for name in ADAPTED if name not in ORACLES))
"""Methods whose weights predict for places without labels."""


def mode_of(method: str) -> str:
    """Return which of MODES a method of ADAPTED takes its batches from."""
    return _PARTS[method][0]


def choice_of(method: str) -> Choice:
    """Return by what a method of ADAPTED chooses."""
    return _PARTS[method][1]
