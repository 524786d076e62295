"""The dataset card: JSON and back, and a README that tells what the manifests hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmearth.catalog.card import DatasetCard, citations, write_readme
from mmearth.catalog.catalogue import Catalogue, read_catalogue
from mmearth.catalog.errors import FormatError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.schema import manifest_path, manifest_schema, write_table
from mmearth.packaging.build import build
from mmearth.tests.make_tiny import OWN, make_tiny


def _front_matter(text: str) -> Any:
    return yaml.safe_load(text.split("---\n")[1])


def _cells(text: str, first: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| `{first}` |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_card_survives_json(card: DatasetCard) -> None:
    assert DatasetCard.from_json(card.to_json()) == card
    assert DatasetCard.from_json({**card.to_json(), "added_later": 1}) == card


def test_a_card_without_a_field_is_refused(card: DatasetCard) -> None:
    document = card.to_json()
    del document["seed"]
    with pytest.raises(FormatError, match="no 'seed'"):
        DatasetCard.from_json(document)
    nothing: Any = []
    with pytest.raises(FormatError, match="holds no object; fetch it again, or build again"):
        DatasetCard.from_json(nothing)


def test_the_readme_counts_samples_by_split(packed: Path, card: DatasetCard) -> None:
    text = write_readme(packed, card).read_text(encoding="utf-8")
    columns = "task predicts unit train train_50 train_5 val random_test geographic_test".split()
    assert "| " + " | ".join(columns) in text
    assert _cells(text, "soil_pH")[3:9] == ["1", "1", "0", "1", "0", "1"]
    assert _cells(text, "species")[3:9] == ["1", "1", "0", "0", "1", "0"]
    assert _cells(text, "soil_pH")[9] == "CC-BY-NC-4.0"


def test_the_readme_tells_presence_and_stand_ins(packed: Path, card: DatasetCard) -> None:
    text = write_readme(packed, card).read_text(encoding="utf-8")
    assert _cells(text, "sentinel2")[2:5] == ["12 × 128 × 128", "uint16", "100.0 %"]
    assert _cells(text, "geolocation")[4] == "0.0 %"
    assert "- `aster_gdem`: Copernicus DEM" in text
    assert "`sentinel1`" not in text  # not a modality of this dataset


def test_the_front_matter_is_yaml_whatever_the_title(packed: Path, card: DatasetCard) -> None:
    known = _front_matter(write_readme(packed, card).read_text(encoding="utf-8"))
    assert known["pretty_name"] == 'A tiny "dataset": six samples'
    assert known["license"] == "cc0-1.0"
    assert known["size_categories"] == ["n<1K"]
    names = [entry["config_name"] for entry in known["configs"]]
    assert names[:3] == ["biomass", "biomass-50", "soil_pH"]
    files = [(each["split"], each["path"]) for each in known["configs"][2]["data_files"]]
    assert files == [
        ("train", "huggingface/soil_pH/train.parquet"),
        ("validation", "huggingface/soil_pH/val.parquet"),
        ("geographic_test", "huggingface/soil_pH/geographic_test.parquet"),
    ]
    assert all((packed / path).is_file() for _, path in files)
    other = replace(card, licence="LicenseRef-Mine")
    matter = _front_matter(write_readme(packed, other).read_text(encoding="utf-8"))
    assert (matter["license"], matter["license_name"]) == ("other", "licenseref-mine")


def test_the_example_names_a_shard_that_is_there(packed: Path, card: DatasetCard) -> None:
    catalogue = read_catalogue(packed)
    schema = manifest_schema(catalogue.tasks["biomass"], catalogue.layers.values())
    write_table(schema.empty_table(), packed / manifest_path("biomass"), schema)
    text = write_readme(packed, card).read_text(encoding="utf-8")
    assert 'wds.WebDataset("shards/soil_pH/train-000000.tar"' in text
    assert (packed / "shards/soil_pH/train-000000.tar").is_file()


def test_citations_are_listed_once_and_only_where_needed() -> None:
    found = citations(MMEARTH_BENCH.only(MMEARTH_BENCH.layers, ("soil_nitrogen", "soil_pH")))
    assert len(found) == len(set(found)) == 8  # one for both soils, seven for twelve modalities
    assert found[0].startswith("Batjes")
    assert not [text for text in found if "none" in text]


def test_the_readme_is_the_same_twice(packed: Path, card: DatasetCard) -> None:
    assert write_readme(packed, card).read_bytes() == write_readme(packed, card).read_bytes()


def test_words_of_people_keep_to_their_cells_and_lines(tmp_path: Path) -> None:
    height = OWN.tasks["yields"]
    task = replace(height, name="MY_SPLIT", title="What | grows,\nin t")
    task = replace(task, target=replace(task.target, name="MY_SPLIT", citation="A\n\nB"))
    catalogue = Catalogue(OWN.grid, OWN.layers, {task.name: task})
    root = tmp_path / "own"
    card = replace(make_tiny(root, 4, catalogue), title="One\ntitle")
    build(root, card)
    lines = write_readme(root, card).read_text(encoding="utf-8").splitlines()
    assert "# One title" in lines and "- A B" in lines
    row = next(line for line in lines if line.startswith("| `MY_SPLIT`"))
    assert row.startswith("| `MY_SPLIT` | What \\| grows, in t | 1 |")
    assert 'for sample in wds.WebDataset("shards/MY_SPLIT/train-000000.tar", shardshuffle' in str(
        lines
    )
