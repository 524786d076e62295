"""The index against the manifest read row by row, and against the bytes of the shards."""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import mmearth
from mmearth.catalog.checksums import seal
from mmearth.catalog.errors import ConfigError, FormatError, IntegrityError, StorageError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.schema import SCHEMA_VERSION, VERSION_KEY, member_column, write_table
from mmearth.loaders.choose.index import Index
from mmearth.loaders.choose.indexing import build_index
from mmearth.loaders.choose.spill import PREFIX, Spill
from mmearth.packaging.build import build
from mmearth.tests.hand_index import resealed
from mmearth.tests.make_tiny import make_tiny

Row = dict[str, Any]
PIXEL = [name for name, modality in MMEARTH_BENCH.layers.items() if modality.level == "pixel"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 tiles with gaps in three tasks, packed; tests must not change it."""
    root = tmp_path_factory.mktemp("tiny") / "dataset"
    card = make_tiny(root)
    build(root, card)
    seal(root, card)
    return root


def manifest(root: Path, task: str) -> list[Row]:
    return list(pq.read_table(root / f"manifests/{task}.parquet").to_pylist())


def changed(root: Path, to: Path, task: str, change: Callable[[list[Row]], None]) -> Path:
    """Return a copy of a dataset whose manifest says something else."""
    leave = shutil.ignore_patterns("store", "shards")
    copy = Path(shutil.copytree(root, to, copy_function=os.link, ignore=leave))
    path = copy / f"manifests/{task}.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    write_table(pa.Table.from_pylist(rows, schema=table.schema), path, table.schema)
    return resealed(copy, f"manifests/{task}.parquet")


def known_of(name: str, member: dict[str, Any]) -> list[int]:
    """Return what a member's struct says of each band."""
    if name in MMEARTH_BENCH.tasks:
        shares = [member["valid_fraction"]]
    else:
        shares = member["band_valid_fraction"] or [0.0] * len(MMEARTH_BENCH.layers[name].bands)
    return [int(share) if share in (0, 1) else -1 for share in shares]


@pytest.mark.parametrize("memory_bytes", [1 << 30, 0], ids=["memory", "files"])
@pytest.mark.parametrize("task", ["biomass", "soil_pH", "species"])
def test_every_value_is_the_manifests(tiny: Path, task: str, memory_bytes: int) -> None:
    rows = manifest(tiny, task)
    index = mmearth.open(tiny).select(task).build_index(memory_bytes=memory_bytes)
    assert len(index) == len(rows)
    assert index.keys(np.arange(len(rows))) == [row["key"] for row in rows]
    assert [index.shards[i] for i in index.shard] == [row["shard"] for row in rows]
    assert index.lon.tolist() == [row["lon"] for row in rows]
    assert index.lat.tolist() == [row["lat"] for row in rows]
    assert index.labelled.all()
    for name in MMEARTH_BENCH.layers:
        here = [row[member_column(MMEARTH_BENCH.layers[name])] for row in rows]
        assert index.present[name].tolist() == [member["present"] for member in here]
        if name not in PIXEL:
            absent = [MMEARTH_BENCH.layers[name].nodata] * len(MMEARTH_BENCH.layers[name].bands)
            assert index.values[name].tolist() == [m["values"] or absent for m in here]
    members = {name: [row[name] for row in rows] for name in index.offset}
    assert list(members) == [*([task] if task == "biomass" else []), *PIXEL]
    for name, here in members.items():
        assert index.offset[name].tolist() == [m["byte_offset"] or 0 for m in here]
        assert index.known[name].tolist() == [known_of(name, member) for member in here]
        digests = [bytes.fromhex(m["sha256"] or "00" * 32) for m in here]
        assert [digest.tobytes() for digest in index.sha256[name]] == digests
    assert any((offset == 0).any() for offset in index.offset.values())


def test_offsets_and_digests_are_those_of_the_shards(tiny: Path) -> None:
    index = mmearth.open(tiny).select("biomass").index
    for row, shard in enumerate(index.shard):
        data = (tiny / index.shards[shard]).read_bytes()
        for name, offset in index.offset.items():
            contract: Any = MMEARTH_BENCH.layers.get(name) or MMEARTH_BENCH.tasks[name]
            n_values = int(np.prod(contract.shape))
            begin = int(offset[row])
            if begin:
                member = data[begin : begin + 128 + n_values * np.dtype(contract.dtype).itemsize]
                assert hashlib.sha256(member).digest() == index.sha256[name][row].tobytes()
                array = np.frombuffer(member[128:], contract.dtype)
                valid = (array != contract.nodata).reshape(-1, 128 * 128)
                known = np.where(valid.all(axis=1), 1, np.where(valid.any(axis=1), -1, 0))
                assert index.known[name][row].tolist() == known.tolist()
            else:
                assert not index.known[name][row].any()


def test_targets(tiny: Path) -> None:
    dataset = mmearth.open(tiny)
    assert dataset.select("biomass").index.target is None
    soil = dataset.select("soil_pH").index.target
    assert soil is not None and soil.dtype == np.float32
    assert soil.tolist() == [[row["target"]] for row in manifest(tiny, "soil_pH")]
    species = dataset.select("species").index.target
    assert species is not None and species.dtype == np.uint8
    outputs = np.array(MMEARTH_BENCH.tasks["species"].outputs)
    named = [set(outputs[row == 1].tolist()) for row in species]
    assert named == [set(row["species"]) for row in manifest(tiny, "species")]


def test_samples_of_the_users_own_may_have_no_target(tiny: Path, tmp_path: Path) -> None:
    # A manifest of custom samples is one of soil_pH under another name, with gaps.
    def none(rows: list[Row]) -> None:
        rows[1]["target"] = None

    def custom(rows: list[Row]) -> None:
        none(rows)
        rows[2]["target"] = 202_007.0 + 2**-20
        for row in rows:
            row["task"] = "custom"

    copy = changed(tiny, tmp_path / "copy", "soil_pH", none)
    with pytest.raises(FormatError, match="1 samples have no target"):
        _ = mmearth.open(copy).select("soil_pH").index
    copy = changed(tiny, tmp_path / "custom", "soil_pH", custom)
    (copy / "manifests/soil_pH.parquet").rename(copy / "manifests/custom.parquet")
    for name in ("dataset.json", "catalogue.json"):
        text = (copy / name).read_text().replace('"soil_pH"', '"custom"')
        if name == "catalogue.json":
            text = as_a_number_that_may_be_absent(text)
        (copy / name).unlink()
        (copy / name).write_text(text)
    resealed(copy, "manifests/custom.parquet", "catalogue.json")
    chosen = mmearth.open(copy).select("custom")
    assert chosen.counts.labelled == len(chosen) - 1 and "labelled" in str(chosen)
    index = chosen.index
    assert index.labelled.tolist() == [i != 1 for i in range(len(chosen))]
    assert index.target is not None and index.target.dtype == np.float64
    assert np.isnan(index.target[1, 0]) and index.target[2, 0] == 202_007.0 + 2**-20


def as_a_number_that_may_be_absent(text: str) -> str:
    """Return a catalogue whose task `custom` has any number, or none."""
    document = json.loads(text)
    [task] = (task for task in document["tasks"] if task["name"] == "custom")
    task["optional"], task["target"]["dtype"] = True, "float64"
    task["target"]["bands"][0]["valid"] = [-1e300, 1e300]
    return json.dumps(document)


def test_only_what_was_chosen_is_there(tiny: Path) -> None:
    chosen = mmearth.open(tiny).select("soil_pH", modalities=["biome", "eth_gch"])
    index = chosen.build_index(checksums=False)
    assert (list(index.offset), list(index.values)) == (["eth_gch"], ["biome"])
    assert list(index.present) == ["eth_gch", "biome"]
    assert index.sha256 == {} and list(index.known) == ["eth_gch"]


@pytest.mark.parametrize("memory_bytes", [1 << 30, 0], ids=["memory", "files"])
def test_an_index_goes_to_other_processes(tiny: Path, memory_bytes: int) -> None:
    chosen = mmearth.open(tiny).select("soil_pH", modalities=["sentinel2", "month"])
    index = chosen.build_index(memory_bytes=memory_bytes)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(_summary, (index,))
    assert found == _summary(index)
    if memory_bytes == 0:
        assert len(pickle.dumps(index)) < 10_000


def _summary(index: Index) -> tuple[str, float, list[str]]:
    total = sum(float(index.offset[name].sum()) for name in index.offset)
    return index.hash(""), total, index.keys(np.array([0, -1]))


def test_the_files_go_with_their_owner_and_no_earlier(tiny: Path, tmp_path: Path) -> None:
    chosen = mmearth.open(tiny).select("species")
    index = chosen.build_index(memory_bytes=0, directory=tmp_path)
    assert index.owner is not None and index.owner.path.parent == tmp_path
    assert isinstance(index.lon, np.memmap)
    sent = pickle.dumps(index)
    other = pickle.loads(sent)
    child = os.fork()
    if child == 0:  # a forked worker leaves, and its copy of the owner with it
        del index
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
    assert index.owner.path.is_dir()
    lon = index.lon.tolist()
    del index
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert other.lon.tolist() == lon  # what is mapped stays
    with pytest.raises(StorageError, match="has gone"):
        pickle.loads(sent)


def test_the_files_go_with_the_process_or_with_the_next_one(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from mmearth.loaders.choose.spill import Spill;"
    code += "s = Spill(Path(sys.argv[1])); print(s.path, flush=True);"
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, stdout=subprocess.DEVNULL)
    assert list(tmp_path.iterdir()) == []
    killed = [sys.executable, "-c", code + "import os; os.kill(os.getpid(), 9)", tmp_path]
    left = Path(subprocess.run(killed, check=False, capture_output=True, text=True).stdout.strip())
    assert left.is_dir() and left.name.startswith(PREFIX)
    mine = Spill(tmp_path)
    assert list(tmp_path.iterdir()) == [mine.path]
    another = Spill(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([mine.path, another.path])


def test_a_directory_that_is_not_there(tiny: Path, tmp_path: Path) -> None:
    chosen = mmearth.open(tiny).select("species")
    with pytest.raises(ConfigError, match="nowhere is not a directory"):
        chosen.build_index(memory_bytes=0, directory=tmp_path / "nowhere")


def _set(name: str, **values: Any) -> Callable[[list[Row]], None]:
    def change(rows: list[Row]) -> None:
        target = rows[0] if name == "" else rows[0][name]
        target.update(values)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("aster_gdem", byte_length=131_199), "131199 bytes"),
        (_set("aster_gdem", byte_offset=None), "0 bytes|131200 bytes"),
        (_set("aster_gdem", present=False), "131200 bytes"),
        (_set("aster_gdem", sha256="ab"), "not 64 digits"),
        (_set("aster_gdem", sha256=None), "not 64 digits"),
        (_set("aster_gdem", sha256="x" * 64), "not hexadecimal"),
        (_set("temperature", values=[1.0, 2.0]), "temperature has samples with another number"),
        (_set("temperature", values=[None] * 9), "temperature has samples with another number"),
        (_set("temperature", values=None), "temperature has samples with another number"),
        (_set("", shard=None), "shard is null in 1 rows"),
        (_set("", date=None), "date is null"),
        (_set("", target=None), "1 samples have no target"),
    ],
)
def test_a_manifest_that_contradicts_itself(
    tiny: Path, tmp_path: Path, change: Callable[[list[Row]], None], said: str
) -> None:
    chosen = mmearth.open(changed(tiny, tmp_path / "copy", "soil_pH", change)).select("soil_pH")
    for memory_bytes in (1 << 30, 0):
        with pytest.raises(FormatError, match=said):
            chosen.build_index(memory_bytes=memory_bytes, directory=tmp_path)
    assert not list(tmp_path.glob(f"{PREFIX}*"))


