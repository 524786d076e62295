"""croissant.json: valid by MLCommons' library, which reads our manifests by it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from mmearth.catalog import croissant
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.validate import validate_croissant

# mlcroissant calls rdflib and pandas in ways that these deprecate.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _of(document: Any, kind: str) -> dict[str, Any]:
    return {e["@id"]: e for e in document["distribution"] if e["@type"] == f"cr:{kind}"}


def test_files_have_sizes_and_checksums(packed: Path, card: DatasetCard) -> None:
    files = _of(_read(croissant.build(packed, card)), "FileObject")
    shard = "shards/soil_pH/val-000000.tar"
    assert files[shard]["contentSize"] == "29 B"  # its own name, 29 letters
    assert files[shard]["sha256"] == hashlib.sha256(shard.encode()).hexdigest()
    manifest = (packed / "manifests" / "species.parquet").read_bytes()
    assert files["species-manifest"]["sha256"] == hashlib.sha256(manifest).hexdigest()
    assert len(files) == 3 + 6  # three manifests, six splits with samples


def test_known_checksums_are_not_computed_again(packed: Path, card: DatasetCard) -> None:
    shard = "shards/soil_pH/val-000000.tar"
    document = _read(croissant.build(packed, card, {shard: "cd" * 32}))
    assert _of(document, "FileObject")[shard]["sha256"] == "cd" * 32


def test_a_set_holds_one_member_of_all_shards_of_a_task(packed: Path, card: DatasetCard) -> None:
    document = _read(croissant.build(packed, card))
    sets = _of(document, "FileSet")
    assert {name for name in sets if name.startswith("soil_pH-")} == {
        *("soil_pH-sentinel2.npy", "soil_pH-aster_gdem.npy", "soil_pH-json")
    }
    members = sets["soil_pH-sentinel2.npy"]
    shards = [f"shards/soil_pH/{split}-000000.tar" for split in ("geographic_test", "train", "val")]
    assert [entry["@id"] for entry in members["containedIn"]] == shards
    assert members["includes"] == "*.sentinel2.npy"


def _fields(document: Any, records: str) -> dict[str, Any]:
    (found,) = (each for each in document["recordSet"] if each["@id"] == records)
    return {field["name"]: field for field in found["field"]}


def test_fields_follow_the_columns(packed: Path, card: DatasetCard) -> None:
    document = _read(croissant.build(packed, card))
    soil, species = _fields(document, "soil_pH"), _fields(document, "species")
    assert soil["target"]["dataType"] == ["sc:Float", "cr:Label"]
    assert soil["date"]["dataType"] == "sc:Date"
    assert soil["epsg"]["dataType"] == "sc:Integer"
    assert all(field["description"] for field in soil.values())
    assert species["species"]["arrayShape"] == "-1"
    assert species["species"]["dataType"] == ["sc:Text", "cr:Label"]
    assert "target" not in species
    biomass = _fields(document, "biomass")["biomass"]["subField"]
    labels = {field["name"] for field in biomass if "cr:Label" in field["dataType"]}
    assert labels == {"mean"}
    assert {field["name"] for field in biomass} > {"byte_offset", "byte_length", "sha256"}


def test_splits_places_and_dates_are_named(packed: Path, card: DatasetCard) -> None:
    document = _read(croissant.build(packed, card))
    (splits,) = (each for each in document["recordSet"] if each["@id"] == "splits")
    assert splits["dataType"] == "cr:Split"
    assert [row["splits/url"] for row in splits["data"]] == [
        *("cr:TrainingSplit", "cr:ValidationSplit", "cr:TestSplit", "cr:TestSplit")
    ]
    assert _fields(document, "soil_pH")["split"]["references"] == {"field": {"@id": "splits/name"}}
    assert document["temporalCoverage"] == "2020-06-19/2020-06-19"
    south, west, north, east = map(float, document["spatialCoverage"]["geo"]["box"].split())
    assert (-33.1 < south < -33.0 + 0.1) and (49.9 < north < 50.1)
    assert (west < -179.4) and (east > 179.4)


def test_arrays_say_their_type_and_shape(packed: Path, card: DatasetCard) -> None:
    array = _fields(_read(croissant.build(packed, card)), "soil_pH-sentinel2")["array"]
    assert array["dataType"] == ["sc:Text", "cr:UInt16"]
    assert (array["isArray"], array["arrayShape"]) == (True, "12,128,128")
    target = _fields(_read(croissant.build(packed, card)), "biomass-biomass")["array"]
    assert target["dataType"] == ["sc:Text", "cr:Float32", "cr:Label"]


def test_mlcroissant_finds_no_fault_and_reads_the_records(packed: Path, card: DatasetCard) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    path = croissant.build(packed, card)
    assert validate_croissant(packed).problems == ()
    dataset = mlcroissant.Dataset(jsonld=str(path))
    assert dataset.metadata.ctx.is_v1_1()
    rows = list(dataset.records("soil_pH"))
    assert rows[0]["soil_pH/sentinel2"]["soil_pH/sentinel2/byte_offset"] == 5120
    assert [row["soil_pH/split"] for row in rows] == [b"train", b"val", b"geographic_test"]
    assert [row["soil_pH/target"] for row in rows] == [6.5, 6.5, 6.5]
    (first, _) = dataset.records("species")
    assert list(first["species/species"]) == [b"Vulpes vulpes", b"Lepus capensis"]


def test_it_is_the_same_twice_and_names_every_licence(packed: Path, card: DatasetCard) -> None:
    path = croissant.build(packed, card)
    before = path.read_bytes()
    assert croissant.build(packed, card).read_bytes() == before
    document = json.loads(before)
    assert document["license"] == "CC0-1.0"
    assert document["version"] == "1.2.0"
    assert document["citeAs"].count("doi:10.5194/essd-16-4735-2024") == 1
