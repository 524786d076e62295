"""Published values become ours: rounded, absent, or refused, and never another number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmearth.catalog.errors import DataError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.packaging.h5 import layout
from mmearth.packaging.h5.convert import ours, refuse_beyond
from mmearth.packaging.h5.layout import layer_of
from mmearth.tests.hdf5_files import NODATA

WHOLE = MMEARTH_BENCH.layers["sentinel2"]  # uint16, no-data 65535
FLOAT = MMEARTH_BENCH.layers["sentinel1"]  # float32, no-data -9999
BIOMASS, ACIDITY = (MMEARTH_BENCH.tasks[name] for name in ("biomass", "soil_pH"))


def test_no_data_values_are_the_published_ones() -> None:
    assert layout.NODATA == NODATA
    assert list(layout.NODATA) == list(NODATA)


def test_whole_numbers_are_rounded_and_nan_is_no_data() -> None:
    values = np.array([0.4, 0.5, 1.5, 65534.4, np.nan, 65535.0], np.float32)
    assert ours(values, WHOLE).tolist() == [0, 0, 2, 65534, 65535, 65535]
    assert ours(values, WHOLE).dtype == np.uint16
    assert ours(np.array([np.nan, -3.25]), FLOAT).tolist() == [-9999.0, -3.25]


def test_what_has_no_no_data_keeps_nan_for_its_contract_to_refuse() -> None:
    layer = layer_of("month_encoding", ACIDITY)
    assert layer == MMEARTH_BENCH.layers["month"]
    assert np.isnan(ours(np.array([np.nan]), layer)[0])


def test_only_the_own_target_has_a_place() -> None:
    assert layer_of("biomass", BIOMASS) == BIOMASS.target
    assert layer_of("biomass", ACIDITY) is None
    assert layer_of("soil_pH", ACIDITY) is None
    assert layer_of("SCL", BIOMASS) is None


@pytest.mark.parametrize("value", [-1.0, 65536.0, 65535.5, np.inf, 1e30])
def test_what_a_whole_number_cannot_hold_is_refused(value: float) -> None:
    values = np.zeros((4, 2))
    values[2, 1] = value
    with pytest.raises(DataError, match=r"a\.h5: row 12 of Sentinel2 holds .*0 to 65535"):
        refuse_beyond(Path("a.h5"), "Sentinel2", 10, values, WHOLE)


@pytest.mark.parametrize("value", [-0.4, 65535.4, np.nan])
def test_what_is_rounded_into_it_is_not_refused(value: float) -> None:
    refuse_beyond(Path("a.h5"), "Sentinel2", 0, np.array([value]), WHOLE)
    refuse_beyond(Path("a.h5"), "Sentinel1", 0, np.array([1e300]), FLOAT)
