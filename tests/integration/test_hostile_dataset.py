"""A dataset of somebody else: whatever stands in it ends in a finding or a sentence, at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.checksums import SELF, parse_dataset, read_dataset, read_sums, render, seal
from mmearth.catalog.errors import FormatError, MMEarthError
from mmearth.packaging.h5.export_h5 import export_h5
from mmearth.packaging.rebuild import rebuild
from mmearth.packaging.verify import verify
from mmearth.tests.make_tiny import make_sealed

Run = Callable[..., tuple[int, str, str]]
FILES = [
    "dataset.json",
    "SHA256SUMS",
    "catalogue.json",
    "tiles.parquet",
    "observations.parquet",
    "manifests/soil_pH.parquet",
    "statistics/soil_pH.json",
    "shards/soil_pH/train-000000.tar",
]


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    """End a test that waits, as for a writer of a named pipe."""

    def stop(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sealed(tmp_path_factory.mktemp("made") / "tiny", 4)


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "tiny"))


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _symlink_out(path: Path) -> None:
    other = path.parents[4] / f"other-{path.name}"
    other.write_bytes(b"of somebody else")
    path.symlink_to(other)


KINDS: dict[str, Callable[[Path], None]] = {
    "pipe": _pipe,
    "directory": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path.name),
    "symlink out": _symlink_out,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_of_the_dataset(root: Path, name: str, kind: str) -> None:
    path = root / name
    path.unlink()
    KINDS[kind](path)
    assert {finding.path for finding in verify(root)} & {name, "dataset.json"}
    if kind not in ("pipe", "directory"):
        return
    for use in (
        lambda: export_h5(root, root / "h5", ("soil_pH",), published_chunks=False),
        lambda: rebuild(root),
    ):
        try:
            use()
        except MMEarthError as exc:
            assert "\n" not in str(exc)


def _size(size: int) -> bytes:
    """Return a size field of a tar header: octal digits, or base 256 as GNU writes large ones."""
    if 0 <= size < 8**11:
        return b"%011o\0" % size
    return size.to_bytes(12, "big", signed=True) if size < 0 else b"\x80" + size.to_bytes(11, "big")


def _header(shard: Path, **changed: bytes) -> None:
    """Change fields of the first header of a tar and mend its checksum."""
    data = bytearray(shard.read_bytes())
    places = {"size": (124, 12), "type": (156, 1), "name": (0, 100), "link": (157, 100)}
    for field, value in changed.items():
        begin, length = places[field]
        data[begin : begin + length] = value.ljust(length, b"\0")
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    shard.write_bytes(data)


def _seal_again(root: Path) -> None:
    seal(root, DatasetCard.from_json(read_dataset(root)))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        *(({"size": _size(n)}, "it ends inside") for n in (1 << 30, 1 << 33, 1 << 40, 1 << 62)),
        ({"size": _size(-512)}, "has -512 bytes"),
        ({"type": tarfile.SYMTYPE, "link": b"/etc/passwd"}, "is of the tar type b'2', expected a"),
        ({"type": tarfile.LNKTYPE, "link": b"other"}, "is of the tar type b'1', expected a plain"),
        ({"type": tarfile.CHRTYPE}, "is of the tar type b'3', expected a plain file"),
        ({"type": tarfile.GNUTYPE_SPARSE}, "is of the tar type b'S', expected a plain file"),
        ({"name": b"../../evil\n\x1b[2J.json"}, r"it holds ../../evil\n\x1b[2J.json, which no row"),
    ],
)
def test_a_tar_header_that_was_sealed_anew(
    root: Path, changed: dict[str, bytes], sentence: str
) -> None:
    name = "shards/soil_pH/train-000000.tar"
    _header(root / name, **changed)
    _seal_again(root)
    findings = verify(root)
    assert [f for f in findings if f.path == name and sentence in f.sentence], findings
    assert not [f for f in findings if f.path == name and f.problem == "checksum"]


def test_a_large_member_is_not_read(root: Path) -> None:
    name = "shards/soil_pH/train-000000.tar"
    _header(root / name, size=_size(20 << 20))
    with (root / name).open("r+b") as shard:
        shard.truncate(64 << 20)
    findings = verify(root)
    assert [f for f in findings if "has 20971520 bytes, expected 16777216 at most" in f.sentence]


CARDS: dict[str, Any] = {
    "tasks: no list": {"tasks": 10**30},
    "tasks: null": {"tasks": [None]},
    "tasks: twice": {"tasks": ["soil_pH", "soil_pH"]},
    "tasks: deep": {"tasks": [[["soil_pH"]]]},
    "seed: text": {"seed": "42"},
    "seed: large": {"seed": 10**30},
    "seed: true": {"seed": True},
    "name: number": {"name": 5},
    "title: half a character": {"title": "\ud800"},
    "hash: none": {"dataset_hash": None},
    "hash: short": {"dataset_hash": "0" * 63},
    "version: another": {"schema_version": "1.0"},
    "version: none": {"schema_version": None},
}


@pytest.mark.parametrize("harm", CARDS)
def test_a_card_that_is_none(root: Path, run_cli: Run, harm: str) -> None:
    document = {**json.loads((root / "dataset.json").read_text()), **CARDS[harm]}
    document.pop(SELF)
    (root / "dataset.json").write_text(json.dumps(document))
    with pytest.raises(FormatError):
        read_dataset(root)
    assert [f.problem for f in verify(root)] == ["unreadable"]
    code, _, err = run_cli("packaging", "build", str(root))
    assert (code, err.count("\n")) == (1, 1)
    assert "dataset.json" in err


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"tasks": ["../../etc"]}, "dataset.json has the tasks ../../etc, catalogue.json has biom"),
        ({"tasks": ["soil_pH", "biomass", "species"]}, "dataset.json has the tasks soil_pH, biom"),
        ({"modalities": ["landsat"]}, "has the modalities landsat, catalogue.json has sentinel2, "),
        ({"require": ["landsat"]}, "requires landsat, which catalogue.json has not"),
    ],
)
def test_a_card_of_another_catalogue(
    root: Path, run_cli: Run, changed: dict[str, Any], sentence: str
) -> None:
    document = json.loads((root / "dataset.json").read_bytes()) | changed
    (root / "dataset.json").write_bytes(render(document))
    findings = [f for f in verify(root) if not f.path.startswith("stac")]  # it was made without
    assert [(f.path, f.problem) for f in findings] == [("dataset.json", "table")]
    assert sentence in findings[0].sentence
    for command in (("packaging", "build"), ("catalog", "stac")):
        code, _, err = run_cli(*command, str(root))
        assert (code, err.count("\n")) == (1, 1)
        assert sentence in err
    assert (root / "dataset.json").exists()


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"[" * 100_000, b"null", b"[]", b'{"a": ' + b"9" * 5_000 + b"}"]
)
def test_a_dataset_json_that_is_none(root: Path, data: bytes) -> None:
    with pytest.raises(FormatError, match=r"x\.json"):
        parse_dataset(data, "x.json")
    (root / "dataset.json").write_bytes(data)
    assert [f.problem for f in verify(root)] == ["unreadable"]


@pytest.mark.parametrize(
    "line",
    ["", "0" * 64, f"{'0' * 64}  ", f"{'x' * 64}  README.md", f"{'0' * 63}  README.md", "\x1b[2J"],
)
def test_a_line_of_sums_that_is_none(root: Path, line: str) -> None:
    with (root / "SHA256SUMS").open("a") as sums:
        sums.write(line + "\n")
    with pytest.raises(FormatError, match="is not a checksum and a path of its own"):
        read_sums(root)
    with (root / "SHA256SUMS").open("wb") as sums:
        sums.write(b"\xff\n")
    with pytest.raises(FormatError, match="is missing or unreadable"):
        read_sums(root)


def _table(root: Path, name: str, change: Callable[[list[dict[str, Any]]], None]) -> None:
    table = pq.read_table(root / name, partitioning=None)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, table.schema), root / name)


def _null(column: str) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: rows[0].update({column: None})


@pytest.mark.parametrize(
    ("name", "column"),
    [
        *(("tiles.parquet", c) for c in ("tile", "task", "split", "epsg", "left", "lon", "target")),
        *(
            ("observations.parquet", c)
            for c in ("tile", "modality", "state", "sha256", "source_ids")
        ),
        *(
            ("manifests/soil_pH.parquet", c)
            for c in ("key", "shard", "split", "tile", "hilbert", "lon", "geometry", "date")
        ),
        *(("manifests/soil_pH.parquet", c) for c in ("target", "sentinel2", "month", "task")),
    ],
)
def test_a_null_anywhere_is_a_finding(root: Path, name: str, column: str) -> None:
    _table(root, name, _null(column))
    _seal_again(root)
    assert verify(root)
    if name.startswith("manifests"):
        return  # they are made anew
    try:
        rebuild(root)
    except MMEarthError as exc:
        assert "\n" not in str(exc)


@pytest.mark.parametrize(
    "name", ["tiles.parquet", "observations.parquet", "manifests/soil_pH.parquet"]
)
def test_another_table_under_a_name(root: Path, name: str) -> None:
    others = {"tiles.parquet": "observations.parquet"}
    shutil.copyfile(root / others.get(name, "tiles.parquet"), root / name)
    _seal_again(root)
    assert [f for f in verify(root) if f.path == name]
    if not name.startswith("manifests"):
        with pytest.raises(FormatError, match=r"has no column|expected"):
            rebuild(root)


def test_a_folder_called_like_a_column(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "split=val" / "target=5" / "tiny"))
    assert verify(folder) == verify(made)


@pytest.mark.parametrize("name", ["shards", "shards/soil_pH", ".curate", ".curate/packs"])
def test_a_folder_that_leads_elsewhere_is_not_written(root: Path, name: str) -> None:
    elsewhere = root.parent / "elsewhere"
    (root / name).parent.mkdir(exist_ok=True)
    if (root / name).exists():
        shutil.move(root / name, elsewhere)
    else:
        elsewhere.mkdir()
    (elsewhere / "mine.tar").write_bytes(b"mine")
    (root / name).symlink_to(elsewhere)
    before = {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}
    with pytest.raises(FormatError, match=r"leads to .*elsewhere, which is outside of"):
        rebuild(root)
    assert {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()} == before
    assert (root / "dataset.json").exists()


def test_render_is_the_inverse_of_parse(root: Path) -> None:
    data = (root / "dataset.json").read_bytes()
    assert render(parse_dataset(data, "dataset.json")) == data


@pytest.mark.parametrize("lat", [1e30, float("nan")])
def test_a_place_that_is_nowhere_is_a_finding(root: Path, lat: float) -> None:
    name = "manifests/soil_pH.parquet"
    _table(root, name, lambda rows: rows[0].update(lat=lat))
    _seal_again(root)
    assert [f for f in verify(root) if f.path == name and f"lat is {lat}" in f.sentence]


def test_more_rows_than_bytes(root: Path) -> None:
    path = root / "tiles.parquet"
    schema = pq.read_schema(path)
    nothing = [pa.nulls(200_000, field.type) for field in schema]
    pq.write_table(pa.Table.from_arrays(nothing, schema=schema), path)
    assert path.stat().st_size < 20_000
    with pytest.raises(
        FormatError, match=r"claims 200000 rows in \d+ bytes; expected a byte a row"
    ):
        rebuild(root)
