"""Pack a collected dataset again and catalogue it, from nothing but its own directory."""

from __future__ import annotations

import json
from pathlib import Path

from mmearth.catalog import card as cards
from mmearth.catalog import checksums, croissant, stac
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import read_catalogue
from mmearth.catalog.documents import read_json
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.files import write_atomic
from mmearth.catalog.progress import Progress, silent
from mmearth.catalog.store import STORE
from mmearth.packaging.build import Built, build

_CARD = Path(".curate") / "card.json"
"""The card while there is no dataset.json; working state, not published."""


def rebuild(root: Path, workers: int = 1, progress: Progress = silent) -> tuple[Built, str]:
    """Make shards, manifests, statistics, catalogue and checksums from the store.

    The same store gives the same bytes, so this also repairs a dataset whose shards were damaged.
    It may be interrupted and run again.

    Args:
        root: The dataset's directory.
        workers: Processes.
        progress: Told about every step.

    Returns:
        What packaging made, and the dataset's hash.

    Raises:
        ConfigError: The directory holds no dataset, or one without its store.
        FormatError: It has no catalogue.json, or one that is not of its dataset.json.
        IntegrityError: A file of the store is not the one that was collected.
        StorageError: The disk is full.
    """
    card = _read_card(root)
    card.check(read_catalogue(root))
    checksums.refuse_outside(root)
    if not (root / STORE).is_dir():
        raise ConfigError(
            f"{root} has no {STORE}/ to pack from: it was built with `keep_store: false`; build it "
            "again with `mmearth curate build`"
        )
    write_atomic(root / _CARD, (json.dumps(card.to_json()) + "\n").encode())
    checksums.unseal(root)
    built = build(root, card, workers, progress)
    progress("catalogue", 1)
    cards.write_readme(root, card)
    stac.build(root, card)
    croissant.build(root, card, built.sums)
    progress("seal", 1)
    dataset_hash = checksums.seal(root, card, built.sums)
    (root / _CARD).unlink(missing_ok=True)
    return built, dataset_hash


def _read_card(root: Path) -> DatasetCard:
    """Return the card of a dataset, or of one whose packing was interrupted."""
    if not (root / checksums.DATASET).exists() and (root / _CARD).exists():
        return DatasetCard.from_json(read_json(root / _CARD, root))
    return DatasetCard.from_json(checksums.read_dataset(root))
