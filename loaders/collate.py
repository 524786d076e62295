"""Arrays of a batch → the dict of tensors that a user gets; nothing is copied."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

from mmearth.catalog.errors import ConfigError
from mmearth.loaders.batch_reader import TARGET, BatchReader, mask_of, presence_of
from mmearth.loaders.orders.schedule import Turn
from mmearth.loaders.pool import Block, Layout

Batch = dict[str, Any]
"""A batch of B samples:

- a tensor for each chosen modality, (B, band, 128, 128) or (B, band), and `target`, (B, 128, 128)
  or (B, n_outputs);
- `mask`: a dict of boolean tensors of the same names and shapes, True where a value is valid; what
  lies under False, in a pixel, a band or a whole sample, has no meaning. A mask may be an expanded
  view: read it, do not write to it;
- `weight`: (B,) float32, 0 for repeats that only fill up a rank's share, else 1;
- `key`: the samples' keys, B of them;
- `position`: batches of the epoch that all ranks have read after this turn.
"""


def collate(
    reader: BatchReader, layout: Layout, turn: Turn, block: Block, masked: frozenset[str]
) -> Batch:
    """Return the batch of a turn.

    Args:
        reader: That filled the block.
        layout: Of the block.
        turn: Whose rows it read.
        block: What it filled.
        masked: Which masks; see `BatchReader.read`.
    """
    n, arrays = len(turn.rows), _carve(block, layout)
    batch: Batch = {}
    masks: dict[str, torch.Tensor] = {}
    for name in (*reader.index.modalities, TARGET):
        values = batch[name] = arrays[name][:n]
        if name in masked:
            masks[name] = arrays[mask_of(name)][:n]
        else:
            present = arrays[presence_of(name)][:n]
            masks[name] = present.view(n, *(1,) * (values.ndim - 1)).expand(values.shape)
    batch["mask"] = masks
    batch["weight"] = torch.full((n,), 0.0 if turn.is_padding else 1.0)
    batch["key"] = reader.index.keys(turn.rows)
    batch["position"] = turn.position
    return batch


def pinned(nbytes: int) -> Block:
    """Return memory that a GPU copies from at once; PyTorch keeps it until the copies are done.

    Raises:
        ConfigError: There is no GPU.
    """
    if not torch.cuda.is_available():
        raise ConfigError("pin_memory needs a CUDA device, and none is found; leave it out")
    # The tensor is the array's base, where `collate` finds it again: copies that are under way are
    # known to PyTorch by their tensor, and not by its address.
    block: Block = torch.empty(nbytes, dtype=torch.uint8, pin_memory=True).numpy()
    return block


def _carve(block: Block, layout: Layout) -> dict[str, torch.Tensor]:
    """Return the tensors of a block; see `pool.carve`."""
    whole = block.base if isinstance(block.base, torch.Tensor) else torch.from_numpy(block)
    return {
        name: whole[begin : begin + nbytes].view(_kind(dtype)).view(shape)
        for name, (begin, nbytes, shape, dtype) in layout.items()
    }


@cache
def _kind(dtype: np.dtype[Any]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype
