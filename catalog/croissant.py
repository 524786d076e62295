"""croissant.json: the dataset in MLCommons' vocabulary, for search engines and data loaders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmearth.catalog.card import DatasetCard, citations
from mmearth.catalog.catalogue import Catalogue, read_catalogue
from mmearth.catalog.codec import Codec
from mmearth.catalog.files import sha256_file, write_atomic
from mmearth.catalog.schema import manifest_path, read_table
from mmearth.catalog.task import Task

# The context that the Croissant specification 1.0 prescribes (docs.mlcommons.org/croissant).
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_PARQUET = "application/x-parquet"
_TYPES = {
    pa.string(): "sc:Text",
    pa.bool_(): "sc:Boolean",
    **dict.fromkeys((pa.int8(), pa.int16(), pa.int32()), "sc:Integer"),
    **dict.fromkeys((pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()), "sc:Integer"),
    pa.float64(): "sc:Float",
    pa.date32(): "sc:Date",
}


_ABOUT = {
    "key": "Name of the sample: tile and anchor date",
    "task": "What is predicted",
    "split": "train, val, random_test or geographic_test",
    "train_5": "Whether it is among the 5 % of train",
    "train_50": "Whether it is among the 50 % of train",
    "hilbert": "Order within a split: place along a Hilbert curve, then the key",
    "tile": "EPSG code, left and top edge in metres",
    "epsg": "Code of the tile's UTM zone",
    "left": "Western edge, m",
    "top": "Northern edge, m",
    "lon": "Longitude of the centre, degrees",
    "lat": "Latitude of the centre, degrees",
    "cell": "The cell of about 100 km that holds the centre",
    "date": "Anchor date",
    "label_id": "The label's identifier at its source",
    "shard": "Path of the shard, relative to the dataset's root",
}


def build(root: Path, card: DatasetCard, sums: Mapping[str, str] | None = None) -> Path:
    """Write croissant.json of a packed dataset.

    Args:
        root: The dataset's directory.
        card: What the dataset says about itself.
        sums: Checksums of shards by relative path, where they are known; the rest are read.

    Raises:
        FormatError: A manifest is missing.
        StorageError: The disk is full.

    Source:
        Croissant format specification 1.0, MLCommons.
    """
    catalogue = read_catalogue(root)
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": card.name,
        "description": card.description or card.title,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": card.licence,
        "version": card.version,
        "url": "README.md",
        "keywords": ["earth observation", "multimodal", *card.tasks],
        "citeAs": "; ".join(citations(catalogue)),
        "distribution": [
            entry
            for task in card.tasks
            for entry in _files(root, task, catalogue.codec, sums or {})
        ],
        "recordSet": [_records(root, catalogue, catalogue.task(task)) for task in card.tasks],
    }
    path = root / "croissant.json"
    write_atomic(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
    return path


def _files(root: Path, task: str, codec: Codec, sums: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return a task's manifest, its shards, and the set of the files in them."""
    table = read_table(root / manifest_path(task), ["shard"], root)
    shards = sorted(set(table["shard"].to_pylist()))
    about = "One row per sample: split, place, labels, shard and byte ranges."
    manifest = _file(root, manifest_path(task), f"{task}-manifest", _PARQUET, sums)
    entries = [manifest | {"description": about}]
    entries += [_file(root, shard, shard, "application/x-tar", sums) for shard in shards]
    if shards:
        members = {
            "@type": "cr:FileSet",
            "@id": f"{task}-members",
            "name": f"{task}-members",
            "description": "One array per layer and the rest of a sample (JSON).",
            "containedIn": [{"@id": shard} for shard in shards],
            "encodingFormat": [codec.media_type, "application/json"],
            "includes": [f"*.{codec.suffix}", "*.json"],
        }
        entries.append(members)
    return entries


def _file(
    root: Path, name: str, identifier: str, media_type: str, sums: Mapping[str, str]
) -> dict[str, Any]:
    path = root / name
    return {
        "@type": "cr:FileObject",
        "@id": identifier,
        "name": identifier,
        "contentUrl": name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": media_type,
        "sha256": sums.get(name) or sha256_file(path),
    }


def _records(root: Path, catalogue: Catalogue, spec: Task) -> dict[str, Any]:
    task, fields = spec.name, []
    about = _ABOUT | {
        layer.name: f"Class code: {layer.title} ({layer.description}); null where missing"
        for layer in catalogue.layers.values()
    }
    for column in pq.read_schema(root / manifest_path(task)):
        repeated = pa.types.is_list(column.type)
        data_type = _TYPES.get(column.type.value_type if repeated else column.type)
        if data_type is None:
            continue  # structs and geometry: Croissant 1.0 has no type for them
        field = {
            "@type": "cr:Field",
            "@id": f"{task}/{column.name}",
            "name": column.name,
            "description": about.get(column.name, f"{spec.title}, {spec.unit}"),
            "dataType": data_type,
            "source": {
                "fileObject": {"@id": f"{task}-manifest"},
                "extract": {"column": column.name},
            },
        }
        fields.append(field | ({"repeated": True} if repeated else {}))
    return {
        "@type": "cr:RecordSet",
        "@id": task,
        "name": task,
        "description": spec.title,
        "key": {"@id": f"{task}/key"},
        "field": fields,
    }
