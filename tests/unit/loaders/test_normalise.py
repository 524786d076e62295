"""What a model is fed against a line of float64; what is not valid never gets through."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.splits import SPLITS
from mmearth.loaders.inputs import ModalityInput, Normalisation
from mmearth.loaders.masks import Extent
from mmearth.loaders.normalise import Normalising, Terms, normalise_tiles
from mmearth.tests.hand_index import hand_index, tar_members

LAYERS = tuple(MMEARTH_BENCH.layers.values())
CONTINUOUS = [
    name for name, modality in MMEARTH_BENCH.layers.items() if modality.kind == "continuous"
]
CATEGORICAL = [
    name for name, modality in MMEARTH_BENCH.layers.items() if modality.kind == "categorical"
]


def drawn(name: str, n: int, seed: int) -> NDArray[Any]:
    """Return n samples of valid values, (n, band, …), a fifth of them no-data."""
    modality, generator = MMEARTH_BENCH.layers[name], np.random.default_rng(seed)
    stored = np.empty((n, *modality.shape), modality.dtype)
    for i, band in enumerate(modality.bands):
        values = generator.uniform(*band.valid, (n, *modality.shape[1:]))
        stored[:, i] = values.round() if stored.dtype.kind != "f" else values
    if modality.nodata is not None:
        stored[generator.random(stored.shape) < 0.2] = modality.nodata
    return stored


def wanted_of(name: str, seed: int) -> ModalityInput:
    """Return some bands in any order, with means and deviations that values may have."""
    modality, generator = MMEARTH_BENCH.layers[name], np.random.default_rng(seed)
    n_bands = int(generator.integers(1, len(modality.bands) + 1))
    bands = [modality.bands[i] for i in generator.permutation(len(modality.bands))[:n_bands]]
    plain = modality.kind != "continuous"
    return ModalityInput(
        name,
        tuple(band.name for band in bands),
        tuple(band.unit for band in bands),
        bands[0].scale,
        tuple(0.0 if plain else float(generator.uniform(*band.valid)) for band in bands),
        tuple(1.0 if plain else float(generator.uniform(1, np.ptp(band.valid))) for band in bands),
    )


def normalised(
    stored: NDArray[Any],
    wanted: ModalityInput,
    known: NDArray[np.int8] | None = None,
) -> tuple[NDArray[Any], NDArray[np.bool_], Extent]:
    """Return values, masks and how much of these was written, over what was rubbish.

    Nothing is known of the samples unless it is given: -1 of every band.
    """
    if known is None:
        known = np.full(stored.shape[:2], -1, np.int8)
    terms = Terms.of(wanted, MMEARTH_BENCH.layers[wanted.modality])
    out = np.full((len(stored), *terms.shape), 77, terms.dtype)
    valid = np.random.default_rng(0).random(out.shape) < 0.5
    if stored.ndim == 2:
        normalise_tiles(stored, known[:, 0] != 0, terms, out, valid)
        return out, valid, "values"
    bands = np.ones(out.shape[:2], np.bool_)
    normalising = Normalising.of(stored, terms, out, valid, bands, known)
    for slot in range(len(stored)):
        normalising(slot)
    extent = normalising.masks.extent
    if extent == "pixels":
        valid[:] = valid[:, :1]
    elif extent == "bands":
        valid[:] = bands[:, :, np.newaxis, np.newaxis]
    return out, valid, extent


def formula(stored: NDArray[Any], wanted: ModalityInput) -> NDArray[np.float64]:
    """Return (stored - mean) / std in float64."""
    at = MMEARTH_BENCH.layers[wanted.modality].index(wanted.bands)
    tail = (1,) * (stored.ndim - 2)
    mean, std = (np.array(each).reshape(-1, *tail) for each in (wanted.mean, wanted.std))
    return np.asarray((stored[:, at].astype(np.float64) - mean) / std)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CONTINUOUS), st.integers(0, 2**32))
def test_it_is_the_formula(name: str, seed: int) -> None:
    stored, wanted = drawn(name, 2, seed), wanted_of(name, seed)
    out, valid, _ = normalised(stored, wanted)
    at = MMEARTH_BENCH.layers[name].index(wanted.bands)
    np.testing.assert_array_equal(valid, stored[:, at] != MMEARTH_BENCH.layers[name].nodata)
    expected = np.where(valid, formula(stored, wanted), 0.0)
    tail = (1,) * (stored.ndim - 2)
    mean, std = (np.array(each).reshape(-1, *tail) for each in (wanted.mean, wanted.std))
    bound = 2.0**-22 * np.abs(expected) + 2.0**-24 * np.abs(mean) / std
    assert (np.abs(out - expected) <= bound).all()
    far = valid & (np.abs(expected) > 0.1 * np.abs(mean) / std)
    np.testing.assert_allclose(out[far], expected[far], rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(MMEARTH_BENCH.layers)), st.integers(0, 2**32))
def test_what_is_not_valid_never_gets_through(name: str, seed: int) -> None:
    stored, wanted = drawn(name, 4, seed), wanted_of(name, seed)
    present = np.array([True, False, True, False])
    known = np.where(present, -1, 0).astype(np.int8)[:, np.newaxis].repeat(stored.shape[1], axis=1)
    kind = stored.dtype.kind
    rubbish = [np.nan, np.inf, -np.inf] if kind == "f" else [0, np.iinfo(stored.dtype).max]
    for value in rubbish:
        stored[~present] = value
        out, valid, _ = normalised(stored, wanted, known)
        assert not valid[~present].any()
        assert (out[~valid] == 0).all()
        assert (out[~present] == 0).all()
        assert np.isfinite(out).all()
        if out.dtype.kind == "f":
            assert not np.signbit(out[~present]).any()


def test_no_data_that_is_extreme_changes_no_other_value() -> None:
    wanted = wanted_of("sentinel1", 3)
    plain = np.full((1, 8, 128, 128), -12.5, np.float32)
    holed = plain.copy()
    holed[0, :, 5:7, 9] = -9999
    (whole, _, _), (found, valid, _) = normalised(plain, wanted), normalised(holed, wanted)
    assert (found[valid] == whole[valid]).all()
    assert np.count_nonzero(~valid) == 2 * len(wanted.bands)
    assert (found[~valid] == 0).all()


@pytest.mark.parametrize("name", CATEGORICAL)
def test_classes_become_indices(name: str) -> None:
    """Which are their codes: were a code not its class' position, this would be wrong."""
    modality = MMEARTH_BENCH.layers[name]
    assert [each.code for each in modality.classes] == list(range(len(modality.classes)))
    stored, wanted = drawn(name, 3, 1), wanted_of(name, 1)
    out, valid, _ = normalised(stored, wanted)
    assert out.dtype == np.int64
    assert (out[valid] == stored[valid]).all()
    assert (out[~valid] == 0).all()
    assert (valid == (stored != modality.nodata)).all()


