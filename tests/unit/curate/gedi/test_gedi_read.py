"""Granules: which shots pass, what is counted, and files that cannot be used."""

from __future__ import annotations

import io
import math
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from mmearth.catalog.errors import ConfigError, FormatError, MMEarthError
from mmearth.curate.labels.gedi import read_footprints
from mmearth.curate.labels.gedi.footprints import Footprints
from mmearth.curate.labels.gedi.quality import RULES
from mmearth.curate.places import GediPlaces, GediTest

WriteGranule = Callable[..., Path]
DAY = 86_400.0
NEEDED = ("lon_lowestmode", "lat_lowestmode", "agbd", "shot_number")


def _read(base: Path, *patterns: str, **keys: Any) -> Footprints:
    config = {"granules": patterns or ("*.h5",), "first": None, "last": None, **keys}
    return read_footprints(GediPlaces.model_validate(config), base)


def test_good_shots_are_kept(write_granule: WriteGranule, tmp_path: Path) -> None:
    write_granule()
    found = _read(tmp_path)
    assert found.shot.tolist() == [101, 102, 103]
    assert found.lon.tolist() == [15.001, 15.002, 15.003]
    assert found.lat.tolist() == [1.001, 1.002, 1.003]
    assert found.agbd.tolist() == [10.0, 20.0, 30.0]
    assert found.leaf_on.tolist() == [100] * 3 and found.leaf_off.tolist() == [300] * 3
    assert [str(day) for day in found.day.astype("datetime64[D]")] == ["2020-03-11"] * 3
    assert found.products == ("GEDI_L4A 02",)
    assert (found.counts.granules, found.counts.shots, found.counts.kept) == (1, 3, 3)
    assert set(found.counts.rejected.values()) == {0} and not found.counts.untested


@pytest.mark.parametrize(
    ("variable", "value", "test"),
    [
        ("degrade_flag", 4, "degrade_flag"),
        ("l2_quality_flag", 0, "l2_quality_flag"),
        ("l4_quality_flag", 0, "l4_quality_flag"),
        ("leaf_off_flag", 1, "leaf_off_flag"),
        ("leaf_off_flag", 255, "leaf_off_flag"),
        ("region_class", 0, "region_class"),
        ("leaf_on_doy", 300, "leaf_doy"),
        ("leaf_on_doy", 310, "leaf_doy"),
        ("leaf_on_doy", 0, "leaf_doy"),
        ("leaf_off_doy", 32767, "leaf_doy"),
        ("agbd", -9999.0, "agbd"),
        ("agbd", -0.01, "agbd"),
        ("agbd", 2000.5, "agbd"),
        ("agbd", math.nan, "agbd"),
        ("lon_lowestmode", 200.0, "place"),
        ("lon_lowestmode", math.nan, "place"),
        ("lat_lowestmode", -9999.0, "place"),
        ("delta_time", math.nan, "time"),
        ("delta_time", -9999.0, "time"),
        ("delta_time", 1e30, "time"),
    ],
)
def test_each_test_rejects(
    write_granule: WriteGranule, tmp_path: Path, variable: str, value: float, test: str
) -> None:
    usual = {"l2_quality_flag": 1, "l4_quality_flag": 1, "region_class": 6, "leaf_on_doy": 100}
    usual |= {"leaf_off_doy": 300, "agbd": 10, "lon_lowestmode": 15, "lat_lowestmode": 1}
    good = usual.get(variable, 800 * DAY if variable == "delta_time" else 0)
    write_granule(**{variable: [good, value, good]})
    found = _read(tmp_path)
    assert sorted(found.shot.tolist()) == [101, 103]
    assert found.counts.rejected == {name: int(name == test) for name in RULES}
    if test in GediTest.__args__:  # type: ignore[attr-defined]
        assert len(_read(tmp_path, skip=[test])) == 3


def test_valid_range_includes_its_ends(write_granule: WriteGranule, tmp_path: Path) -> None:
    write_granule(agbd=[0.0, 2000.0, 2000.001])
    assert _read(tmp_path).agbd.tolist() == [0.0, 2000.0]


def test_every_test_that_may_be_skipped_is_one() -> None:
    assert set(GediTest.__args__) < set(RULES)  # type: ignore[attr-defined]


