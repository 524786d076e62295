"""Samples ↔ members of a tar: the only file that knows how members are named and written.

A sample's members stand together, in this order: `<key>.json` with all that has no pixels, the
pixel-level target, then the pixel-level modalities in the catalogue's order, so that Sentinel-2
and Sentinel-1, which are read together most, are neighbours and one ranged read gets both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Sample
from mmearth.catalog.targets import plain_target

Members = dict[str, bytes]
"""Member suffix (`json`, `sentinel2.npy`) → bytes, in the order of the tar."""


def encode(
    sample: Sample,
    missing: Mapping[str, str],
    catalogue: Catalogue,
    stored: Mapping[str, bytes] | None = None,
) -> Members:
    """Return a sample's members.

    Args:
        sample: Checked by the caller.
        missing: Modality → why it is not there.
        catalogue: Of the dataset.
        stored: By name of its layer, members that are there already; others are encoded.
    """
    members: Members = {"json": _json(sample, missing, catalogue)}
    arrays = {name: seen.array for name, seen in sample.observations.items()}
    if sample.target is not None:
        arrays[sample.task.name] = sample.target
    for layer in catalogue.members(sample.task):
        if layer.name in arrays:
            data = (stored or {}).get(layer.name)
            members[catalogue.codec.member(layer.name)] = (
                catalogue.codec.encode(arrays[layer.name]) if data is None else data
            )
    return members


def decode_tile_level(
    document: Mapping[str, Any], catalogue: Catalogue
) -> Iterator[tuple[Layer, NDArray[np.generic]]]:
    """Yield the tile-level modalities of a `<key>.json`, each with its array (band,).

    Raises:
        ConfigError: The catalogue has no such modality.
    """
    for name, values in document["modalities"].items():
        layer = catalogue.layer(name)
        yield layer, np.asarray(values, dtype=layer.dtype)


def _json(sample: Sample, missing: Mapping[str, str], catalogue: Catalogue) -> bytes:
    document = {
        "key": sample.key,
        "tile": sample.tile.id,
        "date": sample.date,
        "task": sample.task.name,
        "split": sample.split,
        "target": plain_target(sample.task, sample.target),
        "modalities": {
            layer.name: sample.observations[layer.name].array.tolist()
            for layer in catalogue.tile_layers
            if layer.name in sample.observations
        },
        "missing": {name: missing[name] for name in catalogue.layers if name in missing},
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
