"""The published layout: which key of `<task>.h5` is which modality, and what stands beside it.

Source: MMEarth-Bench, arXiv 2602.06285, the data's README and its conversion script.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmearth.catalog import documents
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.tasks import TASKS

PIXELS = {
    "Sentinel2": "sentinel2",
    "Sentinel1": "sentinel1",
    "ASTER_GDEM": "aster_gdem",
    "ETH_GCH": "eth_gch",
    "DynamicWorld": "dynamic_world",
    "ESA_WorldCover": "esa_worldcover",
}
"""Key → pixel-level modality, (N, band, 128, 128)."""
TILES = {
    "precipitation": "precipitation",
    "temperature": "temperature",
    "geolocation_encoding": "geolocation",
    "month_encoding": "month",
    "biome": "biome",
    "ecoregion": "ecoregion",
}
"""Key → tile-level modality, (N, band), or (N,) of one band."""
ORIGIN = {modality: key for key, modality in (PIXELS | TILES).items()}
"""Modality → its key."""
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
    **{"Sentinel2": 65535, "Sentinel1": -9999, "ASTER_GDEM": -9999, "ETH_GCH": 255},
    **{"DynamicWorld": 9, "ESA_WorldCover": 11, "precipitation": -9999, "temperature": -9999},
    **{"biome": 14, "ecoregion": 846, "MSK_CLDPRB": 65535, "S2CLOUDLESS": 65535, "SCL": 0},
}
"""`no_data_values.json`; those of modalities are ours too."""
NODATA_FILE = "no_data_values.json"
LABELS_FILE = "species_labels.json"
"""Name of a species → its number."""
NAMES_FILE = "species_names.json"
"""Of the user, not published: a name of LABELS_FILE → ours, where the two are unlike."""


@dataclass(frozen=True, slots=True)
class TaskFiles:
    """One task's files."""

    task: str
    """A key of TASKS."""
    h5: Path
    """`<task>.h5`."""

    @property
    def splits(self) -> Path:
        """`<task>_split_data.json`, beside it."""
        return self.h5.with_name(f"{self.task}_split_data.json")

    @property
    def nodata(self) -> list[Path]:
        """`no_data_values.json`, where it is there: beside its folder, or in it."""
        folders = (self.h5.parent.parent, self.h5.parent)
        return [path for folder in folders if (path := folder / NODATA_FILE).is_file()][:1]

    @property
    def provenance(self) -> Path:
        """`<task>_mmearth.parquet`, which an export of ours leaves beside it."""
        return self.h5.with_name(f"{self.task}_mmearth.parquet")

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
    files = [source] if source.is_file() else sorted([*source.glob("*.h5"), *source.glob("*/*.h5")])
    found = {path.stem: TaskFiles(path.stem, path) for path in files if path.stem in TASKS}
    if not found:
        raise ConfigError(
            f"{source} holds no file of the published layout; expected a folder with "
            f"<task>/<task>.h5, or one <task>.h5, of {', '.join(TASKS)}"
        )
    return [found[task] for task in TASKS if task in found]


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


def side_folder(task: str) -> str:
    """Return where a dataset keeps what of a task's file has no place in ours."""
    return f"published/{task}"