def test_lacking_variables_are_counted(write_granule: WriteGranule, tmp_path: Path) -> None:
    write_granule(degrade_flag=None, leaf_on_doy=None, l4_quality_flag=[1, 0, 1])
    found = _read(tmp_path)
    assert found.shot.tolist() == [101, 103]
    assert found.counts.untested == {"degrade_flag": 3, "leaf_doy": 3}
    assert "degrade_flag" not in found.counts.rejected
    assert found.leaf_on.tolist() == found.leaf_off.tolist() == [0, 0]
    assert "degrade_flag not testable for 3" in str(found.counts)


def test_counts_of_beams_and_granules_are_added(
    write_granule: WriteGranule, tmp_path: Path
) -> None:
    fill = {"shot_number": [1, 2], "agbd": [-9999.0] * 2, "l4_quality_flag": [0, 0]}
    write_granule("a.h5", beams=[fill, {"shot_number": [3, 4], "degrade_flag": [0, 3]}])
    write_granule("b.h5", shot_number=[5], degrade_flag=None)
    found = _read(tmp_path)
    assert sorted(found.shot.tolist()) == [3, 5]
    counts = found.counts
    assert (counts.granules, counts.shots, counts.kept) == (2, 5, 2)
    assert (counts.rejected["agbd"], counts.rejected["l4_quality_flag"]) == (2, 2)
    assert (counts.rejected["degrade_flag"], counts.untested["degrade_flag"]) == (1, 1)


def test_granules_beyond_the_dates_do_not_count(
    write_granule: WriteGranule, tmp_path: Path
) -> None:
    # 2020-01-01 is day 730 since 2018-01-01, 2020-12-31 is day 1095.
    spans = {"before": (729.9, 730.1), "first": (730.0, 730.1), "after": (1095.9, 1096.1)}
    spans["last"] = (1095.0, 1095.99)
    for number, (name, (begin, end)) in enumerate(spans.items()):
        shots = [10 * number, 10 * number + 1]
        write_granule(f"{name}.h5", shot_number=shots, delta_time=[begin * DAY, end * DAY])
    config = GediPlaces(granules=("*.h5",))
    found = read_footprints(config, tmp_path)
    assert {found.granules[i] for i in found.granule} == {"first.h5", "last.h5"}
    assert (found.counts.outside, found.counts.granules, found.counts.shots) == (2, 4, 4)
    assert len(_read(tmp_path, first="2020-01-01")) == 6
    assert len(_read(tmp_path, last="2020-12-31")) == 6


def test_name_tells_the_date_where_the_file_does_not(
    write_granule: WriteGranule, tmp_path: Path
) -> None:
    write_granule("GEDI04_A_2020060120000_x.h5", delta_time=None)
    found = _read(tmp_path, first="2020-02-29", last="2020-02-29")
    assert [str(day) for day in found.day.astype("datetime64[D]")] == ["2020-02-29"] * 3
    assert found.counts.untested == {"time": 3}
    assert len(_read(tmp_path, first="2020-03-01")) == 0


def test_a_shot_of_two_granules_is_taken_from_the_newer(
    write_granule: WriteGranule, tmp_path: Path
) -> None:
    write_granule("z/X_V002.h5", agbd=[11, 12, 13])
    write_granule("a/X_V003.h5", shot_number=[103, 102, 104, 105], agbd=[23, 22, 24, 25])
    one, other = ("z/*.h5", "a/*.h5"), ("a/*.h5", "z/*.h5")
    for patterns in (one, other, ("**/*.h5",), (*one, *other)):
        found = _read(tmp_path, *patterns)
        by_shot = dict(zip(found.shot.tolist(), found.agbd.tolist(), strict=True))
        assert by_shot == {101: 11, 102: 22, 103: 23, 104: 24, 105: 25}
        assert (found.counts.twice, found.counts.kept) == (2, 5)
        assert found.granules == ("X_V002.h5", "X_V003.h5")


def test_key_is_of_content_and_tests(write_granule: WriteGranule, tmp_path: Path) -> None:
    write_granule("a.h5")
    write_granule("b.h5", shot_number=[1, 2, 3])
    key = _read(tmp_path).key
    assert _read(tmp_path, "b.h5", "a.h5").key == key
    assert _read(tmp_path, "a.h5").key != key
    assert _read(tmp_path, skip=["degrade_flag"]).key != key
    assert _read(tmp_path, first="2020-01-01").key != key
    write_granule("b.h5", shot_number=[1, 2, 4])
    assert _read(tmp_path).key != key


