"""How the batches of an epoch are shared by the ranks of a job; a pure function."""

from __future__ import annotations

from collections.abc import Iterator

from mmearth.catalog.errors import ConfigError


def turns(n_batches: int, position: int, rank: int, world: int) -> Iterator[tuple[int, bool]]:
    """Yield what one rank reads from a position of an epoch on.

    In each step the ranks read neighbouring batches, so that after a step it is known what all of
    them have read, and a job with other ranks can go on. All ranks make equally many steps.

    Args:
        n_batches: In the whole epoch.
        position: Batches that are done, on all ranks together.
        rank: From 0.
        world: How many ranks there are.

    Yields:
        The number of a batch, and whether it only fills up the last step: another rank reads it
        too, and it counts for nothing.

    Raises:
        ConfigError: The position is not in the epoch, or the rank not in the world.
    """
    if not 0 <= position <= n_batches:
        raise ConfigError(f"found position {position}; expected 0 to {n_batches} batches")
    if not 0 <= rank < world:
        raise ConfigError(f"found rank {rank} of {world}; expected 0 to {world - 1}")
    for begin in range(position, n_batches, world):
        batch = begin + rank
        yield batch % n_batches, batch >= n_batches
