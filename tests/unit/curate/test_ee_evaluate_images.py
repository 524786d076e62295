"""Images on a grid: bands, types, masks, composites, resampling; asked by the real client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ee
import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from mmearth.tests.earthengine.memory import Listed, Memory, Rows, raster
from mmearth.tests.earthengine.model import Feature, Image
from mmearth.tests.earthengine.offline import connected

EAST, NORTH = 500_000.0, 5_000_000.0
OUTLINE = shapely.box(14.9, 45.0, 15.1, 45.2)
COUNTS = np.array([[1, 2, 3], [4, 5, 6]], np.uint16)
SEEN = np.array([[1, 1, 0], [1, 0, 1]], np.bool_)
COARSE = (20.0, 0.0, EAST, 0.0, -20.0, NORTH)


def _image(*bands: Any, **properties: Any) -> Image:
    return Image(bands, {"system:index": "i", **properties}, OUTLINE)


PLAIN = _image(
    raster("a", COUNTS, valid=SEEN),
    raster("b", COUNTS * 10),
    raster("f", COUNTS.astype(np.float32) / 2),
    **{"system:time_start": 5, "kept": 7},
)
RAMP = _image(raster("r", np.array([[0, 100], [200, 300]], np.float32), transform=COARSE))
DEM = _image(raster("h", np.add.outer(np.arange(6) * 10.0, np.arange(6) * 10.0).astype(np.float32)))
DAYS = Listed(
    [
        _image(raster("c", np.array([[1, 2, 3]], np.uint8), valid=[[1, 1, 0]])),
        _image(raster("c", np.array([[1, 3, 4]], np.uint8), valid=[[1, 1, 0]])),
        _image(raster("c", np.array([[9, 9, 9]], np.uint8), valid=[[0, 1, 0]])),
    ]
)
SPOTS = Rows(
    [
        Feature(shapely.Point(15.0, 45.1), {"v": 1}),
        Feature(None, {"v": 2}),
    ]
)


@pytest.fixture(scope="module", autouse=True)
def _client() -> Iterator[None]:
    images = {"PLAIN": PLAIN, "RAMP": RAMP, "DEM": DEM}
    with connected(Memory(images, {"DAYS": DAYS}, {"SPOTS": SPOTS})):
        yield


def _grid(width: int = 3, height: int = 2, size: float = 10.0, **shift: float) -> dict[str, Any]:
    return {
        "dimensions": {"width": width, "height": height},
        "affineTransform": {
            "scaleX": size,
            "shearX": 0,
            "translateX": EAST + shift.get("east", 0),
            "shearY": 0,
            "scaleY": -size,
            "translateY": NORTH + shift.get("north", 0),
        },
        "crsCode": "EPSG:32633",
    }


def _pixels(image: Any, grid: dict[str, Any] | None = None) -> NDArray[Any]:
    asked = {"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid or _grid()}
    found: NDArray[Any] = ee.data.computePixels(asked)
    return found


def _plain(*names: str) -> Any:
    return ee.Image("PLAIN").select(list(names) or ["a"])


def test_each_band_has_its_own_type_and_what_is_masked_is_zero() -> None:
    found = _pixels(ee.Image("PLAIN"))
    assert found.dtype == np.dtype([("a", "<u2"), ("b", "<u2"), ("f", "<f4")])
    assert found["a"].tolist() == [[1, 2, 0], [4, 0, 6]]
    assert found["f"].tolist() == [[0.5, 1.0, 1.5], [2.0, 2.5, 3.0]]


def test_beyond_the_raster_all_is_masked() -> None:
    found = _pixels(_plain("b"), _grid(east=-10))
    assert found["b"].tolist() == [[0, 10, 20], [0, 40, 50]]


def test_bands_are_selected_by_name_index_and_pattern() -> None:
    image = ee.Image("PLAIN")
    assert image.select(["b", 0], ["x", "y"]).bandNames().getInfo() == ["x", "y"]
    assert image.select("[ab]").bandNames().getInfo() == ["a", "b"]
    assert image.select("a").addBands(image.select("a")).bandNames().getInfo() == ["a", "a_1"]
    both = image.addBands(ee.Image(9).rename("b"), None, True)
    assert _pixels(both.select(["b", "a"]))["b"].tolist() == [[9] * 3] * 2
    assert ee.Image.cat(ee.Image(1), ee.Image([2, 3])).bandNames().size().getInfo() == 3
    with pytest.raises(ee.EEException, match="Band pattern 'z' did not match any bands"):
        image.select("z").bandNames().getInfo()
    with pytest.raises(ee.EEException, match="number of names"):
        image.rename("a", "b").bandNames().getInfo()


@pytest.mark.parametrize(
    ("make", "values", "dtype"),
    [
        (lambda b, f: b.add(250), [[260, 270, 280], [290, 300, 310]], "<i4"),
        (lambda b, f: b.subtract(20), [[-10, 0, 10], [20, 30, 40]], "<i4"),
        (lambda b, f: b.toUint8().add(1), [[11, 21, 31], [41, 51, 61]], "<u2"),
        (lambda b, f: b.divide(20), [[0.5, 1.0, 1.5], [2.0, 2.5, 3.0]], "<f4"),
        (lambda b, f: b.divide(0), [[0.0] * 3] * 2, "<f4"),
        (lambda b, f: b.multiply(0.1).round(), [[1, 2, 3], [4, 5, 6]], "<f8"),
        (lambda b, f: b.gte(30), [[0, 0, 1], [1, 1, 1]], "|u1"),
        (lambda b, f: b.gt(10).And(b.lt(40)), [[0, 1, 1], [0, 0, 0]], "|u1"),
        (lambda b, f: b.eq(10).Or(b.neq(60)).Not(), [[0, 0, 0], [0, 0, 1]], "|u1"),
        (lambda b, f: f.round(), [[1, 1, 2], [2, 3, 3]], "<f4"),
        (lambda b, f: f.toUint8(), [[0, 1, 1], [2, 2, 3]], "|u1"),
        (lambda b, f: b.multiply(10).toByte(), [[100, 200, 255], [255] * 3], "|u1"),
        (lambda b, f: b.subtract(30).toUint16(), [[0, 0, 0], [10, 20, 30]], "<u2"),
        (lambda b, f: b.subtract(30).toInt16(), [[-20, -10, 0], [10, 20, 30]], "<i2"),
        (lambda b, f: b.toFloat(), [[10, 20, 30], [40, 50, 60]], "<f4"),
        (lambda b, f: b.cast({"b": "double"}), [[10, 20, 30], [40, 50, 60]], "<f8"),
        (lambda b, f: b.clamp(20, 40), [[20, 20, 30], [40, 40, 40]], "|u1"),
        (lambda b, f: b.max(35), [[35, 35, 35], [40, 50, 60]], "<u2"),
        (lambda b, f: f.add(b), [[10.5, 21, 31.5], [42, 52.5, 63]], "<f4"),
        (lambda b, f: b.where(b.gt(30), 1), [[10, 20, 30], [1, 1, 1]], "<u2"),
        (lambda b, f: b.where(b.gt(30), f), [[10, 20, 30], [2, 2.5, 3]], "<f4"),
        (lambda b, f: b.remap([10, 60], [1, 2], 7), [[1, 7, 7], [7, 7, 2]], "|u1"),
        (lambda b, f: b.remap([10, 60], [1, 2]), [[1, 0, 0], [0, 0, 2]], "|u1"),
        (lambda b, f: b.abs().mod(30), [[10, 20, 0], [10, 20, 0]], "<u2"),
    ],
)
def test_arithmetic(make: Any, values: Any, dtype: str) -> None:
    image = make(_plain("b"), _plain("f")).rename("x")
    found = _pixels(image)["x"]
    assert found.tolist() == values
    assert found.dtype == np.dtype(dtype)


def test_bands_meet_by_name_in_order_or_one_with_all() -> None:
    both = _plain("a", "b")
    one = _pixels(both.add(_plain("f").toUint8()))
    assert one["b"].tolist() == [[10, 21, 31], [42, 52, 63]]
    swapped = _pixels(both.subtract(_plain("b", "a")))
    assert not swapped["b"].any()
    ordered = _pixels(_plain("b", "f").subtract(_plain("a", "b").rename("x", "y")))
    assert ordered["b"][0].tolist() == [9, 18, 0]
    assert ordered["f"][0].tolist() == [-9.5, -19.0, -28.5]


def test_arithmetic_loses_the_timestamp_and_selection_does_not() -> None:
    image = ee.Image("PLAIN")
    assert image.select("a").get("kept").getInfo() == 7
    assert image.updateMask(1).unmask(0).get("system:time_start").getInfo() == 5
    assert image.add(1).get("system:time_start").getInfo() is None
    assert image.add(1).get("system:index").getInfo() == "i"


def _seen(image: Any, grid: dict[str, Any] | None = None) -> list[list[int]]:
    found: list[list[int]] = _pixels(image.mask().rename("m"), grid)["m"].astype(int).tolist()
    return found


def test_masks() -> None:
    a, b = _plain("a"), _plain("b")
    assert _seen(a) == [[1, 1, 0], [1, 0, 1]]
    assert _seen(a.add(b)) == [[1, 1, 0], [1, 0, 1]]
    assert _seen(b.updateMask(b.gt(20))) == [[0, 0, 1], [1, 1, 1]]
    assert _seen(a.updateMask(b.gt(20))) == [[0, 0, 0], [1, 0, 1]]
    assert _seen(a.gt(2).selfMask()) == [[0, 0, 0], [1, 0, 1]]
    assert _seen(a.mask(b.gt(20))) == [[0, 0, 1], [1, 1, 1]]
    assert _pixels(a.mask(ee.Image(1)))["a"].tolist() == [[1, 2, 0], [4, 0, 6]]
    assert _pixels(a.unmask(99))["a"].tolist() == [[1, 2, 99], [4, 99, 6]]
    assert _pixels(b.where(a.gt(2), 1))["b"].tolist() == [[10, 20, 30], [1, 50, 1]]


def test_unmasking_widens_the_type_and_stops_at_the_footprint() -> None:
    filled = _pixels(_plain("a").unmask(-9999))["a"]
    assert (filled.dtype, filled[0, 2]) == (np.dtype("<i4"), -9999)
    far = _grid(1, 1, east=20_000)  # 0.25° east of the middle: outside of 14.9° to 15.1°
    assert _seen(_plain("a").unmask(5), far) == [[0]]
    assert _seen(_plain("a").unmask(5, False), far) == [[1]]
    assert _seen(_plain("a").unmask(5), _grid(1, 1, east=2000)) == [[1]]


def test_clip_and_paint_go_by_the_centres_of_pixels() -> None:
    square = ee.Geometry.Rectangle(
        [EAST + 4, NORTH - 16, EAST + 16, NORTH], ee.Projection("EPSG:32633"), False
    )
    assert _seen(_plain("b").clip(square)) == [[1, 1, 0], [1, 1, 0]]
    rows = ee.FeatureCollection(
        [
            ee.Feature(square, {"v": 3}),
            ee.Feature(ee.Geometry.Point([EAST + 29, NORTH - 1], "EPSG:32633"), {"v": 500}),
            ee.Feature(square.buffer(-5), {"none": 3}),
        ]
    )
    painted = _pixels(ee.Image(0).toUint16().paint(rows, "v").rename("p"))["p"]
    assert painted.tolist() == [[3, 3, 500], [3, 3, 0]]
    masked = _pixels(_plain("a").updateMask(0).paint(rows, 8))
    assert not masked["a"].any()
    assert not _pixels(ee.Image(0).paint(ee.FeatureCollection("SPOTS"), "v"))["constant"].any()


def test_composites() -> None:
    days = ee.ImageCollection("DAYS")
    row = _grid(3, 1)
    assert _pixels(days.mosaic(), row)["c"].tolist() == [[1, 9, 0]]
    assert _pixels(days.mode(), row)["c"].tolist() == [[1, 2, 0]]
    assert _pixels(days.reduce(ee.Reducer.mode()), row)["c_mode"].tolist() == [[1, 2, 0]]
    assert _pixels(days.mean(), row)["c"].tolist() == [[1.0, 14 / 3, 0]]
    assert _pixels(days.sum(), row)["c"].tolist() == [[2, 14, 0]]
    assert _pixels(days.min(), row)["c"].tolist() == [[1, 2, 0]]
    assert _pixels(days.max(), row)["c"].tolist() == [[1, 9, 0]]
    assert _pixels(days.count(), row)["c"].tolist() == [[2, 3, 0]]
    assert _pixels(days.reduce(ee.Reducer.first()), row)["c_first"].tolist() == [[1, 2, 0]]
    assert days.limit(2).toBands().bandNames().getInfo() == ["i_c", "i_c"]
    assert _seen(days.mosaic(), row) == [[1, 1, 0]]
    mixed = days.merge(ee.ImageCollection([ee.Image("RAMP")]))
    with pytest.raises(ee.EEException, match="Expected a homogeneous image collection"):
        mixed.mosaic().bandNames().getInfo()


def test_bilinear_is_nearest_on_the_own_lattice_and_weighted_between() -> None:
    ramp = ee.Image("RAMP")
    own = _grid(2, 2, 20.0)
    assert _pixels(ramp.resample("bilinear"), own)["r"].tolist() == [[0, 100], [200, 300]]
    fine = _grid(2, 2, 10.0, east=10, north=-10)  # the four pixels about the middle
    assert _pixels(ramp, fine)["r"].tolist() == [[0, 100], [200, 300]]
    # Centres lie a quarter of a pixel from the nearest one's, e.g. 0.75·0.25·100 + 0.25·0.75·200
    # + 0.25·0.25·300 = 75.
    between = _pixels(ramp.resample("bilinear"), fine)["r"]
    assert between.tolist() == [[75.0, 125.0], [175.0, 225.0]]
    assert _seen(ramp.resample("bilinear"), _grid(2, 1, 10.0)) == [[0, 0]]
    computed = ramp.multiply(2).resample("bilinear")
    assert _pixels(computed, fine)["r"].tolist() == [[150.0, 250.0], [350.0, 450.0]]
    after = ramp.resample("bilinear").gte(100)
    assert _pixels(after, fine)["r"].tolist() == [[0, 1], [1, 1]]


def test_bicubic_keeps_a_plane() -> None:
    plane = ee.Image("DEM").resample("bicubic")
    found = _pixels(plane, _grid(1, 1, 5.0, east=20, north=-20))["h"]
    # 20 m and 20 m in, the centre of a 5 m pixel is 0.25 + 2 - 0.5 = 1.75 pixels from the first.
    assert found.tolist() == [[35.0]]


def test_reprojection_computes_on_the_coarser_lattice() -> None:
    coarse = _plain("b").reproject("EPSG:32633", list(COARSE))
    # The centre of a 20 m pixel is a corner of 10 m ones: the pixel to the lower right counts.
    assert _pixels(coarse, _grid(2, 2))["b"].tolist() == [[50, 50], [50, 50]]
    assert coarse.projection().nominalScale().getInfo() == 20
    assert _plain("b").projection().getInfo() == {
        "type": "Projection",
        "crs": "EPSG:32633",
        "transform": [10, 0, EAST, 0, -10, NORTH],
    }
    with pytest.raises(ee.EEException, match="contains different projections"):
        _plain("b").addBands(ee.Image("RAMP")).projection().getInfo()


def test_slope_needs_four_neighbours() -> None:
    slope = ee.Terrain.slope(ee.Image("DEM"))
    found = _pixels(slope, _grid(3, 3))["slope"]
    # 10 m a pixel of 10 m, eastwards and southwards: the gradient is √2.
    assert found[1, 1] == pytest.approx(np.degrees(np.arctan(np.sqrt(2.0))), abs=1e-5)
    assert _seen(slope, _grid(3, 3)) == [[0, 0, 0], [0, 1, 1], [0, 1, 1]]
    hole = ee.Image("DEM").updateMask(ee.Image("DEM").neq(30))
    assert _seen(ee.Terrain.slope(hole), _grid(5, 4))[1] == [0, 0, 0, 0, 1]


def test_geotiff_holds_the_bands_by_name() -> None:
    asked = {"expression": _plain("b", "f"), "fileFormat": "GEO_TIFF", "grid": _grid()}
    with MemoryFile(ee.data.computePixels(asked)) as memory, memory.open() as file:
        assert file.descriptions == ("b", "f")
        assert file.read(1).tolist() == (COUNTS * 10).tolist()
        assert file.dtypes == ("float32", "float32")
        assert file.transform.to_gdal() == (EAST, 10, 0, NORTH, 0, -10)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"grid": _grid(6000, 5000)}, "must be less than or equal to 50331648 bytes"),
        ({"grid": {"crsCode": "EPSG:32633"}}, "Invalid pixel grid: width must be given"),
        ({"fileFormat": "PNG"}, "Unsupported file format 'PNG'"),
    ],
)
def test_pixels_that_cannot_be_had(asked: dict[str, Any], message: str) -> None:
    whole = {"expression": _plain("b"), "fileFormat": "NPY", "grid": _grid()}
    with pytest.raises(ee.EEException, match=message):
        ee.data.computePixels({**whole, **asked})
