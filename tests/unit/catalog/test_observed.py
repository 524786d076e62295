"""What was observed is found by tile: in a ledger, or in what a dataset publishes."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmearth.catalog.catalogue import read_catalogue
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.observed import Observed, open_observed
from mmearth.catalog.observed_sql import LEDGER
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.store import PackWriter, StoreReader
from mmearth.catalog.tile import Tile
from mmearth.curate.ledger import Ledger, Record
from mmearth.tests.make_own import LAYERS, make_own, values

TILES = ("32633_500000_4649760", "32633_501280_4649760")
CATALOGUE = MMEARTH_BENCH.only(("eth_gch", "precipitation"), ("biomass",))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two tiles; the first has a layer, a target and values, the second has nothing."""
    writer, codec = PackWriter(tmp_path), CATALOGUE.codec
    canopy = np.full((2, 128, 128), 7, CATALOGUE.layers["eth_gch"].dtype)
    target = np.arange(128 * 128, dtype=np.float32).reshape(128, 128) / 64
    records = []
    for name, array in (("eth_gch", canopy), ("biomass", target)):
        at = writer.add(codec.encode(array))
        place = (at.path, at.byte_offset, at.nbytes, at.sha256)
        records.append(Record(TILES[0], name, "done", True, None, None, *place, acquired="2020"))
    rain = "[0.1, -9999.0, 1.25]"
    records.append(Record(TILES[0], "precipitation", "done", values=rain, source_ids=("ERA5",)))
    records.append(Record(TILES[1], "eth_gch", "missing", reason="sea"))
    with Ledger(tmp_path) as ledger:
        ledger.record(records)
    return tmp_path


def test_rows_are_found_by_tile(root: Path) -> None:
    with open_observed(root, CATALOGUE) as observed, StoreReader(root) as reader:
        found = observed.of_tiles([*TILES, "32633_0_0"])
        assert list(found) == list(TILES)
        assert list(found[TILES[0]]) == ["biomass", "eth_gch", "precipitation"]
        here = [(row.tile, row.modality) for row in observed.here()]
        assert here == [(TILES[0], name) for name in found[TILES[0]]]
        assert observed.first_tile() == TILES[0]
        missing = found[TILES[1]]["eth_gch"]
        assert (missing.state, missing.reason, missing.path) == ("missing", "sea", None)
        seen = {name: row.read(reader, CATALOGUE) for name, row in found[TILES[0]].items()}
    assert seen["eth_gch"].array.tolist() == [[[7] * 128] * 128] * 2
    assert seen["eth_gch"].acquired == "2020"
    assert seen["biomass"].array.shape == (1, 128, 128)
    assert seen["biomass"].array[0, 1, 2] == 130 / 64
    assert seen["precipitation"].array.tolist() == [0.1, -9999.0, 1.25]
    assert seen["precipitation"].source_ids == ("ERA5",)


def test_a_row_that_was_changed_is_named(root: Path) -> None:
    with sqlite3.connect(root / LEDGER) as db:
        db.execute("UPDATE observations SET byte_offset = 1 WHERE modality = 'eth_gch'")
    db.close()
    said = f"of eth_gch of tile {TILES[0]} is not what was written"
    with open_observed(root, CATALOGUE) as observed, pytest.raises(FormatError, match=said):
        observed.of_tile(TILES[0])


@pytest.mark.parametrize("values", [None, "", "[1, 2]", "[1, 2, {}]", "nonsense", "[" * 99_999])
def test_values_of_another_shape_are_refused(values: str | None) -> None:
    row = Observed(TILES[0], "precipitation", "done", values=values)
    with pytest.raises(FormatError, match="precipitation of tile 32633_500000_4649760 has"):
        row.array(MMEARTH_BENCH.layers["precipitation"])


def test_a_place_that_is_none_is_refused() -> None:
    row = Observed(TILES[0], "eth_gch", "done", None, "a.pack", 0, 9, "a" * 64)
    assert row.location.nbytes == 9
    for wrong in ({"path": None}, {"byte_offset": "0"}, {"sha256": "none"}, {"bytes": None}):
        with pytest.raises(FormatError, match="expected a file, a range and a SHA-256"):
            replace(row, **wrong).location  # noqa: B018


def test_no_more_memory_is_taken_than_a_layer_can_have(tmp_path: Path) -> None:
    pack = tmp_path / "a.pack"
    with pack.open("wb") as stream:
        stream.truncate(1 << 40)  # most of it was never written
    row = Observed(TILES[0], "eth_gch", "done", None, "a.pack", 0, 1 << 40, "a" * 64)
    with (
        StoreReader(tmp_path) as reader,
        pytest.raises(
            FormatError, match=r"is said to have 1099511627776 bytes, expected \d{6} at most"
        ),
    ):
        row.read(reader, CATALOGUE)


def test_a_directory_without_a_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no build"), open_observed(tmp_path, CATALOGUE):
        pass


def test_a_downloaded_dataset_says_where_all_of_it_is(tmp_path: Path) -> None:
    root = make_own(tmp_path, 32)
    shutil.rmtree(root / ".curate", ignore_errors=True)
    catalogue = read_catalogue(root)
    tile = Tile.at(14.0, 45.0, catalogue.grid).id
    for tiles in (None, [tile]):
        with open_observed(root, catalogue, tiles) as observed, StoreReader(root) as reader:
            rows = observed.of_tile(tile)
            assert {row.tile for row in observed.here()} >= {tile}
            assert ({row.tile for row in observed.here()} == {tile}) == (tiles is not None)
            for layer in LAYERS:
                of = catalogue.layers[layer.name]
                found = rows[layer.name].read(reader, catalogue).array
                np.testing.assert_array_equal(found, values(of, 4))
            height = rows["height"].read(reader, catalogue)
            assert height.array.shape == (1, 32, 32)
            assert rows["height"].path == "shards/height/train-000000.tar"
            assert json.loads(str(rows["order"].values)) == [4]
