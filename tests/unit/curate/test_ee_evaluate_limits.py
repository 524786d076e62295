"""What lies at the edges: nothing to reduce, far places, broken expressions, exact bands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ee
import numpy as np
import pytest
from numpy.typing import NDArray

from mmearth.tests.earthengine.evaluate import Evaluate, charges
from mmearth.tests.earthengine.memory import Listed, Memory, raster
from mmearth.tests.earthengine.model import Band, Grid, Image, Pixels, ServiceError
from mmearth.tests.earthengine.offline import connected

UTM, DEGREES = "EPSG:32633", (0.001, 0.0, 15.0, 0.0, -0.001, 45.0)


def _columns(grid: Grid) -> Pixels:
    """Draw the number of the column, on whatever grid."""
    values = np.broadcast_to(np.arange(grid.width, dtype=np.float32), (grid.height, grid.width))
    return values, values != 1


_SLOPE = Band("slope", "float32", "EPSG:4326", DEGREES, _columns)
EXACT = Image((Band("e", "float32", "EPSG:4326", DEGREES, _columns, derived={"slope": _SLOPE}),))
GRID: dict[str, Any] = {
    "dimensions": {"width": 4, "height": 1},
    "affineTransform": {"scaleX": 10, "translateX": 500_000, "scaleY": -10, "translateY": 5e6},
    "crsCode": UTM,
}

_LAMBDA = {"argumentNames": [], "body": "0"}


@pytest.fixture(scope="module", autouse=True)
def _client() -> Iterator[None]:
    far = Image((raster("f", np.ones((2, 2), np.uint8)),))
    ramp = Image((raster("r", np.tile(np.arange(4, dtype=np.float32) * 10, (3, 1))),))
    images = {"EXACT": EXACT, "FAR": far, "RAMP": ramp}
    with connected(Memory(images, {"NONE": Listed([])})):
        yield


def _pixels(image: Any, **grid: Any) -> NDArray[Any]:
    asked = {"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": {**GRID, **grid}}
    found: NDArray[Any] = ee.data.computePixels(asked)
    return found


def test_what_needs_no_interpolation_stays_so_after_arithmetic() -> None:
    image = ee.Image("EXACT")
    doubled = image.updateMask(image.neq(3)).multiply(2).unmask(-1, False).resample("bilinear")
    assert _pixels(doubled)["e"].tolist() == [[0, -1, 4, -1]]


def test_a_slope_that_the_archive_knows_is_masked_with_its_elevation() -> None:
    image = ee.Image("EXACT")
    slope = ee.Terrain.slope(image.updateMask(image.neq(3)))
    both = image.addBands(slope).resample("bilinear").unmask(-1, False)
    assert _pixels(both).dtype.names == ("e", "slope")
    assert _pixels(both)["slope"].tolist() == [[0, -1, 2, -1]]


def test_painting_keeps_the_type_of_a_float() -> None:
    point = ee.Geometry.Point([500_025, 5e6 - 5], UTM)
    rows = ee.FeatureCollection([ee.Feature(point, {"v": 12.3})])
    found = _pixels(ee.Image.constant(-9999).toFloat().paint(rows, "v"))["constant"]
    assert found.dtype == np.float32
    assert found.tolist() == [[-9999, -9999, float(np.float32(12.3)), -9999]]


def test_a_mosaic_takes_a_projection_before_its_slope() -> None:
    ramp = ee.ImageCollection([ee.Image("RAMP"), ee.Image("RAMP")]).mosaic()
    assert ramp.projection().getInfo()["transform"] == [1, 0, 0, 0, 1, 0]
    own = ramp.setDefaultProjection(ee.Image("RAMP").projection())
    found = _pixels(ee.Terrain.slope(own))["slope"]
    # One row has no neighbours; of three rows the middle one rises 10 m a pixel of 10 m.
    assert found.tolist() == [[0, 0, 0, 0]]
    lower = {**GRID["affineTransform"], "translateY": 5e6 - 10}
    assert _pixels(ee.Terrain.slope(own), affineTransform=lower)["slope"].tolist() == [
        [0, 45, 45, 0]
    ]


def test_bands_are_reduced_at_each_pixel() -> None:
    three = ee.Image([1, 2, 6])
    assert _pixels(three.reduce(ee.Reducer.mean()))["mean"][0, 0] == 3
    assert _pixels(three.reduce(ee.Reducer.max()))["max"][0, 0] == 6
    with pytest.raises(ee.EEException, match="over a stack of pixels is not known here"):
        three.reduce(ee.Reducer.toList()).bandNames().getInfo()


def test_properties_are_copied_and_chosen() -> None:
    source = ee.Feature(None, {"a": 1, "b": 2, "system:time_start": 3})
    image = ee.Image(1).copyProperties(source).copyProperties(source, ["system:time_start"])
    assert image.toDictionary().getInfo() == {"a": 1, "b": 2}
    assert image.get("system:time_start").getInfo() == 3
    assert source.select(["b"], ["c"]).toDictionary().getInfo() == {"c": 2}
    assert source.set(ee.Dictionary({"a": 5})).get("a").getInfo() == 5


def test_an_image_of_nothing_has_no_bands() -> None:
    nothing = ee.ImageCollection("NONE").mean()
    assert nothing.bandNames().getInfo() == []
    square = ee.Geometry.Rectangle([0, 0, 10, 10], UTM, False)
    with pytest.raises(ee.EEException, match=r"Need 1 bands for Reducer\.mean, image has 0\."):
        nothing.reduceRegion(ee.Reducer.mean(), square, 10).getInfo()
    with pytest.raises(ee.EEException, match="Image has no bands"):
        _pixels(nothing)


def test_places_that_a_projection_does_not_reach_are_masked() -> None:
    elsewhere = {"scaleX": 1, "translateX": 15, "scaleY": -1, "translateY": 500}
    found = _pixels(ee.Image("FAR"), affineTransform=elsewhere, crsCode="EPSG:4326")
    assert found["f"].tolist() == [[0, 0, 0, 0]]


def test_a_reprojection_that_would_not_fit_is_refused() -> None:
    huge = ee.Image("FAR").reproject(UTM, [0.0001, 0, 0, 0, -0.0001, 0])
    with pytest.raises(ee.EEException, match="User memory limit exceeded"):
        _pixels(huge, dimensions={"width": 4, "height": 4})


def test_bad_reference_systems_and_geometries_are_refused() -> None:
    with pytest.raises(ee.EEException, match="CRS of a map projection could not be parsed"):
        ee.Geometry.Point([1, 2], "EPSG:999999").transform("EPSG:4326").getInfo()
    ring = ee.List([[0, 0], [1, 1]])
    with pytest.raises(ee.EEException, match="Invalid coordinates"):
        ee.Geometry.Polygon(ee.List([ring])).area().getInfo()


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({}, "needs 'result' and 'values'"),
        ({"result": "1", "values": {}}, "no value '1'"),
        ({"result": "0", "values": {"0": {}}}, "Unrecognized kind of value ''"),
        ({"result": "0", "values": {"0": {"argumentReference": "x"}}}, "'x' is not bound"),
        ({"result": "0", "values": {"0": {"functionDefinitionValue": _LAMBDA}}}, "be returned"),
    ],
)
def test_broken_expressions_are_refused(graph: dict[str, Any], message: str) -> None:
    with pytest.raises(ServiceError, match=message):
        Evaluate(Memory()).value(graph)


def test_expressions_too_deep_are_refused() -> None:
    node: dict[str, Any] = {"constantValue": 1}
    for _ in range(1000):
        given = {"left": node, "right": {"constantValue": 1}}
        node = {"functionInvocationValue": {"functionName": "Number.add", "arguments": given}}
    with pytest.raises(ServiceError, match="nested too deeply"):
        Evaluate(Memory()).value({"result": "0", "values": {"0": node}})


def test_a_profile_says_what_requests_cost() -> None:
    profiles = ee.ApiFunction.lookup("Profile.getProfiles").call(ids=["p1", "p2"])
    with charges.charging({"p1": 0.5}):
        lines = profiles.getInfo().splitlines()
    assert [float(line.split()[0]) for line in lines[1:]] == [0.5, 0.0]  # nobody asked for p2
