"""The report: results and traces in, one HTML file and one Markdown file out.

The same results give the same bytes: nothing here asks for the time, the host or chance.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from mmearth.benchmark.report.adaptation import deltas_section
from mmearth.benchmark.report.batchwise import (
    batches_section,
    reconstruction_section,
    steps_section,
)
from mmearth.benchmark.report.breakdown import labels_by_frequency_section, residuals_section
from mmearth.benchmark.report.cells import Scores, scores_of
from mmearth.benchmark.report.classes import classes_section
from mmearth.benchmark.report.completeness import completeness_section
from mmearth.benchmark.report.content import Document
from mmearth.benchmark.report.cost import canaries_section, cost_section
from mmearth.benchmark.report.helps import helps_section
from mmearth.benchmark.report.html import to_html
from mmearth.benchmark.report.markdown import to_markdown
from mmearth.benchmark.report.outputs import outputs_section
from mmearth.benchmark.report.performance import labels_section, ranks_section, scores_section
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.files import write_atomic

SECTIONS = (
    completeness_section,
    helps_section,
    scores_section,
    outputs_section,
    ranks_section,
    labels_section,
    deltas_section,
    batches_section,
    steps_section,
    reconstruction_section,
    residuals_section,
    labels_by_frequency_section,
    classes_section,
    cost_section,
    canaries_section,
)
"""In the order of the report; those of other kinds of task than the matrix has are None."""


def report(results: pa.Table, catalogue: Catalogue, runs: Path, out: Path) -> tuple[Path, Path]:
    """Write `report.html` and `report.md`, and return their paths.

    Args:
        results: Rows of RESULTS, in any order.
        catalogue: Of the dataset: what the tasks are.
        runs: Folder with a folder a run, named by its configuration's hash; may be empty, then
            the sections that need traces say so.
        out: Directory of the two files; it is made.

    Raises:
        ConfigError: There is no row, or one setting was run with two configurations.
        FormatError: A trace is not what its schema says.
        StorageError: The disk is full or the directory cannot be written.
    """
    document = compose(scores_of(results, catalogue, runs))
    pages = {"report.html": to_html(document), "report.md": to_markdown(document)}
    for name, page in pages.items():
        write_atomic(out / name, page.encode())
    return out / "report.html", out / "report.md"


def compose(scores: Scores) -> Document:
    """Return the report before it is written in any language."""
    rows = [run.row for run in scores.runs]
    said = {
        name: ", ".join(sorted({str(row[name])[:16] for row in rows}))
        for name in ("version", "dataset_hash", "device")
    }
    lead = (
        f"{len(scores.tasks)} tasks, {len(scores.encoders)} encoders, {len(scores.methods)} "
        f"methods, {len(rows)} runs. mmearth {said['version']}, dataset `{said['dataset_hash']}`, "
        f"device {said['device']}.",
        "All metrics are computed over the whole split, in the task's own unit. `random` is the "
        "random test split, `geographic` the one on another continent than all of train.",
    )
    sections = [section(scores) for section in SECTIONS]
    present = tuple(section for section in sections if section is not None)
    return Document("MMEarth benchmark report", lead, present)
