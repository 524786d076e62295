"""The directory of a build: what may be in it, and what is deleted from it."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from mmearth.catalog import checksums
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.observed_sql import LEDGER
from mmearth.catalog.store import BEFORE, PACKS
from mmearth.curate.ledger import Ledger
from mmearth.curate.plan import Plan, moved

_LOG = logging.getLogger(__name__)


def open_ledger(out: Path, fresh: bool) -> Ledger:
    """Open a directory's ledger; a fresh one after deleting all that builds keep there.

    Rows that are damaged are forgotten.

    Raises:
        ConfigError: Another process holds it.
        FormatError: The file is no ledger, or of another version.
        StorageError: The disk is full or the directory cannot be written.
    """
    if fresh:
        checksums.clear(out)
        for path in (out / LEDGER).parent.glob(f"{Path(LEDGER).name}*"):  # with -wal and -shm
            path.unlink()
        for name in (PACKS, BEFORE):
            shutil.rmtree(out / name, ignore_errors=True)
    ledger = Ledger(out)
    if n_damaged := ledger.drop_damaged():
        _LOG.warning("%s rows of the ledger were damaged; they are collected again", n_damaged)
    return ledger


def refuse_foreign(out: Path) -> None:
    """Refuse to write between files that are not ours.

    Raises:
        ConfigError: There are some.
    """
    if not out.is_dir() or (out / LEDGER).exists():
        return
    found = next((path for path in sorted(out.iterdir()) if path.name != ".curate"), None)
    if found is not None:
        raise ConfigError(
            f"{out} holds {found.name}, which no build of ours has left; choose an empty directory"
        )


def refuse_moves(out: Path, plan: Plan) -> None:
    """Refuse to move tiles between train and tests without being told to.

    Raises:
        ConfigError: Tiles of the directory would change their split.
    """
    if n := moved(out / "tiles.parquet", plan.table):
        raise ConfigError(
            f"{n} tiles of {out} would change their split; expected none: the published rule deals "
            "all tiles anew where one comes or goes (split: {rule: default} never does), and "
            "another seed always; pass --redeal to go on"
        )


def forget_lost(ledger: Ledger) -> int:
    """Forget observations whose bytes are damaged or lost, to collect them again; return how many.

    What a file's size tells is forgotten whenever a build begins. This reads all of it.
    """
    if n_lost := ledger.drop_lost():
        _LOG.warning("%s observations were lost or damaged; they are collected again", n_lost)
    return n_lost


def sweep(out: Path, ledger: Ledger) -> None:
    """Delete what a crash or an earlier plan left: unfinished files, and what no row knows."""
    checksums.remove_unfinished(out)
    known = ledger.paths()
    for path in (out / PACKS).glob("*"):
        if path.relative_to(out).as_posix() not in known:
            path.unlink()
