"""Granules become columns of the footprints that pass, one granule in memory at a time."""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import FormatError
from mmearth.catalog.hdf5 import refuse_elsewhere
from mmearth.curate.labels.gedi.files import Granule, open_granule
from mmearth.curate.labels.gedi.quality import (
    AGBD,
    LAT,
    LEAF_OFF,
    LEAF_ON,
    LON,
    RULES,
    SHOT,
    TIME,
    Counts,
    Values,
    in_leaf,
    judge,
)

COLUMNS: dict[str, str] = {
    "lon": "float64",
    "lat": "float64",
    "agbd": "float32",
    "shot": "uint64",
    "leaf_on": "int16",
    "leaf_off": "int16",
    "day": "int32",
    "granule": "int32",
}
"""What is kept of a shot, with NumPy's name of its type; see `Footprints` for the meaning."""

PRODUCT = "GEDI_L4A"
Columns = dict[str, NDArray[Any]]
Window = tuple[datetime.date | None, datetime.date | None]
"""First and last day, both included; None for any."""

_SHOTS = 20_000_000
"""Of one beam, which is read as a whole: a quarter of an orbit has 300,000."""
_EPOCH = datetime.date(2018, 1, 1)  # of delta_time, as its description in the product says
_DAY_S = 86_400
_NEEDED = (LON, LAT, AGBD, SHOT)
_VARIABLES = tuple(dict.fromkeys([*_NEEDED, *(v for r in RULES.values() for v in r.variables)]))
_NAME = re.compile(r"GEDI04_A_(\d{4})(\d{3})\d{6}_")


def read_granule(
    granule: Granule, window: Window, skip: Collection[str]
) -> tuple[Columns, Counts, str]:
    """Return the footprints of a granule that pass, the counts, and the product's version.

    Args:
        granule: Where it lies.
        window: A granule that begins before it or ends after it gives no footprint.
        skip: Names of tests that shall not be made.

    Returns:
        COLUMNS without `granule`, (footprint,) each; counts; `GEDI_L4A 02` or the like.

    Raises:
        FormatError: The file is broken or no GEDI L4A granule.
    """
    with open_granule(granule) as file:
        product = _product(file, granule)
        beams = _beams(file, granule)
        days = [_days(beam, granule) for beam in beams]
        if not _inside(days, window):
            return _empty(), Counts(granules=1, outside=1), product
        values = [_values(b, d, granule) for b, d in zip(beams, days, strict=True)]
    # Out of the block above: what goes wrong from here on is no fault of the file's.
    parts = [_judged(v, d, skip) for v, d in zip(values, days, strict=True)]
    columns = {name: np.concatenate([part[name] for part, _ in parts]) for name in _empty()}
    return columns, sum((counts for _, counts in parts), Counts(granules=1)), product


def _beams(file: Any, granule: Granule) -> list[Any]:
    """Return the groups of beams; those without any of the variables that we need are left out."""
    beams = [file[name] for name in sorted(file) if name.startswith("BEAM")]
    beams = [beam for beam in beams if any(name in beam for name in _NEEDED)]
    if not beams:
        raise FormatError(
            f"{granule} has no beam with {', '.join(_NEEDED)}; expected a GEDI L4A granule"
        )
    for beam in beams:
        lacking = [name for name in _NEEDED if name not in beam]
        if lacking:
            raise FormatError(
                f"{granule}{beam.name} has no {', '.join(lacking)}; fetch the granule with it"
            )
    return beams


def _product(file: Any, granule: Granule) -> str:
    """Return the product's name and version; other products of GEDI are refused by their name."""
    about = file.attrs
    if "METADATA" in file and "DatasetIdentification" in file["METADATA"]:
        about = file["METADATA/DatasetIdentification"].attrs
    name = _text(about.get("shortName", PRODUCT))
    if name != PRODUCT:
        raise FormatError(f"{granule} is of the product {name}; expected {PRODUCT}")
    return f"{PRODUCT} {_text(about.get('VersionID', ''))}".strip()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _days(beam: Any, granule: Granule) -> NDArray[np.int32]:
    """Return the days since 1970-01-01 of a beam's shots, (shot,); -1 where it is not known."""
    if TIME in beam:
        seconds = _read(beam, TIME, granule).astype(np.float64)
        known = RULES["time"].passes(seconds)
        since = np.floor(np.where(known, seconds, 0.0) / _DAY_S).astype(np.int32)
        return np.where(known, since + _number(_EPOCH), -1).astype(np.int32)
    match = _NAME.search(granule.name)
    if match is None:
        raise FormatError(
            f"{granule}: neither {TIME} nor the name tells its date; expected a name like "
            "GEDI04_A_2020102150820_…"
        )
    begin = datetime.date(int(match[1]), 1, 1) + datetime.timedelta(int(match[2]) - 1)
    return np.full(_read(beam, LAT, granule).shape, _number(begin), dtype=np.int32)


def _number(day: datetime.date) -> int:
    return (day - datetime.date(1970, 1, 1)).days


def _inside(days: list[NDArray[np.int32]], window: Window) -> bool:
    known = np.concatenate(days)
    known = known[known >= 0]
    first, last = window
    if not known.size:
        return True
    return (first is None or int(known.min()) >= _number(first)) and (
        last is None or int(known.max()) <= _number(last)
    )


def _values(beam: Any, days: NDArray[np.int32], granule: Granule) -> dict[str, Values]:
    """Return the variables of a beam by their paths, (shot,) each; those it lacks are not there."""
    values = {name: _read(beam, name, granule) for name in _VARIABLES if name in beam}
    for name, array in values.items():
        if array.shape != days.shape:
            raise FormatError(
                f"{granule}{beam.name}/{name} has the shape {array.shape}, expected {days.shape} "
                "like the other variables; fetch it again"
            )
    if values[SHOT].dtype.kind not in "iu":
        kind = values[SHOT].dtype
        raise FormatError(
            f"{granule}{beam.name}/{SHOT} is {kind}, expected integers; fetch it again"
        )
    return values


def _judged(
    values: dict[str, Values], days: NDArray[np.int32], skip: Collection[str]
) -> tuple[Columns, Counts]:
    """Return the columns of a beam's shots that pass, and the counts."""
    passed, counts = judge(values, days.size, skip)
    unknown = np.zeros(days.shape, dtype=np.int16)
    on, off = (values.get(name, unknown)[passed] for name in (LEAF_ON, LEAF_OFF))
    known = in_leaf(on, off)
    kept = {
        "lon": values[LON][passed],
        "lat": values[LAT][passed],
        "agbd": values[AGBD][passed],
        "shot": values[SHOT][passed],
        "leaf_on": np.where(known, on, 0),
        "leaf_off": np.where(known, off, 0),
        "day": days[passed],
    }
    return {name: column.astype(COLUMNS[name]) for name, column in kept.items()}, counts


def _empty() -> Columns:
    return {name: np.empty(0, dtype) for name, dtype in COLUMNS.items() if name != "granule"}


def _read(beam: Any, name: str, granule: Granule) -> Values:
    dataset, where = beam[name], f"{granule}{beam.name}/{name}"
    shape = getattr(dataset, "shape", None)  # a group has none
    if shape is None or len(shape) != 1 or dataset.dtype.kind not in "iuf":
        kind = getattr(dataset, "dtype", "a group")
        raise FormatError(f"{where} is {kind} {shape}, expected one number a shot")
    refuse_elsewhere(dataset, where)
    if shape[0] > _SHOTS:
        raise FormatError(
            f"{where} has {shape[0]} shots, expected {_SHOTS} at most of a beam; fetch it again"
        )
    return np.asarray(dataset[()])
