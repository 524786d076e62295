"""Samples ↔ members: names, order, round trip, and damaged bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmearth.catalog.codec import Codec, CodecName
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
    codec=st.sampled_from(list(map(Codec, get_args(CodecName)))),
    names=st.lists(st.sampled_from(list(MMEARTH_BENCH.layers)), unique=True),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=40, deadline=None)
def test_round_trip(task: str, codec: Codec, names: list[str], seed: int) -> None:
    catalogue = replace(MMEARTH_BENCH, codec=codec)
    sample = a_sample(task, names, seed)
    missing = {name: "not there" for name in MMEARTH_BENCH.layers if name not in names}

    members = encode(sample, missing, catalogue)

    document = json.loads(members["json"])
    found = {layer.name: array for layer, array in decode_tile_level(document, MMEARTH_BENCH)}
    found |= {
        layer.name: codec.decode(members[member], member, layer.dtype, layer.shape)
        for layer in catalogue.layers.values()
        if (member := codec.member(layer.name)) in members
    }
    assert set(found) == set(names)
    for name in names:
        np.testing.assert_array_equal(found[name], sample.observations[name].array)
        assert found[name].dtype == sample.observations[name].array.dtype
    if sample.task.is_pixel:
        member = codec.member(task)
        target = codec.decode(members[member], member, sample.task.dtype, sample.task.shape)
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
