"""The published layout: which key of `<task>.h5` is which modality, and what stands beside it.

Source: MMEarth-Bench, arXiv 2602.06285, the data's README and its conversion script.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmearth.catalog import documents
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.catalogues import catalogue_named
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.grid import Grid
from mmearth.catalog.layer import Layer
from mmearth.catalog.task import Task

FORMAT = catalogue_named()
"""The published catalogue: all that the layout can hold."""
_NAMES = {
    "Sentinel2": "sentinel2",
    "Sentinel1": "sentinel1",
    "ASTER_GDEM": "aster_gdem",
    "ETH_GCH": "eth_gch",
    "DynamicWorld": "dynamic_world",
    "ESA_WorldCover": "esa_worldcover",
    "precipitation": "precipitation",
    "temperature": "temperature",
    "geolocation_encoding": "geolocation",
    "month_encoding": "month",
    "biome": "biome",
    "ecoregion": "ecoregion",
}
KEYS = {key: FORMAT.layer(name) for key, name in _NAMES.items()}
"""Key → modality: (N, band, 128, 128) with pixels; else (N, band), or (N,) of one band."""
KEY_OF = {name: key for key, name in _NAMES.items()}
"""Modality → its key."""
FOLLOWS = ("geolocation", "month")
"""Modalities that follow from the place and the date: a file has them always, and lists neither as
missing."""
LAYERS = ("MSK_CLDPRB", "S2CLOUDLESS", "SCL")
"""Cloud layers, (N, 1, 128, 128): no modality of ours, kept beside the shards."""
OLDER_KEYS = {"AsterDEM": "ASTER_GDEM"}
"""What older versions of the files call a key."""
PLACE = ("id", "crs", "transform", "sentinel2_date")
"""Columns that say which tile a row is, and when it was seen."""
TEXTS = ("crs", "sentinel2_date", "missing_modalities")
"""Columns that are text, where they are there."""
WITH_STATISTICS = (
    *("Sentinel2", "Sentinel1", "ASTER_GDEM", "ETH_GCH"),
    *("precipitation", "temperature"),
)
"""Keys whose means and deviations are in `<task>_split_data.json`."""
SPLIT_KEYS = {
    "train": "train_100%_indices",
    "val": "val_indices",
    "random_test": "random_test_indices",
    "geographic_test": "geographic_test_indices",
}
"""Split → its rows in `<task>_split_data.json`."""
SUBSET_KEYS = {"train_50": "train_50%_indices", "train_5": "train_5%_indices"}
"""Train subset → its rows."""
SUBSET_OF_PERCENT = {"5": "train_5", "50": "train_50", "100": "train"}
"""Percent in a statistics key → the subset of ours."""
NODATA = {
    **{key: int(layer.nodata) for key, layer in KEYS.items() if layer.nodata is not None},
    **{"MSK_CLDPRB": 65535, "S2CLOUDLESS": 65535, "SCL": 0},
}
"""`no_data_values.json`."""
NODATA_FILE = "no_data_values.json"
LABELS_FILE = "species_labels.json"
"""Name of a species → its number."""
NAMES_FILE = "species_names.json"
"""Of the user, not published: a name of LABELS_FILE → ours, where the two are unlike."""


@dataclass(frozen=True, slots=True)
class TaskFiles:
    """One task's files."""

    task: Task
    """As published."""
    h5: Path
    """`<task>.h5`."""

    @property
    def splits(self) -> Path:
        """`<task>_split_data.json`, beside it."""
        return self.h5.with_name(f"{self.task.name}_split_data.json")

    @property
    def nodata(self) -> list[Path]:
        """`no_data_values.json`, where it is there: beside its folder, or in it."""
        folders = (self.h5.parent.parent, self.h5.parent)
        return [path for folder in folders if (path := folder / NODATA_FILE).is_file()][:1]

    @property
    def provenance(self) -> Path:
        """`<task>_mmearth.parquet`, which an export of ours leaves beside it."""
        return self.h5.with_name(f"{self.task.name}_mmearth.parquet")

    def beside(self) -> list[Path]:
        """Return the other files that belong to it and are there."""
        more = [self.h5.with_name(name) for name in (LABELS_FILE, NAMES_FILE)]
        found = [path for path in (*more, self.provenance) if path.is_file()]
        return [self.splits, *found, *self.nodata]


