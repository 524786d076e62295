"""Opening a dataset: here, behind a URL, and what is none."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mmearth
from mmearth.catalog.errors import ConfigError, FormatError, IntegrityError
from mmearth.catalog.layer import Layer
from mmearth.loaders.inputs import Normalisation
from mmearth.tests.hand_index import resealed
from mmearth.tests.range_server import RangeServer, serving

RunCli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def copy(small_dataset: Path, tmp_path: Path) -> Path:
    """The small dataset's tables, without its shards; files must be replaced, not written into."""
    root = tmp_path / "copy"
    leave = shutil.ignore_patterns("shards", "store", "stac")
    return Path(shutil.copytree(small_dataset, root, copy_function=os.link, ignore=leave))


@pytest.fixture
def served(copy: Path) -> Iterator[RangeServer]:
    """The copy behind HTTP."""
    with serving(copy) as running:
        yield running


def asked(server: RangeServer) -> list[str]:
    """The files that were asked for, in order; a large one is asked for in pieces."""
    return list(dict.fromkeys(path.removeprefix("/") for path, _ in server.asked))


def test_what_a_dataset_says_of_itself(small_dataset: Path) -> None:
    dataset = mmearth.open(small_dataset)
    assert dataset.tasks == ("biomass", "soil_pH", "species")
    sums = (small_dataset / "SHA256SUMS").read_bytes()
    assert dataset.hash == hashlib.sha256(sums).hexdigest() == dataset.card["dataset_hash"]
    assert dataset.statistics("soil_pH")["train"]["n_samples"] > 0
    assert dataset.root.url == str(small_dataset)
    again = pickle.loads(pickle.dumps(dataset))
    assert again.hash == dataset.hash and again.select("species").count > 0
    with pytest.raises(ConfigError, match=r"no task 'soil' .*soil_pH.*; expected one of biomass"):
        dataset.statistics("soil")


