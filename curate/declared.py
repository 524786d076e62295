"""Layers and targets that a configuration declares: YAML → Layer and Task, or one sentence."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field, field_validator, model_validator

from mmearth.catalog.classes import ABSENT_PRESENT
from mmearth.catalog.configuration import AnyNumber, Strict
from mmearth.catalog.grid import PIXELS, RESOLUTION_M
from mmearth.catalog.layer import Band, ClassCode, Kind, Layer, Level, Resampling, Timing
from mmearth.catalog.layer_rules import DTYPES, MOST_BANDS, impossible
from mmearth.catalog.task import METRICS, Task, TaskKind
from mmearth.catalog.wording import folded
from mmearth.curate.sources.earthengine.config import EarthEngineLayer

_FLOAT32_MAX = 3.4028234663852886e38  # the greatest finite float32: any loader can hold it
_NODATA = -9999.0  # of numbers, unless the layer has its own
_CITATION = "the makers of this dataset, for a layer of their own"
Range = tuple[float, float]


class GridConfig(Strict):
    """The pixels of every tile."""

    pixels: int = PIXELS
    """Rows, and columns: 32 to 512 in steps of 16."""
    resolution_m: int = RESOLUTION_M
    """Side of a pixel, whole metres: 1 to 60."""


class BandConfig(Strict):
    """One band of a layer."""

    name: str
    """Unique within its layer."""
    unit: str | None = None
    """Of the stored value times `scale`; the layer's unless given."""
    valid: Range | None = None
    """Lowest and highest valid stored value; the layer's unless given."""
    scale: float = 1.0
    """Stored value × scale + offset = value in `unit`."""
    offset: float = 0.0
    """See `scale`."""
    native_m: float | None = None
    """Ground sampling distance of the product, in metres."""
    wavelength_nm: float | None = None
    """Centre wavelength, in nanometres."""
    common_name: str | None = None
    """STAC's common name, such as `red`."""


class CountedBands(Strict):
    """Many bands that are alike, numbered from 0, such as A00 to A63."""

    count: int = Field(ge=1, le=MOST_BANDS)
    """How many."""
    prefix: str = "B"
    """Before the number, which has as many digits as the last."""
    unit: str | None = None
    """As of a band."""
    valid: Range | None = None
    """As of a band."""
    scale: float = 1.0
    """As of a band."""
    offset: float = 0.0
    """As of a band."""
    native_m: float | None = None
    """As of a band."""


class ClassConfig(Strict):
    """One class."""

    name: str
    """For people, and in tables of labels."""
    color: str | None = None
    """`#rrggbb`; one is chosen unless given."""


class _Declared(Strict):
    """What layers and targets are declared by alike."""

    title: str | None = None
    """For people; the name unless given."""
    level: Level | None = None
    """`pixel` or `tile`."""
    unit: str | None = None
    """Of all bands that do not say it: `m`, `%`, `1` for none."""
    valid: Range | None = None
    """Lowest and highest valid stored value of all bands that do not say it."""
    dtype: str | None = None
    """NumPy's name of the stored type: float32, of classes the smallest that holds the codes."""
    nodata: AnyNumber | None = None
    """The stored value that means absent."""
    classes: dict[int, str | ClassConfig] | tuple[str, ...] | None = None
    """Class codes with names, or names alone, whose codes are 0, 1 …"""
    licence: str = "other"
    """SPDX identifier."""
    citation: str = _CITATION
    """How its users must name it."""

    @field_validator("nodata")
    @classmethod
    def _finite(cls, nodata: float | None) -> float | None:
        if nodata is not None and not math.isfinite(nodata):
            raise ValueError("a file's NaN and infinite values are no data anyway; leave it out")
        return nodata

    @model_validator(mode="after")
    def _valid_of_numbers(self) -> _Declared:
        if self.classes is not None and self.valid is not None:
            raise ValueError("valid: follows from classes:; leave it out")
        return self


class LayerConfig(_Declared):
    """A layer of the user's own."""

    description: str | None = None
    """The product and its version, for people; the title unless given."""
    kind: Kind | None = None
    """`continuous`, `cyclic`, or `categorical`, as every layer with classes is."""
    timing: Timing | None = None
    """How its date follows the anchor date: as Earth Engine's images are chosen, else static."""
    resampling: Resampling | None = None
    """Bilinear unless given, of classes nearest."""
    product: str = "own"
    """Identifier of the product."""
    bands: tuple[BandConfig | str, ...] | CountedBands | None = None
    """One of the layer's name unless given."""
    earthengine: EarthEngineLayer | None = None
    """Where Earth Engine has it."""


