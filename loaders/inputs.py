"""What a model wants of each modality: bands, units, means; compared with what a dataset has."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmearth.catalog.arguments import one_of, whole
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.layer import Band, Layer
from mmearth.catalog.statistics import SUBSETS

_LEAST_STD, _MOST_STD = 1e-30, 1e30  # by which a float32 can be divided and stay a number
_FIELDS = ("bands", "unit", "scale", "mean", "std", "classes")


@dataclass(frozen=True, slots=True)
class ModalityInput:
    """What a model wants of one modality; `check` compares it with a dataset's layer.

    Raises:
        ConfigError: It makes no sense whatever the dataset: no band, or one twice, a mean or a
            deviation that no number can be.
    """

    modality: str
    """The name of a layer."""
    bands: tuple[str, ...]
    """Names, any of the layer's, in the model's order."""
    units: tuple[str, ...]
    """Of each band: what its numbers are in, after `scale`."""
    scale: float | None
    """The model's number × scale = value in the unit. The bands' own, for a model of stored values
    (Sentinel-2 reflectance × 10000: 0.0001), or 1 for one of physical values. None: of stored
    values, whatever each band's scale."""
    mean: tuple[float, ...]
    """Of each band, in the model's numbers; all 0 for classes and encodings."""
    std: tuple[float, ...]
    """Of each band, in the model's numbers, above 0; all 1 for classes and encodings."""
    n_classes: int | None = None
    """Classes that the model tells apart; None for numbers, or where it takes any number."""

    def __post_init__(self) -> None:
        for name in ("bands", "units", "mean", "std"):
            if not isinstance(getattr(self, name), tuple):
                raise ConfigError(
                    f"{self.modality}: found {name} {getattr(self, name)!r}; expected a tuple"
                )
        if not self.bands or len(set(self.bands)) < len(self.bands):
            raise ConfigError(
                f"{self.modality}: found bands {', '.join(self.bands) or 'none'}; "
                "expected one or more, each once"
            )
        for name in ("units", "mean", "std"):
            if len(getattr(self, name)) != len(self.bands):
                raise ConfigError(
                    f"{self.modality}: found {len(getattr(self, name))} of {name} for "
                    f"{len(self.bands)} bands; give one a band"
                )
        for band, mean, std in zip(self.bands, self.mean, self.std, strict=True):
            if not (math.isfinite(mean) and _LEAST_STD <= std <= _MOST_STD):
                raise ConfigError(
                    f"{self.modality} {band}: found mean {mean:g} and std {std:g}; expected finite "
                    f"ones, std above 0, {_LEAST_STD:g} to {_MOST_STD:g}"
                )

    def stored(self, i: int, layer: Layer) -> tuple[float, float]:
        """Return mean and standard deviation of the i-th band in the stored values of a layer."""
        if self.scale != 1.0:
            return self.mean[i], self.std[i]
        band = _band(layer, self.bands[i])
        return (self.mean[i] - band.offset) / band.scale, self.std[i] / band.scale

    def check(self, layer: Layer) -> None:
        """Refuse to be fed with a layer that means something else.

        Raises:
            ConfigError: It lacks a band, has another unit, scale or number of classes, or no value
                of it can have such a mean.
        """
        layer.index(self.bands)
        for i, name in enumerate(self.bands):
            self._check_band(i, _band(layer, name), layer)
        if self.n_classes is not None and self.n_classes != len(layer.classes):
            raise ConfigError(
                f"{self.modality}: the model tells {self.n_classes} classes apart, the dataset has "
                f"{len(layer.classes)}; choose another model, or leave the modality out"
            )

    def _check_band(self, i: int, band: Band, layer: Layer) -> None:
        where = f"{self.modality} {band.name}"
        if self.units[i] != band.unit:
            raise ConfigError(
                f"{where}: the model declares the unit {self.units[i]!r}, ours is {band.unit!r}; "
                f"convert the model's mean and std to {band.unit!r}, or leave the band out"
            )
        if self.scale not in (None, 1.0, band.scale):
            raise ConfigError(
                f"{where}: the model declares scale {self.scale:g}; expected {band.scale:g} for "
                f"stored values or 1 for values in {band.unit!r}: convert its mean and std to one"
            )
        mean, std = self.mean[i], self.std[i]
        if layer.kind != "continuous" and (mean, std) != (0.0, 1.0):
            raise ConfigError(
                f"{where}: found mean {mean:g} and std {std:g} of a {layer.kind} modality, which "
                "is not normalised; leave them out"
            )
        in_stored = self.stored(i, layer)[0]
        if mean != 0.0 and not band.valid[0] <= in_stored <= band.valid[1]:
            scale = "" if self.scale is None else f" with scale {self.scale:g}"
            raise ConfigError(
                f"{where}: a mean of {mean:g}{scale} is {in_stored:g} as stored, where values are "
                f"{band.valid[0]:g} to {band.valid[1]:g}; correct the scale (stored values have "
                f"{band.scale:g}, values in {band.unit!r} have 1) or the mean"
            )


