"""Geometries and what is reduced inside them, asked by the real client."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import ee
import numpy as np
import pytest
import shapely
from pyproj import Transformer

from mmearth.tests.earthengine.memory import Memory, raster
from mmearth.tests.earthengine.model import Image
from mmearth.tests.earthengine.offline import connected

EAST, NORTH = 500_000.0, 5_000_000.0
TRANSFORM = [10, 0, EAST, 0, -10, NORTH]
VALUES = np.arange(16, dtype=np.uint8).reshape(4, 4)
CLASSES = np.array([[1, 1, 2, 2], [1, 1, 2, 3], [1, 1, 2, 3], [1, 1, 2, 3]], np.uint8)
SEEN = np.ones((4, 4), np.bool_)
SEEN[0, 0] = False


@pytest.fixture(scope="module", autouse=True)
def _client() -> Iterator[None]:
    bands = (
        raster("v", VALUES),
        raster("m", VALUES, valid=SEEN),
        raster("none", VALUES, valid=np.zeros((4, 4))),
        raster("c", CLASSES),
    )
    plain = Image(bands, {"system:index": "p"}, shapely.box(14, 45, 16, 46))
    big = Image((raster("w", np.ones((400, 400), np.uint8)),), {}, None)
    with connected(Memory({"P": plain, "BIG": big})):
        yield


def _square(left: float, top: float, right: float, bottom: float) -> Any:
    """Return a square by metres east and south of the raster's corner."""
    corners = [EAST + left, NORTH - bottom, EAST + right, NORTH - top]
    return ee.Geometry.Rectangle(corners, "EPSG:32633", False)


def _degrees(x: float, y: float) -> list[float]:
    return list(Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True).transform(x, y))


def _reduce(band: str, reducer: Any, region: Any, **how: Any) -> Any:
    image = ee.Image("P").select(band.split(","))
    how = how or {"crs": "EPSG:32633", "crsTransform": TRANSFORM}
    return image.reduceRegion(reducer=reducer, geometry=region, **how).getInfo()


@pytest.mark.parametrize(
    "how",
    [
        {"crs": "EPSG:32633", "crsTransform": TRANSFORM},
        {"crs": "EPSG:32633", "scale": 10},
        {"scale": 10},
        {"maxPixels": 100},
    ],
)
def test_whole_pixels_weigh_one(how: dict[str, Any]) -> None:
    # Rows 1 and 2, columns 1 to 3: 5, 6, 7, 9, 10, 11.
    found = _reduce("v", ee.Reducer.mean(), _square(10, 10, 40, 30), **how)
    assert found == {"v": 8.0}
    assert _reduce("v", ee.Reducer.sum(), _square(10, 10, 40, 30), **how) == {"v": 48.0}


def test_parts_of_pixels_weigh_their_share_or_go_by_their_centre() -> None:
    # Half of pixel 0, all of pixel 1, a quarter of pixel 2.
    region = _square(5, 0, 22.5, 10)
    assert _reduce("v", ee.Reducer.mean(), region)["v"] == (1 + 0.25 * 2) / 1.75
    assert _reduce("v", ee.Reducer.sum(), region)["v"] == 1.5
    # The centre of pixel 0 lies on the edge, which counts on the left; that of pixel 2 outside.
    assert _reduce("v", ee.Reducer.count(), region) == {"v": 2}
    assert _reduce("v", ee.Reducer.toList(), region) == {"v": [0, 1]}
    assert _reduce("v", ee.Reducer.mean().unweighted(), region) == {"v": 0.5}
    # 0.4 % of pixel 3 is not in the region, 0.6 % is.
    assert _reduce("v", ee.Reducer.sum(), _square(20, 0, 30.04, 10)) == {"v": 2.0}
    assert _reduce("v", ee.Reducer.sum(), _square(20, 0, 30.06, 10))["v"] == pytest.approx(2.018)


def test_shares_under_a_slanted_edge_are_exact() -> None:
    corners = [[EAST, NORTH], [EAST + 40, NORTH], [EAST, NORTH - 40]]
    triangle = ee.Geometry.Polygon([corners], "EPSG:32633", False)
    # Below the diagonal from corner to corner: whole pixels with row + col < 3, half where it is 3.
    weight = np.array(
        [[1.0 if r + c < 3 else 0.5 * (r + c == 3) for c in range(4)] for r in range(4)]
    )
    expected = (VALUES * weight).sum() / weight.sum()
    assert _reduce("v", ee.Reducer.mean(), triangle)["v"] == pytest.approx(expected, abs=1e-9)


def test_what_is_masked_never_counts_and_nothing_is_null() -> None:
    region = _square(0, 0, 20, 10)
    assert _reduce("m", ee.Reducer.mean(), region) == {"m": 1.0}
    assert _reduce("none", ee.Reducer.mean(), region) == {"none": None}
    assert _reduce("none", ee.Reducer.count(), region) == {"none": 0}
    assert _reduce("none", ee.Reducer.first(), region) == {"none": None}
    null = ee.Image("P").select("none").reduceRegion(ee.Reducer.mean(), region, 10)
    assert null.get("none").getInfo() is None
    assert ee.Algorithms.If(null.get("none"), 1, "empty").getInfo() == "empty"


