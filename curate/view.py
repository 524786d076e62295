"""A tile to look at: all its modalities on one contact sheet, and as GeoTIFFs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mmearth.catalog.catalogue import read_catalogue
from mmearth.catalog.classes import BIOME_CLASSES, ECOREGION_CLASSES
from mmearth.catalog.errors import ConfigError, storage_errors
from mmearth.catalog.files import write_atomic
from mmearth.catalog.layer import ClassCode
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.schema import TILES, read_table
from mmearth.catalog.store import STORE, read_observation, read_stored
from mmearth.catalog.targets import planned_target
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".pdf": "PDF"}
"""Suffix of a sheet's file → what it is written as."""
_TILES = "tiles.parquet"
_SIDE = 256
_PAD = 14
_HEAD = 26
_FOOT = 78
_COLUMNS = 5
_INK, _PALE, _PAPER, _EMPTY = (24, 28, 34), (110, 118, 128), (250, 250, 248), (226, 228, 230)
# Anchor colours of matplotlib's viridis, CC0: dark is low, light is high.
_VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))

Rgb = NDArray[np.uint8]
"""Colours, (row, col, 3)."""


@dataclass(frozen=True, slots=True)
class _Panel:
    """One picture of the sheet."""

    title: str
    """Above it."""
    picture: Rgb | list[str]
    """Colours, or lines of text."""
    notes: tuple[str, ...] = ()
    """Lines below it."""
    legend: tuple[ClassCode, ...] = ()
    """Classes to explain below it."""


def contact_sheet(
    root: Path, tile: Tile, reasons: dict[str, str], digests: dict[str, str]
) -> Image.Image:
    """Return a tile's modalities as one picture, missing ones greyed with the reason.

    Args:
        root: The dataset's directory, with its store.
        tile: Which.
        reasons: Modality → why it is not in the store.
        digests: Modality → the SHA-256 of its file, which is compared before it is drawn.

    Raises:
        ConfigError: The store was not kept.
        FormatError: A file of the store is damaged, or not the one that was collected.
        DataError: Its values break their contract.
    """
    if not (root / STORE).is_dir():
        raise ConfigError(
            f"{root} has no store to draw from; build with keep_store: true, or read its shards"
        )
    found: dict[str, Observation] = {}
    catalogue = read_catalogue(root)
    targets = [task.target for task in catalogue.tasks.values() if task.is_pixel]
    for layer in (*catalogue.layers.values(), *targets):
        if layer.name in digests:
            found[layer.name] = read_observation(root, tile, layer, digests[layer.name])[0]
            found[layer.name].check()
    # What was neither found nor missed was not planned: the dataset does not have it.
    panels = [
        _pixel_panel(title, name, draw, found, reasons)
        for title, name, draw in _PICTURES
        if name in found or name in reasons
    ]
    if climate := _climate_lines(found, reasons):
        panels.append(_Panel("precipitation, temperature", climate))
    panels.append(_Panel("place", _place_lines(tile, found, reasons)))
    if labels := _label_lines(root, tile):
        panels.append(_Panel("labels", labels))
    anchor = found["sentinel2"].acquired if "sentinel2" in found else None
    return _compose(panels, tile, anchor or "no Sentinel-2")


def window_sheet(tile: Tile, seen: Observation, origin: str) -> Image.Image:
    """Return one observation as a picture.

    Args:
        tile: Where.
        seen: Of any modality, or of a pixel-level target.
        origin: What it came from, for the title.
    """
    found = {seen.layer.name: seen}
    panels = [
        _pixel_panel(title, name, draw, found, {})
        for title, name, draw in _PICTURES
        if name in found
    ]
    if climate := _climate_lines(found, {}):
        panels.append(_Panel(seen.layer.name, climate))
    return _compose(panels, tile, origin)


def save(sheet: Image.Image, path: Path) -> None:
    """Write a sheet; its directory is made when it is not there.

    Raises:
        ConfigError: The suffix is none of FORMATS.
        StorageError: The file cannot be written.
    """
    check_format(path)
    with storage_errors(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, format=FORMATS[path.suffix.lower()], quality=92)


