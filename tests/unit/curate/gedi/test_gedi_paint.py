"""Footprints onto a tile: pixels, circles, seasons, and the source that paints them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyproj import Transformer

from mmearth.catalog.errors import ConfigError, FormatError, NoDataError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.labels.gedi import gedi_labels, keep_footprints, read_footprints
from mmearth.curate.labels.gedi.footprints import Footprints, open_footprints
from mmearth.curate.labels.gedi.paint import paint, seasons
from mmearth.curate.labels.gedi.painted import Painted
from mmearth.curate.labels.local import WithTargets
from mmearth.curate.places import GediPlaces
from mmearth.curate.source import Visit
from mmearth.curate.sources.synthetic import Synthetic

WriteGranule = Callable[..., Path]
TILE = Tile.at(15.0, 1.0)
BIOMASS = MMEARTH_BENCH.tasks["biomass"].target
EVERY = GediPlaces(granules=("*.h5",), first=None, last=None)


def _at(*metres: tuple[float, float], tile: Tile = TILE) -> dict[str, list[float]]:
    """Return the coordinates of places so many metres right of and below a tile's corner."""
    to_lonlat = Transformer.from_crs(tile.epsg, 4326, always_xy=True)
    places = [to_lonlat.transform(tile.left + x, tile.top - y) for x, y in metres]
    lon, lat = zip(*places, strict=True)
    return {"lon_lowestmode": list(lon), "lat_lowestmode": list(lat)}


def _read(base: Path) -> Footprints:
    return read_footprints(EVERY, base)


def _painted(base: Path, **how: bool) -> WithTargets:
    path = keep_footprints(EVERY, base, base / "kept")
    return WithTargets(Synthetic(1), (Painted(path.resolve(), BIOMASS, **how),))


def test_each_footprint_colours_its_pixel(write_granule: WriteGranule, tmp_path: Path) -> None:
    # Pixels (row, column): (0, 0), (0, 127), (127, 0), (50, 70), and four just outside.
    inside = [(1.0, 1.0), (1279.0, 1.0), (1.0, 1279.0), (705.0, 509.9)]
    outside = [(-1.0, 500.0), (1281.0, 500.0), (500.0, -1.0), (500.0, 1281.0)]
    shots, values = list(range(1, 9)), [float(10 * i) for i in range(1, 9)]
    write_granule(**_at(*inside, *outside), shot_number=shots, agbd=values)
    expected = np.full((128, 128), -9999, np.float32)
    expected[0, 0], expected[0, 127], expected[127, 0], expected[50, 70] = 10, 20, 30, 40
    found = paint(_read(tmp_path), BIOMASS, TILE)
    assert found.array.dtype == np.float32
    np.testing.assert_array_equal(found.array[0], expected)


def test_the_greatest_shot_number_is_seen(write_granule: WriteGranule, tmp_path: Path) -> None:
    # All in pixel (50, 70); from west to east, from east to west, and in two granules.
    here = [(701.0, 501.0), (705.0, 505.0), (709.0, 509.0)]
    write_granule("a.h5", **_at(*here), shot_number=[7, 9, 8], agbd=[1, 2, 3])
    found = paint(_read(tmp_path), BIOMASS, TILE)
    assert (found.array[0, 50, 70], (found.array > 0).sum()) == (2.0, 1)
    write_granule("b.h5", **_at(here[2]), shot_number=[10], agbd=[4])
    write_granule("c.h5", **_at(here[0]), shot_number=[6], agbd=[5])
    footprints = _read(tmp_path)
    found = paint(footprints, BIOMASS, TILE)
    assert found.array[0, 50, 70] == 4.0
    assert footprints.shot[found.footprints].tolist() == [10]


def test_a_circle_leaves_the_corners_out(write_granule: WriteGranule, tmp_path: Path) -> None:
    # From the centre: 640 m west; 455 m west and north, 643.5 m; 465 m, 657.6 m; the corner.
    metres = [(0.5, 640.0), (185.0, 185.0), (1105.0, 175.0), (1279.0, 1279.0)]
    write_granule(**_at(*metres), shot_number=[1, 2, 3, 4], agbd=[1, 2, 3, 4])
    footprints = _read(tmp_path)
    whole, circle = paint(footprints, BIOMASS, TILE), paint(footprints, BIOMASS, TILE, 650.0)
    assert sorted(whole.array[whole.array > 0].tolist()) == [1, 2, 3, 4]
    assert sorted(circle.array[circle.array > 0].tolist()) == [1, 2]


