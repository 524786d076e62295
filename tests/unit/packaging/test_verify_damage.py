"""Random damage of every published file: verification finds it, and never dies of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mmearth.catalog import card as cards
from mmearth.catalog import croissant, stac
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.checksums import DATASET, SUMS, published_files, seal
from mmearth.packaging.build import build
from mmearth.packaging.verify import verify
from mmearth.tests.damage import TIMES, damage_table, damaged_bytes, damaged_json
from mmearth.tests.make_tiny import make_tiny


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DatasetCard]:
    root = tmp_path_factory.mktemp("tiny")
    card = make_tiny(root, 2)
    built = build(root, card)
    cards.write_readme(root, card)
    stac.build(root, card)
    croissant.build(root, card, built.sums)
    seal(root, card, built.sums)
    assert verify(root) == []
    return root, card


@contextmanager
def _restored(root: Path, name: str) -> Iterator[Path]:
    before = {other: (root / other).read_bytes() for other in (name, SUMS, DATASET)}
    try:
        yield root / name
    finally:
        for other, data in before.items():
            (root / other).write_bytes(data)


@pytest.mark.fuzz
def test_every_changed_byte_is_found(dataset: tuple[Path, DatasetCard]) -> None:
    root, _ = dataset
    draw = random.Random(7)
    names = [*published_files(root), SUMS, DATASET]
    for _ in range(250 * TIMES):
        name = draw.choice(names)
        with _restored(root, name) as path:
            data = path.read_bytes()
            damaged = damaged_bytes(draw, data)
            path.write_bytes(damaged)
            assert damaged == data or verify(root), f"{name}: {damaged[:80]!r}"


@pytest.mark.fuzz
def test_a_dataset_that_was_changed_and_sealed_again_never_ends_verification(
    dataset: tuple[Path, DatasetCard],
) -> None:
    root, card = dataset
    draw, found = random.Random(8), Counter[bool]()
    names = [n for n in published_files(root) if n.endswith((".json", ".parquet"))]
    tables = [n for n in names if n.endswith(".parquet")]
    for _ in range(250 * TIMES):
        name = draw.choice(names if draw.random() < 0.4 else tables)
        with _restored(root, name) as path:
            try:
                if name in tables:
                    damage_table(draw, path)
                else:
                    path.write_bytes(damaged_json(draw, path.read_bytes()))
            except (TypeError, ValueError):  # the column's type takes no such value
                continue
            seal(root, card)
            found[bool(verify(root))] += 1
    assert found[True] > 100 * TIMES


@pytest.mark.parametrize("text", [b"{}", b"[]", b'{"tasks": [null]}', b"\xff"])
def test_a_card_that_is_none(text: bytes, dataset: tuple[Path, DatasetCard]) -> None:
    root, _ = dataset
    with _restored(root, DATASET) as path:
        path.write_bytes(text)
        assert [finding.path for finding in verify(root)] == [DATASET]
