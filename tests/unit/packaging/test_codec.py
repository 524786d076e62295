"""Samples ↔ members: names, order, round trip, and damaged bytes."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmearth.catalog.codec import NPY
from mmearth.catalog.errors import FormatError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation, Sample
from mmearth.catalog.targets import target_array
from mmearth.catalog.tile import Tile
from mmearth.packaging.codec import decode_tile_level, encode

PLACE = Tile(32633, 500000, 4649760)


def an_array(name: str, seed: int) -> NDArray[Any]:
    modality = MMEARTH_BENCH.layers[name]
    draw = np.random.default_rng(seed)
    array = np.empty(modality.shape, dtype=modality.dtype)
    for i, band in enumerate(modality.bands):
        array[i] = draw.uniform(*band.valid, size=modality.shape[1:]).astype(modality.dtype)
    return array


def a_target(task: str, seed: int) -> NDArray[Any]:
    spec, draw = MMEARTH_BENCH.tasks[task], np.random.default_rng(seed)
    if spec.kind == "multilabel":
        return draw.integers(0, 2, spec.shape).astype(spec.dtype)
    return draw.uniform(*spec.target.bands[0].valid, size=spec.shape).astype(spec.dtype)


def a_sample(task: str, names: list[str], seed: int = 0) -> Sample:
    layers = (MMEARTH_BENCH.layers[name] for name in names)
    observations = {each.name: Observation(each, an_array(each.name, seed)) for each in layers}
    spec = MMEARTH_BENCH.tasks[task]
    return Sample(PLACE, "2020-06-15", spec, "train", a_target(task, seed), observations)


@given(
    task=st.sampled_from(sorted(MMEARTH_BENCH.tasks)),
    names=st.lists(st.sampled_from(list(MMEARTH_BENCH.layers)), unique=True),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=40, deadline=None)
def test_round_trip(task: str, names: list[str], seed: int) -> None:
    sample = a_sample(task, names, seed)
    missing = {name: "not there" for name in MMEARTH_BENCH.layers if name not in names}

    members = encode(sample, missing, MMEARTH_BENCH)

    document = json.loads(members["json"])
    found = {layer.name: array for layer, array in decode_tile_level(document, MMEARTH_BENCH)}
    found |= {
        name: NPY.decode(members[f"{name}.npy"], name)
        for name in MMEARTH_BENCH.layers
        if f"{name}.npy" in members
    }
    assert set(found) == set(names)
    for name in names:
        np.testing.assert_array_equal(found[name], sample.observations[name].array)
        assert found[name].dtype == sample.observations[name].array.dtype
    if sample.task.is_pixel:
        target = NPY.decode(members[f"{task}.npy"], task)
    else:
        found_target = target_array(sample.task, document["target"])
        assert found_target is not None
        target = found_target
    np.testing.assert_array_equal(target, sample.target)
    assert document["missing"] == missing


def test_members_stand_in_the_order_in_which_they_are_read_together() -> None:
    sample = a_sample("biomass", ["esa_worldcover", "sentinel1", "month", "sentinel2"])
    assert list(encode(sample, {}, MMEARTH_BENCH)) == [
        "json",
        "biomass.npy",
        "sentinel2.npy",
        "sentinel1.npy",
        "esa_worldcover.npy",
    ]


def test_document_says_what_has_no_pixels_and_what_is_missing() -> None:
    sample = a_sample("soil_pH", ["geolocation"])
    sample = replace(sample, split="val", target=np.array([5.2], np.float32))
    document = json.loads(encode(sample, {"sentinel1": "no pass in 2020"}, MMEARTH_BENCH)["json"])
    assert document == {
        "key": "32633_500000_4649760_20200615",
        "tile": "32633_500000_4649760",
        "date": "2020-06-15",
        "task": "soil_pH",
        "split": "val",
        "target": 5.2,  # not 5.199999809265137: the shortest decimal that is this float32
        "modalities": {"geolocation": sample.observations["geolocation"].array.tolist()},
        "missing": {"sentinel1": "no pass in 2020"},
    }


def test_npy_is_what_numpy_loads_after_a_header_of_128_bytes() -> None:
    array = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    data = NPY.encode(array)
    np.testing.assert_array_equal(np.load(io.BytesIO(data)), array)
    np.testing.assert_array_equal(np.frombuffer(data, np.uint16, offset=128), array.ravel())


@pytest.mark.parametrize("cut", [0, 5, 100, 130, 175])
def test_truncated_array_is_refused(cut: int) -> None:
    data = NPY.encode(np.arange(24, dtype=np.uint16))
    with pytest.raises(FormatError, match="sentinel2"):
        NPY.decode(data[:cut], "sentinel2")


def test_fortran_order_is_refused() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(np.arange(6).reshape(2, 3)))
    with pytest.raises(FormatError, match="is in Fortran order; mmearth writes C order"):
        NPY.decode(buffer.getvalue(), "sentinel2")