def check_format(path: Path) -> None:
    """Refuse a file whose suffix is none of FORMATS, before anything is drawn.

    Raises:
        ConfigError: It is.
    """
    if path.suffix.lower() not in FORMATS:
        found = f"the suffix {path.suffix!r}" if path.suffix else "no suffix"
        raise ConfigError(f"{path} has {found}; expected one of {', '.join(FORMATS)}")


def export_geotiffs(root: Path, tile: Tile, out: Path, names: Iterable[str]) -> list[Path]:
    """Copy a tile's GeoTIFFs to a directory; return their paths.

    Args:
        root: The dataset's directory, with its store.
        tile: Which.
        out: The directory; made when it is not there.
        names: Of what is in the store, and was looked at.

    Raises:
        StorageError: The disk is full.
    """
    copied, catalogue = [], read_catalogue(root)
    for layer in map(catalogue.observed, names):
        if layer.is_pixel:
            copied.append(out / f"{tile.id}_{layer.name}.tif")
            write_atomic(copied[-1], read_stored(root, tile, layer))
    return copied


def _pixel_panel(
    title: str,
    name: str,
    draw: Callable[[NDArray[Any]], _Panel],
    found: dict[str, Observation],
    reasons: dict[str, str],
) -> _Panel:
    if name not in found:
        return _Panel(title, ["missing", "", *_wrap(reasons.get(name, "not collected"))])
    panel = draw(found[name].array)
    acquired = found[name].acquired
    return _Panel(
        f"{title}  {acquired}" if acquired else title, panel.picture, panel.notes, panel.legend
    )


def _true_colour(array: NDArray[Any]) -> _Panel:
    return _composite(array, (3, 2, 1))


def _false_colour(array: NDArray[Any]) -> _Panel:
    return _composite(array, (7, 3, 2))


def _composite(array: NDArray[Any], bands: tuple[int, ...]) -> _Panel:
    """Return a panel of three bands of Sentinel-2; one that is constant says so, and is grey."""
    values = array[list(bands)].astype(np.float64)
    values[values == MMEARTH_BENCH.layers["sentinel2"].nodata] = np.nan
    names = [MMEARTH_BENCH.layers["sentinel2"].bands[band].name for band in bands]
    flat = {
        name: known[0]
        for name, band in zip(names, values, strict=True)
        if (known := np.unique(band[~np.isnan(band)])).size == 1
    }
    notes = [f"{' '.join(names)}, 2 to 98 % stretch"]
    notes += [f"constant: {', '.join(f'{n} {value:g}' for n, value in flat.items())}"] * bool(flat)
    return _Panel("", _rgb(np.stack([_stretch(band) for band in values])), tuple(notes))


def _backscatter(first: int) -> Callable[[NDArray[Any]], _Panel]:
    def draw(array: NDArray[Any]) -> _Panel:
        vv, vh = array[first].astype(np.float64), array[first + 1].astype(np.float64)
        vv[vv == -9999], vh[vh == -9999] = np.nan, np.nan
        if np.isnan(vv).all():
            return _Panel("", ["missing", "", "this orbit has no scene"])
        parts = (_range(vv, -22, 0), _range(vh, -28, -6), _range(vv - vh, 2, 14))
        return _Panel("", _rgb(np.stack(parts)), ("VV -22 to 0 dB, VH -28 to -6 dB, VV-VH",))

    return draw


def _ramp_of(band: int, nodata: float, unit: str) -> Callable[[NDArray[Any]], _Panel]:
    """Return a panel of one band, its lowest and highest value written below."""

    def draw(array: NDArray[Any]) -> _Panel:
        values = (array if array.ndim == 2 else array[band]).astype(np.float64)
        values[values == nodata] = np.nan
        if np.isnan(values).all():
            return _Panel("", ["missing", "", "no pixel has a value"])
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        note = f"{low:.1f} to {high:.1f} {unit}" if low < high else f"constant: {low:g} {unit}"
        return _Panel("", _viridis(_range(values, low, high)), (note,))

    return draw


