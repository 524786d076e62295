"""Masks against a comparison of the whole: right to the last pixel, no larger than needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.tasks import TASKS
from mmearth.loaders.masks import Extent, valid_mask

HAS_BANDS = [n for n, m in MODALITIES.items() if m.level == "pixel" and len(m.bands) > 1]
WHOLE, HOLED, UNEVEN, ABSENT = range(4)
"""Kinds of samples: no no-data, the same in all bands, in one band alone, not there."""


def rubbish(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.random.default_rng(9).random(shape) < 0.5


def batch_of(name: str, kinds: list[int]) -> NDArray[Any]:
    """Return samples of those kinds as stored."""
    modality, draw = MODALITIES[name], np.random.default_rng(len(kinds))
    assert modality.nodata is not None
    stored = np.ones((len(kinds), *modality.shape), modality.dtype)
    for sample, kind in zip(stored, kinds, strict=True):
        holes = draw.random((128, 128)) < 0.3
        if kind == HOLED:
            sample[:, holes] = modality.nodata
        elif kind == UNEVEN:
            sample[-1, holes] = modality.nodata
        elif kind == ABSENT:
            sample[:, holes] = modality.nodata  # of the batch before: it means nothing
    return stored


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(HAS_BANDS), st.lists(st.integers(WHOLE, ABSENT), min_size=1), st.booleans())
def test_masks_are_those_of_a_whole_comparison(
    name: str, kinds: list[int], tells_full: bool
) -> None:
    stored = batch_of(name, kinds)
    present = np.array([kind != ABSENT for kind in kinds])
    full = np.array([kind == WHOLE for kind in kinds]) if tells_full else None
    truth = (stored != MODALITIES[name].nodata) & present[:, None, None, None]
    mask = rubbish(stored.shape)
    extent = valid_mask(name, stored, mask, present, full)
    seen: dict[Extent, NDArray[np.bool_]] = {
        "samples": np.broadcast_to(present[:, None, None, None], mask.shape),
        "pixels": np.broadcast_to(mask[:, :1], mask.shape),
        "values": mask,
    }
    np.testing.assert_array_equal(seen[extent], truth)
    assert (extent == "values") == (UNEVEN in kinds)
    looked_at = {HOLED} if tells_full else {HOLED, WHOLE}
    assert (extent == "pixels") == (UNEVEN not in kinds and bool(looked_at & set(kinds)))


def test_a_mask_for_all_bands_writes_no_other_where_nothing_was_looked_at() -> None:
    kinds = [WHOLE, HOLED, ABSENT]
    stored, mask = batch_of("sentinel2", kinds), rubbish((3, 12, 128, 128))
    before = mask.copy()
    present, full = np.array([True, True, False]), np.array([True, False, False])
    assert valid_mask("sentinel2", stored, mask, present, full) == "pixels"
    np.testing.assert_array_equal(mask[[0, 2], 1:], before[[0, 2], 1:])
    assert mask[0, 0].all() and not mask[2, 0].any()


@pytest.mark.parametrize("name", ["dynamic_world", "esa_worldcover"])
def test_one_band_is_all_bands(name: str) -> None:
    stored = np.zeros((2, *MODALITIES[name].shape), MODALITIES[name].dtype)
    stored[1, 0, 2, 3] = MODALITIES[name].nodata
    mask = np.zeros(stored.shape, np.bool_)
    assert valid_mask(name, stored, mask) == "values"
    assert np.argwhere(~mask).tolist() == [[1, 0, 2, 3]]


def test_tile_level_modalities() -> None:
    for name, modality in MODALITIES.items():
        if modality.level == "pixel":
            continue
        stored = np.ones((3, *modality.shape), modality.dtype)
        mask = rubbish(stored.shape)
        if modality.nodata is None:
            assert valid_mask(name, stored, mask) == "samples"
            continue
        stored[1] = modality.nodata
        present = np.array([True, True, False])
        assert valid_mask(name, stored, mask, present) == "values"
        assert mask.all(axis=1).tolist() == [True, False, False]


def test_pixel_level_targets() -> None:
    target = np.full((2, 128, 128), -9999, np.float32)
    target[1, 3, 4] = 50.0
    mask = np.ones(target.shape, np.bool_)
    assert valid_mask("biomass", target, mask) == "values"
    assert np.argwhere(mask).tolist() == [[1, 3, 4]]
    assert TASKS["biomass"].nodata == -9999
