"""ESA's own folders of Sentinel-2, by the entry that docs/configuration.md shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rasterio.transform import Affine

from mmearth.tests.raster_files import TILE, middle, write_tif

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

DOCS = Path(__file__).resolve().parents[4] / "docs" / "configuration.md"
OLD = "S2A_MSIL2A_20190615T101031_N0212_R022_T33TVL_20190615T120000.SAFE"
NEW = "S2B_MSIL2A_20230615T101031_N0509_R022_T33TVL_20230615T120000.SAFE"


def documented() -> dict[str, Any]:
    """Return the entry that the page shows."""
    [text] = re.findall(
        r"```yaml\n(sentinel2:\n  - path: \"\*\.SAFE.*?)```", DOCS.read_text(), re.DOTALL
    )
    [entry] = yaml.safe_load(text)["sentinel2"]
    return dict(entry)


def test_the_entry_of_the_docs_spans_both_baselines(tmp_path: Path) -> None:
    for name, value in ((OLD, 700), (NEW, 1700)):
        for folder, band, step in (("R60m", "B01", 60), ("R10m", "B02", 10), ("R20m", "B05", 20)):
            images = tmp_path / name / "GRANULE" / "L2A_T33TVL" / "IMG_DATA" / folder
            images.mkdir(parents=True)
            n = 1440 // step
            write_tif(
                images / f"T33TVL_{name[11:26]}_{band}_{step}m.jp2",
                np.full((1, n, n), value, np.uint16),
                driver="JP2OpenJPEG",
                transform=Affine(step, 0.0, TILE.left - 60.0, 0.0, -step, TILE.top + 60.0),
                QUALITY=100,
                REVERSIBLE="YES",
            )
    for anchor in ("2019-06-14", "2023-06-20"):
        found = middle(tmp_path, "sentinel2", anchor=anchor, **documented())
        assert [found[0], found[1], found[4]] == [700, 700, 700]
