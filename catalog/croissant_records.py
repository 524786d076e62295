"""What croissant.json says of records: columns, byte ranges, labels, splits, and arrays."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.layer import Layer
from mmearth.catalog.schema import manifest_path, member_column
from mmearth.catalog.splits import SPLITS
from mmearth.catalog.task import Task

_LABEL = "cr:Label"
_TYPES = {
    pa.string(): "sc:Text",
    pa.bool_(): "sc:Boolean",
    **dict.fromkeys((pa.int8(), pa.int16(), pa.int32(), pa.int64()), "sc:Integer"),
    **dict.fromkeys((pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()), "sc:Integer"),
    pa.float64(): "sc:Float",
    pa.date32(): "sc:Date",
}
_KINDS = {"train": "cr:TrainingSplit", "val": "cr:ValidationSplit"}
"""Split → what Croissant calls it; all others are tests."""
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
_MEMBER = {
    "byte_offset": "Where its bytes begin in the shard; null where the sample has none",
    "byte_length": "How many they are",
    "sha256": "Of these bytes",
    "mean": "Over labelled pixels",
}
"""Fields of a struct of a manifest that lead to an array, or say something of a target."""
_OPERATORS = frozenset({"where", "parent"})
"""Words that mean something else in a JSONPath."""
_Entry = dict[str, Any]


def splits() -> _Entry:
    """Return the record set of all splits."""
    data = [
        {"splits/name": name, "splits/url": _KINDS.get(name, "cr:TestSplit")} for name in SPLITS
    ]
    fields = [
        {"@type": "cr:Field", "@id": f"splits/{name}", "name": name, "dataType": kind}
        for name, kind in (("name", "sc:Text"), ("url", "sc:URL"))
    ]
    about = "Parts of every task; geographic_test is ground of its own, away from train."
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "description": about,
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": fields,
        "data": data,
    }


def records(root: Path, catalogue: Catalogue, task: Task) -> list[_Entry]:
    """Return a task's record sets: its manifest, and one of each array of its samples.

    Raises:
        FormatError: The manifest is missing.
    """
    others = {each.column for each in catalogue.tasks.values()} - {task.column}
    about = _ABOUT | {
        layer.name: f"Class code: {layer.title} ({layer.description}); null where missing"
        for layer in catalogue.layers.values()
    }
    members = {member_column(layer): layer.title for layer in catalogue.members(task)}
    columns = pq.read_schema(root / manifest_path(task.name))
    fields = []
    for column in (each for each in columns if each.name not in others):  # those are null
        is_label = column.name == task.column
        label = f"{task.title}, {task.unit}" if is_label else ""
        if not pa.types.is_struct(column.type):
            field = _plain(task, column, label or about.get(column.name, ""), is_label)
        else:  # of what stands in a sample's JSON it says nothing
            said = label or members.get(column.name)
            field = _struct(task, column, said, is_label) if said else None
        fields += [field] if field else []
    whole = {
        "@type": "cr:RecordSet",
        "@id": task.name,
        "name": task.name,
        "description": task.title,
        "key": {"@id": f"{task.name}/key"},
        "field": fields,
    }
    arrays = [_array(catalogue, task, layer) for layer in catalogue.members(task)]
    return [whole, *(arrays if _has_rows(root, task) else ())]


def _has_rows(root: Path, task: Task) -> bool:
    return bool(pq.read_metadata(root / manifest_path(task.name)).num_rows)


def _field(identifier: str, about: str, kind: str, source: _Entry, is_label: bool) -> _Entry:
    return {
        "@type": "cr:Field",
        "@id": identifier,
        "name": identifier.rpartition("/")[2],
        "description": about,
        "dataType": [kind, _LABEL] if is_label else kind,
        "source": source,
    }


def _column(task: Task, name: str, **more: Any) -> _Entry:
    return {"fileObject": {"@id": f"{task.name}-manifest"}, "extract": {"column": name}, **more}


def _plain(task: Task, column: pa.Field, about: str, is_label: bool) -> _Entry | None:
    """Return the field of a column; None of one that Croissant has no type for."""
    is_list = pa.types.is_list(column.type)
    kind = _TYPES.get(column.type.value_type if is_list else column.type)
    if kind is None:
        return None
    identifier = f"{task.name}/{column.name}"
    field = _field(identifier, about, kind, _column(task, column.name), is_label)
    if column.name == "split":
        field["references"] = {"field": {"@id": "splits/name"}}
    return field | ({"repeated": True, "isArray": True, "arrayShape": "-1"} if is_list else {})


def _struct(task: Task, column: pa.Field, about: str, is_label: bool) -> _Entry:
    """Return the field of a struct: one of a layer or a target with pixels, or several numbers."""
    identifier = f"{task.name}/{column.name}"
    are_outputs = is_label and not task.is_pixel
    parts = [part for part in column.type if are_outputs or part.name in _MEMBER]
    inside = [
        _field(
            f"{identifier}/{name}",
            f"{part.name}, {task.unit}" if are_outputs else _MEMBER[part.name],
            _TYPES[part.type],
            _column(task, column.name, transform={"jsonPath": _json_path(part.name)}),
            are_outputs or (is_label and part.name == "mean"),
        )
        | {"name": part.name}
        for name, part in zip(_identifiers(part.name for part in parts), parts, strict=True)
    ]
    whole = {"@type": "cr:Field", "@id": identifier, "name": column.name, "description": about}
    return whole | {"subField": inside}


def _identifiers(names: Iterable[str]) -> list[str]:
    """Return names as ends of identifiers, each its own: one has no blanks and no punctuation."""
    found: dict[str, None] = {}
    for name in names:
        end = re.sub(r"\W+", "_", name)
        while end in found:
            end += "_"
        found[end] = None
    return list(found)


def _json_path(name: str) -> str:
    """Return where a value of that name is; a name that is no word is quoted."""
    if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) and name not in _OPERATORS:
        return name
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"$['{escaped}']"


def _array(catalogue: Catalogue, task: Task, layer: Layer) -> _Entry:
    """Return the record set of one member: of each sample that has it its key, split and bytes."""
    identifier = f"{task.name}-{layer.name}"
    suffix, shape = catalogue.codec.member(layer.name), catalogue.member_shape(layer.name)
    files = {"fileSet": {"@id": f"{task.name}-{suffix}"}}
    kind = f"cr:{layer.dtype.replace('u', 'U').replace('int', 'Int').replace('fl', 'Fl')}"
    how = "numpy.load(io.BytesIO(…)) reads it" if catalogue.codec.is_npy else "a Blosc buffer"
    key = _field(
        f"{identifier}/key",
        _ABOUT["key"],
        "sc:Text",
        files
        | {"extract": {"fileProperty": "filename"}}
        | {"transform": {"regex": rf"^(.*?)(?:\.{re.escape(suffix)})?$"}},
        False,
    )
    array = _field(
        f"{identifier}/array",
        f"{layer.title}: the bytes of an array of {layer.dtype}, {how}",
        "sc:Text",
        files | {"extract": {"fileProperty": "content"}},
        layer.name == task.name,
    )
    array["dataType"] = ["sc:Text", kind, *([_LABEL] if layer.name == task.name else [])]
    array |= {"isArray": True, "arrayShape": ",".join(map(str, shape))}
    split = _field(
        f"{identifier}/split",
        _ABOUT["split"],
        "sc:Text",
        _column(task, "split"),
        False,
    )
    return {
        "@type": "cr:RecordSet",
        "@id": identifier,
        "name": identifier,
        "description": f"{layer.title}, of each sample of {task.name} that has it",
        "key": {"@id": f"{identifier}/key"},
        "field": [key | {"references": _column(task, "key")}, split, array],
    }
