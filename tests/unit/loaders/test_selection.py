"""Which samples a query chooses, their number and bytes, and queries that are refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import mmearth
from mmearth.catalog.checksums import render
from mmearth.catalog.errors import ConfigError, IntegrityError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.query import Query
from mmearth.catalog.splits import SPLITS
from mmearth.loaders.choose.counting import size
from mmearth.loaders.dataset import Dataset
from mmearth.loaders.fetch.cache import Cache
from mmearth.loaders.inputs import ModalityInput, Normalisation

RunCli = Callable[..., tuple[int, str, str]]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def dataset(small_dataset: Path) -> Dataset:
    return mmearth.open(small_dataset)


@pytest.fixture(scope="module")
def rows(small_dataset: Path) -> list[Row]:
    """The manifest of soil_pH, in its order."""
    table = pq.read_table(small_dataset / "manifests/soil_pH.parquet").to_pylist()
    return list(table)


def keys(dataset: Dataset, task: str = "soil_pH", **asked: Any) -> list[str]:
    index = dataset.select(task, **asked).index
    return index.keys(range(len(index)))  # type: ignore[arg-type]


def test_all_of_a_task(dataset: Dataset, rows: list[Row]) -> None:
    chosen = dataset.select("soil_pH")
    assert len(chosen) == chosen.count == len(rows)
    assert keys(dataset) == [row["key"] for row in rows]
    assert chosen.counts.split == {
        name: n for name in SPLITS if (n := sum(row["split"] == name for row in rows))
    }
    assert list(chosen.counts.present) == list(MMEARTH_BENCH.layers)
    for name, n in chosen.counts.present.items():
        column = f"{name}_observation" if name in ("biome", "ecoregion") else name
        assert n == sum(row[column]["present"] for row in rows)
    pixel = [name for name, modality in MMEARTH_BENCH.layers.items() if modality.level == "pixel"]
    members = [row[name]["byte_length"] or 0 for row in rows for name in pixel]
    assert chosen.nbytes == sum(members) > 0


def test_a_pixel_level_target_is_among_the_bytes(dataset: Dataset) -> None:
    chosen = dataset.select("biomass", modalities="esa_worldcover")
    assert chosen.bytes_by_member == {
        "biomass": chosen.count * (128 + 128 * 128 * 4),
        "esa_worldcover": chosen.count * (128 + 128 * 128),
    }
    assert chosen.nbytes == sum(chosen.bytes_by_member.values())
    assert dataset.select("soil_pH", modalities=["temperature", "biome"]).nbytes == 0


def test_split_fraction_where_and_limit(dataset: Dataset, rows: list[Row]) -> None:
    def of(keep: Callable[[Row], bool]) -> list[str]:
        return [row["key"] for row in rows if keep(row)]

    assert keys(dataset, split="train") == of(lambda row: row["split"] == "train")
    there = dataset.select("soil_pH").counts.split
    first, *_, last = there
    assert keys(dataset, split=[last, first]) == of(lambda row: row["split"] in (first, last))
    assert keys(dataset, fraction=50) == of(lambda row: row["split"] != "train" or row["train_50"])
    assert keys(dataset, where="lat > 0 OR lon > 0", split="train") == of(
        lambda row: row["split"] == "train" and (row["lat"] > 0 or row["lon"] > 0)
    )
    assert keys(dataset, limit=3) == of(lambda row: True)[:3]
    assert (
        keys(dataset, limit=2, where="lat < 60 -- not the far north")
        == of(lambda row: row["lat"] < 60)[:2]
    )
    assert keys(dataset, where="key NOT IN (SELECT key FROM species)") == of(lambda row: True)
    assert dataset.select("soil_pH", limit=10**9).count == len(rows)
    assert dataset.select("soil_pH", limit=2).counts.samples == 2


def test_modalities_come_in_the_published_order(dataset: Dataset) -> None:
    asked = {"month", "sentinel1", "sentinel2"}
    chosen = dataset.select("soil_pH", modalities=asked)
    assert chosen.query.modalities == ("sentinel2", "sentinel1", "month")
    assert tuple(chosen.index.layers) == chosen.query.modalities
    assert dataset.select("soil_pH", modalities="month").query.modalities == ("month",)
    assert dataset.select("soil_pH").query.modalities == tuple(MMEARTH_BENCH.layers)


def test_the_hash_says_which_samples(dataset: Dataset) -> None:
    whole = dataset.select("soil_pH")
    assert whole.hash == dataset.select("soil_pH", where="lat > -91").hash
    assert whole.hash == dataset.select("soil_pH", modalities="month").hash
    assert whole.build_index(checksums=False).hash(dataset.hash) == whole.hash
    others = {
        whole.hash,
        dataset.select("soil_pH", limit=2).hash,
        dataset.select("soil_pH", limit=3).hash,
        dataset.select("biomass").hash,
        whole.index.hash("of another dataset"),
    }
    assert len(others) == 5
    assert all(len(found) == 64 for found in others)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"task": "soil"}, "found task 'soil'; expected one of biomass"),
        ({"task": "custom"}, "found task 'custom'; expected one of biomass, soil_pH, species"),
        ({"split": "training"}, "found split 'training'; expected one of train, val"),
        ({"split": ["train", "test"]}, "found split 'test'"),
        ({"split": []}, "found no split"),
        ({"split": 3}, "found split 3"),
        ({"fraction": 10}, "found fraction 10; expected one of 5, 50, 100"),
        ({"fraction": True}, "found fraction True"),
        ({"fraction": 5.0}, "found fraction 5.0; expected a whole number"),
        ({"fraction": "5"}, "found fraction '5'"),
        ({"limit": 10**20}, "found limit 100000000000000000000"),
        ({"limit": "3"}, "found limit '3'"),
        ({"where": 3}, "found where 3"),
        ({"where": "lat < 0 \ud800"}, "surrogate"),
        ({"where": "lat < 0 \0"}, "where"),
        ({"task": ["soil_pH"]}, "found task"),
        ({"modalities": [3]}, "found modality 3"),
        ({"modalities": "s2"}, "found modality 's2'; expected one of sentinel2"),
        ({"modalities": ()}, "found no modality"),
        ({"limit": 0}, "found limit 0"),
        ({"limit": -1}, "found limit -1"),
        ({"limit": 2.0}, "found limit 2.0"),
        ({"where": ""}, "found where ''"),
        ({"where": "lat <"}, "syntax error"),
        ({"where": "lat < 0 /* and"}, "unterminated"),
        ({"where": "nosuch = 1"}, '"nosuch" not found'),
        ({"where": "lat"}, "is a DOUBLE"),
        ({"where": "*"}, "just one"),
        ({"where": "lat < 0, lon < 0"}, "just one"),
        ({"where": "lat < 0 AS south"}, "just one"),
        ({"where": "lat < 90 LIMIT 1"}, "just one"),
        ({"where": "true FROM species WHERE false"}, "just one"),
        ({"where": "true; SELECT 1"}, "just one"),
        ({"where": "true; DROP VIEW soil_pH"}, "just one"),
        ({"where": "true) OR (true"}, "syntax error"),
        ({"where": "true) UNION ALL SELECT (true"}, "syntax error"),
        ({"where": "count(*) > 1"}, "aggregates"),
        ({"where": "lat > $a"}, "parameters"),
        ({"where": "CAST(key AS INTEGER) > 1"}, "Could not convert"),
        ({"where": "random() < 0.5"}, "found random"),
        ({"where": "date < current_date"}, "found current_date"),
        ({"where": "key IN (SELECT key FROM soil_pH USING SAMPLE 2)"}, "found random"),
        ({"where": "key IN (SELECT content FROM read_text('/etc/hostname'))"}, "read_text"),
        ({"where": "key IN (SELECT key FROM 'https://example.com/a.parquet')"}, "own tables"),
        ({"where": '"present/sentinel2"'}, "not found"),
        ({"where": "lat > 91"}, "where lat > 91 fits none of the"),
        ({"where": "split = 'val'", "split": "train"}, "where split = 'val' fits none"),
    ],
)
def test_refused(dataset: Dataset, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        dataset.select(**{"task": "soil_pH", **asked})
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_which_condition_left_nothing(dataset: Dataset) -> None:
    here = dataset.select("biomass").counts.split
    empty = next(name for name in SPLITS if name not in here)
    with pytest.raises(ConfigError, match=f"split {empty} fits none of the {sum(here.values())}"):
        dataset.select("biomass", split=empty, where="lat > 91")
    with pytest.raises(ConfigError, match=f"fraction 5 fits none of the {here['train']} "):
        dataset.select("biomass", split="train", fraction=5)


def test_a_query_that_was_made_by_hand_is_checked(dataset: Dataset) -> None:
    catalogue = dataset.catalogue
    everything = tuple(catalogue.layers)
    Query("soil_pH", everything).check(catalogue)
    assert Query("soil_pH", everything) == Query.of(catalogue, "soil_pH")
    for query in (
        Query("soil_pH", everything, split=("val", "train")),
        Query("soil_pH", ("month", "sentinel2")),
        Query("soil_pH", everything, split=()),
        Query("soil_nitrogen", everything),
    ):
        with pytest.raises(ConfigError):
            query.check(catalogue)


def test_a_dataset_that_is_built_again_meanwhile(small_dataset: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(small_dataset, tmp_path / "copy", copy_function=os.link))
    chosen = mmearth.open(root).select("soil_pH")
    assert len(chosen.build_index()) == chosen.count
    card = json.loads((root / "dataset.json").read_bytes())
    (root / "dataset.json").unlink()
    with pytest.raises(IntegrityError, match="a build has begun"):
        chosen.build_index()
    (root / "dataset.json").write_bytes(render({**card, "dataset_hash": "0" * 64}))
    with pytest.raises(IntegrityError, match="0000, expected"):
        chosen.build_index()


def test_numbers_of_numpy_are_numbers(dataset: Dataset) -> None:
    few = dataset.select("soil_pH", limit=np.int64(3), fraction=np.int32(100))
    assert len(few) == 3 and json.dumps(few.to_json())
    assert len(few.first_keys(np.int64(2))) == 2


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda chosen: chosen.first_keys(0), "found n 0"),
        (lambda chosen: chosen.first_keys("2"), "found n '2'"),
        (lambda chosen: chosen.build_index(checksums="no"), "found checksums 'no'"),
        (lambda chosen: chosen.build_index(memory_bytes=-1), "found memory_bytes -1"),
        (lambda chosen: chosen.build_index(memory_bytes=1.5), "found memory_bytes 1.5"),
        (lambda chosen: chosen.build_index(directory=3), "found directory 3"),
        (lambda chosen: chosen.build_index(True, 0, "nowhere"), "nowhere is not a directory"),
        (lambda chosen: chosen.dataset.sql(5), "found query 5"),
        (lambda chosen: chosen.dataset.statistics(["a"]), "there is no task"),
        (lambda chosen: mmearth.open(3), "found place 3"),
        (lambda chosen: mmearth.open(b"data"), "found place b'data'"),
        (lambda chosen: mmearth.open("data", cache=3), "found cache 3"),
        (lambda chosen: Cache(Path("cache"), -1), "found limit_bytes -1"),
        (lambda chosen: Normalisation.from_model(3, MMEARTH_BENCH), "found document 3"),
        (
            lambda chosen: Normalisation.from_statistics(np.array([1]), "train", ()),
            "found document",
        ),
        (lambda chosen: Normalisation.from_statistics({}, np.array([1, 2]), ()), "found subset"),
        (lambda chosen: chosen.dataset.select(np.array([1, 2])), "found task array"),
        (lambda chosen: chosen.dataset.select("soil_pH", modalities=3), "found modalities 3"),
        (lambda chosen: chosen.dataset.statistics(np.array([1, 2])), "there is no task"),
        (lambda chosen: chosen.dataset.find([]), r"found name \[\]"),
        (lambda chosen: chosen.loader(normalise=np.array([1, 2])), "found normalise"),
        (lambda chosen: chosen.build_index(directory=""), "found directory ''"),
        (lambda chosen: mmearth.open(""), "found place ''"),
        (lambda chosen: mmearth.open("data", cache=""), "found cache ''"),
        (lambda chosen: Normalisation.from_file(3, MMEARTH_BENCH), "found path 3"),
        (lambda chosen: ModalityInput("month", "ab", (), 1.0, (), ()), "found bands 'ab'"),
    ],
)
def test_wrong_arguments_are_named(dataset: Dataset, ask: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ask(dataset.select("soil_pH", limit=3))


def test_what_people_read(dataset: Dataset) -> None:
    chosen = dataset.select("soil_pH", modalities=["sentinel2", "temperature"])
    n = chosen.count
    lines = str(chosen).splitlines()
    assert lines[0].endswith(f": {n} samples")
    assert lines[1].split()[1:3] == ["train", f"{chosen.counts.split['train']},"]
    assert lines[2].split(maxsplit=1)[1] == "sentinel2 100 %, temperature 100 %"
    assert lines[3].split(maxsplit=1)[1] == size(n * (128 + 12 * 128 * 128 * 2))
    assert lines[4].split(maxsplit=1)[1] == "regression of phaq"
    assert str(chosen) in repr(chosen)
    assert [size(n) for n in (0, 999, 1000, 393344, 2_000_000, 5 * 10**12)] == [
        *("0 bytes", "999 bytes", "1 kB", "393 kB", "2 MB", "5 TB")
    ]


def test_peek(small_dataset: Path, dataset: Dataset, rows: list[Row], run_cli: RunCli) -> None:
    ask = ("loaders", "peek", small_dataset, "--task", "soil_pH")
    code, out, err = run_cli(*ask)
    assert (code, err) == (0, "")
    assert out.startswith(f"{dataset.select('soil_pH')}\n  first\n    {rows[0]['key']}\n")
    some = (*ask, "--split", "geographic_test, train", "--fraction", "50", "--limit", "2", "--json")
    code, out, _ = run_cli(*some, "--modalities", "month,sentinel2", "--where", "lat < 90")
    told = json.loads(out)
    assert code == 0
    assert told["samples"] == 2 and told["fraction"] == 50
    assert told["split"] == ["train", "geographic_test"]
    assert told["modalities"] == ["sentinel2", "month"]
    assert told["bytes"] == 2 * (128 + 12 * 128 * 128 * 2) == told["bytes_by_member"]["sentinel2"]
    kept = [
        row["key"]
        for row in rows
        if row["split"] == "geographic_test" or (row["split"] == "train" and row["train_50"])
    ]
    assert told["first_keys"] == kept[:2]
    code, out, err = run_cli(*ask, "--where", "lat > 91")
    assert (code, out) == (2, "") and "fits none" in err
    code, out, err = run_cli(*ask, "--fraction", "7", "--json")
    assert code == 2 and "expected one of 5, 50, 100" in json.loads(err)["error"]["message"]
