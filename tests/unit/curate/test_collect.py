"""One visit to one tile: what is kept, what is recorded, what stops the run."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from mmearth.catalog.errors import (
    ConfigError,
    DataError,
    MMEarthError,
    NoDataError,
    RefusedError,
    StorageError,
    UnavailableError,
)
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.store import PACKS, Location
from mmearth.catalog.tile import Tile
from mmearth.curate.collect import Job, collect
from mmearth.curate.ledger import Record
from mmearth.curate.packs import Packs
from mmearth.curate.source import Label, Outcome, Visit
from mmearth.tests.collected import read_location

_TILE = Tile(32633, 500_000, 4_649_760)
_SCENE = Observation(
    MMEARTH_BENCH.layers["sentinel2"],
    np.full((12, 128, 128), 700, np.uint16),
    "2020-06-01",
    "told 1",
    ("z", "a"),
)
_MONTH = Observation(MMEARTH_BENCH.layers["month"], np.array([-1.0, 0.0]), "2020-06-01", "told 1")


@dataclass
class Told:
    """A source that answers what it was told to, one answer after the other."""

    answers: dict[str, list[Outcome]]
    name: str = "told 1"
    asked: list[tuple[tuple[str, ...], str | None]] = field(default_factory=list)

    def fingerprint(self, name: str) -> str:
        return f"f {name}"

    def observe(self, visit: Visit) -> dict[str, Outcome]:
        assert visit.tile == _TILE
        self.asked.append((visit.wanted, visit.date))
        found = {name: self.answers[name].pop(0) for name in visit.wanted}
        for outcome in found.values():
            if isinstance(outcome, RefusedError | ConfigError):
                raise outcome
        return found

    def labels(self, task: str, count: int, seed: int) -> Iterator[Label]:
        raise ConfigError("it has no labels")


def _job(*wanted: str, require: tuple[str, ...] = (), date: str | None = None) -> Job:
    return Job(_TILE, wanted, date, require)


def _collect(job: Job, source: Told, root: Path) -> list[Record]:
    return collect(job, source, Packs(root, MMEARTH_BENCH))


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    source = Told({"sentinel2": [_SCENE], "month": [_MONTH]})
    job = _job("sentinel2", "month", date="2020-06-01")
    scene, month = _collect(job, source, tmp_path)
    assert source.asked == [(("sentinel2", "month"), "2020-06-01")]
    at = Location(scene.path, scene.byte_offset, scene.bytes, scene.sha256)
    data = read_location(tmp_path, at, "it")
    assert len(data) == 128 + 12 * 128 * 128 * 2  # a member of a shard, header and all
    assert np.array_equal(np.load(io.BytesIO(data)), _SCENE.array)
    assert (scene.state, scene.acquired, scene.valid_fraction) == ("done", "2020-06-01", 1.0)
    assert scene.source_ids == ("a", "z")
    # Values without pixels are in the row.
    assert (month.path, month.byte_offset, month.bytes, month.sha256) == (None,) * 4
    assert month.values == "[-1.0, 0.0]"
    assert len(list((tmp_path / PACKS).iterdir())) == 1


def test_a_target_is_kept_as_shards_have_it(tmp_path: Path) -> None:
    layer = MMEARTH_BENCH.tasks["biomass"].target
    seen = Observation(layer, np.full((1, 128, 128), 2.5, np.float32))
    packs = Packs(tmp_path, MMEARTH_BENCH)
    (record,) = collect(_job("biomass"), Told({"biomass": [seen]}), packs)
    assert (record.byte_offset, record.bytes) == (0, 128 + 128 * 128 * 4)
    assert np.load(tmp_path / str(record.path)).shape == (128, 128)


def test_a_run_has_one_pack_and_another_run_another(tmp_path: Path) -> None:
    paths = []
    for packs in (Packs(tmp_path, MMEARTH_BENCH), Packs(tmp_path, MMEARTH_BENCH)):
        for _ in range(2):
            here = pickle.loads(pickle.dumps(packs))  # each visit brings its own
            (record,) = collect(_job("sentinel2"), Told({"sentinel2": [_SCENE]}), here)
            paths.append(record.path)
    assert paths[0] == paths[1] != paths[2] == paths[3]


def test_a_worker_elsewhere_syncs_what_the_driver_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for is_shared in (False, True):
        packs = Packs(tmp_path, MMEARTH_BENCH, is_shared)
        packs.end_visit()
        packs.keep(_SCENE)
        packs.end_visit()
        assert len(synced) == is_shared


def test_what_is_missing_is_final_and_what_fails_does_not_lose_the_rest(tmp_path: Path) -> None:
    broken = DataError("the unit is wrong")
    broken.add_note("file x.tif")
    source = Told({"sentinel1": [NoDataError("no orbit")], "biome": [broken], "month": [_MONTH]})
    records = _collect(_job("sentinel1", "biome", "month"), source, tmp_path)
    assert [(r.state, r.permanent, r.kind) for r in records] == [
        ("missing", True, "NoDataError"),
        ("failed", True, "DataError"),
        ("done", True, None),
    ]
    assert records[0].reason == "no orbit"
    assert records[1].reason == "the unit is wrong; file x.tif"


def test_an_array_that_breaks_its_contract_is_a_failure(tmp_path: Path) -> None:
    hot = Observation(
        MMEARTH_BENCH.layers["temperature"], np.full(9, 25.0), None, "told 1"
    )  # Celsius, not kelvin
    record = collect(
        _job("temperature"), Told({"temperature": [hot]}), Packs(tmp_path, MMEARTH_BENCH)
    )[0]
    assert (record.state, record.kind) == ("failed", "DataError")
    assert "check the unit" in str(record.reason)
    assert not (tmp_path / PACKS).exists()


def test_what_did_not_pass_is_left_for_the_next_run(tmp_path: Path) -> None:
    source = Told({"month": [UnavailableError("busy")]})
    record = _collect(_job("month"), source, tmp_path)[0]
    assert (record.state, record.permanent, record.reason) == ("failed", False, "busy")
    assert len(source.asked) == 1


def test_an_error_of_the_whole_visit_is_everyones(tmp_path: Path) -> None:
    source = Told({"month": [ConfigError("no such band")], "biome": [_MONTH]})
    records = _collect(_job("month", "biome"), source, tmp_path)
    assert [(r.modality, r.state, r.reason) for r in records] == [
        ("month", "failed", "no such band"),
        ("biome", "failed", "no such band"),
    ]


@pytest.mark.parametrize(
    ("error", "state", "permanent", "other"),
    [
        (NoDataError("clouds"), "missing", True, "not kept: the tile has no sentinel2"),
        (DataError("wrong"), "failed", True, "not kept: sentinel2 failed"),
        (UnavailableError("busy"), "failed", False, "not kept: sentinel2 failed"),
    ],
)
def test_without_a_required_modality_nothing_is_kept(
    error: MMEarthError, state: str, permanent: bool, other: str, tmp_path: Path
) -> None:
    source = Told({"sentinel2": [error], "month": [_MONTH]})
    job = _job("sentinel2", "month", require=("sentinel2",))
    scene, month = _collect(job, source, tmp_path)
    assert (scene.state, scene.permanent, scene.reason) == (state, permanent, str(error))
    assert (month.state, month.permanent, month.reason) == (state, permanent, other)
    assert not (tmp_path / PACKS).exists()


def test_a_refusal_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="sign in"):
        collect(
            _job("month"),
            Told({"month": [RefusedError("sign in")]}),
            Packs(tmp_path, MMEARTH_BENCH),
        )


def test_a_place_that_cannot_be_written_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / ".curate").write_text("a file where a directory should be")
    with pytest.raises(StorageError, match="not a directory; move away what stands there"):
        _collect(_job("sentinel2"), Told({"sentinel2": [_SCENE]}), tmp_path)
