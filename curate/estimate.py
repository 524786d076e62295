"""What a build would take, found out without writing anything."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.sample import Observation
from mmearth.catalog.tasks import TASKS
from mmearth.catalog.tile import Tile
from mmearth.curate.config import load_config
from mmearth.curate.plan import TaskPlan, make_plan
from mmearth.curate.sources import make_source
from mmearth.curate.sources.files import Files

_TRIED = 4
_STORED_SHARE = 0.55  # of a raw array, in a GeoTIFF; measured on the demo


@dataclass(frozen=True, slots=True)
class Estimate:
    """A plan and what it would cost."""

    tasks: tuple[TaskPlan, ...]
    """What became of each task's places."""
    modalities: tuple[str, ...]
    """What would be collected."""
    n_tiles: int
    """Different tiles of all tasks."""
    bytes: int
    """Store and shards, about."""
    seconds: float
    """Of one core, for collecting, about."""
    n_tried: int
    """Tiles that the estimate comes from."""
    problems: tuple[str, ...]
    """Files of the user's that cannot be used."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)


def estimate(config_path: Path) -> Estimate:
    """Plan a build and try it on a few tiles.

    Raises:
        ConfigError: The configuration is wrong.
    """
    config = load_config(config_path)
    source = make_source(config, config_path.parent)
    plan = make_plan(config, source, config_path.parent)
    tiles = sorted(set(plan.table["tile"].to_pylist()))
    tried = tiles[:: max(1, len(tiles) // _TRIED)][:_TRIED]
    targets = tuple(task for task in config.tasks if TASKS[task].level == "pixel")
    nbytes, begin = 0, time.perf_counter()
    for tile in tried:
        outcomes = source.observe(Tile.parse(tile), config.modalities + targets, None)
        nbytes += sum(o.array.nbytes for o in outcomes.values() if isinstance(o, Observation))
    seconds = time.perf_counter() - begin
    per_tile = nbytes / max(len(tried), 1)
    n_samples = plan.table.num_rows
    stored = _STORED_SHARE * len(tiles) if config.keep_store else 0.0
    return Estimate(
        tasks=plan.tasks,
        modalities=tuple(name for name in MODALITIES if name in config.modalities),
        n_tiles=len(tiles),
        bytes=round(per_tile * (n_samples + stored)),
        seconds=seconds / max(len(tried), 1) * len(tiles),
        n_tried=len(tried),
        problems=tuple(source.problems) if isinstance(source, Files) else (),
    )
