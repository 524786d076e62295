"""Granules of a few shots, written by the test itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

LAND = "land_cover_data"
TYPES = {
    "lon_lowestmode": "f8",
    "lat_lowestmode": "f8",
    "agbd": "f4",
    "shot_number": "u8",
    "delta_time": "f8",
    "degrade_flag": "u1",
    "l2_quality_flag": "u1",
    "l4_quality_flag": "u1",
    f"{LAND}/leaf_off_flag": "u1",
    f"{LAND}/region_class": "u1",
    f"{LAND}/leaf_on_doy": "i2",
    f"{LAND}/leaf_off_doy": "i2",
}
DAY = 86_400.0
GOOD: dict[str, Any] = {
    "lon_lowestmode": [15.001, 15.002, 15.003],
    "lat_lowestmode": [1.001, 1.002, 1.003],
    "agbd": [10.0, 20.0, 30.0],
    "shot_number": [101, 102, 103],
    "delta_time": [800 * DAY, 800 * DAY + 1, 800 * DAY + 2],  # 2020-03-11
    "degrade_flag": [0, 0, 0],
    "l2_quality_flag": [1, 1, 1],
    "l4_quality_flag": [1, 1, 1],
    f"{LAND}/leaf_off_flag": [0, 0, 0],
    f"{LAND}/region_class": [6, 6, 6],
    f"{LAND}/leaf_on_doy": [100, 100, 100],
    f"{LAND}/leaf_off_doy": [300, 300, 300],
}
"""One beam of three shots that pass every test."""

NAME = "GEDI04_A_2020071000000_O00001_01_T00001_02_002_01_V002.h5"

WriteGranule = Callable[..., Path]


@pytest.fixture
def write_granule(tmp_path: Path) -> WriteGranule:
    """Write a granule of one beam like GOOD.

    Variables are given by their last name (`agbd=[1, 2, 3]`); None leaves one out. `beams` adds
    whole beams as dicts in the same way.
    """

    def write(
        name: str = NAME,
        product: str | None = "GEDI_L4A",
        beams: list[dict[str, Any]] | None = None,
        **changes: Any,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            if product is not None:
                about = file.create_group("METADATA/DatasetIdentification")
                about.attrs.update({"shortName": product, "VersionID": "02"})
            for number, beam in enumerate(beams or [changes]):
                _write_beam(file.create_group(f"BEAM{number:04b}"), beam)
        return path

    return write


def _write_beam(group: h5py.Group, changes: dict[str, Any]) -> None:
    n = len(changes.get("shot_number") or GOOD["shot_number"])
    assert set(changes) <= {name.rpartition("/")[2] for name in GOOD}
    for name, usual in GOOD.items():
        short = name.rpartition("/")[2]
        values = changes.get(short, (usual * n)[:n])
        if values is not None:
            kind = TYPES[name] if short != "shot_number" else np.asarray(values).dtype
            group[name] = np.asarray(values, dtype=kind)
