"""Granules of somebody else: nothing is unpacked, read or followed beyond what a granule is."""

from __future__ import annotations

import resource
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from mmearth.catalog.errors import FormatError
from mmearth.curate.labels.gedi.files import find_granules
from mmearth.curate.labels.gedi.read import read_granule
from mmearth.tests.unit.curate.gedi.conftest import WriteGranule


def _read(path: Path) -> None:
    for granule in find_granules([path.name], path.parent):
        read_granule(granule, (None, None), ())


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_a_zip_of_zeros_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.h5", "w", force_zip64=True) as member,
    ):
        for _ in range(80):
            member.write(bytes(1 << 20))
    before, began = _peak(), time.process_time()
    with pytest.raises(FormatError, match=r"bomb.zip:a.h5 would be 84 MB, unpacked from 0\.1 MB; "):
        _read(path)
    assert _peak() - before < 32 << 20
    assert time.process_time() - began < 1


def test_a_size_that_the_archive_lies_about(tmp_path: Path, write_granule: WriteGranule) -> None:
    granule = write_granule("x.h5").read_bytes()
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.h5", granule)
    data = path.read_bytes()
    size = len(granule).to_bytes(4, "little")
    path.write_bytes(data.replace(size, (len(granule) // 2).to_bytes(4, "little")))
    with pytest.raises(FormatError, match=r"x\.zip"):
        _read(path)


def test_links_and_values_in_other_files(tmp_path: Path, write_granule: WriteGranule) -> None:
    other = write_granule("other.h5")
    linked = write_granule("GEDI04_A_linked.h5")
    with h5py.File(linked, "r+") as file:
        file["BEAM0001"] = h5py.ExternalLink(str(other), "BEAM0000")
    with pytest.raises(FormatError, match=r"BEAM0001 is a link to .*other\.h5 BEAM0000"):
        _read(linked)
    stored = write_granule("GEDI04_A_stored.h5")
    with h5py.File(stored, "r+") as file:
        del file["BEAM0000/agbd"]
        raw = [(str(tmp_path / "raw"), 0, 12)]
        file["BEAM0000"].create_dataset("agbd", (3,), "f4", external=raw)
    with pytest.raises(FormatError, match="BEAM0000/agbd has its values in other files"):
        _read(stored)


def test_a_beam_without_an_end(write_granule: WriteGranule) -> None:
    path = write_granule("GEDI04_A_sparse.h5")
    with h5py.File(path, "r+") as file:
        del file["BEAM0000/delta_time"]
        shape = (1 << 40,)
        file["BEAM0000"].create_dataset("delta_time", shape, "f8", chunks=(1 << 16,))
    with pytest.raises(FormatError, match=r"delta_time has 1099511627776 shots, expected 20000000"):
        _read(path)


def test_a_group_under_a_variables_name(write_granule: WriteGranule) -> None:
    path = write_granule("GEDI04_A_group.h5")
    with h5py.File(path, "r+") as file:
        del file["BEAM0000/agbd"]
        file["BEAM0000/agbd/inside"] = np.zeros(3)
    with pytest.raises(FormatError, match="BEAM0000/agbd is a group None, expected one number"):
        _read(path)


def test_a_beam_without_one_of_its_variables(write_granule: WriteGranule) -> None:
    path = write_granule(agbd=None)
    with pytest.raises(FormatError, match="/BEAM0000 has no agbd; fetch the granule with it"):
        _read(path)


def test_shot_numbers_that_were_rounded(write_granule: WriteGranule) -> None:
    path = write_granule(shot_number=[101.0, 102.0, 103.0])
    with pytest.raises(FormatError, match="/shot_number is float64, expected integers; fetch it"):
        _read(path)
