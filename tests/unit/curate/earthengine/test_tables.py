"""The question about many tables of GEDI: as deep as that about one, and not much longer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import ee
import pytest

from mmearth.curate.collectors.biomass import TABLES, footprints
from mmearth.tests.earthengine.memory import Memory
from mmearth.tests.earthengine.offline import connected


@pytest.fixture(autouse=True)
def _client() -> Iterator[None]:
    """The client, ready to make expressions."""
    with connected(Memory()):
        yield


def _graph(n_tables: int) -> dict[str, Any]:
    names = [f"{TABLES}/GEDI04_A_{i:05d}" for i in range(n_tables)]
    found = footprints(names, ee.Geometry.Point([10, 45]).buffer(650))
    graph: dict[str, Any] = ee.serializer.encode(found, for_cloud_api=True)
    return graph


def _depth(node: Any, values: dict[str, Any]) -> int:
    """Return how many calls lie one in another."""
    if isinstance(node, list):
        return max((_depth(part, values) for part in node), default=0)
    if not isinstance(node, dict):
        return 0
    if "valueReference" in node:
        return _depth(values[node["valueReference"]], values)
    inner = max((_depth(part, values) for part in node.values()), default=0)
    return inner + ("functionInvocationValue" in node)


def test_the_depth_does_not_grow_with_the_tables() -> None:
    depths = {
        n: _depth({"valueReference": g["result"]}, g["values"])
        for n in (1, 2, 150)
        for g in (_graph(n),)
    }
    assert set(depths.values()) == {depths[1]}
    assert depths[1] < 10


def test_a_table_takes_few_bytes() -> None:
    """A chain of seven filters a table took 1.9 kB."""
    size = {n: len(json.dumps(_graph(n))) for n in (50, 150)}
    assert (size[150] - size[50]) / 100 < 700
