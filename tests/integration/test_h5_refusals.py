"""Published HDF5 files that are not as published, or say one thing in two ways."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmearth.catalog.errors import FormatError
from mmearth.packaging.h5.import_h5 import import_h5
from mmearth.tests.hdf5_files import write_published

h5py = pytest.importorskip("h5py")

N = 8
TASK = "soil_pH"


def _quiet(step: str, size: int | None) -> None:
    pass


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published folder of one task; tests must not change it."""
    return write_published(tmp_path_factory.mktemp("made"), TASK, N).parent.parent


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "in")) / TASK / f"{TASK}.h5"


def _splits(path: Path, change: dict[str, Any]) -> None:
    splits = path.with_name(f"{TASK}_split_data.json")
    document = json.loads(splits.read_text())
    for key, value in change.items():
        document[key] = [*document[key], *value] if value else value
    splits.write_text(json.dumps(document))


def _first_train(path: Path) -> int:
    document = json.loads(path.with_name(f"{TASK}_split_data.json").read_text())
    return int(document["train_100%_indices"][0])


def _rewrite(path: Path, name: str, values: Any) -> None:
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
        if values is not None:
            file[name] = values


def _set(path: Path, name: str, row: Any, value: Any) -> None:
    with h5py.File(path, "r+") as file:
        values = file[name][...]
        values[row] = value
        file[name][...] = values


def _set_float(path: Path, name: str, row: int, value: float) -> None:
    """Set a value of whole numbers that is none."""
    with h5py.File(path, "r+") as file:
        values = file[name][...].astype(np.float64)
    values[row] = value
    _rewrite(path, name, values)


def _get(path: Path, name: str) -> Any:
    with h5py.File(path) as file:
        return file[name][...]


def _reverse(path: Path, *names: str) -> None:
    with h5py.File(path, "r+") as file:
        for name in names:
            file[name][...] = file[name][...][::-1]


def _link(path: Path, link: Any) -> None:
    with h5py.File(path, "r+") as file:
        del file["temperature"]
        file["temperature"] = link


def _other_file(path: Path) -> str:
    other = path.with_name("other.h5")
    with h5py.File(other, "w") as file:
        file["temperature"] = np.full((N, 9), 290.0)
    return str(other)


def _virtual(path: Path) -> None:
    layout = h5py.VirtualLayout((N, 9), "f8")
    layout[...] = h5py.VirtualSource(_other_file(path), "temperature", (N, 9))
    with h5py.File(path, "r+") as file:
        del file["temperature"]
        file.create_virtual_dataset("temperature", layout)


def _external(path: Path) -> None:
    raw = path.with_name("raw")
    raw.write_bytes(bytes(N * 9 * 8))
    with h5py.File(path, "r+") as file:
        del file["temperature"]
        stored = [(str(raw), 0, N * 9 * 8)]
        file.create_dataset("temperature", (N, 9), "f8", external=stored)


def _sparse(path: Path, name: str, shape: tuple[int, ...], **how: Any) -> None:
    with h5py.File(path, "r+") as file:
        file.create_dataset(name, shape, "f8", **how)


