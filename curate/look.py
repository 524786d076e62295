"""What a build would read, opened and looked at before anything is collected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from mmearth.catalog.tile import Tile, Tiles, lonlat_bounds
from mmearth.curate.config import BuildConfig
from mmearth.curate.plan import Plan
from mmearth.curate.remote.address import is_remote
from mmearth.curate.seasons import days_off
from mmearth.curate.source import Source
from mmearth.curate.sources.files import Files
from mmearth.curate.sources.files.config import FilesConfig, Rasters
from mmearth.curate.sources.files.inspect import Inspection, inspect_raster
from mmearth.curate.sources.files.inspect_polygons import PolygonFacts, inspect_polygons
from mmearth.curate.sources.mixed import Mixed

_IMAGES = ("sentinel2", "sentinel1")
_FAR_DAYS = 183
"""Half a year: another season."""
_OF_THE_TILE = ("geolocation", "month")  # they follow from place and date


@dataclass(frozen=True, slots=True)
class RasterLook:
    """One raster entry of the configuration."""

    inspection: Inspection
    """What it would give."""
    n_reached: int
    """Tiles of the plan that its files touch, by their bounds."""


@dataclass(frozen=True, slots=True)
class Looks:
    """All that a build would read but for labels."""

    n_tiles: int
    """Of the plan."""
    rasters: tuple[RasterLook, ...]
    """In the order of the configuration."""
    polygons: tuple[PolygonFacts, ...]
    """In the order of the configuration."""
    unnamed: tuple[str, ...]
    """Modalities that no entry is named for: they are missing everywhere."""
    problems: tuple[str, ...]
    """What cannot be used, each with the modality and the reason."""
    warnings: tuple[str, ...]
    """What is suspicious, each with the modality and the key to look at."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON, windows without their arrays."""
        return {
            "rasters": [_raster_json(look) for look in self.rasters],
            "polygons": [asdict(facts) for facts in self.polygons],
            "unnamed": list(self.unnamed),
        }


NOTHING = Looks(0, (), (), (), (), ())
"""Of a source that reads no files."""


def look(config: BuildConfig, source: Source, plan: Plan, tiles: Sequence[Tile]) -> Looks:
    """Open every raster and polygon file of a configuration.

    Args:
        config: The build's configuration.
        source: That it describes.
        plan: Its tiles' dates and labels.
        tiles: Of the plan, each once.
    """
    pairs = _files_of(config, source)
    if not pairs:
        return NOTHING
    outlines = _outlines(tiles)
    rasters = [
        seen
        for files, said, used in pairs
        for name, entries in said.rasters.items()
        if name in used
        for seen in _look_at(files, name, entries, tiles, outlines)
    ]
    polygons = [
        inspect_polygons(files, name, entry, tiles)
        for files, said, used in pairs
        for name, entry in said.polygons.items()
        if name in used
    ]
    entries: list[Inspection | PolygonFacts] = [look.inspection for look in rasters]
    entries += polygons
    used = set().union(*(names for _, _, names in pairs))
    named = {name for _, said, _ in pairs for name in (*said.rasters, *said.polygons)}
    of_files = [name for name in config.modalities if name in used and name not in _OF_THE_TILE]
    unnamed = tuple(name for name in of_files if name not in named)
    problems = [f"{x.name}: {text}" for x in entries for text in x.problems]
    problems += [
        f"{name}: it is required, and source: names no file for it; no tile will make a sample"
        for name in unnamed
        if name in config.require
    ]
    warnings = [f"{x.name} {x.path}: {text}" for x in entries for text in x.warnings]
    warnings += _unreached(rasters, len(tiles), config.require)
    warnings += _of_other_times(rasters, plan)
    warnings += [
        f"{name}: its files are not read; neither modalities: nor tasks: names it"
        for name in sorted(named - used)
    ]
    return Looks(
        len(tiles), tuple(rasters), tuple(polygons), unnamed, tuple(problems), tuple(warnings)
    )


def _files_of(config: BuildConfig, source: Source) -> list[tuple[Files, FilesConfig, set[str]]]:
    """Return the sources that read files, with what each is named for."""
    if not isinstance(source, Mixed):
        names = {*config.modalities, *config.tasks}
        is_files = isinstance(source, Files) and isinstance(config.source, FilesConfig)
        return [(source, config.source, names)] if is_files else []  # type: ignore[list-item]
    others = {*config.modalities, *config.tasks} - set(config.sources)
    said = [(config.source, others), *((s, set(n)) for s, n in config.layers_of_sources)]
    return [
        (part.source, kind, names)
        for part, (kind, names) in zip(source.parts, said, strict=True)
        if isinstance(part.source, Files) and isinstance(kind, FilesConfig)
    ]


