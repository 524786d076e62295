"""Two halves of a dataset become the whole: the bytes of a build of all places."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mmearth.packaging.diff import diff
from mmearth.packaging.verify import verify

RunCli = Callable[..., tuple[int, str, str]]
PLACES = [(10, 50), (12, 48), (-60, -10), (25, 2), (30, -5), (100, 30), (-100, 40), (140, -30)]
_CONFIG = """
name: half
title: Half
licence: CC0-1.0
seed: 3
grid: {{ pixels: 32, resolution_m: 10 }}
source: {{ kind: synthetic, seed: {seed} }}
modalities: [sentinel2, temperature, biome]
tasks:
  soil_pH:
    points: {{ path: places.csv, value: ph, id: id, date: day }}
    split: {{ buffer_m: 0 }}
  biomass:
    points: {{ path: places.csv, date: day }}
    split: {{ buffer_m: 0 }}
"""


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    from mmearth.build import Options
    from mmearth.build import build as make

    def built(
        places: Sequence[tuple[float, float]],
        seed: int = 7,
        day: str = "2020-07-01",
        ph: float = 6.5,
    ) -> Path:
        folder = tmp_path_factory.mktemp("half")
        ids = [PLACES.index(place) if place in PLACES else 99 for place in places]
        rows = [f"{i},{lon},{lat},{ph},{day}" for i, (lon, lat) in zip(ids, places, strict=True)]
        (folder / "places.csv").write_text("\n".join(["id,lon,lat,ph,day", *rows]))
        (folder / "c.yaml").write_text(_CONFIG.format(seed=seed))
        make(folder / "c.yaml", folder / "out", Options(1, "threads", None, False), lambda *_: None)
        return folder / "out"

    return built


@pytest.fixture(scope="module")
def halves(build: Callable[..., Path]) -> tuple[Path, Path]:
    return build(PLACES[:5]), build(PLACES[3:])


def _merge(run_cli: RunCli, a: Path, b: Path, out: Path, *more: str) -> tuple[int, str, str]:
    return run_cli("packaging", "merge", str(a), str(b), "-o", str(out), "--workers", "1", *more)


def test_two_halves_are_the_bytes_of_the_whole(
    halves: tuple[Path, Path], build: Callable[..., Path], tmp_path: Path, run_cli: RunCli
) -> None:
    whole, out = build(PLACES), tmp_path / "both"
    code, _, err = _merge(run_cli, *halves, out)
    assert code == 0, err
    assert verify(out) == []
    for name in ("shards", "manifests", "statistics"):
        ours = {p.relative_to(out): p.read_bytes() for p in (out / name).rglob("*.*")}
        theirs = {p.relative_to(whole): p.read_bytes() for p in (whole / name).rglob("*.*")}
        assert ours == theirs and ours
    for name in ("tiles.parquet", "observations.parquet", "catalogue.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert diff(whole, out) == []
    assert not (out / ".curate").exists()
    other = tmp_path / "other way round"
    assert _merge(run_cli, halves[1], halves[0], other)[0] == 0
    assert diff(whole, other) == []
    assert verify(halves[0]) == verify(halves[1]) == []


def test_an_interrupted_merge_is_begun_again(
    halves: tuple[Path, Path], tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mmearth.merge.rebuild", interrupted)
        assert _merge(run_cli, *halves, tmp_path / "both")[0] == 130
    assert _merge(run_cli, *halves, tmp_path / "both")[0] == 0
    assert verify(tmp_path / "both") == []
    code, _, err = _merge(run_cli, *halves, tmp_path / "both")  # it is a dataset now
    assert code == 2 and "choose an empty directory" in err


@pytest.mark.parametrize(
    ("places", "how", "sentence"),
    [
        ([PLACES[4]], {"seed": 8}, "is in both, with another"),
        ([PLACES[4]], {"day": "2020-01-01"}, "with another date, such as "),
        ([PLACES[4]], {"ph": 5.5}, "of soil_pH: 6.5 and 5.5; leave the tile out"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--redeal",)])
def test_what_cannot_be_told_is_refused(
    halves: tuple[Path, Path],
    build: Callable[..., Path],
    tmp_path: Path,
    run_cli: RunCli,
    places: list[tuple[float, float]],
    how: dict[str, object],
    sentence: str,
    more: tuple[str, ...],
) -> None:
    other = build(places, **how)
    code, _, err = _merge(run_cli, halves[0], other, tmp_path / "both", *more)
    assert code == 2 and sentence in err and len(err.strip().splitlines()) == 1


def test_splits_that_contradict_each_other(
    halves: tuple[Path, Path], build: Callable[..., Path], tmp_path: Path, run_cli: RunCli
) -> None:
    near = build([(10.0025, 50.0)])  # 180 m beside the first place, of a tile of 320 m
    table = pq.read_table(near / "tiles.parquet")
    splits = ["val" if s != "val" else "train" for s in table["split"].to_pylist()]
    at = table.column_names.index("split")
    first = pq.read_table(halves[0] / "tiles.parquet").to_pylist()
    mine = next(r["split"] for r in first if r["task"] == "soil_pH" and 9 < r["lon"] < 11)
    if mine == table["split"][0].as_py():
        other = table.set_column(at, table.schema.field("split"), [splits])
        (near / "tiles.parquet").unlink()
        pq.write_table(other, near / "tiles.parquet")
    code, _, err = _merge(run_cli, halves[0], near, tmp_path / "both")
    assert code == 2 and "overlap" in err and "--redeal" in err
    code, out, err = _merge(run_cli, halves[0], near, tmp_path / "both", "--redeal", "--json")
    assert code == 0, err
    assert json.loads(out)["samples"]["soil_pH"] == 5  # one of the two has gone
    assert verify(tmp_path / "both") == []


def test_other_catalogues_are_refused(
    halves: tuple[Path, Path], small_dataset: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    code, _, err = _merge(run_cli, halves[0], small_dataset, tmp_path / "both")
    assert code == 2 and "have unlike catalogue.json" in err and "packaging diff" in err