def _twins(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        for name in ("transform", "crs"):
            values = file[name][...]
            values[1] = values[0]
            file[name][...] = values


HARMS: dict[str, tuple[Any, str]] = {
    "no hdf5": (lambda p: p.write_bytes(b"\x89HDF no"), "cannot be read as HDF5"),
    "truncated": (
        lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
        "cannot be read as HDF5",
    ),
    "no key": (lambda p: _rewrite(p, "temperature", None), "has no temperature; found"),
    "shape": (
        lambda p: _rewrite(p, "biome", np.zeros((N, 2), int)),
        r"biome has shape \(8, 2\), expected \(8,\) for 8 tiles; fetch the file again",
    ),
    "rows": (
        lambda p: _rewrite(p, "SCL_NO_DATA_PIXEL_FRACTION", np.zeros(N - 1)),
        r"SCL_NO_DATA_PIXEL_FRACTION has shape \(7,\), expected 8 rows",
    ),
    "no rows": (lambda p: _rewrite(p, "id", np.zeros(0, int)), "has no rows; fetch it again"),
    "text for numbers": (
        lambda p: _rewrite(p, "precipitation", np.full((N, 3), b"wet")),
        "precipitation has dtype .*, expected numbers",
    ),
    "numbers for text": (lambda p: _rewrite(p, "crs", np.zeros(N)), "crs .* expected text"),
    "no UTF-8": (lambda p: _rewrite(p, "crs", np.full(N, b"\xff")), "crs is not UTF-8"),
    "group": (lambda p: _rewrite(p, "more/inside", [1]), "more is not a dataset"),
    "two names": (
        lambda p: _rewrite(p, "AsterDEM", np.zeros((N, 2, 128, 128))),
        "ASTER_GDEM and AsterDEM|AsterDEM and ASTER_GDEM",
    ),
    "id": (lambda p: _set(p, "id", 1, 5), "id 5 stands 2 times"),
    "id of no number": (lambda p: _set_float(p, "id", 1, np.nan), "row 1 has the id nan; expected"),
    "half an id": (
        lambda p: _set_float(p, "id", 2, 0.5),
        r"row 2 has the id 0\.5; expected a whole",
    ),
    "places and transforms": (
        lambda p: _reverse(p, "transform", "crs"),
        r"row 0 has the geolocation \[.*\], its crs and transform say lon .* more than a pixel",
    ),
    "longitude for latitude": (
        lambda p: _set(p, "geolocation", 2, [39.0, 82.6]),
        r"row 2 has the geolocation \[39\.0, 82\.6\]",
    ),
    "two pixels away": (
        lambda p: _set(p, "geolocation", (3, 1), _get(p, "geolocation")[3, 1] + 2e-4),
        "row 3 has the geolocation .* more than a pixel away",
    ),
    "another zone": (
        lambda p: _set(p, "crs", 4, b"EPSG:32601"),
        r"row 4 has the geolocation",
    ),
    "encodings": (
        lambda p: _set(p, "geolocation_encoding", 1, _get(p, "geolocation_encoding")[2]),
        "row 1 has the geolocation_encoding .* more than a pixel away",
    ),
    "no encoding": (
        lambda p: _set(p, "geolocation_encoding", (1, 3), np.nan),
        "row 1 has the geolocation_encoding .*nan",
    ),
    "month": (
        lambda p: _set(p, "month_encoding", 6, [1.0, 0.0]),
        r"row 6 has the month_encoding \[1\.0, 0\.0\], its sentinel2_date is 2020-06-07, which "
        r"gives \[-1\.0, 0\.0\]",
    ),
    "spaced crs": (lambda p: _set(p, "crs", 1, b"EPSG: 32644"), "row 1 has crs EPSG: 32644"),
    "no affine": (lambda p: _set(p, "transform", (1, 8), 0.0), "row 1 has crs .*expected EPSG"),
    "easting": (lambda p: _set(p, "transform", (1, 2), 0.0), "row 1 has crs .*expected EPSG"),
    "missing, no JSON": (
        lambda p: _set(p, "missing_modalities", 1, b"sentinel1"),
        "row 1 has the missing_modalities 'sentinel1' is not JSON",
    ),
    "missing, no list": (
        lambda p: _set(p, "missing_modalities", 1, b'{"a": 1}'),
        "row 1 has the missing_modalities .* expected a JSON list",
    ),
    "missing, unknown": (
        lambda p: _set(p, "missing_modalities", 1, b'["landsat"]'),
        "row 1 has the missing_modalities .*landsat.*; expected names of sentinel2, ",
    ),
    "missing, deep": (
        lambda p: _set(p, "missing_modalities", 1, b"[" * 100_000),
        "row 1 has the missing_modalities .* nested too deeply",
    ),
    "missing, is there": (
        lambda p: _set(p, "missing_modalities", 4, b'["temperature"]'),
        "row 4: missing_modalities lists temperature, and its values are there",
    ),
    "missing, unsaid": (
        lambda p: _set(p, "temperature", 5, -9999.0),
        "row 5: missing_modalities does not list temperature, and its values are all no-data",
    ),
    "missing month": (
        lambda p: _set(p, "missing_modalities", 4, b'["month"]'),
        "row 4: missing_modalities lists month, and its values are there",
    ),
    "external link": (
        lambda p: _link(p, h5py.ExternalLink(_other_file(p), "temperature")),
        r"temperature is a link to .*other\.h5 temperature; expected a dataset of the file itself",
    ),
    "soft link": (
        lambda p: _link(p, h5py.SoftLink("/biome")),
        "temperature is a link to /biome; expected a dataset of the file itself",
    ),
    "virtual dataset": (_virtual, "temperature has its values in other files"),
    "external storage": (_external, "temperature has its values in other files"),
    "columns without an end": (
        lambda p: _sparse(p, "wide", (N, 1 << 40), chunks=(1, 1 << 20)),
        r"what has no pixels takes 70368\.7 GB, expected 1\.1 GB at most",
    ),
    "chunks without an end": (
        lambda p: _sparse(p, "large", (N, 1 << 13, 1 << 13), chunks=(1, 1 << 13, 1 << 13)),
        "large has chunks of 537 MB, expected 268 MB at most",
    ),
    "a name with a newline": (
        lambda p: _sparse(p, "a\nb", (N,)),
        r"has a dataset 'a\\nb'; expected a name of at most 200 bytes without control",
    ),
    "no splits": (
        lambda p: p.with_name(f"{TASK}_split_data.json").unlink(),
        "soil_pH_split_data.json is not there",
    ),
    "no JSON": (
        lambda p: p.with_name(f"{TASK}_split_data.json").write_text("{"),
        "soil_pH_split_data.json is not JSON",
    ),
    "index": (lambda p: _splits(p, {"val_indices": [99]}), "names row 99, and the .h5 file has 8"),
    "two splits": (
        lambda p: _splits(p, {"val_indices": [_first_train(p)]}),
        r"row \d is in train and in val",
    ),
    "no split": (lambda p: _splits(p, {"val_indices": []}), r"row \d of 8 is in no split"),
    "grid": (
        lambda p: _set(p, "transform", (2, 2), 500003.0),
        r"row 2 has crs EPSG:\d+ and transform .*whole multiples",
    ),
    "twins": (_twins, "rows 0 and 1 are the same tile"),
    **{
        f"date {text!r}": (
            lambda p, text=text: _set(p, "sentinel2_date", 3, text),
            f"row 3 has the sentinel2_date {text[:40]!r}; expected a day as YYYY-MM-DD",
        )
        for text in ("June", "", "NaT", "today", "2020", "20200601", "2020-02-30", "2020-W23-1")
    },
    "target": (lambda p: _set(p, TASK, 4, np.nan), "row 4 has the soil_pH nan"),
    "no data": (
        lambda p: (p.parent.parent / "no_data_values.json").write_text('{"Sentinel2": 0}'),
        "Sentinel2 has the no-data value 0, expected 65535",
    ),
    "no-data values of nothing": (
        lambda p: (p.parent.parent / "no_data_values.json").write_text("[]"),
        r"no_data_values\.json is not a list of no-data values; fetch it again",
    ),
}


def test_text_without_an_end(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with h5py.File(path, "r+") as file:  # values that nobody wrote are all the same one
        text = h5py.string_dtype()
        file.create_dataset("note", (N,), text, fillvalue="x" * 60_000, chunks=(1,))
    monkeypatch.setattr("mmearth.packaging.h5.file._COLUMNS_BYTES", 400_000)
    left = 8 * 60_000 - path.stat().st_size
    assert left > 0
    with pytest.raises(FormatError, match="note holds more text than the file has bytes; fetch it"):
        import_h5(path, tmp_path / "out", 1, _quiet)


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_not_as_published_is_refused_before_anything_is_written(
    path: Path, tmp_path: Path, harm: str
) -> None:
    spoil, sentence = HARMS[harm]
    spoil(path)
    with pytest.raises(FormatError, match=sentence) as caught:
        import_h5(path, tmp_path / "out", 1, _quiet)
    assert "\n" not in str(caught.value)
    assert str(path.parent.parent) in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda p: _set(p, "missing_modalities", 4, b'["sentinel1"]'), "lists sentinel1, and its"),
        (
            lambda p: _set(p, "ASTER_GDEM", 5, -9999.0),
            "row 5: .* does not list aster_gdem, and its",
        ),
        (lambda p: _set(p, "Sentinel2", 2, 65535.0), "row 2: .* does not list sentinel2, and its"),
        (
            lambda p: (_set(p, "Sentinel2", 2, 65535.0), _rewrite(p, "missing_modalities", None)),
            "row 2 has a sentinel2_date, and its Sentinel2 is all no-data, 65535; expected values",
        ),
        (
            lambda p: _set(p, "Sentinel2", 3, np.linspace(0, 1.2, 128)),
            r"row 3 of Sentinel2 has values up to 1\.2, which are reflectances; expected",
        ),
    ],
)
def test_pixels_that_contradict_the_rest(
    path: Path, tmp_path: Path, spoil: Any, sentence: str
) -> None:
    spoil(path)
    with pytest.raises(FormatError, match=sentence):
        import_h5(path, tmp_path / "out", 1, _quiet)
    assert not (tmp_path / "out/dataset.json").exists()
