"""What adapting to a batch gave, iteration by iteration, and which iteration answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Adapted:
    """One batch's iterations 0, which is not adapted, to K."""

    predictions: tuple[Any, ...]
    """K + 1 of what `predict` returned."""
    losses: dict[str, Tensor]
    """By modality: (K + 1,) reconstruction losses; NaN where the batch has nothing of it."""
    watched: Tensor
    """(K + 1,) mean loss of the modalities held back, or of all if none is."""
    moved: Tensor
    """(K + 1,) float64: norm of the difference from the encoder's own parameters."""
    norm: Tensor
    """() float64: of the adapted parameters themselves, by which `moved` is small or large."""
    chosen: int
    """The iteration that answers: K, unless a loss was watched and said otherwise. Iterations
    after a roll-back repeat the one that was kept."""

    @property
    def prediction(self) -> Any:
        """Of the chosen iteration."""
        return self.predictions[self.chosen]


@dataclass(slots=True)
class Trace:
    """The iterations so far."""

    held_back: tuple[str, ...]
    """Modalities whose loss is watched; all if none."""
    roll_back: bool
    """Whether an iteration whose watched loss is above the last one's is refused."""
    norm: Tensor
    """Of the parameters before the first step."""
    predictions: list[Any] = field(default_factory=list)
    losses: list[Mapping[str, Tensor]] = field(default_factory=list)
    watched: list[Tensor] = field(default_factory=list)
    moved: list[Tensor] = field(default_factory=list)

    def keep(self, prediction: Any, losses: Mapping[str, Tensor], moved: Tensor) -> bool:
        """Keep an iteration; return False if it is refused."""
        names = self.held_back or tuple(losses)
        watched = torch.stack([losses[name] for name in names]).nanmean()
        if self.roll_back and self.watched and _has_risen(self.watched[-1], watched):
            return False
        self.predictions.append(prediction)
        self.losses.append(losses)
        self.watched.append(watched)
        self.moved.append(moved)
        return True

    def adapted(self, steps: int) -> Adapted:
        """Return all iterations, 0 to `steps`."""
        last = len(self.predictions) - 1
        rows = [min(i, last) for i in range(steps + 1)]
        watched = torch.stack([self.watched[i] for i in rows])
        names = self.losses[0]
        return Adapted(
            tuple(self.predictions[i] for i in rows),
            {name: torch.stack([self.losses[i][name] for i in rows]) for name in names},
            watched,
            torch.stack([self.moved[i] for i in rows]),
            self.norm,
            _best(watched) if self.held_back else last,
        )


def _has_risen(before: Tensor, now: Tensor) -> bool:
    """Return whether a loss rose. One that became NaN did; one that was NaN before did not."""
    return not bool(before.isnan() | (now <= before))


def _best(watched: Tensor) -> int:
    """Return the iteration of the least loss that is a number, the first of several; 0 if none."""
    return int(watched.nan_to_num(torch.inf, torch.inf).argmin())
