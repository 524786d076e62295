"""The configuration: what is wrong is named with its key, its value and what was expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mmearth.catalog.codec import NPY, Codec
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.config import BuildConfig, load_config

_SMALLEST = {
    "name": "tiny",
    "title": "Tiny",
    "source": {"kind": "synthetic"},
    "tasks": {"biomass": {"labels": {"count": 3}}},
}


def _load(directory: Path, **changed: Any) -> BuildConfig:
    path = directory / "c.yaml"
    path.write_text(yaml.safe_dump({**_SMALLEST, **changed}))
    return load_config(path)


def test_defaults(tmp_path: Path) -> None:
    config = _load(tmp_path)
    assert config.modalities == tuple(MMEARTH_BENCH.layers)
    assert config.require == ("sentinel2",)
    assert (config.recipe, config.seed) == ("default", 42)
    assert config.source.kind == "synthetic"
    assert config.catalogue.codec == NPY
    assert _load(tmp_path, members={"codec": "blosc-lz4"}).catalogue.codec == Codec("blosc-lz4")


def test_names_are_kept_in_the_published_order(tmp_path: Path) -> None:
    config = _load(
        tmp_path,
        modalities=["biome", "sentinel2", "biome"],
        tasks={"species": {"labels": {"count": 1}}, "biomass": {"labels": {"count": 1}}},
    )
    assert config.modalities == ("sentinel2", "biome")
    assert list(config.tasks) == ["biomass", "species"]


def test_the_hash_is_of_the_meaning(tmp_path: Path) -> None:
    first = _load(tmp_path).sha256
    assert _load(tmp_path, seed=42, version="1.0.0").sha256 == first
    assert _load(tmp_path, seed=43).sha256 != first
    assert len(first) == 64


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"colour": 1}, "colour: unknown key, allowed here: name, title, .*source, sources, tasks"),
        ({"sourse": 1}, r"sourse: unknown key \(did you mean 'source'\?\), allowed here: name, "),
        ({"tile_size": 256}, "tile_size: unknown key: say grid: { pixels: 128, resolution_m: 10 }"),
        ({"schema_version": 3.0}, "schema_version: unknown key: mmearth writes it"),
        ({"name": "Tiny Data"}, "name: expected small letters, digits and dashes.*'Tiny Data'"),
        ({"name": "tiny\n"}, "name: expected small letters"),
        ({"members": {"codec": "zip"}}, "members.codec: found 'zip', expected 'npy', 'blosc-zst"),
        ({"recipe": "mine"}, "recipe: found 'mine', expected 'default' or 'mmearth-bench-2026'"),
        ({"tasks": {}}, "tasks: it is empty, expected one or more"),
        ({"tasks": [1]}, r"tasks: found \[1\], expected keys with values"),
        ({"tasks": {"soil_pH": {"points": {"path": "x", "lonn": 1}}}}, "points.lonn: .*'lon'.*lat"),
        ({"version": 1.0}, "version: found 1.0, expected text, in quotes"),
        ({"source": None}, "source: found nothing, expected keys with values"),
        ({"source": {"seed": 7}}, "source.kind: this key is missing, expected 'synthetic', 'fi"),
        (
            {"source": {"kind": "files", "root": ".", "rasters": {"eth_gch": [{"pth": 1}]}}},
            r"source\.rasters\.eth_gch\.0\.pth: unknown key \(did you mean 'path'\?\)",
        ),
        ({"modalities": ["landsat"]}, "modalities: 'landsat' is no modality, expected .*sentinel2"),
        ({"tasks": {"soil_ph": {"labels": {"count": 1}}}}, "tasks: 'soil_ph' is no task .*soil_pH"),
        ({"tasks": {"biomass": {}}}, "tasks.biomass: expected exactly one of labels, points, grid"),
        (
            {"tasks": {"biomass": {"labels": {"count": 0}}}},
            r"tasks\.biomass\.labels\.count: found 0, expected a number above 0",
        ),
        (
            {"source": {"kind": "moon"}},
            "source.kind: expected 'synthetic', 'files', 'earthengine', 'stac' or 'module:Class' "
            r"\(found 'moon'\)",
        ),
        (
            {"source": {"kind": "synthetic", "sede": 1}},
            r"source\.sede: .*did you mean 'seed'.* here: kind, seed",
        ),
        ({"modalities": ["biome"]}, "require names sentinel2, which modalities leaves out"),
        ({"shard_bytes": "many"}, "shard_bytes: found 'many', expected a whole number"),
        (
            {"tasks": {"soil_pH": {"grid": {"path": "a", "spacing_m": 9}}}},
            "soil_pH: a grid has no values",
        ),
        (
            {"tasks": {"species": {"grid": {"path": "a", "spacing_m": 9}}}},
            "species: a grid has no labels; give ranges:",
        ),
        (
            {"tasks": {"biomass": {"labels": {"count": 1}, "split": {"rule": "coin"}}}},
            r"tasks\.biomass\.split\.rule: expected one of published, default .found 'coin'",
        ),
    ],
)
def test_a_wrong_key_is_named(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        _load(tmp_path, **changed)
    assert str(caught.value).startswith(str(tmp_path / "c.yaml"))
    assert "\n" not in str(caught.value)


def test_all_wrong_keys_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"seed: .*found 'x'.*colour: unknown key"):
        _load(tmp_path, colour=1, seed="x")


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("name: tiny\n")
    with pytest.raises(ConfigError, match=r"title: this key is missing.*source: .*tasks: "):
        load_config(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no keys"),
        ("- a\n- b\n", "holds no keys"),
        ("name: [1, 2", "is not YAML"),
        ("name: tiny\n\ttitle: x", "is not YAML"),
    ],
)
def test_what_is_no_yaml_mapping_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_config(tmp_path / "c.yaml")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no configuration .*none\.yaml"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="there is no configuration"):
        load_config(tmp_path)