def find_tasks(source: Path) -> list[TaskFiles]:
    """Return the tasks in the published folder, in one task's folder, or in one file.

    Raises:
        ConfigError: There is nothing of the kind.
    """
    paths = [source] if source.is_file() else sorted([*source.glob("*.h5"), *source.glob("*/*.h5")])
    found = {path.stem: path for path in paths if path.stem in FORMAT.tasks}
    if not found:
        raise ConfigError(
            f"{source} holds no file of the published layout; expected a folder with "
            f"<task>/<task>.h5, or one <task>.h5, of {', '.join(FORMAT.tasks)}"
        )
    return [TaskFiles(task, found[name]) for name, task in FORMAT.tasks.items() if name in found]


def read_json(path: Path, root: Path | None = None) -> Any:
    """Return a JSON document.

    Args:
        path: The file.
        root: Of the dataset that it belongs to; None for a file of the user's.

    Raises:
        FormatError: It is not there, or is no JSON.
    """
    try:
        return documents.read_json(path, root)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise FormatError(
            f"{path} is not there, and is needed; put it there, or fetch the files again"
        ) from exc


def key_of(name: str) -> str:
    """Return the published key that a name of a file stands for."""
    return OLDER_KEYS.get(name, name)


def check_held(root: Path, catalogue: Catalogue, tasks: Iterable[Task]) -> None:
    """Refuse tasks of a dataset that the layout has no place for.

    Raises:
        ConfigError: The grid, a modality or a task is not as published.
    """
    if catalogue.grid != FORMAT.grid:
        raise _unheld(root, "grid of", *map(_grid, (catalogue.grid, FORMAT.grid)))
    nouns: list[Layer | Task] = [*catalogue.layers.values(), *tasks]
    for noun in nouns:
        what = "task" if isinstance(noun, Task) else "modality"
        known: Mapping[str, Layer | Task] = FORMAT.tasks if what == "task" else FORMAT.layers
        if noun.name not in known:
            raise _unheld(root, what, noun.name, f"some of {', '.join(known)}")
        found, expected = _meaning(noun), _meaning(known[noun.name])
        for key in expected | found:
            pair = found.get(key, "nothing"), expected.get(key, "nothing")
            if pair[0] != pair[1]:
                raise _unheld(root, f"{what} {noun.name} with the {key}", *pair)


def _meaning(noun: Layer | Task) -> dict[str, Any]:
    """Return what numbers mean: all but titles, colours, products and how to name them."""
    if isinstance(noun, Task):
        return _meaning(noun.target) | {"kind": noun.kind, "optional": noun.optional}
    bands = {
        f"band {i}": (b.name, b.unit, *map(float, (*b.valid, b.scale, b.offset)))
        for i, b in enumerate(noun.bands)
    }
    classes = {f"class {each.code}": each.name for each in noun.classes}
    of_all = {name: getattr(noun, name) for name in ("level", "kind", "dtype", "nodata")}
    return {**of_all, **bands, **classes}


def _grid(grid: Grid) -> str:
    return f"{grid.pixels} × {grid.pixels} pixels of {grid.resolution_m} m"


def _unheld(root: Path, what: str, found: object, expected: object) -> ConfigError:
    way = "choose others with --task" if what.startswith("task") else "build one without it"
    return ConfigError(
        f"{root}: found the {what} {found}, expected {expected}, as published HDF5 files have no "
        f"place for another; share the dataset itself, or {way}"
    )


def layer_of(key: str, task: Task) -> Layer | None:
    """Return what a key is of: a modality, or the task's target with pixels; None for the rest."""
    return task.target if key == task.name and task.is_pixel else KEYS.get(key)


def side_folder(task: str) -> str:
    """Return where a dataset keeps what of a task's file has no place in ours."""
    return f"published/{task}"
