"""Packing a collected dataset: the same bytes whoever does it and however often it is killed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.checksums import seal
from mmearth.catalog.errors import ConfigError, FormatError, IntegrityError
from mmearth.catalog.executor import Workers
from mmearth.catalog.observed import open_observed
from mmearth.catalog.observed_sql import LEDGER
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.store import StoreReader
from mmearth.packaging.build import build
from mmearth.packaging.rebuild import rebuild
from mmearth.packaging.verify import verify

MAKE_TINY = Path(__file__).resolve().parent.parent / "make_tiny.py"


def load_make_tiny() -> Callable[[Path], DatasetCard]:
    spec = importlib.util.spec_from_file_location("make_tiny", MAKE_TINY)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    make: Callable[[Path], DatasetCard] = module.make_tiny
    return make


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DatasetCard]:
    """A dataset before packing; tests work on copies."""
    root = tmp_path_factory.mktemp("tiny") / "dataset"
    return root, load_make_tiny()(root)


def a_copy(collected: tuple[Path, DatasetCard], path: Path) -> Path:
    shutil.copytree(collected[0], path, copy_function=os.link)
    (path / LEDGER).unlink()  # it is written to
    shutil.copyfile(collected[0] / LEDGER, path / LEDGER)
    return path


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in ("shards", "manifests", "statistics")
        for path in sorted((root / name).rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def packed(collected: tuple[Path, DatasetCard], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed by one worker; tests must not change it."""
    root = a_copy(collected, tmp_path_factory.mktemp("packed") / "dataset")
    build(root, collected[1])
    return root


def test_counts_and_what_makes_no_sample(
    collected: tuple[Path, DatasetCard], packed: Path, tmp_path: Path
) -> None:
    root, card = a_copy(collected, tmp_path / "dataset"), collected[1]
    built = build(root, card, Workers(2))
    # Tile 7 has no Sentinel-2; it is a soil_pH tile (7 % 3 == 1) and of no other task.
    assert built.n_samples == {"biomass": 8, "soil_pH": 15, "species": 8}
    assert built.dropped["soil_pH"] == {"no sentinel2: no sentinel2 here": 1}
    assert built.dropped["biomass"] == built.dropped["species"] == {}
    assert digests(root) == digests(packed)  # two workers, the same bytes
    assert built.nbytes == sum(path.stat().st_size for path in root.rglob("*.tar"))
    # 3 MB a shard and 1.2 MB a sample: soil_pH/train must be in several.
    assert (root / "shards/soil_pH/train-000001.tar").exists()


def test_packing_again_changes_nothing_and_clears_what_is_stale(
    collected: tuple[Path, DatasetCard], packed: Path, tmp_path: Path
) -> None:
    root, card = a_copy(collected, tmp_path / "dataset"), collected[1]
    build(root, card)
    (root / "shards/soil_pH/train-000099.tar").write_bytes(b"of another build")
    (root / "shards/soil_pH/.val-000000.tar.77.tmp").write_bytes(b"of a crash")
    (root / "manifests/soil_nitrogen.parquet").write_bytes(b"of another build")
    (root / "statistics/soil_nitrogen.json").write_bytes(b"{}")
    (root / "mine.txt").write_text("not ours")
    build(root, card)
    assert digests(root) == digests(packed)
    assert (root / "mine.txt").read_text() == "not ours"


def test_every_byte_range_is_what_was_collected(packed: Path) -> None:
    compared = 0
    with open_observed(packed, MMEARTH_BENCH) as observed, StoreReader(packed) as reader:
        for row in pq.read_table(packed / "manifests/soil_pH.parquet").to_pylist():
            data = (packed / row["shard"]).read_bytes()
            seen = observed.of_tile(row["tile"])
            for name, modality in MMEARTH_BENCH.layers.items():
                struct = row[f"{name}_observation" if name in {"biome", "ecoregion"} else name]
                if not struct["present"]:
                    assert struct["byte_offset"] is None
                    continue
                member = data[struct["byte_offset"] :][: struct["byte_length"]]
                assert hashlib.sha256(member).hexdigest() == struct["sha256"]
                stored = seen[name].read(reader, MMEARTH_BENCH).array
                if modality.level == "pixel":
                    assert str(seen[name].path).endswith(".pack")
                    array = np.frombuffer(member, modality.dtype, offset=128)
                    array = array.reshape(modality.shape)
                else:
                    array = np.array(json.loads(member)["modalities"][name], dtype=modality.dtype)
                np.testing.assert_array_equal(array, stored)
                compared += 1
    assert compared > 100


def test_stock_webdataset_streams_every_sample(packed: Path) -> None:
    for task in ("biomass", "soil_pH", "species"):
        shards = sorted(str(path) for path in (packed / "shards" / task).glob("*.tar"))
        samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode())
        manifest = pq.read_table(packed / f"manifests/{task}.parquet")
        assert sorted(s["__key__"] for s in samples) == sorted(manifest["key"].to_pylist())
        assert all(s["sentinel2.npy"].shape == (12, 128, 128) for s in samples)