def test_labels_that_the_task_does_not_know(tiny: Path, tmp_path: Path) -> None:
    copy = changed(tiny, tmp_path / "copy", "species", _set("", species=["Homo sapiens"]))
    with pytest.raises(FormatError, match="found the label 'Homo sapiens'"):
        _ = mmearth.open(copy).select("species").index


def test_pandas_is_not_imported_for_it(tiny: Path) -> None:
    code = f"import sys, mmearth; mmearth.open({str(tiny)!r}).select('species').index;"
    subprocess.run([sys.executable, "-c", code + "assert 'pandas' not in sys.modules"], check=True)


def test_a_manifest_that_changes_after_it_was_counted(tiny: Path, tmp_path: Path) -> None:
    copy = changed(tiny, tmp_path / "copy", "soil_pH", lambda rows: None)
    chosen = mmearth.open(copy).select("soil_pH")
    path = copy / "manifests/soil_pH.parquet"
    table = pq.read_table(path)
    write_table(table.slice(1), path, table.schema)
    with pytest.raises(IntegrityError, match="was changed after the dataset was sealed"):
        _ = chosen.index


def test_other_rows_than_were_counted(tiny: Path) -> None:
    chosen = mmearth.open(tiny).select("soil_pH")
    for n in (chosen.count - 1, chosen.count + 1):
        with pytest.raises(FormatError, match="other rows than were counted"):
            build_index(chosen.dataset.tables, chosen.query, n)


