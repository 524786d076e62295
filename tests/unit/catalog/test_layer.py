"""Layer: shapes, class codes with gaps, and the contract of its values."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmearth.catalog.errors import ConfigError, DataError
from mmearth.tests.make_tiny import OWN, classes, own_layer

EMBEDDING, SOIL, ZONE = (OWN.layers[name] for name in ("embedding", "soil_map", "zone"))


def test_shapes_and_sizes_follow_level_bands_and_grid() -> None:
    assert (EMBEDDING.shape, EMBEDDING.nbytes) == ((4, 32, 32), 4 * 32 * 32 * 4)
    assert replace(EMBEDDING, pixels=64).shape == (4, 64, 64)
    assert (OWN.layers["climate"].shape, OWN.layers["climate"].nbytes) == ((2,), 16)
    assert EMBEDDING.index(("A03", "A00")) == [3, 0]
    with pytest.raises(ConfigError, match="embedding has no band 'B1'; its bands are A00, A01"):
        EMBEDDING.index(("B1",))


def test_a_class_code_is_a_column_where_a_tile_has_one() -> None:
    assert [name for name, layer in OWN.layers.items() if layer.has_code_column] == ["zone"]
    two = own_layer("x", {"a": (0, 1), "b": (0, 1)}, level="tile", kind="categorical")
    assert not two.has_code_column


@pytest.mark.parametrize(
    ("codes", "stored", "indices"),
    [
        ((0, 1, 2), [2, 0, 1], [2, 0, 1]),
        ((1, 2, 7), [7, 1, 2], [2, 0, 1]),
        ((-3, 5, 70_000), [[5], [-3]], [[1], [0]]),
    ],
)
def test_the_index_of_a_class_is_its_position(codes: Any, stored: Any, indices: Any) -> None:
    layer = own_layer("x", {"x": (codes[0], codes[-1])}, classes=classes(*codes))
    found = layer.class_indices(np.array(stored, np.int32))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, indices)


@given(codes=st.sets(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=9), seed=st.integers())
@settings(max_examples=50, deadline=None)
def test_indices_by_the_book(codes: set[int], seed: int) -> None:
    ordered = sorted(codes)
    layer = own_layer("x", {"x": (ordered[0], ordered[-1])}, classes=classes(*ordered))
    stored = np.random.default_rng(abs(seed)).choice(ordered, (2, 3)).astype(np.int32)
    expected = [[ordered.index(code) for code in row] for row in stored.tolist()]
    assert layer.class_indices(stored).tolist() == expected


def test_a_code_in_a_gap_is_refused_and_no_data_is_not() -> None:
    array = np.full(SOIL.shape, 7, np.uint8)
    array[0, 0, :3] = (1, 2, 0)
    SOIL.check(array)
    assert np.count_nonzero(~SOIL.valid(array)) == 1
    array[0, 5, 5] = 3
    with pytest.raises(DataError, match=r"soil_map soil: found class code 3, expected one of 1, 2"):
        SOIL.check(array)
    array[0, 5, 5] = 8
    with pytest.raises(DataError, match=r"found values 1 to 8 1, expected 1 to 7; check the unit"):
        SOIL.check(array)
    ZONE.check(np.array([-1], np.int32))  # between two codes, and no data
    with pytest.raises(DataError, match="found class code 0, expected one of -3, 5, 70000"):
        ZONE.check(np.array([0], np.int32))


def test_limits_are_in_the_stored_type() -> None:
    layer = own_layer("x", {"x": (0.0, 0.3)}, level="tile")
    layer.check(np.array([0.3], np.float32))  # 0.30000001192092896
    with pytest.raises(DataError, match=re.escape("found values 0.300001 to 0.300001")):
        layer.check(np.array([0.300001], np.float32))


def test_no_data_may_stand_between_the_limits() -> None:
    layer = OWN.layers["landsat"]
    array = np.full(layer.shape, 9, np.uint16)
    array[0, :16] = 0
    layer.check(array)
    assert np.count_nonzero(layer.valid(array)) == 2 * 32 * 32 - 16 * 32


def test_nothing_but_no_data() -> None:
    assert EMBEDDING.empty().tolist() == np.full((4, 32, 32), -2.0).tolist()
    assert not EMBEDDING.valid(EMBEDDING.empty()).any()
    season = OWN.layers["season"]
    assert season.valid(np.zeros(1)).all()
    with pytest.raises(ConfigError, match="season has no no-data value: it is always there"):
        season.empty()
