"""Layers and tasks that a configuration declares."""

from __future__ import annotations

from mmearth.catalog.layer import Band, Layer
from mmearth.catalog.task import METRICS, Task

_FLOAT32_MAX = 3.4028234663852886e38  # the greatest finite float32: any loader can hold it


def own_task(name: str) -> Task:
    """Return a task of one number of the user's own at each place, or none yet."""
    target = Layer(
        name=name,
        title=name,
        level="tile",
        kind="continuous",
        bands=(Band("value", "unknown", (-_FLOAT32_MAX, _FLOAT32_MAX)),),
        dtype="float64",  # a year and month or a number of seconds does not fit into float32
        nodata=None,
        timing="static",
        resampling=None,
        description="labels of the user's own",
        product="none",
        licence="other",
        citation="the makers of this dataset, for the labels of their own task",
    )
    metrics = METRICS["regression"]["tile"]
    return Task(name, name, "regression", target, metrics, optional=True)