class TargetConfig(_Declared):
    """What a task of the user's own predicts."""

    outputs: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of the numbers of a regression, where there are several."""
    labels: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of labels of which each is present or not."""
    optional: bool = True
    """Whether places without a target are kept, to predict at or to label later."""
    metrics: tuple[str, ...] | None = None
    """The first is the headline."""


def own_layer(name: str, config: LayerConfig) -> Layer:
    """Return the layer that a configuration declares.

    Raises:
        ValueError: No array could be of such a layer; the sentence names the key.
    """
    classes = _classes(config.classes)
    level, kind = config.level or "pixel", config.kind or ("categorical" if classes else None)
    if kind == "categorical" and not classes:
        raise ValueError(f"{name}: kind: categorical needs classes:, codes with names")
    dtype = config.dtype or (_class_dtype(classes) if classes else "float32")
    nodata = config.nodata if config.nodata is not None else _nodata(dtype, classes)
    valid = (-1.0, 1.0) if kind == "cyclic" and config.valid is None else config.valid
    valid = _valid(valid, dtype, nodata, classes)
    online = config.earthengine
    resampling = config.resampling or ("nearest" if classes else "bilinear")
    if classes and resampling == "bilinear":
        raise ValueError(f"{name}: resampling: bilinear would blend class codes; nearest")
    return _possible(
        name,
        Layer(
            name=name,
            title=config.title or name,
            level=level,
            kind=kind or "continuous",
            bands=_bands(name, config, valid),
            dtype=dtype,
            nodata=nodata,
            timing=config.timing or (online.timing if online is not None else "static"),
            resampling=resampling if level == "pixel" else None,
            description=config.description or config.title or name,
            product=config.product,
            licence=config.licence,
            citation=config.citation,
            classes=classes,
        ),
    )


def own_task(name: str, config: TargetConfig) -> Task:
    """Return the task that a configuration declares; by default one number of unknown unit.

    Raises:
        ValueError: No target could be of such a task; the sentence names the key.
    """
    where, level = f"{name}: target", config.level or "tile"
    kind = _task_kind(where, config, level)
    classes = ABSENT_PRESENT if kind == "multilabel" else _classes(config.classes)
    # A year and month, or a number of seconds, does not fit into float32.
    number = "float32" if level == "pixel" else "float64"
    dtype = config.dtype or (_class_dtype(classes) if classes else number)
    nodata = config.nodata if level == "pixel" else None
    if level == "pixel" and nodata is None:
        nodata = _nodata(dtype, classes)
    low, high = _valid(config.valid, dtype, nodata, classes)
    valid = max(low, -_FLOAT32_MAX), min(high, _FLOAT32_MAX)
    names = config.labels or config.outputs or ("class" if classes else "value",)
    unit = config.unit or ("1" if classes else "unknown")
    target = Layer(
        name=name,
        title=config.title or name,
        level=level,
        kind="categorical" if classes else "continuous",
        bands=tuple(Band(each, unit, valid) for each in names),
        dtype=dtype,
        nodata=nodata,
        timing="static",
        resampling=None if level == "tile" else ("nearest" if classes else "bilinear"),
        description=config.title or name,
        product="own",
        licence=config.licence,
        citation=config.citation,
        classes=classes,
    )
    metrics = _metrics(where, config.metrics, METRICS[kind][level])
    task = Task(name, config.title or name, kind, _possible(where, target), metrics)
    return Task(task.name, task.title, kind, task.target, metrics, config.optional)


def _task_kind(where: str, config: TargetConfig, level: Level) -> TaskKind:
    given = [key for key in ("outputs", "labels", "classes") if getattr(config, key) is not None]
    if len(given) > 1:
        raise ValueError(f"{where}: found {' and '.join(given)}, expected one of them at most")
    if config.labels is not None and level == "pixel":
        raise ValueError(f"{where}: labels are of a tile; leave level: out, or give classes:")
    if level == "pixel" and config.outputs is not None and len(config.outputs) > 1:
        raise ValueError(f"{where}: a target with pixels has one output; make a task of each")
    if level == "tile" and config.nodata is not None:
        raise ValueError(f"{where}: nodata: is of pixels, and this target has none; leave it out")
    if config.labels is not None:
        _tell_apart(config.labels, {})
        if config.valid is not None or config.dtype is not None:
            raise ValueError(f"{where}: labels are present or not; leave valid: and dtype: out")
        return "multilabel"
    return "classification" if config.classes is not None else "regression"


