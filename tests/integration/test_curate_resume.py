"""A second build does what is left, and refuses what it cannot know to be right."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

import mmearth
from mmearth.build import Options, Summary, build
from mmearth.catalog.codec import Codec
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.schema import read_table
from mmearth.catalog.store import PACKS
from mmearth.curate.ledger import Ledger
from mmearth.curate.lock import only_build
from mmearth.packaging.recode import recode

Run = Callable[..., tuple[int, str, str]]


def _build(config: Path, out: Path, fresh: bool = False, **how: bool) -> tuple[Summary, int]:
    """Build with one thread; return the summary and how many tiles were visited."""
    visits = 0

    def progress(step: str, total: int | None) -> None:
        nonlocal visits
        visits += step == "collect" and total is None

    return build(config, out, Options(1, "threads", None, fresh, **how), progress), visits


def _stamps(out: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


def _sums(out: Path) -> str:
    return (out / "SHA256SUMS").read_text()


@pytest.fixture
def config(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Three places of the user's own, two of them far apart on one day; its parameter: a codec."""
    (tmp_path / "soil.csv").write_text(
        "lon,lat,ph,day\n10.0,50.0,6.5,2020-06-01\n-60.0,-10.0,5.1,\n100.0,40.0,7.9,2020-07-01\n"
    )
    path = tmp_path / "own.yaml"
    points = {"path": "soil.csv", "value": "ph", "date": "day"}
    document = {
        "name": "own",
        "title": "Own places",
        "recipe": "mmearth-bench-2026",  # its split rule leaves no place out
        "source": {"kind": "synthetic", "seed": 7},
        "modalities": ["sentinel2", "geolocation", "month", "biome"],
        "tasks": {"soil_pH": {"points": points}},
        "members": {"codec": getattr(request, "param", "npy")},
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_a_finished_dataset_is_left_alone(config: Path, out: Path) -> None:
    first, visits = _build(config, out)
    assert (first.unchanged, visits, first.samples) == (False, 3, {"soil_pH": 3})
    before = {k: v for k, v in _stamps(out).items() if ".curate" not in k}
    second, visits = _build(config, out)
    assert (second.unchanged, visits) == (True, 0)
    assert {k: v for k, v in _stamps(out).items() if ".curate" not in k} == before
    assert second.dataset_hash == first.dataset_hash


def test_a_damaged_byte_is_found_by_reading_all(config: Path, out: Path) -> None:
    _build(config, out)
    before, shard = _sums(out), next((out / "shards").rglob("*.tar"))
    status, data = shard.stat(), bytearray(shard.read_bytes())
    data[4000] ^= 1
    shard.write_bytes(data)
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))  # as a failing disk does it
    assert _build(config, out)[0].unchanged
    how = Options(1, "threads", None, False, verify=True)
    mended = build(config, out, how, lambda *_: None)
    assert (mended.unchanged, mended.exit_code, _sums(out)) == (False, 0, before)
    assert build(config, out, how, lambda *_: None).unchanged


