"""Sentinel-1: two directions, several orbits, the mode IW and some scenes of the mode EW."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from mmearth.catalog.tile import Tile
from mmearth.tests.earthengine.model import Band, Grid, Image, Pixels
from mmearth.tests.earthengine.planet.frames import (
    ASCENDING,
    DESCENDING,
    Pass,
    frames_over,
    pass_named,
    passes_of,
)
from mmearth.tests.earthengine.planet.ground import Ground, place_of
from mmearth.tests.earthengine.planet.pixels import positions

COLLECTION = "COPERNICUS/S1_GRD"
_NODATA = -9999.0
_ORDER = ("VV", "VH", "HH", "HV")
_DECOY_DB = 7.0
"""Scenes of the mode EW are brighter by this: they must never be chosen."""


@dataclass(frozen=True, slots=True)
class Sentinel1:
    """Backscatter in dB."""

    ground: Ground
    """What is seen."""

    def image(self, index: str) -> Image:
        """Return one scene.

        Raises:
            KeyError: There is no such scene.
        """
        return self._image(pass_named(index))

    def query(
        self, bounds: BaseGeometry | None, times: Sequence[tuple[int, int]] | None
    ) -> Iterator[Image]:
        """Yield scenes by `system:index`: of the orbits the synthetic source has there."""
        bounds = place_of(bounds)
        anchor = self.ground.anchor(bounds)
        if anchor is None:
            return
        array = self.ground.array(anchor, "sentinel1")
        present = _present(array)
        spans = None if times is None else list(times)
        passes = [
            each
            for frame in frames_over(bounds, anchor)
            for each in passes_of(frame, spans, present[frame.ascending, "HH"])
            if each.mode == "EW" or present[frame.ascending, "VV"]
        ]
        for each in sorted(passes, key=lambda each: each.index):
            yield self._image(each)

    def _image(self, each: Pass) -> Image:
        frame = each.frame
        own = (10.0, 0.0, 0.0, 0.0, -10.0, 0.0)
        bands = tuple(
            Band(name, "float32", f"EPSG:{frame.epsg}", own, partial(self._read, each, name))
            for name in each.polarisations
        )
        properties = {
            "system:index": each.index,
            "system:id": f"{COLLECTION}/{each.index}",
            "system:version": each.start_ms * 1000 + 86_400_000_000,
            "system:time_start": each.start_ms,
            "system:time_end": each.start_ms,
            "instrumentMode": each.mode,
            "orbitProperties_pass": ASCENDING if frame.ascending else DESCENDING,
            "transmitterReceiverPolarisation": list(each.polarisations),
            "relativeOrbitNumber_start": frame.relative_orbit,
            "platform_number": each.platform,
            "resolution": "H" if each.mode == "IW" else "M",
            "resolution_meters": 10 if each.mode == "IW" else 40,
        }
        return Image(bands, properties, frame.footprint)

    def _read(self, each: Pass, name: str, grid: Grid) -> Pixels:
        decoy = each.mode == "EW"
        band = _ORDER.index(name) - (2 if decoy else 0)

        def layer(tile: Tile) -> NDArray[Any] | None:
            array = self.ground.array(tile, "sentinel1")
            return None if array is None else array[band + (0 if each.frame.ascending else 4)]

        values, valid = self.ground.render(grid, layer, "float32")
        x, y = positions(grid, f"EPSG:{each.frame.epsg}")
        valid &= (values != np.float32(_NODATA)) & each.frame.inside(x, y)
        return (values + np.float32(_DECOY_DB) if decoy else values), valid


def _present(array: NDArray[Any] | None) -> dict[tuple[bool, str], bool]:
    """Return which direction, ascending or not, has which polarisation."""
    if array is None:
        return {(north, name): False for north in (True, False) for name in _ORDER}
    found = (array != np.float32(_NODATA)).any(axis=(1, 2))
    return {
        (north, name): bool(found[number + (0 if north else 4)])
        for north in (True, False)
        for number, name in enumerate(_ORDER)
    }
