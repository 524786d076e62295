"""croissant.json: the dataset in MLCommons' vocabulary, for search engines and data loaders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.files import sha256_file, write_atomic
from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.schema import manifest_path
from mmearth.catalog.tasks import TASKS

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
_TYPES = {
    pa.string(): "sc:Text",
    pa.bool_(): "sc:Boolean",
    pa.int16(): "sc:Integer",
    pa.int32(): "sc:Integer",
    pa.uint64(): "sc:Integer",
    pa.float64(): "sc:Float",
    pa.date32(): "sc:Date",
}


def build(root: Path, card: DatasetCard) -> Path:
    """Write croissant.json of a packed dataset.

    Raises:
        FormatError: A manifest is missing.
        StorageError: The disk is full.

    Source:
        Croissant format specification 1.0, MLCommons.
    """
    citations = [TASKS[task].citation for task in card.tasks]
    citations += sorted({MODALITIES[name].citation for name in card.modalities})
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": card.name,
        "description": card.description or card.title,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": card.licence,
        "version": card.version,
        "url": f"https://mmearth.invalid/datasets/{card.name}",
        "citeAs": "; ".join(citations),
        "distribution": [entry for task in card.tasks for entry in _files(root, task)],
        "recordSet": [_records(root, task) for task in card.tasks],
    }
    path = root / "croissant.json"
    write_atomic(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
    return path


def _files(root: Path, task: str) -> list[dict[str, Any]]:
    """Return the manifest of a task; its shards are listed there and in SHA256SUMS."""
    path = root / manifest_path(task)
    manifest = {
        "@type": "cr:FileObject",
        "@id": f"{task}-manifest",
        "name": f"{task}-manifest",
        "description": "One row a sample: split, place, labels, shard and byte ranges.",
        "contentUrl": manifest_path(task),
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": sha256_file(path),
    }
    return [manifest]


def _records(root: Path, task: str) -> dict[str, Any]:
    fields = []
    for column in pq.read_schema(root / manifest_path(task)):
        if column.type not in _TYPES:
            continue  # structs and geometry: Croissant 1.0 has no type for them
        identifier = f"{task}/{column.name}"
        fields.append(
            {
                "@type": "cr:Field",
                "@id": identifier,
                "name": column.name,
                "dataType": _TYPES[column.type],
                "source": {
                    "fileObject": {"@id": f"{task}-manifest"},
                    "extract": {"column": column.name},
                },
            }
        )
    return {
        "@type": "cr:RecordSet",
        "@id": task,
        "name": task,
        "description": TASKS[task].title,
        "key": {"@id": f"{task}/key"},
        "field": fields,
    }