@pytest.mark.parametrize("how", ["written", "replaced", "added", "note"])
def test_what_was_touched_is_read(
    config: Path, out: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _build(config, out)
    read: list[Path] = []
    monkeypatch.setattr("mmearth.build.verify", lambda root, *_: read.append(root) or [])
    assert _build(config, out)[0].unchanged
    assert read == []
    path = out / "README.md"
    if how == "written":
        path.touch()
    elif how == "replaced":
        status = path.stat()
        (out / "copy").write_bytes(path.read_bytes())
        os.utime(out / "copy", ns=(status.st_atime_ns, status.st_mtime_ns))
        (out / "copy").replace(path)
    elif how == "added":
        (out / "statistics/more.json").touch()
    else:
        (out / ".curate/proved.json").write_text("{")
    for _ in range(2):  # and noted again
        assert _build(config, out)[0].unchanged
        assert read == [out]


def _collect(config: Path, out: Path) -> Path:
    """Collect, with one worker, and be interrupted before anything is packed; return the pack."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("mmearth.packaging.build.build", _interrupt)
        _build(config, out)
    (pack,) = (out / PACKS).iterdir()
    return pack


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


_BOTH = pytest.mark.parametrize("config", ["npy", "blosc-zstd"], indirect=True)


@pytest.mark.parametrize(
    ("left", "config"), [(0, "npy"), (1, "npy"), (2, "npy"), (2, "blosc-zstd")], indirect=["config"]
)
def test_what_a_pack_lost_is_collected_again(left: int, config: Path, out: Path) -> None:
    _build(config, out.parent / "whole")
    pack = _collect(config, out)
    size = pack.stat().st_size  # of the Sentinel-2 images of three tiles; equal ones, if npy
    if left:
        os.truncate(pack, size - (2 - left) * size // 3 - 1)
    else:
        pack.unlink()
    _, visits = _build(config, out)
    assert visits == 3 - left
    assert _sums(out) == _sums(out.parent / "whole")


@_BOTH
def test_a_changed_byte_of_a_pack_is_noticed_when_it_is_packed(config: Path, out: Path) -> None:
    _build(config, out.parent / "whole")
    _flip(_collect(config, out), 1000)
    summary, visits = _build(config, out)
    assert (visits, summary.exit_code) == (1, 0)
    assert _sums(out) == _sums(out.parent / "whole")


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_after_the_seal_nothing_is_kept_twice(config: Path, out: Path) -> None:
    _build(config, out)
    kept = [path.name for path in (out / ".curate").rglob("*") if path.is_file()]
    assert sorted(kept) == ["ledger.sqlite", "lock", "proved.json"]
    assert not (out / "store").exists()


@_BOTH
def test_what_a_crash_left_is_not_published(config: Path, out: Path) -> None:
    pack = _collect(config, out)
    names = (".tiles.parquet", "manifests/.m.parquet", "stac/.catalog.json", "shards/.a.tar")
    for name in names:
        (out / name).parent.mkdir(exist_ok=True)
        (out / f"{name}.77.tmp").write_bytes(b"half")
    (pack.parent / "stray.pack").write_bytes(b"of a worker that was killed")
    with pack.open("ab") as stream:
        stream.write(b"half a member")
    _, visits = _build(config, out)
    assert visits == 0
    _build(config, out.parent / "whole")
    assert _sums(out) == _sums(out.parent / "whole")
    assert [path for path in out.rglob("*") if path.suffix in (".tmp", ".pack")] == []


# The first sample's JSON stands from byte 512, its Sentinel-2 image from 4096 or before.
@_BOTH
@pytest.mark.parametrize(("at", "lost"), [(600, 0), (50_000, 1)])
def test_a_flipped_byte_in_a_shard_is_healed(at: int, lost: int, config: Path, out: Path) -> None:
    _build(config, out)
    before = _sums(out)
    _flip(next((out / "shards").rglob("*.tar")), at)
    summary, visits = _build(config, out)
    assert (summary.unchanged, visits, summary.problems) == (False, lost, ())
    assert _sums(out) == before


@_BOTH
def test_a_deleted_shard_is_healed(config: Path, out: Path) -> None:
    _build(config, out)
    before = _sums(out)
    (out / "shards" / "soil_pH" / "train-000000.tar").unlink()
    n_train = read_table(out / "manifests" / "soil_pH.parquet", ["split"])["split"].to_pylist()
    summary, visits = _build(config, out)
    assert (visits, summary.problems) == (n_train.count("train"), ())
    assert _sums(out) == before


def _images(root: Path) -> dict[str, NDArray[np.uint16]]:
    """Return key → Sentinel-2 as a loader hands it out."""
    loader = mmearth.open(root).select("soil_pH").loader(2, "shuffled")
    pairs = (zip(b["key"], b["sentinel2"].numpy().copy(), strict=True) for b in loader)
    return {key: image for pair in pairs for key, image in pair}


@_BOTH
def test_new_changed_and_removed_places(config: Path, out: Path, tmp_path: Path) -> None:
    _build(config, out)
    before = _images(out)
    # The first place gets another date, the second goes, the third stays, a fourth comes.
    (tmp_path / "soil.csv").write_text(
        "lon,lat,ph,day\n10.0,50.0,6.5,2020-08-05\n100.0,40.0,7.9,2020-07-01\n20.0,52.0,6.0,\n"
    )
    summary, visits = _build(config, out, redeal=True)
    assert (visits, summary.samples) == (2, {"soil_pH": 3})
    _build(config, tmp_path / "anew")
    assert _sums(out) == _sums(tmp_path / "anew")
    grown, anew = _images(out), _images(tmp_path / "anew")
    assert len(before.keys() & grown.keys()) == 1 and len(grown) == 3
    for key, image in anew.items():
        np.testing.assert_array_equal(grown[key], image)
    recode(out, tmp_path / "other", Codec("blosc-lz4"))
    for key, image in _images(tmp_path / "other").items():
        np.testing.assert_array_equal(grown[key], image)


def test_another_source_is_asked_for_everything(config: Path, out: Path) -> None:
    _build(config, out)
    document = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**document, "source": {"kind": "synthetic", "seed": 8}}))
    summary, visits = _build(config, out)
    assert (summary.exit_code, visits) == (0, 3)
    assert summary.difference["unwanted"]["observations"] == 12
    _build(config, out.parent / "anew")
    assert _sums(out) == _sums(out.parent / "anew")
    assert _build(config, out, fresh=True)[1] == 3
    with Ledger.reading(out) as ledger:
        assert ledger.unwanted() == (0, 0)


def test_a_configuration_may_be_corrected_before_anything_is_collected(
    config: Path, out: Path
) -> None:
    good = config.read_text()
    config.write_text(good.replace("soil.csv", "absent.csv"))
    with pytest.raises(ConfigError, match=r"absent\.csv"):
        _build(config, out)
    config.write_text(good)
    assert _build(config, out)[0].exit_code == 0


@pytest.mark.parametrize("fresh", [False, True])
def test_files_of_others_are_not_touched(fresh: bool, config: Path, out: Path) -> None:
    out.mkdir()
    (out / "README.md").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds README\.md.*empty directory"):
        _build(config, out, fresh)
    assert [path.name for path in out.iterdir()] == ["README.md"]
    assert (out / "README.md").read_text() == "mine"


def test_two_builds_do_not_share_a_directory(config: Path, out: Path) -> None:
    with only_build(out), pytest.raises(ConfigError, match="another build is at work"):
        _build(config, out)
    assert _build(config, out)[0].exit_code == 0


def test_a_ledger_that_is_none_is_refused_and_made_anew(
    config: Path, out: Path, run_cli: Run
) -> None:
    (out / ".curate").mkdir(parents=True)
    (out / ".curate" / "ledger.sqlite").write_text(
        "not a database, and long enough to be read as one" * 9
    )
    code, _, stderr = run_cli("curate", "build", str(config), "-o", str(out))
    assert code == 1
    assert "is not a ledger" in stderr
    assert "--fresh" in stderr
    assert _build(config, out, fresh=True)[0].exit_code == 0


def test_a_sample_has_the_split_that_was_planned(config: Path, out: Path) -> None:
    _build(config, out)
    planned = read_table(out / "tiles.parquet", ["tile", "split"]).to_pylist()
    packed = read_table(out / "manifests" / "soil_pH.parquet", ["tile", "split"]).to_pylist()
    assert sorted(planned, key=str) == sorted(packed, key=str)
    assert len({row["split"] for row in planned}) > 1


def test_a_pipe_gets_facts_and_no_bar(config: Path, out: Path, run_cli: Run) -> None:
    code, stdout, stderr = run_cli(
        "curate", "build", str(config), "-o", str(out), "--executor", "threads", "--json"
    )
    assert code == 0
    facts = json.loads(stdout)
    assert facts["samples"] == {"soil_pH": 3}
    assert facts["exit_code"] == 0
    assert "\r" not in stderr
    assert "%|" not in stderr
    assert stderr.splitlines()[:2] == ["plan: 1 task", "collect: 3 tiles"]
