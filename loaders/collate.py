"""Arrays of a batch → the dict of tensors that a user gets; nothing is copied."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import register_pytree_node, tree_map_only

from mmearth.catalog.errors import ConfigError
from mmearth.loaders.batch_reader import TARGET, BatchReader, Extents, bands_of, mask_of
from mmearth.loaders.orders.schedule import Turn
from mmearth.loaders.pool import Block, Layout, Place


class Batch(dict[str, Any]):
    """A batch of B samples: a dict that shows itself in a few lines.

    - a tensor for each chosen modality, (B, band, row, column) or (B, band);
    - `target`: (B, row, column), or (B, n): numbers as they are stored, one an output; labels, 0 or
      1; of a classification int64 indices of classes, (B, row, column) or (B, 1), and -100 where
      there is none, so that `cross_entropy` leaves it out. `selection.task.outputs` names them all;
    - `mask`: a dict of boolean tensors of the same names and shapes, True where a value is valid;
      what lies under False, in a pixel, a band or a whole sample, has no meaning but for that -100.
      A mask may be an expanded view, over bands or over pixels: read it, do not write to it;
    - `weight`: (B,) float32, 0 for repeats that only fill up a rank's share, else 1;
    - `key`: the samples' keys, B of them;
    - `position`: batches of the epoch that all ranks have read after this turn.
    """

    __slots__ = ()

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        """Return the batch on a device; of a mask that is an expanded view each value is sent once.

        Lightning moves batches so by itself.

        Args:
            device: Where to.
            non_blocking: Whether pinned memory is copied while the program goes on. What comes to
                a CPU is waited for.
        """
        sent = partial(_sent, device=device, non_blocking=non_blocking)
        moved: Batch = tree_map_only(torch.Tensor, sent, self)
        return moved

    def __repr__(self) -> str:
        lines = [f"<Batch of {len(self.get('key', ()))} samples"]
        lines += [f"  {name:<20} {_shown(value)}" for name, value in self.items()]
        return "\n".join(lines) + ">"


def _shown(value: object) -> str:
    if isinstance(value, torch.Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        return f"{kind} {tuple(value.shape)}" + (f" on {value.device}" if value.is_cuda else "")
    if isinstance(value, dict):
        return f"of {', '.join(map(str, value))}"
    if isinstance(value, list):
        return f"{value[0]}, …" if len(value) > 1 else ", ".join(map(str, value))
    return str(value)


def _sent(tensor: torch.Tensor, device: torch.device | str, non_blocking: bool) -> torch.Tensor:
    once = tuple(slice(1) if stride == 0 else slice(None) for stride in tensor.stride())
    there = torch.device(device)
    # Nobody would know when what comes to the CPU is there.
    goes_on = non_blocking and there.type not in ("cpu", "mps")
    return tensor[once].to(there, non_blocking=goes_on).expand(tensor.shape)


def _flatten(batch: Batch) -> tuple[list[Any], list[str]]:
    return list(batch.values()), list(batch)


def _unflatten(values: Iterable[Any], names: list[str]) -> Batch:
    return Batch(zip(names, values, strict=True))


# So that PyTorch's tree_map and compile look into it, as into any dict.
register_pytree_node(Batch, _flatten, _unflatten, serialized_type_name="mmearth.Batch")


def collate(
    reader: BatchReader, layout: Layout, turn: Turn, block: Block, extents: Extents
) -> Batch:
    """Return the batch of a turn.

    Args:
        reader: That filled the block.
        layout: Of the block.
        turn: Whose rows it read.
        block: What it filled.
        extents: How much of each mask; see `BatchReader.read`.
    """
    n, memory = len(turn.rows), _Memory(block)
    batch = Batch()
    masks: dict[str, torch.Tensor] = {}
    for name in (*reader.index.layers, TARGET):
        where = layout[name]
        shape, strides = (n, *where.shape[1:]), _strides(where.shape)
        batch[name] = memory.tensor(where, shape, strides)
        where = layout[mask_of(name)]
        if extents[name] == "pixels":
            strides = (strides[0], 0, *strides[2:])
        elif extents[name] == "bands":
            where = layout[bands_of(name)]
            strides = (where.shape[1], 1, 0, 0) if len(shape) == 4 else (1, 0, 0)
        masks[name] = memory.tensor(where, shape, strides)
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


class _Memory:
    """A block as tensors; one step each, as dozens of them are made for every batch."""

    __slots__ = ("_kinds", "_whole")

    def __init__(self, block: Block) -> None:
        base = block.base
        self._whole = base if isinstance(base, torch.Tensor) else torch.from_numpy(block)
        self._kinds: dict[np.dtype[Any], torch.Tensor] = {}

    def tensor(
        self, where: Place, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> torch.Tensor:
        """Return what begins where an array does, with a shape and strides in elements."""
        kind = self._kinds.get(where.dtype)
        if kind is None:
            kind = self._kinds[where.dtype] = self._whole.view(_kind(where.dtype))
        return kind.as_strided(shape, strides, where.begin // where.dtype.itemsize)


@cache
def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return how many elements lie between neighbours along each axis."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


@cache
def _kind(dtype: np.dtype[Any]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype
