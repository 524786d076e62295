"""The declared shifts of the synthetic Earth: their physics, their place, and their undoing."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from mmearth.catalog.africa import touches_africa
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile, tiles_at
from mmearth.curate.config import BuildConfig
from mmearth.curate.source import Visit
from mmearth.curate.sources.synthetic import Synthetic
from mmearth.curate.sources.synthetic.config import SyntheticConfig
from mmearth.curate.sources.synthetic.planet import AFRICA, visit
from mmearth.curate.sources.synthetic.shifts import (
    RADIOMETRY,
    Shifts,
    haze,
    months_late,
    optical,
    radar,
)

CONGO, KANSAS, SAHEL = Tile.at(24.6, -1.0), Tile.at(-98.0, 38.5), Tile.at(20.0, 11.0)
DAY = "2020-07-01"
ALL = Shifts(1.0, 1.0, 1.0, 1.0)
GOLDEN = [
    "478ebe3f1cd1b239474c0c7bcc1ca528c63ff7dab70e6e03e2f4b66520a3f7fd",
    "7b9f659c72c573cf899e240387b4049333c02b83e1fdc2f6bc560b9505b54034",
]


def _seen(tile: Tile, name: str, shifts: Shifts, date: str = DAY) -> NDArray[Any]:
    outcome = Synthetic(0, shifts).observe(Visit(tile, (name,), date))[name]
    assert isinstance(outcome, Observation)
    outcome.check()
    return outcome.array


def digests() -> list[str]:
    """Return digests of both satellites' images of a tile under all shifts."""
    return [
        sha256_bytes(_seen(CONGO, name, ALL).astype(kind).tobytes())
        for name, kind in (("sentinel2", "<u2"), ("sentinel1", "<f4"))
    ]


def test_haze_by_hand() -> None:
    # g = 0.6: an optical depth of 1.25 is a thickness of 0.5, R = 0.5 / 2.5, and (1 - R)² = 0.64.
    gain, offset = haze(1.25 * (559.8 / 550.0) ** 1.5)  # at B3 it is 1.25
    assert gain[2] == pytest.approx(0.64, rel=1e-12)
    assert offset[2] == pytest.approx(0.2, rel=1e-12)
    # What is not scattered back goes through.
    np.testing.assert_allclose(np.sqrt(gain) + offset, 1.0)
    assert (np.diff(offset) < 0).all()  # less and less with wavelength
    assert (haze(0.0)[0] == 1.0).all()
    assert (haze(0.0)[1] == 0.0).all()


def test_thin_haze_scatters_with_the_power_of_wavelength() -> None:
    _, offset = haze(1e-6)
    assert offset[1] / offset[11] == pytest.approx((2202.4 / 492.7) ** 1.5, rel=1e-5)


def test_the_baseline_adds_a_thousand_in_every_band() -> None:
    change = optical(CONGO, DAY, 0, Shifts(sensor=1.0))
    assert change.gain.tolist() == [1.0] * 12
    assert change.offset.tolist() == [1000.0] * 12
    before, after = (_seen(CONGO, "sentinel2", s) for s in (Shifts(), Shifts(sensor=1.0)))
    assert (after == before + 1000).all()


def test_both_shifts_of_one_image_add_up() -> None:
    haze_alone = optical(CONGO, DAY, 0, Shifts(atmosphere=1.0))
    both = optical(CONGO, DAY, 0, Shifts(atmosphere=1.0, sensor=0.5))
    assert (both.gain == haze_alone.gain).all()
    np.testing.assert_allclose(both.offset, haze_alone.offset + 500.0)


def test_radar_is_brighter_by_the_same_in_all_bands_on_every_day() -> None:
    change = radar(CONGO, DAY, 0, Shifts(atmosphere=1.0))
    assert (change.gain == 1.0).all()
    assert 0.5 <= change.offset[0] <= 1.5
    assert (change.offset == change.offset[0]).all()
    assert (radar(CONGO, "2020-07-02", 0, Shifts(atmosphere=1.0)).offset == change.offset).all()
    assert (radar(CONGO, DAY, 0, Shifts(atmosphere=2.0)).offset == 2 * change.offset).all()


@pytest.mark.parametrize("name", RADIOMETRY)
def test_the_oracle_undoes_what_was_done(name: str) -> None:
    shifts = Shifts(atmosphere=2.0, sensor=2.0)
    places = np.random.default_rng(0).uniform((-15, -30), (45, 30), (40, 2))
    changed = 0.0
    for tile in tiles_at(*places.T, DEFAULT_GRID):
        outcomes = [
            Synthetic(0, s).observe(Visit(tile, (name,), None))[name] for s in (Shifts(), shifts)
        ]
        if not all(isinstance(outcome, Observation) for outcome in outcomes):
            continue
        before, after = (o for o in outcomes if isinstance(o, Observation))
        oracle = RADIOMETRY[name](tile, str(after.acquired), 0, shifts)
        undone = oracle.undo(after.array)
        after.check()
        assert undone.dtype == before.array.dtype
        error = np.abs(undone.astype(float) - before.array.astype(float))
        # Half a digital number over the gain, then half a number; the bits of float32.
        gain = oracle.gain[:, None, None]
        assert (error <= (0.5 / gain + 0.5 if name == "sentinel2" else 1e-5)).all()
        absent = before.array == (65535 if name == "sentinel2" else -9999)
        assert (after.array[absent] == before.array[absent]).all()
        changed = max(changed, float(np.abs(oracle.apply(before.array) - after.array).max()))
    assert changed == 0.0  # what is asked for is what was done


def test_no_data_stays_under_a_shift_and_its_undoing() -> None:
    change = optical(CONGO, DAY, 0, Shifts(atmosphere=1.0))
    array = np.full((12, 1, 2), 65535, dtype=np.uint16)
    array[:, :, 1] = 0
    shifted = change.apply(array)
    assert (shifted[:, :, 0] == 65535).all()
    assert (change.undo(shifted)[:, :, 0] == 65535).all()
    assert (shifted[:, 0, 1] == np.floor(change.offset + 0.5)).all()


def test_shifts_grow_from_the_ring_inwards_and_spare_all_that_trains() -> None:
    labels = list(Synthetic(0).labels(MMEARTH_BENCH.tasks["soil_pH"], 300, 3))
    lonlat = [label.lon for label in labels], [label.lat for label in labels]
    tiles = tiles_at(*lonlat, DEFAULT_GRID)
    added = np.array([optical(tile, DAY, 0, Shifts(sensor=1.0)).offset[0] for tile in tiles])
    tested = touches_africa(tiles)
    assert (added[~tested] == 0).all()
    assert np.median(added[tested]) == 1000.0
    assert added[tested].mean() > 800
    assert (
        _seen(KANSAS, "sentinel2", ALL).tobytes() == _seen(KANSAS, "sentinel2", Shifts()).tobytes()
    )


def test_how_a_shift_grows_by_hand() -> None:
    # In Egypt the ring's nearest side runs from (33.05, 33.27) to (14.98, 36.08).
    tile, slope = Tile.at(25.0, 31.0), (33.27 - 36.08) / (33.05 - 14.98)
    below = 36.08 + slope * (tile.lon - 14.98) - tile.lat
    part = below / np.hypot(1.0, slope) / 5.0
    assert 0.6 < part < 0.8
    grown = part * part * (3.0 - 2.0 * part)
    assert months_late(tile, Shifts(season=1.0)) == pytest.approx(6.0 * grown, rel=1e-9)


def test_haze_is_smooth_and_another_one_each_day() -> None:
    def blue(lon: float, date: str = DAY) -> float:
        return float(optical(Tile.at(lon, -1.0), date, 0, Shifts(atmosphere=1.0)).offset[1])

    across = np.array([blue(20.0 + step / 10) for step in range(60)])
    assert np.abs(np.diff(across)).max() < 0.2 * np.ptp(across)
    days = [blue(24.6, f"2020-07-{day:02d}") for day in range(1, 31)]
    assert len(set(days)) == 30
    assert 0.05 < np.std(days) / np.mean(days) < 0.4


def test_another_season_is_the_image_of_another_month() -> None:
    assert months_late(CONGO, Shifts(season=0.5)) == 3.0
    assert months_late(KANSAS, Shifts(season=1.0)) == 0.0
    late = _seen(SAHEL, "sentinel2", Shifts(season=1.0), "2020-07-01")
    assert (late == _seen(SAHEL, "sentinel2", Shifts(), "2020-01-01")).all()
    assert (late != _seen(SAHEL, "sentinel2", Shifts(), "2020-07-01")).any()
    for name in ("month", "sentinel1", "temperature"):
        assert (_seen(SAHEL, name, Shifts(season=1.0)) == _seen(SAHEL, name, Shifts())).all()


def test_without_a_label_shift_africa_varies_as_other_regions_do() -> None:
    lon, lat = np.random.default_rng(1).uniform((-180, -50), (180, 60), (4000, 2)).T
    none, half, usual = (visit(lon, lat, 0, strength) for strength in (0.0, 0.5, 1.0))
    in_africa = usual.continent == AFRICA
    assert (usual.shift[in_africa] == 0.8).all()
    assert np.abs(none.shift).max() <= 0.5
    np.testing.assert_allclose(half.shift, (none.shift + usual.shift) / 2)
    assert (none.shift[~in_africa] == usual.shift[~in_africa]).all()


def test_a_label_shift_moves_labels_in_africa_and_no_place() -> None:
    none, usual = (
        list(
            Synthetic(0, Shifts(label_shift=strength)).labels(
                MMEARTH_BENCH.tasks["soil_pH"], 200, 3
            )
        )
        for strength in (0.0, 1.0)
    )
    assert usual == list(Synthetic(0).labels(MMEARTH_BENCH.tasks["soil_pH"], 200, 3))
    assert [(a.lon, a.lat) for a in none] == [(b.lon, b.lat) for b in usual]
    moved = {a.lon for a, b in zip(none, usual, strict=True) if a.value != b.value}
    lon, lat = np.array([(label.lon, label.lat) for label in usual]).T
    assert moved == set(lon[visit(lon, lat, 0).continent == AFRICA])


def test_the_configuration_tells_the_source_and_the_usual_changes_no_hash() -> None:
    plain = {"kind": "synthetic", "seed": 7}

    def config(**more: float) -> BuildConfig:
        tasks = {"soil_pH": {"labels": {"count": 5}}}
        source = plain | more
        return BuildConfig.model_validate(
            {"name": "a", "title": "A", "source": source, "tasks": tasks}
        )

    assert config().source.model_dump() == plain
    assert config(atmosphere=0, label_shift=1).sha256 == config().sha256
    assert config(atmosphere=0.5).source.model_dump() == plain | {"atmosphere": 0.5}
    hashes = {config(**{name: 0.5}).sha256 for name in ALL.__slots__}
    assert len(hashes | {config().sha256}) == 5
    given = SyntheticConfig(kind="synthetic", atmosphere=0.1, sensor=0.2, season=0.3, label_shift=0)
    assert given.shifts == Shifts(0.1, 0.2, 0.3, 0.0)
    for wrong in ({"atmosphere": -0.1}, {"sensor": 2.1}, {"season": 1.1}, {"label_shift": "nan"}):
        with pytest.raises(ValidationError):
            SyntheticConfig(kind="synthetic", **wrong)


def test_provenance_says_what_was_shifted() -> None:
    source = Synthetic(7, Shifts(atmosphere=0.5, label_shift=0.0))
    assert source.name == "synthetic 2 atmosphere 0.5 label_shift 0.0"
    assert source.fingerprint("biome") != Synthetic(7).fingerprint("biome")
    outcome = source.observe(Visit(CONGO, ("aster_gdem",), DAY))["aster_gdem"]
    assert isinstance(outcome, Observation)
    assert outcome.source == source.name
    assert outcome.source_ids[0].startswith("synthetic/7 atmosphere 0.5 label_shift 0.0/aster")


def test_the_bytes_are_the_same_in_a_worker_and_on_a_plain_processor() -> None:
    assert digests() == GOLDEN
    source = Synthetic(0, ALL)
    assert pickle.loads(pickle.dumps(source)) == source
    found = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])
    plain = dict(os.environ, NPY_DISABLE_CPU_FEATURES=" ".join(found))
    script = [sys.executable, "-P", str(Path(__file__))]
    done = subprocess.run(script, env=plain, capture_output=True, text=True, check=True)
    assert done.stdout.split() == GOLDEN


if __name__ == "__main__":
    sys.stdout.write("\n".join(digests()))