def test_a_tile_across_the_antimeridian(write_granule: WriteGranule, tmp_path: Path) -> None:
    lon, lat = [179.9995, -179.9995, -179.98, 0.0], [-17.0] * 4
    write_granule(
        lon_lowestmode=lon, lat_lowestmode=lat, shot_number=[1, 2, 3, 4], agbd=[1, 2, 3, 4]
    )
    footprints = _read(tmp_path)
    for tile in (Tile.at(179.9995, -17.0), Tile.at(-179.9995, -17.0)):
        found = paint(footprints, BIOMASS, tile).array[0]
        assert sorted(found[found > 0].tolist()) == [1, 2]


def test_bands_of_latitude_hide_no_footprint(write_granule: WriteGranule, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    lon, lat = generator.uniform(14.95, 15.05, 20_000), generator.uniform(0.95, 1.05, 20_000)
    shots = generator.permutation(20_000).tolist()
    write_granule(lon_lowestmode=lon, lat_lowestmode=lat, shot_number=shots)
    footprints = _read(tmp_path)
    for place in ((15.0, 1.0), (15.03, 0.98), (14.97, 1.0199)):
        tile = Tile.at(*place)
        x, y = Transformer.from_crs(4326, tile.epsg, always_xy=True).transform(lon, lat)
        left, bottom, right, top = tile.bounds
        inside = (x >= left) & (x < right) & (y > bottom) & (y <= top)
        pixels = {
            (int((top - b) // 10), int((a - left) // 10))
            for a, b in zip(x[inside], y[inside], strict=True)
        }
        painted = paint(footprints, BIOMASS, tile).array[0]
        assert set(map(tuple, np.argwhere(painted > 0).tolist())) == pixels and len(pixels) > 100


def test_seasons(write_granule: WriteGranule, tmp_path: Path) -> None:
    # Three near the centre, two of them alike; one without a season; one 700 m away.
    metres = [(640.0, 640.0), (700.0, 640.0), (640.0, 700.0), (600.0, 600.0), (145.0, 145.0)]
    days: dict[str, Any] = {
        "leaf_on_doy": [100, 100, 1, 32767, 200],
        "leaf_off_doy": [300, 300, 60, 32767, 250],
    }
    write_granule(**_at(*metres), **days, shot_number=[1, 2, 3, 4, 5])
    every = EVERY.model_copy(update={"skip": ("leaf_doy",)})
    footprints = read_footprints(every, tmp_path)
    # 2020 is a leap year: day 60 is 29 February, day 100 9 April, day 300 26 October.
    assert len(footprints) == 5
    assert seasons(footprints, TILE) == ("2020-01-01/2020-02-29", "2020-04-09/2020-10-26")
    # As published: 1 January + d days, the last of them excluded.
    late = ("2020-01-02/2020-02-29", "2020-04-10/2020-10-26")
    assert seasons(footprints, TILE, days_late=True) == late
    assert seasons(footprints, Tile.at(15.5, 1.0)) == ()


def test_seasons_are_of_the_footprint_s_year(write_granule: WriteGranule, tmp_path: Path) -> None:
    day = 86_400.0
    write_granule("a.h5", **_at((640, 640)), shot_number=[1], delta_time=[400 * day])
    write_granule("b.h5", **_at((640, 640)), shot_number=[2], delta_time=[800 * day])
    found = seasons(_read(tmp_path), TILE)
    assert found == ("2019-04-10/2019-10-27", "2020-04-09/2020-10-26")


def test_painted_answers_biomass_alone(write_granule: WriteGranule, tmp_path: Path) -> None:
    day = 86_400.0
    write_granule("a.h5", **_at((5, 5)), shot_number=[1], agbd=[1], delta_time=[800 * day])
    write_granule("b.h5", **_at((15, 5)), shot_number=[2], agbd=[2], delta_time=[802 * day])
    write_granule("c.h5", lon_lowestmode=[99.0], lat_lowestmode=[9.0], shot_number=[3])
    source, plain = _painted(tmp_path), Synthetic(1)
    wanted = ("biome", "biomass", "month")
    found = source.observe(Visit(TILE, tuple(wanted), "2020-06-01"))
    assert set(found) == set(wanted)
    expected = plain.observe(Visit(TILE, ("biome", "month"), "2020-06-01"))
    for name in ("biome", "month"):
        assert isinstance(found[name], type(expected[name]))
    biomass = found["biomass"]
    assert isinstance(biomass, Observation)
    biomass.check()
    assert biomass.array[0, 0, :3].tolist() == [1, 2, -9999]
    assert biomass.acquired == "2020-03-11/2020-03-13"
    assert (biomass.source, biomass.source_ids) == ("GEDI_L4A 02", ("a.h5", "b.h5"))
    assert source.name == plain.name
    assert list(source.labels(MMEARTH_BENCH.tasks["soil_pH"], 2, 1)) == list(
        plain.labels(MMEARTH_BENCH.tasks["soil_pH"], 2, 1)
    )
    nothing = source.observe(Visit(Tile.at(50.0, 1.0), ("biomass",), None))["biomass"]
    assert isinstance(nothing, NoDataError)


def test_painted_with_published_quirks(write_granule: WriteGranule, tmp_path: Path) -> None:
    write_granule(**_at((5, 5), (640, 640)), shot_number=[1, 2], agbd=[1, 2])
    ours, published = _painted(tmp_path), _painted(tmp_path, labels_in_circle=True)
    counts = []
    for source in (ours, published):
        found = source.observe(Visit(TILE, ("biomass",), None))["biomass"]
        assert isinstance(found, Observation)
        counts.append(int((found.array > 0).sum()))
    assert counts == [2, 1]
    assert ours.fingerprint("biomass") != published.fingerprint("biomass")


def test_fingerprint_is_of_source_and_granules(write_granule: WriteGranule, tmp_path: Path) -> None:
    write_granule()
    path = keep_footprints(EVERY, tmp_path, tmp_path / "kept")
    first = WithTargets(Synthetic(1), (Painted(path, BIOMASS),)).fingerprint("biomass")
    painters = (Painted(path, BIOMASS),)
    assert WithTargets(Synthetic(1), painters).fingerprint("biomass") == first
    assert WithTargets(Synthetic(2), painters).fingerprint("biomass") == first
    write_granule(agbd=[10.0, 20.0, 31.0])
    assert _painted(tmp_path).fingerprint("biomass") != first


def test_painted_travels_light(write_granule: WriteGranule, tmp_path: Path) -> None:
    write_granule(shot_number=list(range(5000)), lon_lowestmode=[15.0] * 5000)
    source = _painted(tmp_path)
    sent = pickle.dumps(source)
    assert len(sent) < 20_000  # most of it the catalogue, and none of the footprints
    arrived = pickle.loads(sent)
    assert arrived.fingerprint("biomass") == source.fingerprint("biomass")
    found = [s.observe(Visit(TILE, ("biomass",), None))["biomass"].array for s in (source, arrived)]
    np.testing.assert_array_equal(*found)


def test_kept_footprints(write_granule: WriteGranule, tmp_path: Path) -> None:
    write_granule("a.h5", degrade_flag=[0, 1, 0])
    path = keep_footprints(EVERY, tmp_path, tmp_path / "kept")
    made = path.stat().st_mtime_ns
    assert keep_footprints(EVERY, tmp_path, tmp_path / "kept") == path
    assert path.stat().st_mtime_ns == made
    read, kept = _read(tmp_path), open_footprints(path)
    for name in ("lon", "lat", "agbd", "shot", "leaf_on", "leaf_off", "day", "granule", "begins"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(read, name))
    assert (kept.granules, kept.products, kept.key) == (read.granules, read.products, read.key)
    assert kept.counts == read.counts
    other = keep_footprints(
        EVERY.model_copy(update={"skip": ("degrade_flag",)}), tmp_path, tmp_path
    )
    assert len(open_footprints(other)) == 3


def test_none_can_be_kept_too(write_granule: WriteGranule, tmp_path: Path) -> None:
    write_granule("a.h5", degrade_flag=[1, 1, 1])
    source = _painted(tmp_path)
    assert len(source.painters[0].footprints) == 0
    with pytest.raises(ConfigError, match="no GEDI shot passes"):
        gedi_labels(MMEARTH_BENCH.tasks["biomass"], EVERY, source, tmp_path, DEFAULT_GRID, 1)


def test_labels_come_from_what_is_painted(write_granule: WriteGranule, tmp_path: Path) -> None:
    path = write_granule()
    source = _painted(tmp_path)
    path.unlink()  # a second reading would fail
    (label,) = gedi_labels(MMEARTH_BENCH.tasks["biomass"], EVERY, source, tmp_path, DEFAULT_GRID, 1)
    assert label.label_id in {"101", "102", "103"}


@pytest.mark.parametrize("content", [b"", b"nothing of ours", None])
def test_a_broken_file_of_footprints(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "footprints.arrow"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FormatError, match="delete it") as caught:
        _ = WithTargets(Synthetic(1), (Painted(path, BIOMASS),)).fingerprint("biomass")
    assert "\n" not in str(caught.value)


def test_a_file_of_footprints_that_lacks_a_part(tmp_path: Path) -> None:
    path = tmp_path / "footprints.arrow"
    for metadata in (None, {"mmearth": "{}"}):
        table = pa.table({"lon": [1.0]}).replace_schema_metadata(metadata)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        with pytest.raises(FormatError, match="delete it"):
            _ = WithTargets(Synthetic(1), (Painted(path, BIOMASS),)).fingerprint("biomass")
