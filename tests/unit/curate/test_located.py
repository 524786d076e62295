"""Places of tables: metres, swapped columns, other CRS; what is refused and what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.curate.declared import TargetConfig, own_task
from mmearth.curate.labels.points import point_labels
from mmearth.curate.places import PointsPlaces
from mmearth.curate.source import Label

# Longitude, latitude.
_CITIES = ((11.6, 48.1), (13.4, 52.5), (2.2, 47.1))  # Munich, Berlin, Bourges
_COASTS = ((4.9, 52.4), (-9.1, 38.7), (151.2, -33.9), (-70.7, -33.4), (103.8, 1.3))
_ISLANDS = ((-16.6, 28.3), (-25.7, 37.7), (57.5, -20.3), (-155.5, 19.6), (178.4, -18.1))
_CAPE_VERDE = ((-23.5, 15.1), (-24.3, 14.9), (-25.0, 17.0), (-22.9, 16.7))  # turned: Namibia
_NORTH_SEA = ((3.0, 55.0), (4.0, 56.0), (2.5, 57.0), (3.5, 54.5))
_TYRRHENIAN = tuple((10.0 + i % 4 / 3, 40 + i / 11) for i in range(12))  # turned: Ethiopia
_SAHEL_SEA = ((18.0, 35.0), (19.0, 34.5), (20.0, 34.0))  # the Mediterranean; turned: Sudan


def _labels(directory: Path, places: Any, **keys: Any) -> list[Label]:
    rows = "".join(f"{x},{y}\n" for x, y in places)
    (directory / "p.csv").write_text("lon,lat\n" + rows)
    return point_labels(
        own_task("custom", TargetConfig()),
        PointsPlaces(path="p.csv", **keys),
        directory,
        DEFAULT_GRID,
    )


@pytest.mark.parametrize(
    "places",
    [
        _CITIES,
        _COASTS,
        _ISLANDS,
        _CAPE_VERDE,
        _NORTH_SEA,
        _CITIES[:2] + _NORTH_SEA[:1],
        _TYRRHENIAN,
    ],
)
def test_places_that_are_where_they_should_be(places: Any, tmp_path: Path) -> None:
    assert [(x.lon, x.lat) for x in _labels(tmp_path, places)] == list(places)


def test_swapped_columns_are_refused_and_say_what_to_write(tmp_path: Path) -> None:
    swapped = [place[::-1] for place in _CITIES]
    said = (
        r"p\.csv has \d of its 3 places at sea or off the Earth, but 3 on land with longitude and "
        "latitude swapped; write lon: lat and lat: lon; if they are right .*, say crs: EPSG:4326"
    )
    with pytest.raises(ConfigError, match=said):
        _labels(tmp_path, swapped)
    found = _labels(tmp_path, swapped, lon="lat", lat="lon")
    assert [(x.lon, x.lat) for x in found] == list(_CITIES)


def test_places_at_sea_may_be_kept_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="say crs: EPSG:4326"):
        _labels(tmp_path, _SAHEL_SEA)
    assert len(_labels(tmp_path, _SAHEL_SEA, crs="EPSG:4326")) == 3
    assert len(_labels(tmp_path, _SAHEL_SEA[:2])) == 2  # too few to tell


def test_swapped_points_of_a_vector_file(tmp_path: Path) -> None:
    lat, lon = zip(*_CITIES, strict=True)
    frame = gpd.GeoDataFrame(geometry=gpd.points_from_xy(lon, lat), crs=4326)
    frame.to_file(tmp_path / "p.geojson")
    with pytest.raises(ConfigError, match="swap the coordinates in the file"):
        point_labels(
            own_task("custom", TargetConfig()),
            PointsPlaces(path="p.geojson"),
            tmp_path,
            DEFAULT_GRID,
        )


def test_swapped_places_of_all_continents(tmp_path: Path) -> None:
    """Of which some are off the Earth the other way round, and some on land by chance."""
    world = [*_CITIES, *_COASTS, (116.4, 39.9), (37.6, 55.7), (30.0, 0.0), (20.0, 10.0), (-60, -5)]
    assert len(_labels(tmp_path, world)) == 13
    with pytest.raises(ConfigError, match=r"its 13 places at sea or off the Earth, but 1[23] on"):
        _labels(tmp_path, [place[::-1] for place in world])


def test_metres_are_refused_and_read_with_their_crs(tmp_path: Path) -> None:
    metres = [(691_608, 5_334_760), (699_000, 5_340_000)]  # Munich in UTM 32 N
    said = r"like x 691608 and y 5334760; these are no degrees: say crs: .* as EPSG:32632"
    with pytest.raises(ConfigError, match=said):
        _labels(tmp_path, metres)
    found = _labels(tmp_path, metres, crs="EPSG:32632")
    assert (found[0].lon, found[0].lat) == pytest.approx((11.5755, 48.1373), abs=2e-3)
    with pytest.raises(ConfigError, match="they are not in WGS 84 / UTM zone 32N: say crs: with"):
        _labels(tmp_path, [(9e8, 9e8)], crs="EPSG:32632")


def test_a_crs_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a CRS that PROJ knows, such as EPSG:32632"):
        PointsPlaces(path="p.csv", crs="EPSG:99")


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([(50, 108), (51, 109), (50, 9)], "x 50 and y 108; write lon: lat and lat: lon"),
        ([(9000, 9000)], "these are no degrees"),
    ],
)
def test_most_places_off_the_earth(places: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        _labels(tmp_path, places)


def test_few_places_off_the_earth_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    places = [*_CITIES, (11.0, 100.0), ("", 48.0), (190.0, 48.0), (-190.0, 48.0)]
    with caplog.at_level("INFO", logger="mmearth"):
        found = _labels(tmp_path, places)
    assert len(found) == 5
    assert "tasks.custom: p.csv: kept 5 of 7 rows; 1 no place, 1 off the Earth" in caplog.text


@pytest.mark.parametrize("cell", ["48.8N", "2°", "48.8 N", "1.2.3", "north", "inf", "1,5"])
def test_a_coordinate_that_is_no_number(cell: str, tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text(f"lon\tlat\n8.5\t50\n9.5\t{cell}\n")
    said = f"p.tsv, line 3, column 'lat': found '{cell}', expected a number with a decimal point"
    with pytest.raises(ConfigError, match=said):
        point_labels(
            own_task("custom", TargetConfig()), PointsPlaces(path="p.tsv"), tmp_path, DEFAULT_GRID
        )
