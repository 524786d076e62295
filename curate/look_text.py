"""What `mmearth curate plan` says of the files and labels that a build would read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.task import Task
from mmearth.curate.labels.facts import LabelFacts
from mmearth.curate.look import Looks, RasterLook, class_shares
from mmearth.curate.plan import TaskPlan
from mmearth.curate.sources.files.inspect import BandFacts, BandValues, Inspection
from mmearth.curate.sources.files.inspect_polygons import PolygonFacts

Bounds = tuple[float, float, float, float]
_SHOWN = 4
"""Names and classes that a line tells; the others are counted."""


def blocks(tasks: Sequence[TaskPlan], looks: Looks, catalogue: Catalogue) -> list[list[str]]:
    """Return a block of sentences for each task, raster entry and polygon entry.

    The first of a block names it, the others are facts of it.
    """
    found = [_labels(task, catalogue.tasks[task.task]) for task in tasks]
    found += [_raster(look, looks.n_tiles) for look in looks.rasters]
    found += [_polygons(facts) for facts in looks.polygons]
    if looks.unnamed:
        found.append([f"no file is named for {', '.join(looks.unnamed)}: missing everywhere"])
    return found


def _labels(task: TaskPlan, spec: Task) -> list[str]:
    facts = task.facts
    lines = [f"{task.task}: {task.origin}"]
    lines.append(
        f"{_count(task.n_places, 'place')}, {_box(facts.box)}; {_asked(task.n_places, facts)}"
    )
    if facts.n_valued:
        low, high = spec.target.bands[0].valid
        limits = "" if spec.optional else f" (valid {low:g} to {high:g})"
        unit = "" if spec.unit in {"1", "unknown"} else f" {spec.unit}"
        lines.append(f"{_three(facts)}{unit} in {_count(facts.n_valued, 'value')}{limits}")
    if spec.kind == "multilabel":
        here = len(spec.outputs) - len(facts.absent)
        lines.append(
            f"{here} of {len(spec.outputs)} labels are present somewhere, none at "
            f"{_count(facts.n_without_species, 'place')}{_absent(facts.absent)}"
        )
    return [*lines, *(note.removeprefix(f"tasks.{task.task}: ") for note in task.notes)]


def _absent(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"; nowhere: {', '.join(names[:_SHOWN])}{more}"


def _asked(n_places: int, facts: LabelFacts) -> str:
    if not facts.n_dated:
        return "no dates"
    share = "" if facts.n_dated == n_places else f"{facts.n_dated} of them "
    days = facts.first if facts.first == facts.last else f"{facts.first} to {facts.last}"
    return f"{share}dated {days}"


def _raster(look: RasterLook, n_tiles: int) -> list[str]:
    found = look.inspection
    lines = [f"{found.name}: {found.path} ({found.product})"]
    if found.files and found.footprint is not None:
        what = _count(len(found.files), "file")
        if len(found.files) == 1 and found.files[0] != found.path:
            what = f"1 file {found.files[0]}"
        lines.append(
            f"{what}, {_box(found.footprint)}, {_dates(found.dates)}; near {look.n_reached} of "
            f"{_count(n_tiles, 'tile')}"
        )
        lines.append("; ".join(_bands(list(group)) for _, group in groupby(found.bands, _way)))
    if found.window is not None:
        day = f" of {found.window.observation.acquired}" if found.dates else ""
        lines.append(f"as stored at {found.window.tile.id}{day}: {_values(found)}")
    return lines


def _polygons(facts: PolygonFacts) -> list[str]:
    lines = [f"{facts.name}: {facts.path} ({facts.product})"]
    if facts.footprint is not None:
        lines.append(
            f"{_count(facts.n_polygons, 'polygon')}, {_box(facts.footprint)}; {facts.field} names "
            f"{facts.n_classes} classes"
        )
    if facts.tile is not None:
        lines.append(f"as stored at {facts.tile}: {facts.code}, {facts.found}")
    return lines


def _way(band: BandFacts) -> tuple[object, ...]:
    return band.how, band.unit, band.scale, band.offset, band.nodata


def _bands(bands: list[BandFacts]) -> str:
    """Return how bands that are read in one way are matched and read."""
    first = bands[0]
    numbers = [band.number for band in bands]
    ours = "months " * (first.how == "months:") + _range([band.ours for band in bands])
    if first.how == "files:":
        which = f"{ours} = band {first.number} of a file each ({first.file} …)"
    elif numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        which = f"{ours} = {'bands' if len(bands) > 1 else 'band'} {_range(numbers)}"
    else:
        which = ", ".join(f"{band.ours} = {band.number}" for band in bands)
    parts = [f"{which} by {first.how.removesuffix(':')}", first.unit]
    if (first.scale, first.offset) != (1.0, 0.0):
        parts.append(f"scale {first.scale:g}, offset {first.offset:g}")
    if first.nodata:
        parts.append("no data " + " and ".join(f"{value:g}" for value in first.nodata))
    return ", ".join(parts)


def _range(items: Sequence[object]) -> str:
    return str(items[0]) if len(items) == 1 else f"{items[0]} to {items[-1]}"


def _values(found: Inspection) -> str:
    """Return the values of the window, beside what is valid."""
    assert found.window is not None
    shares = class_shares(found)
    if shares:
        told = [f"{100 * share:.0f} % {name}" for name, share in list(shares.items())[:_SHOWN]]
        return ", ".join(told) + (f" and {len(shares) - _SHOWN} more" * (len(shares) > _SHOWN))
    groups = groupby(found.window.bands, lambda band: (band.unit, band.valid))
    return "; ".join(_of_unit(list(group)) for _, group in groups)


def _of_unit(bands: list[BandValues]) -> str:
    """Return the values of bands with one unit and one valid range."""
    low, high = bands[0].valid
    unit = "" if bands[0].unit == "1" else f" {bands[0].unit}"
    known = [band for band in bands if band.low is not None]
    empty = [band.name for band in bands if band.low is None]
    parts = []
    if known:
        told = ", ".join(map(_of_band, known))
        parts.append(f"{told}{unit} (valid {low:g} to {high:g})")
        shares = sorted({f"{100 * band.share:.0f}" for band in known}, key=int)
        if shares != ["100"]:
            parts.append(f"at {_range(shares)} % of the pixels")
    if empty:
        parts.append(f"nothing in {', '.join(empty)}")
    return ", ".join(parts)


def _of_band(band: BandValues) -> str:
    if band.low == band.high:
        return f"{band.name} {band.low:.5g}"
    return f"{band.name} {band.low:.5g} / {band.middle:.5g} / {band.high:.5g}"


def _three(facts: LabelFacts) -> str:
    """Return the values as those of a band: least / median / greatest, or the only one."""
    values = (facts.low, facts.middle, facts.high)
    told = [f"{value:.6g}" for value in values if value is not None]
    return " / ".join(told if len(set(told)) > 1 else told[:1])


def _dates(dates: Sequence[str]) -> str:
    if not dates:
        return "undated"
    return f"of {dates[0]}" if len(dates) == 1 else f"{len(dates)} dates {_range(dates)}"


def _box(bounds: Bounds) -> str:
    """Return bounds as a person says them: `7.1° W to 38.2° E, 33.4 to 51° N`."""
    west, south, east, north = bounds
    if east - west >= 360.0:
        return f"around the Earth, {_sides(south, north, 'NS')}"
    east = east - 360.0 if east > 180.0 else east
    return f"{_sides(west, east, 'EW')}, {_sides(south, north, 'NS')}"


def _sides(low: float, high: float, letters: str) -> str:
    first, last = (f"{abs(x):.3f}".rstrip("0").rstrip(".") for x in (low, high))
    here, there = (letters[x < 0] for x in (low, high))
    if here != there:
        return f"{first}° {here} to {last}° {there}"
    return f"{first}° {here}" if first == last else f"{first} to {last}° {here}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