def test_manifest_is_geoparquet_and_sorted(packed: Path) -> None:
    import geopandas

    frame = geopandas.read_parquet(packed / "manifests/soil_pH.parquet")
    assert frame.crs == "OGC:CRS84"
    places = geopandas.GeoSeries.from_xy(frame.lon, frame.lat, crs=frame.crs)
    assert frame.geometry.contains(places).all()
    order = ["train", "val", "random_test", "geographic_test"]
    rows = list(zip(frame["split"].map(order.index), frame["hilbert"], strict=True))
    assert rows == sorted(rows)


def test_a_damaged_pack_is_named(collected: tuple[Path, DatasetCard], tmp_path: Path) -> None:
    root, card = a_copy(collected, tmp_path / "dataset"), collected[1]
    (pack,) = (root / ".curate/packs").iterdir()
    data = bytearray(pack.read_bytes())
    data[200] ^= 1  # of the first member, biomass of the first tile
    pack.unlink()
    pack.write_bytes(data)
    with pytest.raises(IntegrityError, match=rf"of tile \S+ in {pack} is not what was collected"):
        build(root, card)
    pack.unlink()
    with pytest.raises(FormatError, match=rf"cannot be read back from {pack}: there is no such"):
        build(root, card)


def test_missing_tables_are_named(tmp_path: Path, collected: tuple[Path, DatasetCard]) -> None:
    for name in ("catalogue.json", "tiles.parquet", "observations.parquet"):
        with pytest.raises(FormatError, match=rf"{name} is not there; expected"):
            build(tmp_path, collected[1])
        shutil.copyfile(collected[0] / name, tmp_path / name)


PROGRAM = """
import importlib.util, sys
from pathlib import Path
from mmearth.catalog.errors import StorageError
from mmearth.packaging.build import build
spec = importlib.util.spec_from_file_location("make_tiny", sys.argv[1])
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)
if len(sys.argv) > 3:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
print("ready", flush=True)
try:
    build(Path(sys.argv[2]), tiny.CARD)
except StorageError as exc:
    print(exc)
    sys.exit(3)
"""


def begin(root: Path, *more: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", PROGRAM, str(MAKE_TINY), str(root), *more]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_killed_at_any_moment_it_ends_in_the_same_bytes(
    collected: tuple[Path, DatasetCard], packed: Path, tmp_path: Path
) -> None:
    root = a_copy(collected, tmp_path / "dataset")
    draw = random.Random(0)
    killed = 0
    for _ in range(5):
        with begin(root) as process:
            time.sleep(draw.uniform(0.0, 0.8))
            process.send_signal(signal.SIGKILL)
        killed += process.returncode == -signal.SIGKILL
        for path in (root / "shards").rglob("*.tar") if (root / "shards").exists() else ():
            name = path.relative_to(root)  # whatever has its name is whole
            assert path.read_bytes() == (packed / name).read_bytes()
    assert killed >= 1
    build(root, collected[1])
    assert digests(root) == digests(packed)
    assert not list(root.rglob("*.tmp"))


def test_no_room_on_the_disk_is_one_sentence(
    collected: tuple[Path, DatasetCard], packed: Path, tmp_path: Path
) -> None:
    root = a_copy(collected, tmp_path / "dataset")
    # The operating system refuses files above 2 MB, as a full disk or a quota would.
    with begin(root, "2000000") as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "no space is left" in said and "Traceback" not in said
    build(root, collected[1])
    assert digests(root) == digests(packed)


@pytest.mark.parametrize("is_downloaded", [False, True])
def test_a_sealed_dataset_is_its_own_store(
    is_downloaded: bool, collected: tuple[Path, DatasetCard], packed: Path, tmp_path: Path
) -> None:
    root, card = a_copy(collected, tmp_path / "dataset"), collected[1]
    with pytest.raises(ConfigError, match="no complete dataset"):
        rebuild(root)
    build(root, card)
    seal(root, card)
    if is_downloaded:
        shutil.rmtree(root / ".curate")
    _, first = rebuild(root)
    assert not (root / ".curate/before").exists()
    if not is_downloaded:
        # Tile 7 makes no sample: what it has with pixels is in the only pack, and nothing else.
        (pack,) = (root / ".curate/packs").iterdir()
        with open_observed(root, MMEARTH_BENCH) as observed:
            kept = [row for row in observed.here() if str(row.path).endswith(".pack")]
            (tile,) = {row.tile for row in kept}
            assert observed.of_tile(tile)["sentinel2"].state == "missing"
        assert pack.stat().st_size == sum(row.bytes or 0 for row in kept) > 0
    assert rebuild(root, Workers(2))[1] == first
    assert verify(root) == []
    assert digests(root) == digests(packed)
