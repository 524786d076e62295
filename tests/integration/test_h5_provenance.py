"""What the published layout has no field for stands beside an export, and comes back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from math import cos, pi, radians, sin
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from mmearth.build import Options, build
from mmearth.catalog.catalogue import read_catalogue
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.packaging.h5.export_h5 import export_h5
from mmearth.packaging.h5.import_h5 import import_h5
from mmearth.packaging.manifest import Outlines, write_manifest
from mmearth.packaging.rebuild import rebuild
from mmearth.packaging.verify import verify

h5py = pytest.importorskip("h5py")

FEW = """
name: few
title: Two modalities, neither of them geolocation or month
seed: 3
source: {kind: synthetic, seed: 7}
modalities: [sentinel2, temperature]
require: []
tasks:
  soil_pH: {labels: {count: 5}}
  species: {labels: {count: 4}}
"""
ALL = """
name: all
title: Everything that there is
seed: 3
source: {kind: synthetic, seed: 7}
tasks:
  biomass: {labels: {count: 3}}
  soil_pH: {labels: {count: 3}}
"""
IN_SHARDS = ["bytes", "sha256"]


def _quiet(step: str, size: int | None) -> None:
    pass


def _built(text: str, folder: Path) -> Path:
    (folder / "config.yaml").write_text(text)
    options = Options(1, "threads", None, False)
    summary = build(folder / "config.yaml", folder / "out", options, _quiet)
    assert summary.exit_code == 0, summary
    return folder / "out"


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built(FEW, tmp_path_factory.mktemp("few"))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with provenance in every field that there is."""
    root = _built(ALL, tmp_path_factory.mktemp("told"))
    tiles = pq.read_table(root / "tiles.parquet")
    rows = [
        row | {"label_id": f"00{i}.é", "date": "1987-06-05" if i % 2 else None}
        for i, row in enumerate(tiles.to_pylist())
    ]
    pq.write_table(pa.Table.from_pylist(rows, tiles.schema), root / "tiles.parquet")
    observations = pq.read_table(root / "observations.parquet")
    rows = [_told(i, row) for i, row in enumerate(observations.to_pylist())]
    table = pa.Table.from_pylist(rows, observations.schema)
    pq.write_table(table, root / "observations.parquet")
    shutil.rmtree(root / ".curate")  # what is published tells all
    rebuild(root)
    return root


def _told(i: int, row: dict[str, Any]) -> dict[str, Any]:
    if row["state"] != "done":
        return row | {"reason": f"reason {i}"}
    more = {"stand_in": "RTC for GRD", "expression": f"{i:064x}", "source": f"files {i % 2}"}
    return row | more


def _tables(root: Path, tasks: list[str]) -> dict[str, Any]:
    """Return a dataset's tables of its samples, without what its shards are."""
    tiles = pq.read_table(root / "tiles.parquet")
    samples = [pq.read_table(root / f"manifests/{task}.parquet") for task in tasks]
    found = {task: each.to_pylist() for task, each in zip(tasks, samples, strict=True)}
    keys = {(task, row["tile"]) for task, rows in found.items() for row in rows}
    planned = [row for row in tiles.to_pylist() if (row["task"], row["tile"]) in keys]
    observed = pq.read_table(root / "observations.parquet").drop_columns(IN_SHARDS)
    mine = pc.is_in(observed["tile"], pa.array([tile for _, tile in keys]))
    return {**found, "tiles": planned, "observations": observed.filter(mine).to_pylist()}


def _files(root: Path, pattern: str) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.glob(pattern)}


def _there_and_back(root: Path, folder: Path) -> tuple[Path, Path]:
    """Export, import, export and import again; return both imports, compared."""
    made = []
    for name in ("one", "two"):
        export_h5(root if not made else made[-1], folder / f"h5-{name}", (), published_chunks=False)
        _, digest = import_h5(folder / f"h5-{name}", folder / name, 1, _quiet)
        assert verify(folder / name) == []
        made.append(folder / name)
    assert digest == json.loads((made[0] / "dataset.json").read_text())["dataset_hash"]
    for pattern in ("*/*.parquet", "*/*.json", "*.json"):
        assert _files(folder / "h5-one", pattern) == _files(folder / "h5-two", pattern)
    return made[0], made[1]


