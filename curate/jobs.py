"""Which visits are left: the plan less what the ledger has settled and the store still holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmearth.catalog.tasks import TASKS
from mmearth.catalog.tile import Tile
from mmearth.curate.collect import Job
from mmearth.curate.config import BuildConfig
from mmearth.curate.ledger import Ledger
from mmearth.curate.plan import Plan


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a plan wants to be collected."""

    names: dict[str, tuple[str, ...]]
    """Tile → modalities, and tasks with pixel-level targets."""
    dates: dict[str, str]
    """Tile → the date that its label asks for; tiles that take any date are not in it."""


def wanted(config: BuildConfig, plan: Plan) -> Wanted:
    """Return what is wanted at every tile.

    Where two tasks ask for different dates of one tile, the earlier task in the published order
    decides.
    """
    names: dict[str, tuple[str, ...]] = {}
    dates: dict[str, str] = {}
    columns = plan.table.select(["task", "tile", "date"]).to_pydict()
    order = list(TASKS)
    rows = zip(columns["task"], columns["tile"], columns["date"], strict=True)
    for task, tile, date in sorted(rows, key=lambda row: order.index(row[0])):
        here = names.get(tile, config.modalities)
        names[tile] = (*here, task) if TASKS[task].level == "pixel" else here
        if date is not None:
            dates.setdefault(tile, date)
    return Wanted(names, dates)


def pending(
    everything: Wanted, require: tuple[str, ...], ledger: Ledger, store: Path | None
) -> list[Job]:
    """Return the visits that are left, sorted by tile.

    Args:
        everything: What is wanted at every tile.
        require: Modalities without which a tile makes no sample.
        ledger: Knows what is settled.
        store: The dataset's directory: a file that was deleted or cut short there is collected
            again. None asks the ledger only.
    """
    settled = ledger.settled()
    if store is not None:
        for key, (path, length) in ledger.files().items():
            if not _is_whole(store / path, length):
                settled.pop(key, None)
    anchor = ledger.dates()
    jobs = []
    for tile_id in sorted(everything.names):
        names = tuple(n for n in everything.names[tile_id] if (tile_id, n) not in settled)
        if names:
            date = anchor.get(tile_id) or everything.dates.get(tile_id)
            here = tuple(name for name in require if name in names)
            jobs.append(Job(Tile.parse(tile_id), names, date, here))
    return jobs


def _is_whole(path: Path, length: int) -> bool:
    try:
        return path.stat().st_size == length
    except OSError:
        return False