@dataclass(frozen=True, slots=True)
class Normalisation(Mapping[str, ModalityInput]):
    """What a model wants, by modality; read-only."""

    inputs: dict[str, ModalityInput]
    """By modality."""

    def __getitem__(self, name: str) -> ModalityInput:
        return self.inputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.inputs)

    def __len__(self) -> int:
        return len(self.inputs)

    @classmethod
    def of(cls, inputs: Iterable[ModalityInput]) -> Normalisation:
        """Return the normalisation of some inputs, at most one a modality."""
        return cls({each.modality: each for each in inputs})

    @classmethod
    def from_statistics(
        cls, document: Mapping[str, Any], subset: str, layers: Iterable[Layer]
    ) -> Normalisation:
        """Return all bands of some layers with the means and deviations of a train subset.

        As published, a band that is nowhere valid has mean 0 and deviation 1; a constant one has
        deviation 1. Classes and encodings stay as they are.

        Args:
            document: `statistics/<task>.json`, as `Dataset.statistics` returns it.
            subset: `train`, `train_50` or `train_5`.
            layers: Of the dataset.

        Raises:
            ConfigError: There is no such subset, or it has no sample.
            FormatError: The document is not such statistics.
        """
        one_of("subset", subset, SUBSETS)
        if not isinstance(document, Mapping):
            raise ConfigError(f"found document {document!r}; expected statistics/<task>.json, read")
        try:
            n, of = document[subset]["n_samples"], document[subset]["modalities"]
            inputs = [_of_statistics(layer, of.get(layer.name, {})) for layer in layers]
        except (KeyError, TypeError, AttributeError, ConfigError) as exc:
            raise FormatError(
                f"the statistics of {subset} are not as expected ({type(exc).__name__}: {exc}); "
                "build them again with `mmearth packaging build`"
            ) from exc
        if not n:
            raise ConfigError(
                f"the statistics of {subset} are of no sample; take a larger subset, or a model's "
                "own means and deviations"
            )
        return cls.of(inputs)

    @classmethod
    def from_model(cls, document: Mapping[str, Any], catalogue: Catalogue) -> Normalisation:
        """Return what a model declares, for a dataset.

        Args:
            document: `{modality: {bands, unit, scale, mean, std, classes}}`. `bands`: names in the
                model's order, all if left out. `unit`: one, or one a band. `scale`: see
                `ModalityInput`; may be left out where stored values are in the unit already.
                `mean`, `std`: one a band; left out for classes and encodings, which are not
                normalised. `classes`: how many the model tells apart; any number if left out.
            catalogue: `Dataset.catalogue`.

        Raises:
            ConfigError: It contradicts the dataset's layers, or lacks something.
        """
        if not isinstance(document, Mapping):
            raise ConfigError(f"found document {document!r}; expected {{modality: {{bands, …}}}}")
        return cls.of(_declared(name, fields, catalogue) for name, fields in document.items())

    @classmethod
    def from_file(cls, path: str | Path, catalogue: Catalogue) -> Normalisation:
        """Return what a model's YAML or JSON file declares; see `from_model`.

        Raises:
            ConfigError: There is no such file, it is not YAML, or as `from_model` says.
        """
        from mmearth.catalog.yaml_file import read_yaml

        if not isinstance(path, str | Path):
            raise ConfigError(f"found path {path!r}; expected a YAML or JSON file")
        try:
            document = read_yaml(Path(path))
        except (OSError, ValueError) as exc:
            raise ConfigError(f"{path} cannot be read as YAML or JSON: {exc}") from exc
        if not isinstance(document, dict):
            raise ConfigError(f"{path} holds no modalities; expected {{modality: {{bands, …}}}}")
        return cls.from_model(document, catalogue)

    def only(self, modalities: Iterable[str]) -> Normalisation:
        """Return what is declared of some modalities.

        Raises:
            ConfigError: One is not declared.
        """
        chosen = tuple(modalities)
        for name in chosen:
            if name not in self.inputs:
                raise ConfigError(
                    f"the model declares nothing for {name}, which was chosen; choose only "
                    f"{', '.join(self.inputs)}, or declare it"
                )
        return Normalisation({name: each for name, each in self.inputs.items() if name in chosen})

    def check(self, catalogue: Catalogue) -> None:
        """Refuse to be fed by a dataset whose layers mean something else.

        Raises:
            ConfigError: It lacks a modality, or as `ModalityInput.check` says.
        """
        for name, each in self.inputs.items():
            each.check(catalogue.layer(name))


def without_mean(
    document: Mapping[str, Any], subset: str, layers: Iterable[Layer]
) -> list[tuple[Layer, str]]:
    """Return the layers and bands to be normalised of which statistics have no mean.

    Args:
        document: statistics/<task>.json, of which `Normalisation.from_statistics` made one.
        subset: Of SUBSETS.
        layers: Of the dataset.
    """
    of = document[subset]["modalities"]
    return [
        (layer, name)
        for layer in layers
        for name in layer.band_names
        if layer.kind == "continuous" and of.get(layer.name, {}).get(name, {}).get("mean") is None
    ]


