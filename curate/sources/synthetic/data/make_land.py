"""Make land.npz from Natural Earth's continents: `python make_land.py continents.geojson`.

Natural Earth is in the public domain. Needs scipy beside mmearth's own dependencies; it is run by
hand when the shipped file shall change, never at run time.
"""

from __future__ import annotations

import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
from rasterio.features import rasterize
from rasterio.transform import from_origin
from scipy.spatial import cKDTree

STEP_DEG = 0.25
UNIT_KM = 8.0
CONTINENTS = ("Africa", "Europe", "Asia", "North America", "South America", "Oceania", "Antarctica")


def main(source: Path) -> None:
    """Write the signed distance to the coast and the nearest continent, row 0 at the north pole."""
    frame = gpd.read_file(source)
    column = next(name for name in frame.columns if name.upper() == "CONTINENT")
    names = [CONTINENTS.index(name) + 1 if name in CONTINENTS else 0 for name in frame[column]]
    shapes = [(shape, code) for shape, code in zip(frame.geometry, names, strict=True) if code]
    height, width = int(180 / STEP_DEG), int(360 / STEP_DEG)
    transform = from_origin(-180, 90, STEP_DEG, STEP_DEG)
    code = rasterize(shapes, (height, width), transform=transform, dtype="uint8")
    lon = np.radians((np.arange(width) + 0.5) * STEP_DEG - 180)
    lat = np.radians(90 - (np.arange(height) + 0.5) * STEP_DEG)[:, None]
    points = np.stack(
        np.broadcast_arrays(np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)), -1
    ).reshape(-1, 3)
    land = code.ravel() > 0
    to_land, nearest = cKDTree(points[land]).query(points, workers=2)
    to_sea, _ = cKDTree(points[~land]).query(points, workers=2)
    distance_km = np.where(land, to_sea, -to_land) * 6371.0 - np.sign(land - 0.5) * 14.0
    packed = np.clip(np.round(distance_km / UNIT_KM), -127, 127).astype(np.int8)
    continent = code.ravel()[land][nearest].reshape(height, width)[::4, ::4]
    # Differences along a row are small numbers, which deflate packs well.
    steps = np.diff(packed.reshape(height, width), axis=1, prepend=np.int8(0)).astype(np.int8)
    out = Path(__file__).with_name("land.npz")
    np.savez_compressed(out, distance_steps=steps, continent=continent.astype(np.uint8))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
