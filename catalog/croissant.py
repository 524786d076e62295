"""croissant.json: the dataset in MLCommons' vocabulary, for search engines and data loaders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmearth.catalog.card import DatasetCard, citations
from mmearth.catalog.catalogue import Catalogue, read_catalogue
from mmearth.catalog.croissant_records import records, splits
from mmearth.catalog.files import sha256_file, write_atomic
from mmearth.catalog.schema import manifest_path, read_table
from mmearth.catalog.task import Task

# The context that the Croissant specification 1.1 prescribes (docs.mlcommons.org/croissant).
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
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
        Croissant format specification 1.1, MLCommons.
    """
    catalogue = read_catalogue(root)
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": card.name,
        "description": card.description or card.title,
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "license": card.licence,
        "version": card.version,
        "url": "README.md",
        "keywords": ["earth observation", "multimodal", *card.tasks],
        "citeAs": "; ".join(citations(catalogue)),
        **_coverage(root, card),
        "distribution": [
            entry
            for task in card.tasks
            for entry in _files(root, catalogue, catalogue.task(task), sums or {})
        ],
        "recordSet": [
            splits(),
            *(
                entry
                for task in card.tasks
                for entry in records(root, catalogue, catalogue.task(task))
            ),
        ],
    }
    path = root / "croissant.json"
    write_atomic(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
    return path


def _coverage(root: Path, card: DatasetCard) -> dict[str, Any]:
    """Return where and when the samples are; nothing where there is none."""
    import pyarrow.compute as pc  # which a loader, that only wants a card, would wait for

    names = ["lon", "lat", "date"]
    parts = [read_table(root / manifest_path(task), names, root) for task in card.tasks]
    table = pa.concat_tables([part.select(names).replace_schema_metadata() for part in parts])
    if not table.num_rows:
        return {}
    (west, east), (south, north), days = (
        tuple(pc.min_max(table[name]).as_py().values()) for name in names
    )
    shape = {"@type": "GeoShape", "box": f"{south} {west} {north} {east}"}
    return {
        "temporalCoverage": "/".join(map(str, days)),
        "spatialCoverage": {"@type": "Place", "geo": shape},
    }


def _files(
    root: Path, catalogue: Catalogue, spec: Task, sums: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return a task's manifest, its shards, and the sets of the files in them: one a member."""
    task = spec.name
    table = read_table(root / manifest_path(task), ["shard"], root)
    shards = sorted(set(table["shard"].to_pylist()))
    about = "One row per sample: split, place, labels, shard and byte ranges."
    manifest = _file(root, manifest_path(task), f"{task}-manifest", _PARQUET, sums)
    entries = [manifest | {"description": about}]
    entries += [_file(root, shard, shard, "application/x-tar", sums) for shard in shards]
    codec, members = catalogue.codec, catalogue.members(spec) if shards else ()
    for suffix, media_type, about in (
        *((codec.member(each.name), codec.media_type, each.title) for each in members),
        *([("json", "application/json", "The rest of each sample.")] if shards else ()),
    ):
        entries.append(
            {
                "@type": "cr:FileSet",
                "@id": f"{task}-{suffix}",
                "name": f"{task}-{suffix}",
                "description": about,
                "containedIn": [{"@id": shard} for shard in shards],
                "encodingFormat": media_type,
                "includes": f"*.{suffix}",
            }
        )
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
