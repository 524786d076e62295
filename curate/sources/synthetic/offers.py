"""Layers and tasks that the planet has beside the published ones, to be declared as one's own."""

from __future__ import annotations

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.layer import Layer
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.declared import LayerConfig, TargetConfig, own_layer, own_task

DECLARED: dict[str, dict[str, object]] = {
    "moisture": {"title": "Wetness of the soil", "unit": "1", "valid": (0, 1)},
    "embedding": {
        "title": "An embedding of the surface",
        "bands": {"count": 8, "prefix": "A"},
        "valid": (-1, 1),
    },
    "land_use": {
        "title": "Land use",
        "classes": {10: "forest", 20: "farmland", 30: "settlement", 50: "open land", 80: "water"},
    },
}
"""Name → how a configuration declares the layer."""
TARGETS: dict[str, dict[str, object]] = {
    "crop": {"title": "The crop that does best", "classes": ("wheat", "maize", "rice")},
    "texture": {
        "title": "Texture of the topsoil",
        "outputs": ("sand", "silt", "clay"),
        "unit": "%",
        "valid": (0, 100),
    },
    "fields": {
        "title": "What an annotator saw on the ground",
        "level": "pixel",
        "classes": {1: "crops", 2: "grass", 4: "wood"},
    },
}
"""Name → how a configuration declares the task's target."""

OFFERED = Catalogue(
    DEFAULT_GRID,
    {name: own_layer(name, LayerConfig.model_validate(each)) for name, each in DECLARED.items()},
    {name: own_task(name, TargetConfig.model_validate(each)) for name, each in TARGETS.items()},
)
"""The layers and tasks, as objects."""


def check_declared(catalogue: Catalogue) -> None:
    """Refuse a layer or task of one of the names that is declared otherwise.

    Raises:
        ConfigError: There is one.
    """
    for name, offered in OFFERED.layers.items():
        if name in catalogue.layers:
            _refuse_other(f"layers.{name}", catalogue.layers[name], offered)
    for name, task in OFFERED.tasks.items():
        if name in catalogue.tasks:
            _refuse_other(f"tasks.{name}.target", catalogue.tasks[name].target, task.target)


def task_names() -> tuple[str, ...]:
    """Return the tasks that the planet has labels of."""
    return (*MMEARTH_BENCH.tasks, *OFFERED.tasks)


def _refuse_other(where: str, found: Layer, offered: Layer) -> None:
    for what in ("level", "kind", "band_names", "dtype", "nodata", "classes"):
        here, there = getattr(found, what), getattr(offered, what)
        if what == "classes":
            here, there = ([(c.code, c.name) for c in classes] for classes in (here, there))
        if here != there:
            key = "bands" if what == "band_names" else what
            raise ConfigError(
                f"{where}: {key} is {here}, and the synthetic planet has {there}; declare it so, "
                "or name it otherwise"
            )
