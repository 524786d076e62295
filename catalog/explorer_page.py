"""The explorer: a page that looks at a dataset in a browser, with nothing but files behind it.

Its sources are in `explorer/src`, JavaScript; `explorer/page` is what they are built into and what
is installed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mmearth.catalog.checksums import DATASET, read_dataset
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.explorer_runs import read_runs
from mmearth.catalog.files import write_atomic

FOLDER = "explorer"
"""Where the page is in a dataset. It is not published: no checksum covers it, nor its absence."""
_PAGE = Path(__file__).parent / FOLDER / "page"


def page_files(root: Path, config: dict[str, Any], results: Path | None) -> dict[str, bytes]:
    """Return the files of a page by name.

    Args:
        root: The dataset's directory.
        config: `data`, the dataset's URL as the page sees it; `path`, how Python opens it.
        results: The folder of a benchmark, or of one of its runs, to show errors of; None: none.

    Raises:
        ConfigError: The directory holds no complete dataset, or the results are of another one.
        FormatError: A file of the dataset or of the results is not ours.
    """
    document = read_dataset(root)
    files = {path.name: path.read_bytes() for path in sorted(_PAGE.iterdir())}
    files["explorer.json"] = _json(config)
    runs = {} if results is None else read_runs(root, str(document["dataset_hash"]), results)
    return {**files, "results.json": _json({"runs": []}), **runs}


def write_page(root: Path, out: Path | None, results: Path | None) -> Path:
    """Write a page and return its `index.html`.

    Args:
        root: The dataset's directory.
        out: Where to; None: `explorer/` in the dataset.
        results: As for `page_files`.

    Raises:
        ConfigError: `out` is the dataset itself; others as `page_files` says.
        StorageError: It cannot be written.
    """
    folder = root / FOLDER if out is None else out
    if (folder / DATASET).exists():
        raise ConfigError(
            f"{folder} is a dataset; expected a folder for the page: name another, or none for "
            f"{root / FOLDER}"
        )
    data = os.path.relpath(root.resolve(), folder.resolve())
    for name, content in page_files(root, {"data": f"{Path(data).as_posix()}/"}, results).items():
        write_atomic(folder / name, content)
    return folder / "index.html"


def _json(document: object) -> bytes:
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()