def test_many_row_groups_keep_the_manifests_order(tiny: Path, tmp_path: Path) -> None:
    copy = changed(tiny, tmp_path / "copy", "soil_pH", lambda rows: None)
    path = copy / "manifests/soil_pH.parquet"
    one = pq.read_table(path)
    n_copies = 2_000
    table = pa.concat_tables([one] * n_copies)
    numbers = np.arange(len(table), dtype=np.int32)
    table = table.set_column(table.column_names.index("left"), "left", pa.array(numbers))
    schema = table.schema.with_metadata({VERSION_KEY: SCHEMA_VERSION.encode()})
    pq.write_table(table.cast(schema), path, row_group_size=700)
    dataset = mmearth.open(resealed(copy, "manifests/soil_pH.parquet"))
    everything = dataset.select("soil_pH", modalities="sentinel2").index
    assert (everything.place[:, 1] == numbers).all()
    some = dataset.select("soil_pH", modalities="sentinel1", where='"left" % 3 = 1', limit=5_000)
    assert (some.index.place[:, 1] == numbers[1::3][:5_000]).all()
    tiled = np.tile(everything.offset["sentinel2"][: len(one)], n_copies)
    assert (everything.offset["sentinel2"] == tiled).all()
    digests = pc.struct_field(one["sentinel1"], "sha256").to_pylist()
    expected = [bytes.fromhex(digests[i % len(one)] or "00" * 32) for i in range(1, 3000, 3)]
    assert [d.tobytes() for d in some.index.sha256["sentinel1"][:1000]] == expected
