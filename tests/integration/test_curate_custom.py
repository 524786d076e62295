"""A task of the user's own, from points to a proven dataset, with labels, with some, with none."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmearth.catalog.schema import read_table
from mmearth.catalog.validate import validate_croissant, validate_stac

Run = Callable[..., tuple[int, str, str]]
_PLACES = [(2.0, 47.0), (10.0, 51.0), (-100.0, 40.0), (100.0, 50.0), (-60.0, -30.0), (25.0, -5.0)]
_YIELDS = [3.25, 7.5, None, 1.1, 16777217.0, 0.0]  # 2**24 + 1 is not a float32


def _build(directory: Path, run_cli: Run, points: dict[str, str]) -> Path:
    features = [
        {
            "type": "Feature",
            "id": 100 + i,
            "geometry": {"type": "Point", "coordinates": place},
            "properties": {"yield_t_ha": _YIELDS[i]},
        }
        for i, place in enumerate(_PLACES)
    ]
    collection = {"type": "FeatureCollection", "features": features}
    (directory / "fields.geojson").write_text(json.dumps(collection))
    document = {
        "name": "fields",
        "title": "Fields",
        "seed": 3,
        "recipe": "mmearth-bench-2026",  # without a buffer: all six stay
        "modalities": ["sentinel2", "precipitation", "geolocation", "month", "biome"],
        "source": {"kind": "synthetic", "seed": 7},
        "tasks": {"custom": {"points": {"path": "fields.geojson", "id": "id", **points}}},
    }
    (directory / "fields.yaml").write_text(yaml.safe_dump(document))
    out = directory / "data"
    command = ("curate", "build", str(directory / "fields.yaml"), "-o", str(out))
    code, _, stderr = run_cli(*command, "--workers", "1")
    assert code == 0, stderr
    return out


def _documents(root: Path) -> dict[str, dict[str, Any]]:
    """Return the JSON member of every sample, by key."""
    found = {}
    for path in sorted((root / "shards").rglob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                if member.name.endswith(".json"):
                    content = tar.extractfile(member)
                    assert content is not None
                    found[member.name.removesuffix(".json")] = json.loads(content.read())
    return found


def _items(root: Path) -> dict[str, dict[str, Any]]:
    items = [json.loads(p.read_text()) for p in (root / "stac/custom/items").rglob("*.json")]
    return {item["id"]: item for item in items}


@pytest.mark.parametrize("labelled", [True, False])
def test_from_points_to_a_proven_dataset(
    labelled: bool, tmp_path: Path, run_cli: Run, stac_schemas: Path
) -> None:
    root = _build(tmp_path, run_cli, {"value": "yield_t_ha"} if labelled else {})
    expected = {str(100 + i): y if labelled else None for i, y in enumerate(_YIELDS)}
    rows = read_table(root / "manifests/custom.parquet").to_pylist()
    assert {row["label_id"]: row["target"] for row in rows} == expected
    documents, items = _documents(root), _items(root)
    for row in rows:
        assert documents[row["key"]]["target"] == row["target"]
        assert items[row["key"]]["properties"].get("mmearth:target") == row["target"]
        assert ("mmearth:target" in items[row["key"]]["properties"]) == (row["target"] is not None)

    trained = [row["target"] for row in rows if row["split"] == "train"]
    known = [value for value in trained if value is not None]
    statistics = json.loads((root / "statistics/custom.json").read_text())["train"]
    assert statistics["n_samples"] == len(trained) > 0
    assert statistics["modalities"]["precipitation"]["month"]["n"] == len(trained)
    assert {name: band["n"] for name, band in statistics["target"].items()} == (
        {"value": len(known)} if known else {}
    )

    assert run_cli("packaging", "verify", str(root))[0] == 0
    assert validate_stac(root, stac_schemas).problems == ()
    assert validate_croissant(root).problems == ()
    assert "`custom`" in (root / "README.md").read_text()
    assert run_cli("catalog", "audit", str(root))[0] == 0
    code, answer, _ = run_cli(
        "loaders", "query", str(root), "SELECT count(target) AS n FROM custom", "--json"
    )
    assert (code, json.loads(answer)) == (0, [{"n": 5 if labelled else 0}])


def test_verify_finds_a_label_that_was_put_in(tmp_path: Path, run_cli: Run) -> None:
    root = _build(tmp_path, run_cli, {})
    path = sorted((root / "shards").rglob("*.tar"))[0]
    data = path.read_bytes()
    assert data.count(b'"target":null') > 0
    path.write_bytes(data.replace(b'"target":null', b'"target":1234', 1))
    code, stdout, _ = run_cli("packaging", "verify", str(root))
    assert code == 4
    assert path.relative_to(root).as_posix() in stdout


def test_a_built_dataset_is_not_built_again(tmp_path: Path, run_cli: Run) -> None:
    root = _build(tmp_path, run_cli, {"value": "yield_t_ha"})
    sums = (root / "SHA256SUMS").read_bytes()
    code, _, stderr = run_cli("curate", "build", str(tmp_path / "fields.yaml"), "-o", str(root))
    assert (code, "nothing to do" in stderr) == (0, True)
    assert run_cli("packaging", "build", str(root))[0] == 0
    assert (root / "SHA256SUMS").read_bytes() == sums