def test_zip_reads_like_its_content(write_granule: WriteGranule, tmp_path: Path) -> None:
    path = write_granule("x.h5")
    plain = _read(tmp_path, "x.h5")
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "inner/x.h5")
        archive.writestr("inner/._x.h5", b"resource fork")
        archive.writestr("readme.txt", b"hello")
    zipped = _read(tmp_path, "*.zip")
    assert zipped.shot.tolist() == plain.shot.tolist()
    assert zipped.granules == plain.granules == ("x.h5",)
    both = _read(tmp_path, "x.*")
    assert (len(both), both.counts.twice) == (3, 3)


def test_a_zip_of_several_granules(write_granule: WriteGranule, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for number, name in enumerate(("./a/x.h5", "b/x.h5", "b/Y.HDF5")):
            path = write_granule("made", shot_number=[number])
            archive.writestr(name, path.read_bytes())
    found = _read(tmp_path, "x.zip")
    assert sorted(found.shot.tolist()) == [0, 1, 2]
    assert found.granules == ("Y.HDF5", "x.h5", "x.h5")


def _truncate(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def _zip(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("_", "."), data)


def test_broken_files(write_granule: WriteGranule, tmp_path: Path) -> None:
    _truncate(write_granule("cut.h5"), 0.5)
    (tmp_path / "text.h5").write_text("no HDF5 at all")
    (tmp_path / "empty.h5").write_bytes(b"")
    _zip(tmp_path / "none.zip", a_txt=b"hello")
    _zip(tmp_path / "text.zip", a_h5=b"no HDF5 at all")
    _zip(tmp_path / "cut.zip", a_h5=write_granule("whole.h5").read_bytes())
    _truncate(tmp_path / "cut.zip", 0.9)
    expected = {
        "cut.h5": "HDF5",
        "text.h5": "HDF5",
        "empty.h5": "HDF5",
        "none.zip": "no HDF5",
        "text.zip": "HDF5",
        "cut.zip": "ZIP",
    }
    for name, said in expected.items():
        _refused(tmp_path, name, FormatError, said)


def test_damaged_values(write_granule: WriteGranule, tmp_path: Path) -> None:
    path = write_granule("damaged.h5")
    with h5py.File(path, "r+") as file:
        del file["BEAM0000/agbd"]
        noise = np.random.default_rng(0).normal(size=3).astype("f4")
        file.create_dataset("BEAM0000/agbd", data=noise, fletcher32=True, chunks=(3,))
        offset = file["BEAM0000/agbd"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"\xff\xff\xff\xff")
    _refused(tmp_path, "damaged.h5", FormatError, "cannot be read as HDF5")


def test_files_that_are_no_l4a(write_granule: WriteGranule, tmp_path: Path) -> None:
    write_granule("l2a.h5", product="GEDI_L2A")
    _refused(tmp_path, "l2a.h5", FormatError, "GEDI_L2A")
    write_granule("no_agbd.h5", agbd=None)
    _refused(tmp_path, "no_agbd.h5", FormatError, "BEAM0000 has no agbd")
    write_granule("no_time_nor_lat.h5", delta_time=None, lat_lowestmode=None)
    _refused(tmp_path, "no_time_nor_lat.h5", FormatError, "BEAM0000 has no lat_lowestmode")
    write_granule("none.h5", beams=[dict.fromkeys(NEEDED)])
    _refused(tmp_path, "none.h5", FormatError, "no beam")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.zeros(3)
    _refused(tmp_path, "other.h5", FormatError, "no beam")
    write_granule("uneven.h5", agbd=[1.0, 2.0])
    _refused(tmp_path, "uneven.h5", FormatError, "expected (3,) like the other")
    write_granule("real_shots.h5", shot_number=[1.5, 2.5, 3.5])
    _refused(tmp_path, "real_shots.h5", FormatError, "integers")
    write_granule("undated.h5", delta_time=None)
    _refused(tmp_path, "undated.h5", FormatError, "date")


def test_granules_that_are_not_there(write_granule: WriteGranule, tmp_path: Path) -> None:
    write_granule("a/x.h5")
    for pattern in ("*.h5", "a", "b/x.h5", str(tmp_path / "b" / "*")):
        _refused(tmp_path, pattern, ConfigError, "matches no file")
    assert len(_read(Path("/"), str(tmp_path / "a" / "*"))) == 3


def test_without_h5py(
    write_granule: WriteGranule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_granule()
    monkeypatch.setitem(sys.modules, "h5py", None)
    _refused(tmp_path, "*.h5", ConfigError, r"pip install 'mmearth\[gedi\]'")


def _refused(base: Path, pattern: str, error: type[MMEarthError], said: str) -> None:
    with pytest.raises(error, match=said.replace("(", r"\(").replace(")", r"\)")) as caught:
        _read(base, pattern)
    assert type(caught.value) is error and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"first": "2021-01-01"}, {"skip": ["agbd"]}, {"first": "soon"}, {"granules": []}]
)
def test_wrong_configurations(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GediPlaces.model_validate({"granules": ["*.h5"], **wrong})


def _table(file: h5py.File) -> pd.DataFrame:
    """Return all shots of a granule with every variable that it has, by the variable's own name."""
    names = ("agbd", "lon_lowestmode", "lat_lowestmode", "shot_number", "delta_time")
    names += ("degrade_flag", "l2_quality_flag", "l4_quality_flag")
    land = ("leaf_off_flag", "region_class", "leaf_on_doy", "leaf_off_doy")
    paths = {**{name: name for name in names}, **{n: f"land_cover_data/{n}" for n in land}}
    return pd.concat(
        pd.DataFrame({n: beam[path][()] for n, path in paths.items() if path in beam})
        for key, beam in file.items()
        if key.startswith("BEAM")
    )


def test_real_granule_in_a_zip(real_data: Path) -> None:
    (path,) = (real_data / "gedi").glob("GEDI04*.zip")
    with zipfile.ZipFile(path) as archive:
        (member,) = archive.namelist()
        shots = _table(h5py.File(io.BytesIO(archive.read(member)), "r"))
    found = _read(real_data / "gedi", path.name, skip=["degrade_flag"])
    good = shots.query(
        "l2_quality_flag == 1 and l4_quality_flag == 1 and leaf_off_flag == 0 and region_class > 0 "
        "and leaf_off_doy > leaf_on_doy and 0 <= agbd <= 2000"
    )
    assert len(found) == len(good) == 75
    assert sorted(found.shot.tolist()) == sorted(good.shot_number.tolist())
    assert float(found.agbd.sum()) == pytest.approx(float(good.agbd.sum()))
    assert found.counts.shots == len(shots) == 966
    assert found.counts.rejected["l4_quality_flag"] == (shots.l4_quality_flag != 1).sum() == 233
    assert found.counts.rejected["leaf_off_flag"] == (shots.leaf_off_flag != 0).sum()
    assert found.counts.rejected["region_class"] == (shots.region_class == 0).sum() == 12
    # All of its shots were degraded: the published tests leave none.
    assert _read(real_data / "gedi", path.name).counts.rejected["degrade_flag"] == 966
    assert (shots.degrade_flag != 0).all()


def test_real_subsets_of_six_variables(real_data: Path) -> None:
    folder = real_data / "gedi" / "louisiana"
    tables = {path.name: _table(h5py.File(path)) for path in sorted(folder.glob("*.h5"))}
    shots = pd.concat(tables.values())
    found = _read(folder)
    assert found.granules == tuple(tables) and len(tables) == 7
    assert found.counts.shots == len(shots) == 337
    good = shots.query("l4_quality_flag == 1 and 0 <= agbd <= 2000")
    assert sorted(found.shot.tolist()) == sorted(good.shot_number.tolist())
    assert found.counts.rejected["agbd"] == (~shots.agbd.between(0, 2000)).sum()
    lacking = {"degrade_flag", "l2_quality_flag", "leaf_off_flag", "region_class", "leaf_doy"}
    assert found.counts.untested == dict.fromkeys(sorted(lacking), 337)
    # Three of the seven begin and end in 2020.
    of_2020 = read_footprints(GediPlaces(granules=("*.h5",)), folder)
    year = {n: pd.Timestamp("2018") + pd.to_timedelta(t.delta_time, "s") for n, t in tables.items()}
    inside = [n for n, t in year.items() if t.dt.year.min() == t.dt.year.max() == 2020]
    assert len(inside) == 3 and of_2020.counts.outside == 4
    assert of_2020.counts.shots == sum(len(tables[n]) for n in inside)
