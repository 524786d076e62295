"""Which visits are left: the plan less what the ledger has settled and the store still holds."""

from __future__ import annotations

from pathlib import Path

from mmearth.catalog.tasks import TASKS
from mmearth.catalog.tile import Tile
from mmearth.curate.collect import Job
from mmearth.curate.config import BuildConfig
from mmearth.curate.ledger import Ledger
from mmearth.curate.plan import Plan


def pending(config: BuildConfig, plan: Plan, ledger: Ledger, root: Path) -> list[Job]:
    """Return the visits that are left, sorted by tile.

    Args:
        config: Names the modalities.
        plan: Names the tiles, and their dates where labels ask for one. Where two tasks ask for
            different dates of one tile, the earlier task in the published order decides.
        ledger: Knows what is settled.
        root: The dataset's directory; a file that was deleted from its store is collected again.
    """
    wanted, dates = _wanted(config, plan)
    settled = ledger.settled()
    kept = ledger.paths()
    gone = {key for key, path in kept.items() if not (root / path).exists()}
    anchor = ledger.dates()
    jobs = []
    for tile_id in sorted(wanted):
        names = tuple(
            name
            for name in wanted[tile_id]
            if (tile_id, name) not in settled or (tile_id, name) in gone
        )
        if names:
            date = anchor.get(tile_id) or dates.get(tile_id)
            require = tuple(name for name in config.require if name in names)
            jobs.append(Job(Tile.parse(tile_id), names, date, require))
    return jobs


def _wanted(config: BuildConfig, plan: Plan) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Return tile → what is wanted there, and tile → the date its label asks for."""
    wanted: dict[str, tuple[str, ...]] = {}
    dates: dict[str, str] = {}
    columns = plan.table.select(["task", "tile", "date"]).to_pydict()
    order = list(TASKS)
    rows = zip(columns["task"], columns["tile"], columns["date"], strict=True)
    for task, tile, date in sorted(rows, key=lambda row: order.index(row[0])):
        names = wanted.get(tile, config.modalities)
        wanted[tile] = (*names, task) if TASKS[task].level == "pixel" else names
        if date is not None:
            dates.setdefault(tile, date)
    return wanted, dates
