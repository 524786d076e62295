"""Labelled places of the synthetic planet as a table: what a build begins with."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile, tiles_at
from mmearth.curate.source import Label
from mmearth.curate.sources.synthetic import Synthetic
from mmearth.tests.earthengine.planet import Planet

SEED = 7
"""Of the planet."""
TASKS = """
  biomass: {points: {path: places.csv}}
  soil_nitrogen: {points: {path: places.csv, value: nitrogen}}
  soil_organic_carbon: {points: {path: places.csv, value: carbon}}
  soil_pH: {points: {path: places.csv, value: ph}}
  species: {points: {path: places.csv, species: species}}
"""
"""All five tasks at the same places, so that a tile serves them all."""


def write_places(path: Path, count: int) -> list[Tile]:
    """Write a table of places with a label for each task; return their tiles.

    Args:
        path: The CSV file.
        count: How many places, spread over the land between 50° N and S.
    """
    labels = _spread(count)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["lon", "lat", "nitrogen", "carbon", "ph", "species", "day"])
        for i, label in enumerate(labels):
            species = "Mus musculus;Canis lupus" if i % 2 else "Felis silvestris"
            soil = 1 + i % 5, 10 + i % 40, label.value
            writer.writerow([label.lon, label.lat, *soil, species, "2020-07-01"])
    lon, lat = ([label.lon for label in labels], [label.lat for label in labels])
    return list(tiles_at(lon, lat, DEFAULT_GRID))


def planet_of(tiles: Sequence[Tile]) -> Planet:
    """Return the planet that knows these tiles."""
    return Planet(SEED, tiles)


def _spread(count: int) -> list[Label]:
    """Return soil places that GEDI sees too, the first `count` of a long list."""
    places = Synthetic(SEED).labels(MMEARTH_BENCH.tasks["soil_pH"], 3 * count, 1)
    found = [label for label in places if abs(label.lat) < 50.0][:count]
    assert len(found) == count
    return found
