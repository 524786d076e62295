"""Pack a collected dataset again and catalogue it, from nothing but its own directory."""

from __future__ import annotations

import json
from pathlib import Path

from mmearth.catalog import card as cards
from mmearth.catalog import checksums, croissant, stac
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import read_catalogue
from mmearth.catalog.documents import read_json
from mmearth.catalog.executor import Workers
from mmearth.catalog.files import write_atomic
from mmearth.catalog.own_store import adopt
from mmearth.catalog.progress import Progress, silent
from mmearth.packaging.build import Built, build

_CARD = Path(".curate") / "card.json"
"""The card while there is no dataset.json; working state, not published."""


def rebuild(
    root: Path, workers: Workers | None = None, progress: Progress = silent
) -> tuple[Built, str]:
    """Make shards, manifests, statistics, catalogue and checksums from what the dataset holds.

    Of one that was collected here those are its packs and shards, of one that was downloaded its
    shards. The same observations give the same bytes. It may be interrupted and run again.

    Args:
        root: The dataset's directory.
        workers: Who writes shards; None for one.
        progress: Told about every step.

    Returns:
        What packaging made, and the dataset's hash.

    Raises:
        ConfigError: The directory holds no dataset.
        FormatError: It has no catalogue.json, or one that is not of its dataset.json.
        IntegrityError: A member is not the one that was collected.
        StorageError: The disk is full.
    """
    card = _read_card(root)
    catalogue = read_catalogue(root)
    card.check(catalogue)
    checksums.refuse_outside(root)
    write_card(root, card)
    built = build(root, card, workers, progress)
    progress("catalogue", 1)
    cards.write_readme(root, card)
    stac.build(root, card)
    croissant.build(root, card, built.sums)
    progress("seal", 1)
    dataset_hash = checksums.seal(root, card, built.sums)
    adopt(root, catalogue)
    (root / _CARD).unlink(missing_ok=True)
    return built, dataset_hash


def write_card(root: Path, card: DatasetCard) -> None:
    """Keep a dataset's card while there is no dataset.json.

    Raises:
        StorageError: The disk is full.
    """
    write_atomic(root / _CARD, (json.dumps(card.to_json()) + "\n").encode(), durable=True)


def _read_card(root: Path) -> DatasetCard:
    """Return the card of a dataset, or of one whose packing was interrupted."""
    if not (root / checksums.DATASET).exists() and (root / _CARD).exists():
        return DatasetCard.from_json(read_json(root / _CARD, root))
    return DatasetCard.from_json(checksums.read_dataset(root))