def test_importing_mmearth_imports_nothing_else() -> None:
    code = (
        "import sys, mmearth; heavy = {'numpy', 'pyarrow', 'duckdb', 'click', 'torch'};"
        "found = heavy & set(sys.modules); assert not found, found;"
        "mmearth.open; assert not heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_mmearth_offers_by_name() -> None:
    offered = {name: getattr(mmearth, name) for name in mmearth.__all__}
    assert list(offered) == ["Catalogue", "Layer", "Normalisation", "Task", "__version__", "open"]
    assert mmearth.Layer is Layer and mmearth.Normalisation is Normalisation
    with pytest.raises(AttributeError, match="module 'mmearth' has no attribute 'Modality'"):
        _ = mmearth.Modality


def test_choosing_imports_no_torch(small_dataset: Path) -> None:
    code = (
        f"import sys, mmearth; mmearth.open({str(small_dataset)!r}).select('species').index;"
        "assert 'torch' not in sys.modules and 'obstore' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_no_dataset(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(ConfigError, match="no complete dataset"):
        mmearth.open(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no complete dataset"):
        mmearth.open(tmp_path)
    with pytest.raises(ConfigError, match="ftp://"):
        mmearth.open("ftp://example.com/data")
    (copy / "dataset.json").unlink()
    for text, said in (
        ("{", "is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "not ours"),
        ('{"schema_version": "9.0"}', "9.0"),
        ('{"schema_version": "2.0", "tasks": 3}', "has no 'name'"),
    ):
        (copy / "dataset.json").write_text(text)
        with pytest.raises(FormatError, match=said):
            mmearth.open(copy)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("tasks", [None], "tasks is"),
        ("tasks", 10**30, "tasks is"),
        ("tasks", ["../../etc"], "was changed after the dataset was sealed"),
        ("dataset_hash", "../../../etc/passwd", "expected 64 hexadecimal digits"),
        ("dataset_hash", None, "expected 64 hexadecimal digits"),
        ("licence", "MIT", "was changed after the dataset was sealed"),
        ("sha256_of_the_rest", "0" * 64, "was changed after the dataset was sealed"),
    ],
)
def test_a_dataset_json_that_was_changed(copy: Path, field: str, value: object, said: str) -> None:
    path = copy / "dataset.json"
    document = {**json.loads(path.read_bytes()), field: value}
    path.unlink()
    path.write_text(json.dumps(document))
    with pytest.raises(FormatError, match=said):
        mmearth.open(copy)


@pytest.mark.parametrize("name", ["dataset.json", "manifests/species.parquet"])
def test_what_stands_in_the_place_of_a_file(copy: Path, tmp_path: Path, name: str) -> None:
    path = copy / name
    data = path.read_bytes()
    (tmp_path / "elsewhere").write_bytes(data)
    for make, said in (
        (path.mkdir, "is a directory"),
        (lambda: os.mkfifo(path), "is a named pipe"),
        (lambda: path.symlink_to(path), "cannot be opened|symbolic"),
        (lambda: path.symlink_to(tmp_path / "elsewhere"), "outside of"),
    ):
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        make()
        with pytest.raises(FormatError, match=said):
            mmearth.open(copy).select("species")


def test_tables_that_are_missing_or_damaged(copy: Path) -> None:
    (copy / "manifests/species.parquet").unlink()
    (copy / "statistics/species.json").unlink()
    (copy / "manifests/biomass.parquet").unlink()
    (copy / "manifests/biomass.parquet").write_bytes(b"not a table")
    dataset = mmearth.open(copy)
    assert dataset.select("soil_pH").count > 0  # what is not asked for is not looked at
    with pytest.raises(FormatError, match=r"statistics/species\.json is not there"):
        dataset.statistics("species")
    with pytest.raises(FormatError, match=r"species\.parquet is not there"):
        dataset.select("species")
    with pytest.raises(IntegrityError, match=r"biomass\.parquet: found SHA-256 .* was changed"):
        dataset.select("biomass")


def test_a_url_fetches_the_tables_that_are_asked_for(
    served: RangeServer, small_dataset: Path, tmp_path: Path
) -> None:
    url = served.url
    here, there = mmearth.open(small_dataset), mmearth.open(url, tmp_path / "cache")
    assert asked(served) == ["dataset.json"]
    sql = "SELECT key, target FROM soil_pH ORDER BY key"
    assert there.sql(sql).equals(here.sql(sql))
    assert asked(served) == ["dataset.json", "catalogue.json", "manifests/soil_pH.parquet"]
    chosen = there.select("soil_pH", "train", modalities="sentinel2", where="lat > -90")
    assert chosen.counts == here.select("soil_pH", "train", modalities="sentinel2").counts
    assert len(asked(served)) == 3
    assert chosen.hash == here.select("soil_pH", "train").hash
    assert there.statistics("soil_pH") == here.statistics("soil_pH")
    assert "shards" not in "".join(asked(served))
    # Another session asks only what can have changed.
    served.forget()
    assert mmearth.open(url, tmp_path / "cache").sql(sql).equals(here.sql(sql))
    assert asked(served) == ["dataset.json"]
    assert len(mmearth.open(url, tmp_path / "cache").sql("SHOW TABLES")) == 6


def test_sql_reads_no_other_file_when_remote(
    served: RangeServer, small_dataset: Path, tmp_path: Path
) -> None:
    dataset = mmearth.open(served.url, tmp_path / "cache")
    mine = small_dataset / "README.md"
    for sql in (f"FROM read_text('{mine}'), species", f"FROM read_text('{tmp_path}/cache/*/*')"):
        with pytest.raises(ConfigError, match="found the table function read_text"):
            dataset.sql(sql)


def test_a_table_damaged_on_the_way_is_refused(
    served: RangeServer, copy: Path, tmp_path: Path
) -> None:
    path = copy / "manifests/species.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)
    dataset = mmearth.open(served.url, tmp_path / "cache")
    with pytest.raises(IntegrityError, match=r"manifests/species\.parquet"):
        dataset.sql("FROM species")
    assert dataset.select("biomass").count > 0


def test_a_table_that_is_not_listed(served: RangeServer, copy: Path, tmp_path: Path) -> None:
    sums = b"".join(
        line
        for line in (copy / "SHA256SUMS").read_bytes().splitlines(keepends=True)
        if b"manifests/species" not in line
    )
    (copy / "SHA256SUMS").unlink()
    (copy / "SHA256SUMS").write_bytes(sums)
    resealed(copy)
    with pytest.raises(FormatError, match=r"manifests/species\.parquet: SHA256SUMS"):
        mmearth.open(served.url, tmp_path / "cache").select("species")


def test_the_command_line_takes_a_url(
    served: RangeServer,
    tmp_path: Path,
    run_cli: RunCli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MMEARTH_CACHE", str(tmp_path / "cache"))
    url = served.url
    code, out, err = run_cli("loaders", "query", url, "SELECT count(*) AS n FROM species", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == [{"n": mmearth.open(url).select("species").count}]
    code, out, _ = run_cli("loaders", "peek", url, "--task", "species")
    assert code == 0 and f"species of {url}" in out
    code, out, err = run_cli("loaders", "query", f"{url}/nowhere", "SELECT 1")
    assert code != 0 and out == "" and "dataset.json" in err and "Traceback" not in err
