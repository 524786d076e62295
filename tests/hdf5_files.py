"""Make files of the published HDF5 layout: gzip 9, h5py's own chunks, no attributes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile

PIXEL_KEYS = {
    "Sentinel2": "sentinel2",
    "Sentinel1": "sentinel1",
    "ASTER_GDEM": "aster_gdem",
    "ETH_GCH": "eth_gch",
    "DynamicWorld": "dynamic_world",
    "ESA_WorldCover": "esa_worldcover",
}
NODATA = {
    **{"Sentinel2": 65535, "Sentinel1": -9999, "ASTER_GDEM": -9999, "ETH_GCH": 255},
    **{"DynamicWorld": 9, "ESA_WorldCover": 11, "precipitation": -9999, "temperature": -9999},
    **{"biome": 14, "ecoregion": 846, "MSK_CLDPRB": 65535, "S2CLOUDLESS": 65535, "SCL": 0},
}
SPLITS = ("train_100%", "val", "random_test", "geographic_test")


def write_published(
    folder: Path,
    task: str,
    n: int,
    seed: int = 0,
    dem: str = "ASTER_GDEM",
    many: bool = False,
) -> Path:
    """Write `<task>/<task>.h5` and what stands beside it; return the .h5 file.

    Args:
        folder: Gets no_data_values.json and the task's folder.
        task: A key of MMEARTH_BENCH.tasks.
        n: Tiles.
        seed: Of the values; the places and dates are the same for all.
        dem: What the file calls the elevation.
        many: Chunks as h5py chooses them for 36,410 tiles, cut to `n`: 8 × 8 pixels of all tiles.
    """
    generator = np.random.default_rng(seed)
    place = folder / task
    place.mkdir(parents=True, exist_ok=True)
    arrays = {**_pixels(task, n, generator), **_columns(task, n, generator)}
    arrays["missing_modalities"] = _missing(arrays, n)
    arrays[dem] = arrays.pop("ASTER_GDEM")
    path = place / f"{task}.h5"
    with h5py.File(path, "w") as file:
        for key, values in arrays.items():
            text = values.dtype.kind == "O"
            chunks = (min(n, 1138), 1, 8, 8) if many and values.ndim == 4 else True
            file.create_dataset(
                key,
                data=values,
                dtype=h5py.string_dtype() if text else values.dtype,
                chunks=chunks,
                compression="gzip",
                compression_opts=9,
            )
    document = {**_split_rows(n, generator), **_statistics(arrays, dem)}
    (place / f"{task}_split_data.json").write_text(json.dumps(document))
    (folder / "no_data_values.json").write_text(json.dumps(NODATA))
    if task == "species":
        labels = {name: i for i, name in enumerate(MMEARTH_BENCH.tasks[task].outputs)}
        (place / "species_labels.json").write_text(json.dumps(labels))
    return path


def _pixels(task: str, n: int, generator: np.random.Generator) -> dict[str, NDArray[Any]]:
    # The GeoTIFFs had one dtype for all bands: float64 where biomass was one of them.
    dtype = np.float64 if task == "biomass" else np.float32
    found: dict[str, NDArray[Any]] = {}
    for key, name in PIXEL_KEYS.items():
        spec = MMEARTH_BENCH.layers[name]
        low, high = spec.bands[0].valid
        shape = (n, spec.shape[0], 16, 16)
        values = generator.integers(max(low, 0), min(high, 90), shape, endpoint=True).astype(dtype)
        values[:, 0][generator.random((n, 16, 16)) < 0.1] = NODATA[key]
        found[key] = _blocks(values)
    for key in ("Sentinel1", "ETH_GCH", "DynamicWorld"):
        found[key][:: 3 if key == "Sentinel1" else 4] = NODATA[key]  # nothing there
    for key in ("MSK_CLDPRB", "S2CLOUDLESS", "SCL"):
        found[key] = _blocks(generator.integers(0, 100, (n, 1, 16, 16)).astype(dtype))
    if task == "biomass":
        target = np.full((n, 128, 128), -9999.0)
        target[:, 10:20, 30:40] = generator.uniform(0, 500, (n, 10, 10)).astype(np.float32)
        found["biomass"] = target
    return found


def _blocks(values: NDArray[Any]) -> NDArray[Any]:
    """Return each value as 8 × 8 pixels: what gzip 9 is done with soon."""
    return values.repeat(8, axis=2).repeat(8, axis=3)


def _columns(task: str, n: int, generator: np.random.Generator) -> dict[str, NDArray[Any]]:
    tiles = [Tile.at((80.0 + 1.3 * i) % 360.0 - 180.0, 40.0 - 0.5 * (i % 160)) for i in range(n)]
    found: dict[str, NDArray[Any]] = {
        "id": np.arange(n) * 3 + 5,
        "crs": _text(f"EPSG:{tile.epsg}" for tile in tiles),
        "transform": np.array([(*tile.transform, 0.0, 0.0, 1.0) for tile in tiles]),
        "sentinel2_date": _text(f"2020-06-{1 + i % 28:02d}" for i in range(n)),
        "sentinel2_system_index": _text(f"20200601T10{i:04d}_T32" for i in range(n)),
        "geolocation": np.array([(tile.lon, tile.lat) for tile in tiles]),
        "geolocation_encoding": _waves(
            [np.radians(t.lon) for t in tiles], [np.radians(t.lat) for t in tiles]
        ),
        "month_encoding": _waves([np.pi] * n),
        "precipitation": generator.uniform(0, 1, (n, 3)),
        "temperature": generator.uniform(270, 300, (n, 9)),
        "biome": generator.integers(0, 15, n),
        "ecoregion": generator.integers(0, 847, n),
    }
    found["precipitation"][1] = -9999
    for key in ("MSK_CLDPRB", "S2CLOUDLESS"):
        found[f"{key}_CLOUDY_PIXEL_FRACTION"] = generator.random(n)
    found["SCL_NO_DATA_PIXEL_FRACTION"] = generator.random(n)
    if task == "species":
        names = MMEARTH_BENCH.tasks[task].outputs
        chosen = [sorted(generator.choice(100, 1 + i % 5, replace=False)) for i in range(n)]
        found[task] = _text(json.dumps([names[i] for i in each][::-1]) for each in chosen)
    elif task != "biomass":
        found[task] = generator.uniform(3, 9, (n, 1)).astype(np.float32)
    return found


def _waves(*angles: list[float]) -> NDArray[np.float64]:
    """Return cos and sin of each angle, (n, 2 × angles)."""
    return np.column_stack([wave(np.array(angle)) for angle in angles for wave in (np.cos, np.sin)])


def _missing(arrays: dict[str, NDArray[Any]], n: int) -> NDArray[Any]:
    """Return what is all no-data in each tile."""
    names = {**PIXEL_KEYS, **{k: k for k in ("precipitation", "temperature", "biome", "ecoregion")}}
    absent = {
        name: (arrays[key] == NODATA[key]).reshape(n, -1).all(axis=1) for key, name in names.items()
    }
    return _text(json.dumps([name for name in absent if absent[name][i]]) for i in range(n))


def _split_rows(n: int, generator: np.random.Generator) -> dict[str, list[int]]:
    order = generator.permutation(n)
    parts = np.array_split(order, [n // 2, 5 * n // 8, 3 * n // 4])
    rows = {f"{split}_indices": part.tolist() for split, part in zip(SPLITS, parts, strict=True)}
    train = parts[0].tolist()
    rows["train_50%_indices"] = train[: len(train) // 2]
    rows["train_5%_indices"] = train[: max(1, len(train) // 20)]
    return rows


def _statistics(arrays: dict[str, NDArray[Any]], dem: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in ("Sentinel2", "Sentinel1", dem, "ETH_GCH", "precipitation", "temperature"):
        nodata = NODATA["ASTER_GDEM" if key == dem else key]
        for percent in (5, 50, 100):
            axes = tuple(axis for axis in range(arrays[key].ndim) if axis != 1)
            masked = np.ma.masked_equal(arrays[key], nodata)
            means, stds = masked.mean(axis=axes).tolist(), masked.std(axis=axes).tolist()
            shape = (lambda v: [[[x]] for x in v]) if arrays[key].ndim == 4 else list
            found[f"{key}_train_{percent}%_means"] = shape(means)
            found[f"{key}_train_{percent}%_stds"] = shape(stds)
    found["Sentinel1_train_5%_means"][2] = None  # a band that is nowhere valid
    return found


def _text(values: Any) -> NDArray[Any]:
    return np.array(list(values), dtype=object)