@pytest.mark.parametrize("which", ["few", "told"])
def test_all_of_it_comes_back(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    root: Path = request.getfixturevalue(which)
    tasks = json.loads((root / "dataset.json").read_text())["tasks"]
    one, two = _there_and_back(root, tmp_path)
    assert _tables(one, tasks) == _tables(root, tasks)
    for pattern in ("shards/*/*", "manifests/*", "statistics/*", "catalogue.json"):
        assert _files(one, pattern) == _files(root, pattern) == _files(two, pattern)
    cards = [json.loads((each / "dataset.json").read_text()) for each in (root, one)]
    of_files = ("n_files", "files", "dataset_hash", "sha256_of_the_rest")
    assert [{k: v for k, v in card.items() if k not in of_files} for card in cards] == [
        {k: v for k, v in cards[0].items() if k not in of_files}
    ] * 2


def test_a_reader_of_published_files_finds_no_gap(few: Path, tmp_path: Path) -> None:
    (path,) = export_h5(few, tmp_path, ("soil_pH",), published_chunks=False)
    with h5py.File(path) as file:
        lon, lat = file["geolocation"][0]
        angles = radians(lon), radians(lat), pi / 6 * int(file["sentinel2_date"][0][5:7])
        waves = [wave(angle) for angle in angles for wave in (cos, sin)]
        assert file["geolocation_encoding"][0].tolist() == pytest.approx(waves[:4], abs=1e-12)
        assert file["month_encoding"][0].tolist() == pytest.approx(waves[4:], abs=1e-12)
        missing = json.loads(file["missing_modalities"][0])
    assert missing == [
        *("sentinel1", "aster_gdem", "eth_gch", "dynamic_world", "esa_worldcover"),
        *("precipitation", "biome", "ecoregion"),
    ]
    path.with_name("soil_pH_mmearth.parquet").unlink()  # as another program would have written it
    import_h5(path, tmp_path / "bare", 1, _quiet)
    table = pq.read_table(tmp_path / "bare/manifests/soil_pH.parquet").to_pylist()
    assert all(row["month"]["present"] and row["geolocation"]["present"] for row in table)


def test_encodings_that_say_nothing_are_missing(few: Path, tmp_path: Path) -> None:
    (path,) = export_h5(few, tmp_path, ("soil_pH",), published_chunks=False)
    path.with_name("soil_pH_mmearth.parquet").unlink()
    with h5py.File(path, "r+") as file:
        for key in ("geolocation_encoding", "month_encoding"):
            file[key][...] = float("nan")
    import_h5(path, tmp_path / "out", 1, _quiet)
    assert verify(tmp_path / "out") == []
    table = pq.read_table(tmp_path / "out/manifests/soil_pH.parquet").to_pylist()
    assert not any(row["month"]["present"] or row["geolocation"]["present"] for row in table)


def _change(column: str, value: Any) -> Any:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[1][column] = value

    return change


def _deny(rows: list[dict[str, Any]]) -> None:
    for each in rows[2]["observations"]:
        if each["modality"] == "sentinel2":
            each.update(state="missing", valid_fraction=None)


def _date(rows: list[dict[str, Any]]) -> None:
    for each in rows[2]["observations"]:
        each["acquired"] = "2020-01-02"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_change("target", 1.5), r"row 1 has the target 1\.5, and soil_pH.h5 has"),
        (_change("split", "none"), r"row 1 has the split 'none', and soil_pH.h5 has"),
        (_change("tile", "32601_500000_0"), r"row 1 has the tile '32601_500000_0'"),
        (list.pop, r"has \d rows, and soil_pH.h5 has \d; take it away"),
        (
            _deny,
            r"row 2: 1\.0000 of sentinel2 is valid, and the file of provenance .* says 0\.0000",
        ),
        (_date, r"row \d of soil_pH.h5 has the sentinel2_date .* beside it says 2020-01-02"),
    ],
)
def test_what_is_of_another_export(few: Path, tmp_path: Path, change: Any, sentence: str) -> None:
    (path,) = export_h5(few, tmp_path, ("soil_pH",), published_chunks=False)
    beside = path.with_name("soil_pH_mmearth.parquet")
    table = pq.read_table(beside)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, table.schema), beside)
    with pytest.raises(FormatError, match=sentence):
        import_h5(path, tmp_path / "out", 1, _quiet)
    assert not (tmp_path / "out/dataset.json").exists()


def test_a_row_that_lacks_what_its_card_requires(few: Path, tmp_path: Path) -> None:
    (path,) = export_h5(few, tmp_path, ("soil_pH",), published_chunks=False)
    beside = path.with_name("soil_pH_mmearth.parquet")
    table = pq.read_table(beside)
    stamps = {
        key: value.replace(b'"require": []', b'"require": ["sentinel1"]')
        for key, value in table.schema.metadata.items()
    }
    pq.write_table(table.replace_schema_metadata(stamps), beside)
    with pytest.raises(FormatError, match="5 rows make no sample: no sentinel1: "):
        import_h5(path, tmp_path / "out", 1, _quiet)
    assert not (tmp_path / "out/dataset.json").exists()


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no Parquet"])
def test_what_is_no_provenance(few: Path, tmp_path: Path, data: bytes) -> None:
    (path,) = export_h5(few, tmp_path, ("soil_pH",), published_chunks=False)
    path.with_name("soil_pH_mmearth.parquet").write_bytes(data)
    with pytest.raises(FormatError, match=r"soil_pH_mmearth\.parquet is not a readable Parquet"):
        import_h5(path, tmp_path / "out", 1, _quiet)


def test_a_dataset_named_like_our_own_column(few: Path, tmp_path: Path) -> None:
    (path,) = export_h5(few, tmp_path / "in", ("soil_pH",), published_chunks=False)
    with h5py.File(path, "r+") as file:
        numbers = list(range(len(file["id"])))
        file["mmearth:key"] = numbers
    import_h5(path, tmp_path / "ours", 1, _quiet)
    (back,) = export_h5(tmp_path / "ours", tmp_path / "back", (), published_chunks=False)
    with h5py.File(back) as file:
        assert file["mmearth:key"][...].tolist() == numbers


def test_a_task_without_samples_has_no_file(few: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(few, tmp_path / "few"))
    write_manifest(root, MMEARTH_BENCH.tasks["species"], read_catalogue(root), root, [], Outlines())
    with pytest.warns(UserWarning, match="has no samples of species: no file"):
        (path,) = export_h5(root, tmp_path / "h5", (), published_chunks=False)
    assert path.name == "soil_pH.h5"
    with pytest.raises(ConfigError, match="has no samples of species, and a published file has"):
        export_h5(root, tmp_path / "h5", ("species",), published_chunks=False)


def test_the_command_says_what_the_layout_has_no_field_for(
    few: Path, tmp_path: Path, run_cli: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, err = run_cli("packaging", "export-h5", str(few), "-o", str(tmp_path))
    assert (code, len(out.splitlines())) == (0, 2)
    assert err.startswith("the published layout has no field for the labels' ids and dates")
    assert "species_mmearth.parquet" in err
