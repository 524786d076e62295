"""Filters, order, maps, joins, tables: asked by the real client of a handful of images."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import ee
import numpy as np
import pytest
import shapely

from mmearth.tests.earthengine.memory import Listed, Memory, Rows, raster
from mmearth.tests.earthengine.model import Feature, Image
from mmearth.tests.earthengine.offline import connected

DAYS = ("2020-01-31", "2020-02-01", "2020-02-10", "2020-02-29", "2020-03-01")


def _millis(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000


def _scene(number: int, **properties: Any) -> Image:
    """Scene n lies from n° to n + 2° east, 0° to 1° north, and is n everywhere."""
    about = {
        "system:index": f"s{number}",
        "system:id": f"A/S/s{number}",
        "system:time_start": _millis(DAYS[number]),
        "system:version": 1_600_000_000_000_000 + number,
        **properties,
    }
    band = raster("b", np.full((4, 4), number, np.uint8))
    return Image((band,), about, shapely.box(number, 0, number + 2, 1))


SCENES = Listed(
    [
        _scene(0, cloud=5.0, orbit="ASC"),
        _scene(1, cloud=1.0, orbit="DESC"),
        _scene(2, orbit="ASC"),
        _scene(3, cloud=1.0, orbit="DESC"),
        _scene(4, cloud=0.5, orbit="ASC"),
    ]
)
TABLE = Rows(
    [
        Feature(shapely.Point(i, 0.5), {"name": f"p{i}", "value": i * 1.5, "even": i % 2 == 0})
        for i in range(7)
    ]
)


@pytest.fixture(autouse=True)
def _client() -> Iterator[None]:
    SCENES.asked.clear()
    TABLE.asked.clear()
    with connected(Memory({}, {"A/S": SCENES}, {"A/T": TABLE})):
        yield


def _scenes() -> Any:
    return ee.ImageCollection("A/S")


def _ids(collection: Any) -> list[str]:
    found: list[str] = collection.aggregate_array("system:index").getInfo()
    return found


def test_the_end_of_a_date_filter_is_excluded_and_the_archive_gets_the_times() -> None:
    assert _ids(_scenes().filterDate("2020-02-01", "2020-03-01")) == ["s1", "s2", "s3"]
    assert SCENES.asked == [(None, ((_millis("2020-02-01"), _millis("2020-03-01")),))]


def test_dates_in_an_or_become_several_times() -> None:
    either = ee.Filter.Or(
        ee.Filter.date("2020-03-01", "2020-03-02"), ee.Filter.date("2020-01-01", "2020-02-01")
    )
    assert _ids(_scenes().filter(either)) == ["s0", "s4"]
    assert SCENES.asked[0][1] == (
        (_millis("2020-01-01"), _millis("2020-02-01")),
        (_millis("2020-03-01"), _millis("2020-03-02")),
    )


def test_filters_one_after_the_other_meet() -> None:
    both = _scenes().filterDate("2020-02-01", "2020-04-01").filterDate("2019-01-01", "2020-02-29")
    assert _ids(both) == ["s1", "s2"]
    assert SCENES.asked[0][1] == ((_millis("2020-02-01"), _millis("2020-02-29")),)
    assert _ids(_scenes().filterDate("2020-02-01", "2020-02-01T00:00:00.001")) == ["s1"]
    assert _ids(both.filterDate("2021-01-01", "2022-01-01")) == []


def test_places() -> None:
    point = ee.Geometry.Point([2.5, 0.5])
    assert _ids(_scenes().filterBounds(point)) == ["s1", "s2"]
    assert SCENES.asked[0][0] == shapely.Point(2.5, 0.5)
    square = ee.Geometry.Rectangle([2.1, 0.4, 2.9, 0.6], None, False)
    wide = ee.Geometry.Rectangle([1.5, 0.4, 2.9, 0.6], None, False)
    contains = ee.Filter.contains(leftField=".geo", rightValue=square)
    assert _ids(_scenes().filter(contains)) == ["s1", "s2"]
    assert _ids(_scenes().filter(ee.Filter.contains(".geo", wide))) == ["s1"]
    assert _ids(_scenes().filterBounds(point).filter(contains.Not())) == []


def test_a_square_in_metres_is_held_against_footprints_in_degrees() -> None:
    # 500 km in zone 33 is 15° east, 0 m is the equator, 1° is 110.6 km.
    inside = ee.Geometry.Rectangle([500_100, 1000, 501_380, 2280], "EPSG:32633", False)
    across = ee.Geometry.Rectangle([499_000, 1000, 500_280, 2280], "EPSG:32633", False)
    east = ee.Feature(ee.Geometry.Rectangle([15, 0, 16, 1], None, False), {"k": 1})
    rows = ee.FeatureCollection([east])
    assert rows.filter(ee.Filter.contains(".geo", inside)).size().getInfo() == 1
    assert rows.filter(ee.Filter.contains(".geo", across)).size().getInfo() == 0
    assert rows.filterBounds(across).size().getInfo() == 1


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        (lambda: ee.Filter.lt("cloud", 5), ["s1", "s3", "s4"]),
        # The client sends lte as not(gt), gte as not(lt): what is missing passes those.
        (lambda: ee.Filter.lte("cloud", 1), ["s1", "s2", "s3", "s4"]),
        (lambda: ee.Filter.gt("cloud", 0.5), ["s0", "s1", "s3"]),
        (lambda: ee.Filter.gte("cloud", 5), ["s0", "s2"]),
        (lambda: ee.Filter.greaterThanOrEquals("cloud", 5), ["s0"]),
        (lambda: ee.Filter.eq("orbit", "ASC"), ["s0", "s2", "s4"]),
        (lambda: ee.Filter.neq("cloud", 1), ["s0", "s2", "s4"]),
        (lambda: ee.Filter.notNull(["cloud"]), ["s0", "s1", "s3", "s4"]),
        (lambda: ee.Filter.inList("system:index", ["s3", "s0"]), ["s0", "s3"]),
        (lambda: ee.Filter.rangeContains("cloud", 0.5, 1), ["s1", "s3", "s4"]),
        (lambda: ee.Filter.dayOfYear(32, 41), ["s1", "s2"]),
        (lambda: ee.Filter.calendarRange(3, 1, "month"), ["s0", "s4"]),
        (lambda: ee.Filter.eq("cloud", "5"), []),
        (lambda: ee.Filter.gt("nothing", 0), []),
        (lambda: ee.Filter.stringContains("orbit", "ES"), ["s1", "s3"]),
        (lambda: ee.Filter.And(ee.Filter.eq("orbit", "DESC"), ee.Filter.gt("cloud", 2)), []),
        (lambda: ee.Filter.Or(ee.Filter.eq("cloud", 5), ee.Filter.eq("cloud", 0.5)), ["s0", "s4"]),
    ],
)
def test_properties(condition: Any, ids: list[str]) -> None:
    assert _ids(_scenes().filter(condition())) == ids


def test_order_is_stable_and_what_is_missing_comes_last() -> None:
    assert _ids(_scenes().sort("cloud")) == ["s4", "s1", "s3", "s0", "s2"]
    assert _ids(_scenes().sort("cloud", False)) == ["s0", "s1", "s3", "s4", "s2"]
    assert _ids(_scenes().limit(2, "cloud")) == ["s4", "s1"]
    assert _ids(_scenes().limit(2)) == ["s0", "s1"]


def test_first_and_size_of_nothing() -> None:
    nothing = _scenes().filter(ee.Filter.eq("orbit", "up"))
    assert nothing.size().getInfo() == 0
    assert nothing.first().getInfo() is None
    with pytest.raises(ee.EEException, match="required and may not be null"):
        nothing.first().select("b").getInfo()


def test_maps_are_lazy_and_name_the_element_that_failed() -> None:
    fails = _scenes().map(lambda image: image.set("x", image.getNumber("cloud").add(1)))
    assert fails.first().get("x").getInfo() == 6
    with pytest.raises(ee.EEException, match=r"Error in map\(ID=s2\)"):
        fails.aggregate_array("x").getInfo()


def test_properties_of_elements() -> None:
    image = ee.Image(_scenes().first()).set({"mine": 1, "none": None})
    assert image.id().getInfo() == "s0"
    assert image.get("system:version").getInfo() == 1_600_000_000_000_000
    assert image.date().format("YYYY-MM-dd").getInfo() == "2020-01-31"
    assert image.toDictionary(["cloud", "system:index"]).getInfo() == {
        "cloud": 5.0,
        "system:index": "s0",
    }
    assert set(image.toDictionary().getInfo()) == {"cloud", "orbit", "mine", "none"}
    assert image.get("nothing").getInfo() is None
    assert "mine" in image.propertyNames().getInfo()
    described = image.getInfo()
    assert (described["type"], described["id"]) == ("Image", "A/S/s0")
    assert described["bands"][0]["data_type"] == {
        "type": "PixelType",
        "precision": "int",
        "min": 0,
        "max": 255,
    }


def test_joins() -> None:
    clouds = ee.FeatureCollection(
        [
            ee.Feature(None, {"key": "s1", "p": 9, "n": 1}),
            ee.Feature(None, {"key": "s1", "p": 4, "n": 2}),
            ee.Feature(None, {"key": "s3", "p": 7, "n": 3}),
        ]
    )
    same = ee.Filter.equals(leftField="system:index", rightField="key")
    first = ee.ImageCollection(ee.Join.saveFirst("match").apply(_scenes(), clouds, same))
    found = first.map(lambda image: image.set("p", ee.Feature(image.get("match")).get("p")))
    assert found.aggregate_array("p").getInfo() == [9, 7]
    ordered = ee.Join.saveFirst("match", "p").apply(_scenes(), clouds, same)
    assert ee.Feature(ee.Image(ordered.first()).get("match")).get("n").getInfo() == 2
    outer = ee.Join.saveAll("all", outer=True).apply(_scenes(), clouds, same)
    counts = outer.toList(9).map(lambda image: ee.List(ee.Image(image).get("all")).size())
    assert counts.getInfo() == [0, 2, 0, 1, 0]
    inner = ee.Join.inner().apply(_scenes(), clouds, same)
    pairs = inner.map(
        lambda row: row.set("n", ee.Feature(row.get("secondary")).get("n")).set(
            "i", ee.Image(row.get("primary")).id()
        )
    )
    assert pairs.reduceColumns(ee.Reducer.toList(2), ["i", "n"]).getInfo() == {
        "list": [["s1", 1], ["s1", 2], ["s3", 3]]
    }
    assert _ids(ee.Join.simple().apply(_scenes(), clouds, same)) == ["s1", "s3"]
    assert _ids(ee.Join.inverted().apply(_scenes(), clouds, same)) == ["s0", "s2", "s4"]


def test_the_best_match_is_the_nearest_in_time() -> None:
    near = ee.Filter.maxDifference(
        difference=20 * 86_400_000, leftField="t", rightField="system:time_start"
    )
    row = ee.Feature(None, {"t": _millis("2020-02-27")})
    best = ee.Join.saveBest("match", "gap").apply(ee.FeatureCollection([row]), _scenes(), near)
    match = ee.Image(best.first().get("match"))
    assert match.id().getInfo() == "s3"
    assert match.get("gap").getInfo() == 2 * 86_400_000


def test_collections_of_collections_and_merging() -> None:
    twice = _scenes().limit(1).merge(_scenes().limit(2))
    assert _ids(twice) == ["1_s0", "2_s0", "2_s1"]
    nested = ee.FeatureCollection([ee.FeatureCollection("A/T"), ee.FeatureCollection("A/T")])
    assert nested.flatten().size().getInfo() == 14
    assert _scenes().distinct("orbit").size().getInfo() == 2
    assert _ids(_scenes().distinct(["orbit", "cloud"])) == ["s0", "s1", "s2", "s4"]
    counted = _scenes().iterate(lambda image, total: ee.Number(total).add(1), 0)
    assert counted.getInfo() == 5


def test_aggregates_skip_nulls() -> None:
    assert _scenes().aggregate_array("cloud").getInfo() == [5, 1, 1, 0.5]
    assert _scenes().aggregate_mean("cloud").getInfo() == 7.5 / 4
    assert _scenes().aggregate_max("cloud").getInfo() == 5
    assert _scenes().aggregate_count("cloud").getInfo() == 4
    assert _scenes().aggregate_histogram("orbit").getInfo() == {"ASC": 3, "DESC": 2}
    assert _scenes().reduceColumns(ee.Reducer.mean(), ["cloud"]).getInfo() == {"mean": 7.5 / 4}


def test_random_numbers_depend_on_seed_and_index_alone() -> None:
    def drawn(collection: Any, seed: int) -> dict[str, float]:
        table = collection.randomColumn("r", seed).reduceColumns(
            ee.Reducer.toList(2), ["system:index", "r"]
        )
        return dict(table.getInfo()["list"])

    whole, other = drawn(_scenes(), 1), drawn(_scenes(), 2)
    assert whole != other
    assert all(0 <= value < 1 for value in whole.values())
    assert drawn(_scenes().sort("cloud").limit(2), 1).items() <= whole.items()


def test_pages_of_a_table() -> None:
    rows = ee.FeatureCollection("A/T").filter(ee.Filter.gt("value", 0))
    asked = {"expression": rows, "pageSize": 4}
    first = ee.data.computeFeatures(asked)
    second = ee.data.computeFeatures({**asked, "pageToken": first["nextPageToken"]})
    assert [row["properties"]["name"] for row in first["features"]] == ["p1", "p2", "p3", "p4"]
    assert [row["properties"]["name"] for row in second["features"]] == ["p5", "p6"]
    assert "nextPageToken" not in second
    assert first["features"][0] == {
        "type": "Feature",
        "id": "1",
        "geometry": {"type": "Point", "coordinates": [1.0, 0.5]},
        "properties": {"name": "p1", "value": 1.5, "even": False},
    }


def test_a_table_is_asked_for_a_place_only() -> None:
    near = ee.FeatureCollection("A/T").filterBounds(ee.Geometry.Point([2, 0.5]).buffer(1000))
    assert near.aggregate_array("name").getInfo() == ["p2"]
    assert near.first().geometry().coordinates().getInfo() == [2, 0.5]
    bounds = TABLE.asked[0]
    assert bounds is not None
    assert shapely.equals(shapely.Point(2, 0.5), bounds.intersection(shapely.Point(2, 0.5)))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (lambda: ee.Image("A/S/none").id(), "Image asset 'A/S/none' not found"),
        (lambda: ee.ImageCollection("none").size(), "ImageCollection asset 'none' not found"),
        (lambda: ee.FeatureCollection("none").size(), "Collection asset 'none' not found"),
    ],
)
def test_missing_assets(expression: Any, message: str) -> None:
    with pytest.raises(ee.EEException, match=message):
        expression().getInfo()