def _metrics(where: str, given: tuple[str, ...] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in given or () if name not in known]
    if unknown or given == ():
        found = repr(unknown[0]) if unknown else "none"
        raise ValueError(f"{where}: metrics: found {found}, expected some of {', '.join(known)}")
    return given or known


def _possible(where: str, layer: Layer) -> Layer:
    if reason := impossible(layer):
        raise ValueError(f"{where}: {reason}")
    return layer


def _bands(name: str, config: LayerConfig, valid: Range) -> tuple[Band, ...]:
    given = config.bands
    if given is None:
        given = (BandConfig(name=name),)
    if isinstance(given, CountedBands):
        width = len(str(given.count - 1))
        alike = given.model_dump(exclude={"count", "prefix"})
        given = tuple(
            BandConfig(name=f"{given.prefix}{i:0{width}}", **alike) for i in range(given.count)
        )
    full = (BandConfig(name=each) if isinstance(each, str) else each for each in given)
    return tuple(
        Band(
            each.name,
            each.unit or config.unit or "1",
            each.valid or valid,
            each.scale,
            each.offset,
            each.native_m,
            each.wavelength_nm,
            each.common_name,
        )
        for each in full
    )


def _classes(
    given: Mapping[int, str | ClassConfig] | Sequence[str] | None,
) -> tuple[ClassCode, ...]:
    """Return declared classes by rising code."""
    if given is None:
        return ()
    if not given:
        raise ValueError("classes: names no class; name one, or leave it out")
    by_code = dict(given) if isinstance(given, Mapping) else dict(enumerate(given))
    full = {
        code: ClassConfig(name=each) if isinstance(each, str) else each
        for code, each in sorted(by_code.items())
    }
    _tell_apart([each.name for each in full.values()], {each.name: c for c, each in full.items()})
    return tuple(
        ClassCode(code, each.name, each.color or _color(i))
        for i, (code, each) in enumerate(full.items())
    )


def _tell_apart(names: Sequence[str], codes: Mapping[str, int]) -> None:
    """Refuse names that a table or a vector file could take for one another, or for a code."""
    by_key: dict[str, str] = {}
    for name in names:
        if not (key := folded(name)):
            raise ValueError("a class or label has no name; expected a name of its own for each")
        if key in by_key:
            found = f"{by_key[key]!r} and {name!r}"
            raise ValueError(f"{found} are one name; expected a name of its own for each")
        by_key[key] = name
    for name, code in codes.items():
        if (key := folded(name)) != str(code) and key in map(str, codes.values()):
            raise ValueError(
                f"class {code} is named {name!r}, which is the code of another; name classes by "
                f"code, as {{ {key}: ... }}, or otherwise"
            )


def _color(i: int) -> str:
    """Return the i-th of colours that are easily told apart: hues by the golden ratio."""
    red, green, blue = colorsys.hsv_to_rgb((0.08 + i * 0.618034) % 1.0, 0.62, 0.85 - 0.25 * (i % 2))
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def _class_dtype(classes: tuple[ClassCode, ...]) -> str:
    """Return the smallest type that holds class codes and one value more."""
    low, high = classes[0].code, classes[-1].code
    for dtype in ("uint8", "uint16", "int16", "int32"):
        bounds = np.iinfo(dtype)
        if bounds.min + (bounds.min < 0) <= low and high <= bounds.max - (bounds.min == 0):
            return dtype
    return "int32"  # whose bounds the rules name


def _nodata(dtype: str, classes: tuple[ClassCode, ...]) -> float | None:
    """Return what means absent unless it is said: the end of a whole type, or -9999."""
    if dtype not in DTYPES:
        return None  # the rules refuse it
    if np.dtype(dtype).kind == "f":
        return _NODATA
    bounds = np.iinfo(dtype)
    return float(bounds.max if bounds.min == 0 else bounds.min)


def _valid(
    given: Range | None, dtype: str, nodata: float | None, classes: tuple[ClassCode, ...]
) -> Range:
    if classes:
        return classes[0].code, classes[-1].code
    if given is not None:
        return given
    if dtype not in DTYPES or np.dtype(dtype).kind == "f":
        return -_FLOAT32_MAX, _FLOAT32_MAX
    bounds = np.iinfo(dtype)
    low, high = float(bounds.min), float(bounds.max)
    return low + (nodata == low), high - (nodata == high)