@pytest.mark.parametrize("name", ["sentinel2", "sentinel1", "eth_gch", "esa_worldcover"])
def test_what_is_known_of_bands_saves_looking(name: str) -> None:
    stored, wanted = drawn(name, 4, 2), wanted_of(name, 2)
    modality = MMEARTH_BENCH.layers[name]
    stored[0] = modality.bands[0].valid[1]
    stored[1] = modality.nodata
    known = np.array([1, 0, -1, 0], np.int8)[:, np.newaxis].repeat(len(modality.bands), axis=1)
    looked = known.copy()
    looked[:2] = -1
    out, valid, _ = normalised(stored, wanted, known)
    expected, expected_valid, _ = normalised(stored, wanted, looked)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(valid, expected_valid)


def test_no_mask_is_written_where_all_bands_are_known() -> None:
    stored, wanted = drawn("sentinel1", 2, 0), wanted_of("sentinel1", 0)
    at = MMEARTH_BENCH.layers["sentinel1"].index(wanted.bands)
    stored[0] = -12.5
    stored[0, at[0]] = -9999
    known = np.array([[1] * 8, [0] * 8], np.int8)
    known[0, at[0]] = 0
    out, valid, extent = normalised(stored, wanted, known)
    assert extent == "bands"
    assert not valid[0, 0].any() and valid[0, 1:].all() and not valid[1].any()
    np.testing.assert_allclose(out[0, 1:], formula(stored, wanted)[0, 1:], atol=1e-5)
    assert (out[0, 0] == 0).all() and (out[1] == 0).all()


def test_a_modality_that_is_not_declared_is_refused() -> None:
    found = Normalisation.of([wanted_of("sentinel2", 5)])
    with pytest.raises(ConfigError, match="declares nothing for month, which was chosen; choose"):
        found.only(["sentinel2", "month"])


def test_bands_in_a_models_own_order() -> None:
    """MMEarth's own encoder wants B8A before B8."""
    names = ("B7", "B8A", "B8", "B9")
    wanted = ModalityInput("sentinel2", names, ("1",) * 4, 1e-4, (0.0,) * 4, (1.0,) * 4)
    stored = np.empty((1, 12, 128, 128), np.uint16)
    stored[:] = np.arange(12, dtype=np.uint16).reshape(12, 1, 1)
    out, _, _ = normalised(stored, wanted)
    assert out[0, :, 0, 0].tolist() == [6, 8, 7, 9]


@pytest.mark.parametrize("name", ["sentinel2", "sentinel1", "aster_gdem", "eth_gch"])
def test_the_train_split_has_mean_0_and_deviation_1(small_dataset: Path, name: str) -> None:
    document = json.loads((small_dataset / "statistics" / "biomass.json").read_text())
    wanted = Normalisation.from_statistics(document, "train", LAYERS)[name]
    assert SPLITS[0] == "train"
    index, members = (
        hand_index(small_dataset, "biomass", (name,)),
        tar_members(small_dataset, "biomass"),
    )
    train = [i for i, at in enumerate(index.shard) if "/train-" in index.shards[at]]
    keys = index.keys(np.array(train))
    there = [members[f"{key}.{name}.npy"] for key in keys if f"{key}.{name}.npy" in members]
    out, valid, _ = normalised(np.stack([np.load(io.BytesIO(data)) for data in there]), wanted)
    for i, band in enumerate(wanted.bands):
        scores = out[:, i][valid[:, i]].astype(np.float64)
        if scores.size and document["train"]["modalities"][name][band]["std"]:
            assert abs(scores.mean()) < 1e-6
            assert abs(scores.std() - 1) < 1e-6
