"""Which of the processes of a distributed job this one is."""

from __future__ import annotations

import os

import torch.distributed

from mmearth.catalog.arguments import whole
from mmearth.catalog.errors import ConfigError


def ranks(rank: int | None, world: int | None) -> tuple[int, int]:
    """Return this process's rank, from 0, and how many ranks there are.

    Args:
        rank: As the caller says; None: of torch.distributed, or else of the launcher.
        world: As the caller says; None like `rank`.

    Raises:
        ConfigError: Only one of them is given, or the rank is not one of the world's.
    """
    if (rank is None) != (world is None):
        raise ConfigError("give both rank and world, or neither")
    if rank is None or world is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        rank, world = _of_launcher()
    rank, world = whole("rank", rank), whole("world", world, 1)
    if not 0 <= rank < world:
        raise ConfigError(f"found rank {rank} of {world}; expected 0 to {world - 1}")
    return rank, world


def _of_launcher() -> tuple[int, int]:
    rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    try:
        return int(rank), int(world)
    except ValueError as exc:
        raise ConfigError(
            f"found RANK={rank!r} and WORLD_SIZE={world!r} in the environment; expected numbers, "
            "as torchrun sets them"
        ) from exc