def _band(layer: Layer, name: str) -> Band:
    [position] = layer.index((name,))
    return layer.bands[position]


def _of_statistics(layer: Layer, of_bands: Mapping[str, Any]) -> ModalityInput:
    bands = layer.bands
    mean, std = [0.0] * len(bands), [1.0] * len(bands)
    if layer.kind == "continuous":
        for i, band in enumerate(bands):
            of_band = of_bands[band.name] if of_bands else {}
            mean[i], std[i] = _moments(f"{layer.name} {band.name}", of_band)
    units, n_classes = tuple(band.unit for band in bands), len(layer.classes) or None
    numbers = tuple(mean), tuple(std)
    found = ModalityInput(layer.name, layer.band_names, units, None, *numbers, n_classes)
    found.check(layer)
    return found


def _moments(where: str, found: Mapping[str, Any]) -> tuple[float, float]:
    """Return what a band is normalised with: mean 0 where it has none, deviation 1 where it is 0.

    Raises:
        ConfigError: The numbers contradict each other.
    """
    mean, std, low, high = values = [found.get(name) for name in ("mean", "std", "min", "max")]
    if mean is None and std is None and not found.get("n"):
        return 0.0, 1.0
    if not _agree([float("nan") if value is None else value for value in values]):
        raise ConfigError(f"{where} has mean {mean} and std {std} between {low} and {high}")
    return float(mean or 0.0), float(std or 1.0)


def _agree(values: list[Any]) -> bool:
    """Say whether mean, deviation and, unless they are NaN, least and greatest can go together."""
    if not all(isinstance(value, int | float) and value is not True for value in values):
        return False
    mean, std, low, high = values
    if not (math.isfinite(mean) and math.isfinite(std) and std >= 0.0):
        return False
    if math.isnan(low) or math.isnan(high):
        return True
    return bool(low <= mean <= high and std <= high - low and (std > 0.0 or low == high))


def _declared(name: Any, fields: Any, catalogue: Catalogue) -> ModalityInput:
    if name not in catalogue.layers or not isinstance(fields, Mapping):
        raise ConfigError(
            f"the model declares {name!r}; expected a modality of the dataset with its fields, one "
            f"of {', '.join(catalogue.layers)}"
        )
    layer, unknown = catalogue.layer(name), [field for field in fields if field not in _FIELDS]
    if unknown:
        raise ConfigError(f"{name} has no field {unknown[0]!r}; expected {', '.join(_FIELDS)}")
    bands = tuple(_items(fields.get("bands", layer.band_names)))
    _check_complete(layer, bands, fields)
    units = tuple(_items(fields.get("unit", "1")))
    scale = _numbers(name, fields.get("scale", 1.0))
    if len(scale) != 1:
        raise ConfigError(f"{name}: found {len(scale)} of scale; expected one for all bands")
    n_classes = fields.get("classes")
    declared = ModalityInput(
        name,
        bands,
        units * len(bands) if len(units) == 1 else units,
        scale[0],
        _numbers(name, fields.get("mean", [0.0] * len(bands))),
        _numbers(name, fields.get("std", [1.0] * len(bands))),
        None if n_classes is None else whole(f"{name}: classes", n_classes, 1),
    )
    declared.check(layer)
    _check_steps(declared, layer)
    return declared


def _check_complete(layer: Layer, bands: tuple[str, ...], fields: Mapping[str, Any]) -> None:
    """Refuse a declaration that leaves out what decides the numbers."""
    known = [layer.bands[i] for i in layer.index(bands)]
    needed = ("unit", "mean", "std") if layer.kind == "continuous" else ()
    missing = [field for field in needed if field not in fields]
    if any(band.scale != 1.0 for band in known) and "scale" not in fields:
        missing.append("scale")
    if missing:
        raise ConfigError(
            f"{layer.name}: the model does not declare its {missing[0]}; the bands are stored in "
            f"{known[0].unit!r} / {known[0].scale:g}, so give {missing[0]} as it was pretrained"
        )


def _check_steps(declared: ModalityInput, layer: Layer) -> None:
    """Refuse a deviation of whole numbers below one: it is in another scale than declared."""
    if np.dtype(layer.dtype).kind not in "iu":
        return
    for i, name in enumerate(declared.bands):
        if (std := declared.stored(i, layer)[1]) < 1.0:
            raise ConfigError(
                f"{declared.modality} {name}: a std of {declared.std[i]:g} with scale "
                f"{declared.scale:g} is {std:g} as stored, less than one step of whole numbers; "
                "the model's numbers are probably in its unit: declare scale 1"
            )


def _items(value: Any) -> list[str]:
    return [str(item) for item in (value if isinstance(value, list | tuple) else [value])]


def _numbers(name: str, value: Any) -> tuple[float, ...]:
    try:
        # YAML 1.1 reads 1e-4, which has no dot, as text: so float() has the last word.
        return tuple(float(item) for item in _items(value))
    except ValueError as exc:
        raise ConfigError(f"{name}: found {value!r} where numbers are expected ({exc})") from exc
