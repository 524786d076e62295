"""Masks against a comparison of the whole: right to the last pixel, no larger than needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.loaders.masks import Extent, Masking, Masks, mask_tiles

HAS_BANDS = [n for n, m in MMEARTH_BENCH.layers.items() if m.level == "pixel" and len(m.bands) > 1]
WHOLE, HOLED, UNEVEN, HALF, ABSENT = range(5)
"""Kinds of samples: no no-data, the same in all bands, in one alone, all of one, not there."""


def rubbish(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.random.default_rng(9).random(shape) < 0.5


def batch_of(name: str, kinds: list[int]) -> NDArray[Any]:
    """Return samples of those kinds as stored."""
    modality, draw = MMEARTH_BENCH.layers[name], np.random.default_rng(len(kinds))
    stored = np.ones((len(kinds), *modality.shape), modality.dtype)
    for sample, kind in zip(stored, kinds, strict=True):
        holes = draw.random((128, 128)) < 0.3
        if kind == HOLED:
            sample[:, holes] = modality.nodata
        elif kind == UNEVEN:
            sample[-1, holes] = modality.nodata
        elif kind == HALF:
            sample[-1] = modality.nodata
        elif kind == ABSENT:
            sample[:, holes] = modality.nodata  # of the batch before: it means nothing
    return stored


def known_of(stored: NDArray[Any], nodata: float | None, kinds: list[int]) -> NDArray[np.int8]:
    """Return what a manifest says of each band."""
    share = (stored != nodata).reshape(*stored.shape[:2], -1).mean(axis=2)
    known = np.where(share == 1, 1, np.where(share == 0, 0, -1)).astype(np.int8)
    known[np.array(kinds) == ABSENT] = 0
    return known


def masked(
    nodata: float | None, stored: NDArray[Any], known: NDArray[np.int8]
) -> tuple[Extent, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the extent, the masks as written over rubbish, and those of a whole band."""
    valid, bands = rubbish(stored.shape), rubbish(stored.shape[:2])
    masking = Masking.of(nodata, stored, Masks.of(valid, bands, known))
    for slot, look in enumerate(masking.look):
        if look:
            masking(slot)
    return masking.masks.extent, valid, bands


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(HAS_BANDS), st.lists(st.integers(WHOLE, ABSENT), min_size=1), st.booleans())
def test_masks_are_those_of_a_whole_comparison(name: str, kinds: list[int], is_known: bool) -> None:
    stored, nodata = batch_of(name, kinds), MMEARTH_BENCH.layers[name].nodata
    present = np.array([kind != ABSENT for kind in kinds])
    known = known_of(stored, nodata, kinds)
    if not is_known:
        known[present] = -1
    truth = (stored != nodata) & present[:, None, None, None]
    extent, valid, bands = masked(nodata, stored, known)
    seen: dict[Extent, NDArray[np.bool_]] = {
        "bands": np.broadcast_to(bands[:, :, None, None], valid.shape),
        "pixels": np.broadcast_to(valid[:, :1], valid.shape),
        "values": valid,
    }
    np.testing.assert_array_equal(seen[extent], truth)
    # No larger than needed.
    needs_look = {HOLED, UNEVEN} if is_known else {WHOLE, HOLED, UNEVEN, HALF}
    if not needs_look & set(kinds):
        assert extent == "bands"
    else:
        assert extent == ("values" if {UNEVEN, HALF} & set(kinds) else "pixels")


def test_a_mask_for_all_bands_writes_no_other_where_nothing_was_looked_at() -> None:
    kinds = [WHOLE, HOLED, ABSENT]
    stored, before = batch_of("sentinel2", kinds), rubbish((3, 12, 128, 128))
    extent, valid, _ = masked(65535, stored, known_of(stored, 65535, kinds))
    assert extent == "pixels"
    np.testing.assert_array_equal(valid[[0, 2], 1:], before[[0, 2], 1:])
    assert valid[0, 0].all() and not valid[2, 0].any()


def test_a_missing_orbit_is_not_looked_at() -> None:
    kinds = [HALF, WHOLE]
    stored, before = batch_of("sentinel1", kinds), rubbish((2, 8, 128, 128))
    extent, valid, bands = masked(-9999, stored, known_of(stored, -9999, kinds))
    assert extent == "bands"
    np.testing.assert_array_equal(valid, before)
    assert bands.tolist() == [[True] * 7 + [False], [True] * 8]


@pytest.mark.parametrize("name", ["dynamic_world", "esa_worldcover"])
def test_one_band_is_all_bands(name: str) -> None:
    layer = MMEARTH_BENCH.layers[name]
    stored = np.zeros((2, *layer.shape), layer.dtype)
    stored[1, 0, 2, 3] = layer.nodata
    extent, valid, _ = masked(layer.nodata, stored, np.array([[1], [-1]], np.int8))
    assert extent == "values"
    assert np.argwhere(~valid).tolist() == [[1, 0, 2, 3]]


def test_tile_level_modalities() -> None:
    for modality in MMEARTH_BENCH.layers.values():
        if modality.level == "pixel":
            continue
        stored = np.ones((3, *modality.shape), modality.dtype)
        if modality.nodata is not None:
            stored[1] = modality.nodata
        mask = rubbish(stored.shape)
        mask_tiles(modality.nodata, stored, np.array([True, True, False]), mask)
        assert mask.all(axis=1).tolist() == [True, modality.nodata is None, False]
        assert not mask[2].any()


def test_pixel_level_targets() -> None:
    target = np.full((2, 1, 128, 128), -9999, np.float32)
    target[1, 0, 3, 4] = 50.0
    extent, valid, _ = masked(-9999, target, np.array([[-1], [-1]], np.int8))
    assert extent == "values"
    assert np.argwhere(valid).tolist() == [[1, 0, 3, 4]]
    assert MMEARTH_BENCH.tasks["biomass"].nodata == -9999