def _look_at(
    source: Files,
    name: str,
    entries: Sequence[Rasters],
    tiles: Sequence[Tile],
    outlines: shapely.STRtree,
) -> Iterator[RasterLook]:
    """Look at the entries of one modality, each at tiles that no earlier one reaches, if any."""
    taken = np.zeros(len(tiles), dtype=np.bool_)
    for entry in (each for each in entries if not is_remote(each.path)):
        reached = np.zeros(len(tiles), dtype=np.bool_)
        for product in source.index(name).products:
            if product.entry is entry and len(tiles):
                reached[_touched(outlines, product.bounds) % len(tiles)] = True
        first = np.flatnonzero(reached & ~taken)
        chosen = first if first.size else np.flatnonzero(reached)
        taken |= reached
        found = inspect_raster(source, name, entry, [tiles[int(i)] for i in chosen[:_TRIED]])
        texts = tuple(text.replace(f"{source.root}/", "") for text in found.problems)
        yield RasterLook(replace(found, problems=texts), int(np.count_nonzero(reached)))


_TRIED = 4
"""Tiles that are looked at until one has a value."""


def _outlines(tiles: Sequence[Tile]) -> shapely.STRtree:
    """Return the tiles' bounds, each in three turns of the globe: the i-th is of tile i % n."""
    if not tiles:
        return shapely.STRtree([])
    west, south, east, north = lonlat_bounds(Tiles.of(tiles)).T
    boxes = [shapely.box(west + t, south, east + t, north) for t in (-360.0, 0.0, 360.0)]
    return shapely.STRtree(np.concatenate(boxes))


def _touched(
    outlines: shapely.STRtree, bounds: tuple[float, float, float, float]
) -> NDArray[np.int64]:
    return np.asarray(outlines.query(shapely.box(*bounds), "intersects"), dtype=np.int64)


def _unreached(rasters: Sequence[RasterLook], n_tiles: int, require: Sequence[str]) -> list[str]:
    """Name the modalities of which no file touches any tile."""
    best: dict[str, int] = {}
    for seen in rasters:
        if seen.inspection.files:
            name = seen.inspection.name
            best[name] = max(best.get(name, 0), seen.n_reached)
    return [
        f"{name}: none of the {n_tiles} tiles lies within its files; check path:, crs: and the "
        "places" + (": none will make a sample" if name in require else "")
        for name, n_reached in best.items()
        if n_tiles and not n_reached
    ]


def _of_other_times(rasters: Sequence[RasterLook], plan: Plan) -> list[str]:
    """Name the entries of images that are all far from every date that is asked for."""
    if any(task.facts.n_dated < task.n_places for task in plan.tasks):
        return []
    first = min(task.facts.first or "" for task in plan.tasks)
    last = max(task.facts.last or "" for task in plan.tasks)
    found = []
    for seen in rasters:
        entry, dates = seen.inspection, seen.inspection.dates
        if entry.name in _IMAGES and dates:
            nearest = min(dates, key=lambda date: days_off(date, f"{first}/{last}"))
            if days_off(nearest, f"{first}/{last}") > _FAR_DAYS:
                found.append(
                    f"{entry.name} {entry.path}: date: its nearest image is of {nearest}, and the "
                    f"labels ask for {first if first == last else f'{first} to {last}'}; the first "
                    "entry with data is used all the same"
                )
    return found


def _raster_json(seen: RasterLook) -> dict[str, Any]:
    found = seen.inspection
    window = found.window
    fields = ("name", "path", "product", "files", "footprint", "dates", "problems", "warnings")
    return {
        **{name: getattr(found, name) for name in fields},
        "n_reached": seen.n_reached,
        "bands": [asdict(band) for band in found.bands],
        "window": None
        if window is None
        else {
            "tile": window.tile.id,
            "acquired": window.observation.acquired,
            "source_ids": list(window.observation.source_ids),
            "bands": [asdict(band) for band in window.bands],
            "classes": class_shares(found),
        },
    }


def class_shares(found: Inspection) -> dict[str, float]:
    """Return class → share of the window's valid pixels, the most frequent first."""
    if found.window is None:
        return {}
    seen = found.window.observation
    codes, counts = np.unique(seen.array, return_counts=True)
    names = {entry.code: entry.name for entry in seen.layer.classes}
    known = {
        names[c]: n for c, n in zip(codes.tolist(), counts.tolist(), strict=True) if c in names
    }
    total = sum(known.values())
    return {k: n / total for k, n in sorted(known.items(), key=lambda item: (-item[1], item[0]))}
