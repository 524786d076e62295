"""An evaluator that answers every question by rote: what is tried is the way, not the answer."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np


class Told:
    """An evaluator that always says the same."""

    def value(self, graph: Mapping[str, Any]) -> Any:
        """Return three."""
        return 3

    def pixels(self, graph: Mapping[str, Any], grid: Mapping[str, Any], file_format: str) -> bytes:
        """Return a tile of sevens."""
        array = np.full((128, 128), 7, dtype=[("a", "<u2")])
        stream = io.BytesIO()
        np.save(stream, array)
        return stream.getvalue()

    def features(
        self, graph: Mapping[str, Any], page_size: int, page_token: str | None
    ) -> dict[str, Any]:
        """Return two pages of one row."""
        row = {"type": "Feature", "geometry": None, "properties": {"page": page_token}}
        return {"features": [row], **({} if page_token else {"nextPageToken": "second"})}
