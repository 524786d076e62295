"""JSON documents of a dataset, which may come from a stranger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmearth.catalog.errors import FormatError
from mmearth.catalog.files import read_regular


def parse_json(data: bytes, name: str) -> Any:
    """Return a JSON document.

    Args:
        data: Its bytes.
        name: Of the file, for the sentence.

    Raises:
        FormatError: It is not JSON in UTF-8, or nested too deeply.
    """
    try:
        return json.loads(data)
    except ValueError as exc:
        raise FormatError(
            f"{name} is not JSON ({exc}); fetch it again, or run the build again"
        ) from exc
    except RecursionError as exc:
        raise FormatError(
            f"{name} is JSON that is nested too deeply to be ours; fetch it again, or run the "
            "build again"
        ) from exc


def read_json(path: Path, root: Path | None = None) -> Any:
    """Return the JSON document of a dataset's file.

    Args:
        path: The file.
        root: As for `check_regular`.

    Raises:
        FileNotFoundError, NotADirectoryError, StorageError: As `check_regular` says.
        FormatError: As `check_regular` and `parse_json` say, or it is too large.
    """
    return parse_json(read_regular(path, root), str(path))
