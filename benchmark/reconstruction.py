"""How well the modalities are reconstructed: scores of a whole split, streamed.

Update with batches on any number of ranks, in any order, merge, read: the scores are the same bit
for bit. One number a modality, as MMEarth-Bench §5 reports: R² over all valid values of all bands
together (of z-scored values, so that no band outweighs another), or the mean accuracy of classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmearth.benchmark.sums import (
    Hits,
    Moments,
    join_hits,
    join_moments,
    tile_hits,
    tile_moments,
)

Arrays = Mapping[str, NDArray[np.generic]]
"""By modality, in the layout that the argument says."""


@dataclass(slots=True)
class Reconstruction:
    """What has been seen so far of each modality."""

    keys: dict[str, list[NDArray[np.str_]]] = field(default_factory=dict)
    """By modality: keys of the tiles of each part."""
    moments: dict[str, list[Moments]] = field(default_factory=dict)
    """By continuous or cyclic modality: the sums of each part."""
    hits: dict[str, list[Hits]] = field(default_factory=dict)
    """By categorical modality: the sums of each part."""

    def update(
        self,
        outputs: Arrays,
        target: Arrays,
        mask: Arrays,
        key: Sequence[str],
        weight: NDArray[np.generic] | None = None,
    ) -> None:
        """Add a batch.

        Args:
            outputs: (tiles, band, …) numbers, or (tiles, band × class, …) scores of classes.
            target: (tiles, band, …) in the same unit, or whole numbers: class indices.
            mask: Like `target`, True where it is valid.
            key: Of the tiles.
            weight: (tiles,) 0 marks padding, which is dropped; None is no padding.
        """
        real = np.ones(len(key), np.bool_) if weight is None else np.asarray(weight) > 0
        keys = np.asarray(key, np.str_)[real]
        for name, output in outputs.items():
            truth, valid = target[name][real], np.asarray(mask[name], np.bool_)[real]
            self.keys.setdefault(name, []).append(keys)
            if np.issubdtype(truth.dtype, np.integer):
                n_classes = output.shape[1] // truth.shape[1]
                by_class = output[real].reshape(*truth.shape[:2], n_classes, *truth.shape[2:])
                codes = truth.astype(np.int64)
                found = tile_hits(by_class.argmax(axis=2), codes, valid, n_classes)
                self.hits.setdefault(name, []).append(found)
            else:
                sums = tile_moments(
                    output[real].astype(np.float64), truth.astype(np.float64), valid
                )
                self.moments.setdefault(name, []).append(sums)

    def merge(self, other: Reconstruction) -> None:
        """Add what another has seen; a tile that both saw counts once, as the first saw it."""
        for name, keys in other.keys.items():
            self.keys.setdefault(name, []).extend(keys)
        for name, moments in other.moments.items():
            self.moments.setdefault(name, []).extend(moments)
        for name, hits in other.hits.items():
            self.hits.setdefault(name, []).extend(hits)

    def scores(self) -> dict[str, tuple[str, float]]:
        """Return, by modality as they came, `r2` or `accuracy` and its value.

        The value is NaN where nothing was valid.
        """
        found: dict[str, tuple[str, float]] = {}
        for name, parts in self.keys.items():
            keys, first = np.unique(np.concatenate(parts), return_index=True)
            everything = np.ones((1, len(keys)))
            if name in self.hits:
                hits = join_hits(self.hits[name], first)
                found[name] = "accuracy", float(hits.balanced_accuracy(everything)[0])
            else:
                moments = join_moments(self.moments[name], first)
                found[name] = "r2", float(moments.r2(everything)[0])
        return found