def test_fraction_of_a_tile() -> None:
    clear = ee.Image("P").select("m").gte(8).unmask(1)
    found = clear.reduceRegion(ee.Reducer.mean(), _square(0, 0, 40, 40), crs="EPSG:32633", scale=10)
    assert found.get("m").getInfo() == (8 + 1) / 16


def test_reducers() -> None:
    whole = _square(0, 0, 40, 40)
    assert _reduce("c", ee.Reducer.mode(), whole) == {"c": 1}
    assert _reduce("c", ee.Reducer.frequencyHistogram(), whole) == {"c": {"1": 8, "2": 5, "3": 3}}
    assert _reduce("c", ee.Reducer.min(), whole) == {"c": 1}
    assert _reduce("c", ee.Reducer.max(), whole) == {"c": 3}
    assert _reduce("c", ee.Reducer.countDistinct(), whole) == {"c": 3}
    assert _reduce("v", ee.Reducer.minMax(), whole) == {"v_max": 15, "v_min": 0}
    both = ee.Reducer.mean().combine(ee.Reducer.sum(), sharedInputs=True)
    assert _reduce("v", both, whole) == {"v_mean": 7.5, "v_sum": 120}
    assert _reduce("v,c", ee.Reducer.mean().repeat(2), whole) == {"mean": [7.5, 27 / 16]}
    top = _square(0, 0, 20, 10)
    assert _reduce("v,c", ee.Reducer.toList(2), top) == {"list": [[0, 1], [1, 1]]}
    assert list(_reduce("v,c", ee.Reducer.mean(), top)) == ["c", "v"]
    with pytest.raises(ee.EEException, match="reducer has 2 inputs, but the image has 1 bands"):
        _reduce("v", ee.Reducer.toList(2), top)


def test_too_many_pixels_are_refused_or_made_coarser() -> None:
    image, region = ee.Image("BIG"), _square(0, 0, 4000, 4000)
    with pytest.raises(ee.EEException, match=r"Found 160000, but maxPixels allows only 10000\."):
        image.reduceRegion(ee.Reducer.count(), region, 10, maxPixels=10_000).getInfo()
    coarse = image.reduceRegion(ee.Reducer.count(), region, 10, maxPixels=10_000, bestEffort=True)
    assert coarse.getInfo() == {"w": 100 * 100}
    with pytest.raises(ee.EEException, match="the image is unbounded"):
        image.reduceRegion(ee.Reducer.count(), scale=10).getInfo()


def test_regions_of_a_table() -> None:
    rows = ee.FeatureCollection(
        [ee.Feature(_square(0, 0, 20, 10), {"k": 1}), ee.Feature(_square(20, 0, 40, 10), {"k": 2})]
    )
    found = ee.Image("P").select("v").reduceRegions(rows, ee.Reducer.mean(), 10)
    table = found.reduceColumns(ee.Reducer.toList(2), ["k", "mean"]).getInfo()
    assert table == {"list": [[1, 0.5], [2, 2.5]]}


def test_a_circle_on_the_ground_is_as_wide_as_asked() -> None:
    circle = ee.Geometry.Point([15, 45]).buffer(640)
    assert circle.area().getInfo() == pytest.approx(math.pi * 640**2, rel=1e-3)
    degrees = [point[0] for point in circle.bounds().coordinates().getInfo()[0]]
    # A degree of longitude at 45° north is 78.85 km on the ellipsoid of WGS 84.
    assert (max(degrees) - min(degrees)) * 78_846.8 == pytest.approx(1280, rel=1e-3)
    inside = _reduce("v", ee.Reducer.count(), ee.Geometry.Point([15, 45]).buffer(5), scale=10)
    assert inside == {"v": 0}


def test_planes_and_degrees() -> None:
    square = _square(0, 0, 1280, 1280)
    assert square.area().getInfo() == 1280**2
    assert square.buffer(200).bounds(1, "EPSG:32633").area(1, "EPSG:32633").getInfo() == 1680**2
    centre = square.centroid().transform("EPSG:4326").coordinates().getInfo()
    assert centre == pytest.approx(_degrees(EAST + 640, NORTH - 640), abs=1e-9)
    assert square.contains(square.centroid()).getInfo()
    assert not square.intersects(_square(2000, 0, 3000, 10)).getInfo()
    assert square.getInfo()["type"] == "Polygon"
    assert square.type().getInfo() == "Polygon"
    half = square.intersection(_square(640, 0, 1280, 1280))
    assert half.area().getInfo() == 640 * 1280


def test_a_region_in_degrees_meets_pixels_in_metres() -> None:
    edges = shapely.box(EAST, NORTH - 40, EAST + 40, NORTH)
    ring = [_degrees(x, y) for x, y in edges.exterior.coords]
    found = _reduce("v", ee.Reducer.mean(), ee.Geometry.Polygon([ring]))
    assert found["v"] == pytest.approx(7.5, abs=1e-6)