def _classes_of(name: str) -> Callable[[NDArray[Any]], _Panel]:
    def draw(array: NDArray[Any]) -> _Panel:
        table = np.full((256, 3), _EMPTY, dtype=np.uint8)
        for entry in MMEARTH_BENCH.layers[name].classes:
            table[entry.code] = _colour(entry)
        counts = np.bincount(array[0].ravel(), minlength=256)
        present = sorted(
            (entry for entry in MMEARTH_BENCH.layers[name].classes if counts[entry.code]),
            key=lambda entry: -int(counts[entry.code]),
        )
        return _Panel("", table[array[0]], (), tuple(present))

    return draw


_PICTURES: tuple[tuple[str, str, Callable[[NDArray[Any]], _Panel]], ...] = (
    ("sentinel2", "sentinel2", _true_colour),
    ("sentinel2 infrared", "sentinel2", _false_colour),
    ("sentinel1 ascending", "sentinel1", _backscatter(0)),
    ("sentinel1 descending", "sentinel1", _backscatter(4)),
    ("aster_gdem elevation", "aster_gdem", _ramp_of(0, -9999.0, "m")),
    ("aster_gdem slope", "aster_gdem", _ramp_of(1, -9999.0, "°")),
    ("eth_gch height", "eth_gch", _ramp_of(0, 255.0, "m")),
    ("eth_gch uncertainty", "eth_gch", _ramp_of(1, 255.0, "m")),
    ("dynamic_world", "dynamic_world", _classes_of("dynamic_world")),
    ("esa_worldcover", "esa_worldcover", _classes_of("esa_worldcover")),
    ("biomass (target)", "biomass", _ramp_of(0, -9999.0, "Mg/ha")),
)


def _climate_lines(found: dict[str, Observation], reasons: dict[str, str]) -> list[str]:
    lines = []
    for name, factor, unit in (("precipitation", 1000.0, "mm"), ("temperature", 1.0, "K")):
        if name in reasons:
            lines += [f"{name}: missing", *_wrap(reasons[name]), ""]
        if name not in found:
            continue
        for band, value in zip(MMEARTH_BENCH.layers[name].bands, found[name].array, strict=True):
            shown = (
                "-"
                if value == MMEARTH_BENCH.layers[name].nodata
                else f"{value * factor:.1f} {unit}"
            )
            lines.append(f"{band.name.replace('_', ' ')}\t{shown}")
        lines.append("")
    return lines


def _place_lines(tile: Tile, found: dict[str, Observation], reasons: dict[str, str]) -> list[str]:
    lines = [f"lon\t{tile.lon:.5f}°", f"lat\t{tile.lat:.5f}°"]
    if "month" in found:
        lines.append(f"month of\t{found['month'].acquired}")
    lines.append("")
    for name, classes in (("biome", BIOME_CLASSES), ("ecoregion", ECOREGION_CLASSES)):
        if name in found:
            code = int(found[name].array[0])
            lines += [f"{name} {code}", *_wrap(classes[code].name), ""]
        elif name in reasons:
            lines += [f"{name}: missing", *_wrap(reasons[name]), ""]
    return lines


def _label_lines(root: Path, tile: Tile) -> list[str]:
    """Return what is to be predicted at a tile, task by task; nothing before a plan is written."""
    if not (root / _TILES).exists():
        return []
    lines, catalogue = [], read_catalogue(root)
    for row in read_table(root / _TILES, root=root, schema=TILES).to_pylist():
        if row["tile"] == tile.id:
            task = catalogue.task(row["task"])
            lines += [f"{task.name}\t{row['split']}", *_label_of(task, row), ""]
    return lines


def _label_of(task: Task, row: dict[str, Any]) -> list[str]:
    if task.is_pixel:
        return []  # it has a picture
    target = planned_target(task, row)
    if target is None:
        return ["  no label"]
    if task.kind == "multilabel":
        return [f"  {name}" for name in target or ("none of them",)]
    if task.kind == "classification":
        return [f"  {target}"]
    unit = "" if task.unit == "1" else task.unit
    numbers = target if isinstance(target, dict) else {"": target}
    return [
        f"  {name} {value:.6g} {unit}".replace("   ", "  ").rstrip()
        for name, value in numbers.items()
    ]


