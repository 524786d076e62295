"""The dataset card: what a dataset says about itself, as a noun and as its README."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from mmearth.catalog.errors import FormatError
from mmearth.catalog.files import write_atomic
from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.schema import manifest_path, member_column, read_table
from mmearth.catalog.splits import SPLITS
from mmearth.catalog.tasks import TASKS


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
    """In the published order."""
    modalities: tuple[str, ...]
    """In the published order."""
    require: tuple[str, ...]
    """Modalities that every sample has."""
    shard_bytes: int
    """A shard was closed when it had grown beyond this."""

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
            FormatError: A field is missing.
        """
        try:
            values: dict[str, Any] = {name: document[name] for name in cls.__slots__}
        except KeyError as exc:
            raise FormatError(f"dataset.json has no {exc}; it is from another version") from exc
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def write_readme(root: Path, card: DatasetCard) -> Path:
    """Write the dataset's README from its manifests.

    Raises:
        FormatError: A manifest is missing.
    """
    path = root / "README.md"
    sections = [_front_matter(card), _head(card), _tasks(root, card), _modalities(root, card), _USE]
    write_atomic(path, "\n".join(sections).encode())
    return path


def _front_matter(card: DatasetCard) -> str:
    lines = [
        "---",
        f"pretty_name: {card.title}",
        f"license: {card.licence.lower()}",
        "tags: [earth-observation, remote-sensing, multimodal, webdataset, geoparquet, stac]",
        "configs:",
        *[f"- config_name: {task}\n  data_files: manifests/{task}.parquet" for task in card.tasks],
        "---",
        "",
    ]
    return "\n".join(lines)


def _head(card: DatasetCard) -> str:
    return (
        f"# {card.title}\n\n{card.description}\n\n"
        f"Version {card.version}, recipe `{card.recipe}`, seed {card.seed}, "
        f"source `{card.source}`, "
        f"configuration `{card.config_sha256[:12]}`.\n"
    )


def _tasks(root: Path, card: DatasetCard) -> str:
    rows = []
    for task in card.tasks:
        column = read_table(root / manifest_path(task), ["split"])["split"]
        counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(column).to_pylist()}
        spec = TASKS[task]
        numbers = [str(counts.get(split, 0)) for split in SPLITS]
        rows.append([f"`{task}`", spec.title, spec.unit, *numbers, spec.licence])
    sources = [f"- `{task}`: {TASKS[task].citation}" for task in card.tasks]
    header = ["task", "predicts", "unit", *SPLITS, "licence of the labels"]
    return "\n".join(["## Tasks and splits", "", _table(header, rows), "", *sources, ""])


def _modalities(root: Path, card: DatasetCard) -> str:
    rows, stand_ins = [], []
    for name in card.modalities:
        modality = MODALITIES[name]
        present, total, reasons = _presence(root, card, name)
        share = f"{100.0 * present / total:.1f} %" if total else "-"
        shape = " × ".join(str(n) for n in modality.shape)
        rows.append([f"`{name}`", modality.source, shape, modality.dtype, share, modality.licence])
        stand_ins += [f"- `{name}`: {reason}" for reason in reasons]
    header = ["modality", "product", "shape", "dtype", "present", "licence"]
    citations = sorted({MODALITIES[name].citation for name in card.modalities})
    parts = ["## Modalities", "", _table(header, rows), ""]
    if stand_ins:
        parts += ["Other products stand in for the modality's own:", "", *stand_ins, ""]
    return "\n".join([*parts, "Cite:", "", *[f"- {text}" for text in citations], ""])


def _presence(root: Path, card: DatasetCard, name: str) -> tuple[int, int, list[str]]:
    """Return samples with the modality, all samples, and why other products stand in."""
    present = total = 0
    reasons: set[str] = set()
    for task in card.tasks:
        column = member_column(name)
        members = read_table(root / manifest_path(task), [column])[column].combine_chunks()
        total += len(members)
        present += pc.sum(members.field("present")).as_py() or 0
        reasons |= set(pc.unique(members.field("stand_in").drop_null()).to_pylist())
    return present, total, sorted(reasons)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


_USE = """## Use it

Count, with nothing of ours installed:

```sh
duckdb -c "SELECT task, split, count(*) FROM 'manifests/*.parquet' GROUP BY ALL ORDER BY ALL"
```

Stream, with stock webdataset:

```python
import webdataset as wds

for sample in wds.WebDataset("shards/soil_pH/train-000000.tar", shardshuffle=False).decode():
    print(sample["__key__"], sample["json"]["target"])
```

Read one array without the rest of its shard: open the manifest's `shard`, seek to `byte_offset` of
a modality, read `byte_length` bytes, hand them to `numpy.load`.

Prove: `sha256sum -c SHA256SUMS`, or `mmearth packaging verify .`, which compares the tables too.
"""
