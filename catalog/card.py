"""The dataset card: what a dataset says about itself, as a noun and as its README."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from mmearth.catalog.anchor import anchor_date
from mmearth.catalog.catalogue import CATALOGUE, Catalogue, read_catalogue
from mmearth.catalog.errors import FormatError
from mmearth.catalog.files import write_atomic
from mmearth.catalog.layer import Layer
from mmearth.catalog.schema import manifest_path, member_column, read_table
from mmearth.catalog.splits import SPLITS

BY_SIZE = "by size"
"""STAC items are files in a small dataset, and in a table alone in a large one."""
NO_PRODUCT = "none"
"""`Layer.product` of what follows from the tile and the date alone: nobody to cite."""
_SUBSETS = ("train_50", "train_5")
_HUB_LICENCES = (
    *("apache-2.0", "cc0-1.0", "mit", "odbl", "other"),
    *("cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0"),
)
"""Identifiers that the Hub knows: https://huggingface.co/docs/hub/repositories-licenses."""
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1 << 62, "100K<n<1M"))
"""The Hub's words for a number of rows below a limit."""


def _whole(value: object) -> bool:
    return type(value) is int and abs(value) < 1 << 62


def _text(value: object) -> bool:
    """Say whether it is text that can be written: JSON may hold half a character."""
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def _names(value: object) -> bool:
    is_list = isinstance(value, list) and all(_text(each) for each in value)
    return is_list and len(set(value)) == len(value)  # type: ignore[arg-type,call-overload]