def _compose(panels: list[_Panel], tile: Tile, origin: str) -> Image.Image:
    n_columns = max(2, min(_COLUMNS, len(panels)))
    n_rows = -(-len(panels) // n_columns)
    cell_w, cell_h = _SIDE + _PAD, _HEAD + _SIDE + _FOOT
    sheet = Image.new("RGB", (n_columns * cell_w + _PAD, n_rows * cell_h + 56), _PAPER)
    draw = ImageDraw.Draw(sheet)
    title = f"{tile.id}   {tile.lon:.4f}° {tile.lat:.4f}°   {origin}"
    fonts = [ImageFont.load_default(size) for size in (20, 16, 13, 10, 8)]
    fits = (font for font in fonts if draw.textlength(title, font) <= sheet.width - 2 * _PAD)
    draw.text((_PAD, 14), title, _INK, next(fits, fonts[-1]))
    for i, panel in enumerate(panels):
        left, top = _PAD + i % n_columns * cell_w, 50 + i // n_columns * cell_h
        draw.text((left, top + 4), panel.title, _INK, ImageFont.load_default(14))
        _draw_panel(sheet, draw, panel, left, top + _HEAD)
    return sheet


def _draw_panel(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, panel: _Panel, left: int, top: int
) -> None:
    small = ImageFont.load_default(12)
    if isinstance(panel.picture, list):
        draw.rectangle((left, top, left + _SIDE - 1, top + _SIDE - 1), _EMPTY)
        for i, line in enumerate(_shortened(panel.picture, 15)):
            label, _, value = line.partition("\t")
            draw.text((left + 10, top + 8 + 16 * i), label, _INK, small)
            draw.text((left + _SIDE - 10, top + 8 + 16 * i), value, _INK, small, anchor="ra")
    else:
        picture = Image.fromarray(panel.picture).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
        sheet.paste(picture, (left, top))
    for i, note in enumerate(panel.notes):
        draw.text((left, top + _SIDE + 4 + 15 * i), note, _PALE, small)
    x, y = left, top + _SIDE + 4
    for entry in panel.legend:  # the most frequent first, as many as there is room for
        width = 28 + draw.textlength(entry.name, small)
        if x > left and x + width > left + _SIDE + _PAD:
            x, y = left, y + 17
        if y > top + _SIDE + _FOOT - 17:
            return
        draw.rectangle((x, y + 2, x + 11, y + 12), _colour(entry), _PALE)
        draw.text((x + 16, y), entry.name, _PALE, small)
        x += int(width)


def _shortened(lines: list[str], most: int) -> list[str]:
    n_more = len(lines) - most + 1
    return lines if n_more < 2 else [*lines[: most - 1], f"… and {n_more} lines more"]


def _colour(entry: ClassCode) -> tuple[int, int, int]:
    return int(entry.color[1:3], 16), int(entry.color[3:5], 16), int(entry.color[5:7], 16)


def _stretch(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map the 2nd to the 98th percentile to 0 to 1."""
    known = values[~np.isnan(values)]
    if not known.size:
        return values
    low, high = np.percentile(known, (2, 98))
    return _range(values, float(low), float(high))


def _range(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Map low to high to 0 to 1; the middle, where they are the same."""
    if low == high:
        return np.asarray(np.clip(values - low + 0.5, 0.0, 1.0))
    return np.asarray(np.clip((values - low) / (high - low), 0.0, 1.0))


def _rgb(parts: NDArray[np.float64]) -> Rgb:
    """Return colours of three bands in 0 to 1; no data in pale grey."""
    empty = np.isnan(parts).any(axis=0)
    colours = (np.nan_to_num(parts) * 255.0).astype(np.uint8).transpose(1, 2, 0).copy()
    colours[empty] = _EMPTY
    return colours


def _viridis(part: NDArray[np.float64]) -> Rgb:
    stops = np.linspace(0.0, 1.0, len(_VIRIDIS))
    filled = np.nan_to_num(part)
    parts = [np.interp(filled, stops, [c[i] for c in _VIRIDIS]) / 255.0 for i in range(3)]
    colours = np.stack(parts)
    colours[:, np.isnan(part)] = np.nan
    return _rgb(colours)


def _wrap(text: str, width: int = 36) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