_Field = tuple[Callable[[Any], bool], str]
"""Whether a value of JSON may be in a field, and what is expected there."""
_TEXT: _Field = (_text, "text")
_FIELDS: dict[str, _Field] = {
    "seed": (_whole, "a whole number"),
    "shard_bytes": (_whole, "a whole number"),
    "stac_items": (lambda value: value in (BY_SIZE, "json", "parquet"), "json or parquet"),
    "tasks": (_names, "a list of names"),
    "modalities": (_names, "a list of names"),
    "require": (_names, "a list of names"),
}
"""By name; all others are text."""


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """What does not follow from the data itself."""

    name: str
    """Small letters, digits, dashes."""
    title: str
    """For people."""
    description: str
    """What is in it and what it is for."""
    version: str
    """Of the data."""
    licence: str
    """Of the dataset as a whole."""
    recipe: str
    """Which set of rules made it."""
    seed: int
    """Of the choice of places and of the splits."""
    config_sha256: str
    """Of the configuration, defaults included."""
    source: str
    """Name and version of the source."""
    tasks: tuple[str, ...]
    """Those of its catalogue, in their order."""
    modalities: tuple[str, ...]
    """The layers of its catalogue, in their order."""
    require: tuple[str, ...]
    """Modalities that every sample has."""
    shard_bytes: int
    """A shard was closed when it had grown beyond this."""
    stac_items: str = BY_SIZE
    """`json`: each sample's STAC item is a file, too; `parquet`: in the table alone."""

    def check(self, catalogue: Catalogue) -> None:
        """Refuse a card of another dataset than the catalogue's.

        Raises:
            FormatError: It names other tasks or modalities, or requires one that is not there.
        """
        for what, found, known in (
            ("tasks", self.tasks, tuple(catalogue.tasks)),
            ("modalities", self.modalities, tuple(catalogue.layers)),
        ):
            if found != known:
                raise FormatError(
                    f"dataset.json has the {what} {shorten(', '.join(found), 80)}, {CATALOGUE} has "
                    f"{shorten(', '.join(known), 80)}: one of them is of another dataset; fetch it "
                    "again"
                )
        lacking = [name for name in self.require if name not in catalogue.layers]
        if lacking:
            raise FormatError(
                f"dataset.json requires {lacking[0]}, which {CATALOGUE} has not; fetch it again"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the card as plain JSON."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> DatasetCard:
        """Return the card that `to_json` wrote.

        Raises:
            FormatError: It is no object, or a field is missing or not what it must be.
        """
        if not isinstance(document, dict):
            raise FormatError("dataset.json holds no object; fetch it again, or build again")
        plain: dict[str, Any] = {}
        for name in cls.__slots__:
            if name == "stac_items" and name not in document:
                continue  # a dataset of before items could be left out
            if name not in document:
                raise FormatError(f"dataset.json has no {name!r}; it is from another version")
            value, (is_right, expected) = document[name], _FIELDS.get(name, _TEXT)
            if not is_right(value):
                raise FormatError(
                    f"dataset.json: {name} is {shorten(repr(value), 60)}, expected {expected}; it "
                    "is damaged, or from another version"
                )
            plain[name] = tuple(value) if isinstance(value, list) else value
        return cls(**plain)


def citations(catalogue: Catalogue) -> list[str]:
    """Return how users must name a dataset's labels and modalities, each once, labels first."""
    texts = [task.target.citation for task in catalogue.tasks.values()]
    layers = catalogue.layers.values()
    texts += sorted(layer.citation for layer in layers if layer.product != NO_PRODUCT)
    return list(dict.fromkeys(texts))


def write_readme(root: Path, card: DatasetCard) -> Path:
    """Write the dataset's README, and the tables that it declares, from catalogue and manifests.

    Raises:
        FormatError: One of them is missing.
        StorageError: The disk is full.
    """
    from mmearth.catalog import huggingface  # pyarrow.compute, as below

    catalogue = read_catalogue(root)
    path = root / "README.md"
    counts = {task: _counts(root, task) for task in card.tasks}
    huggingface.write_tables(root, catalogue, counts)
    configs = huggingface.configs(counts)
    sections = [
        _front_matter(card, counts, configs),
        _head(card),
        _tasks(catalogue, counts),
        _modalities(root, card, catalogue),
        "\n".join(["## Cite", "", *[f"- {_line(text)}" for text in citations(catalogue)], ""]),
        _use(root, card, catalogue),
    ]
    write_atomic(path, "\n".join(sections).encode())
    return path


def _counts(root: Path, task: str) -> dict[str, int]:
    """Return samples by split and by train subset."""
    import pyarrow.compute as pc  # which a loader, that only wants a card, would wait for

    table = read_table(root / manifest_path(task), ["split", *_SUBSETS], root)
    counts = {split: pc.sum(pc.equal(table["split"], split)).as_py() or 0 for split in SPLITS}
    return counts | {subset: pc.sum(table[subset]).as_py() or 0 for subset in _SUBSETS}


def _front_matter(
    card: DatasetCard, counts: dict[str, dict[str, int]], configs: list[dict[str, Any]]
) -> str:
    """Return the card's metadata as Hugging Face reads it; JSON is safe YAML."""
    licence = card.licence.lower()
    known = licence in _HUB_LICENCES
    total = sum(number[split] for number in counts.values() for split in SPLITS)
    return "\n".join(
        [
            "---",
            f"pretty_name: {json.dumps(card.title, ensure_ascii=False)}",
            f"license: {licence if known else 'other'}",
            *([] if known else [f"license_name: {json.dumps(licence)}"]),
            f"size_categories: [{next(text for limit, text in _SIZES if total < limit)}]",
            "tags: [earth-observation, remote-sensing, multimodal, webdataset, geoparquet, stac]",
            "configs:",
            *[f"- {json.dumps(config)}" for config in configs],
            "---",
            "",
        ]
    )


def _head(card: DatasetCard) -> str:
    return (
        f"# {_line(card.title)}\n\n{card.description}\n\n"
        f"Version {card.version}, licence {card.licence}, recipe `{card.recipe}`, "
        f"seed {card.seed}, source `{card.source}`, configuration `{card.config_sha256[:12]}`.\n"
    )


def _tasks(catalogue: Catalogue, counts: dict[str, dict[str, int]]) -> str:
    columns = ("train", *_SUBSETS, *SPLITS[1:])
    rows = []
    for task, number in counts.items():
        spec = catalogue.task(task)
        numbers = [str(number[column]) for column in columns]
        rows.append([f"`{task}`", spec.title, spec.unit, *numbers, spec.target.licence])
    header = ["task", "predicts", "unit", *columns, "licence of the labels"]
    return "\n".join(["## Tasks and splits", "", _table(header, rows), "", _SPLITS, ""])


def _modalities(root: Path, card: DatasetCard, catalogue: Catalogue) -> str:
    rows, stand_ins = [], []
    for name, layer in catalogue.layers.items():
        present, total, reasons = _presence(root, card, layer)
        share = f"{100.0 * present / total:.1f} %" if total else "-"
        shape = " × ".join(str(n) for n in layer.shape)
        rows.append([f"`{name}`", layer.description, shape, layer.dtype, share, layer.licence])
        stand_ins += [f"- `{name}`: {_line(reason)}" for reason in reasons]
    header = ["modality", "product", "shape", "dtype", "present", "licence"]
    parts = ["## Modalities", "", _table(header, rows), "", _PRODUCTS, ""]
    images = catalogue.layers.get("sentinel2")
    n_images, n_samples, _ = _presence(root, card, images)
    if n_images < n_samples:
        parts += [_DATES.format(n=n_samples - n_images, all=n_samples), ""]
    if stand_ins:
        parts += ["Other products stand in for the modality's own:", "", *stand_ins, ""]
    return "\n".join(parts)


def _presence(root: Path, card: DatasetCard, layer: Layer | None) -> tuple[int, int, list[str]]:
    """Return samples with the layer, all samples, and why other products stand in."""
    import pyarrow.compute as pc

    present = total = 0
    reasons: set[str] = set()
    for task in card.tasks:
        if layer is None:
            total += read_table(root / manifest_path(task), ["key"], root).num_rows
            continue
        column = member_column(layer)
        table = read_table(root / manifest_path(task), [column], root)
        members = table[column].combine_chunks()
        total += len(members)
        present += pc.sum(members.field("present")).as_py() or 0
        reasons |= set(pc.unique(members.field("stand_in").drop_null()).to_pylist())
    return present, total, sorted(reasons)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    cells = ([_line(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def _line(text: str) -> str:
    """Return a text of people on one line, which a heading, an entry or a cell is."""
    return " ".join(text.split())


def _use(root: Path, card: DatasetCard, catalogue: Catalogue) -> str:
    shards = (
        read_table(root / manifest_path(task), ["shard"], root)["shard"] for task in card.tasks
    )
    first = next(
        (column[0].as_py() for column in shards if len(column)), "shards/TASK/train-000000.tar"
    )
    _, task, name = first.split("/")
    words = {"SHARD": first, "TASK": task, "SPLIT": name.rpartition("-")[0]}
    words["MEMBER"] = _NPY if catalogue.codec.is_npy else _BLOSC
    return re.sub("|".join(words), lambda found: words[found[0]], _USE)


_SPLITS = """\
`train_5` and `train_50` are parts of `train`, one inside the other. `geographic_test` is ground of
its own, kept away from training; `mmearth catalog audit .` measures how far."""

_PRODUCTS = """\
Products and licences, of labels too, are those of the task or modality as it is defined. Where the
values of this dataset came from stands in the manifests: `source_ids`, and `stand_in` where another
product is used. What is missing is missing: a sample has no member for it, its JSON says why."""

_NORTH, _SOUTH = anchor_date(None, 1.0), anchor_date(None, -1.0)
_DATES = f"""\
{{n}} of {{all}} samples have no Sentinel-2 image, whose day would be their date. It is the middle
day of what their label or the configuration asked for (`date` of `tiles.parquet`) or, where that
is nothing, of the leaf season: {_NORTH}, south of the equator {_SOUTH}."""

_NPY = "hand them to `numpy.load`"
_BLOSC = """they are
`numpy.frombuffer(numcodecs.blosc.decompress(member), dtype).reshape(shape)`: `dtype` as
`catalogue.json` says, `shape` bands, rows and columns, of a target rows and columns. For stock
webdataset `from mmearth.loaders.webdataset import compact` brings what its `decode` takes:
`compact(mmearth.open(".").catalogue)`"""
_USE = """## Use it

Count, with nothing of ours installed:

```sh
duckdb -c "SELECT task, split, count(*) FROM 'manifests/*.parquet' GROUP BY ALL ORDER BY ALL"
```

Stream, with stock webdataset:

```python
import webdataset as wds

for sample in wds.WebDataset("SHARD", shardshuffle=False).decode():
    print(sample["__key__"], sorted(sample))
```

Load, with Hugging Face's `datasets`. The configurations are the tasks, their splits `train`,
`validation`, `random_test` and `geographic_test`; `TASK-50` and `TASK-5` have a part of `train`:

```python
import json
import os

import fsspec
from datasets import Features, load_dataset

root = os.getcwd()  # they take no "."; on the hub "hf://datasets/ORGANISATION/NAME"
table = load_dataset(root, "TASK")  # on the hub load_dataset("ORGANISATION/NAME", "TASK")

with fsspec.open(f"{root}/huggingface/TASK/shards.json") as file:
    features = Features.from_dict(json.load(file))
files = {"SPLIT": f"{root}/shards/TASK/SPLIT-*.tar"}
samples = load_dataset("webdataset", data_files=files, features=features, streaming=True)
```

Read one array without the rest of its shard: open the manifest's `shard`, seek to `byte_offset` of
a modality, read `byte_length` bytes, MEMBER.

Browse: `stac/catalog.json`, or all its items as one table, `stac/items.parquet`.

Prove: `sha256sum -c SHA256SUMS`, or `mmearth packaging verify .`, which compares the tables too.
"""
