"""What a model wants of each modality: bands, units, means; declared, and checked against ours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmearth.catalog.arguments import one_of
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.modality import Band, Modality
from mmearth.catalog.statistics import SUBSETS

_LEAST_STD, _MOST_STD = 1e-30, 1e30  # by which a float32 can be divided and stay a number
_FIELDS = ("bands", "unit", "scale", "mean", "std")


@dataclass(frozen=True, slots=True)
class ModalityInput:
    """What a model wants of one modality.

    Raises:
        ConfigError: It contradicts MODALITIES: an unknown band, another unit or scale, a mean that
            no value can have.
    """

    modality: str
    """A key of MODALITIES."""
    bands: tuple[str, ...]
    """Names, any of the modality's, in the model's order."""
    units: tuple[str, ...]
    """Of each band: what its numbers are in, after `scale`."""
    scale: float
    """The model's number × scale = value in the unit. Either the bands' own, for a model of stored
    values (Sentinel-2 reflectance × 10000: 0.0001), or 1 for one of physical values."""
    mean: tuple[float, ...]
    """Of each band, in the model's numbers; all 0 for classes and encodings."""
    std: tuple[float, ...]
    """Of each band, in the model's numbers, above 0; all 1 for classes and encodings."""

    def __post_init__(self) -> None:
        if not isinstance(self.modality, str) or self.modality not in MODALITIES:
            raise ConfigError(
                f"there is no modality {self.modality!r}; expected one of {', '.join(MODALITIES)}"
            )
        modality = MODALITIES[self.modality]
        for name in ("bands", "units", "mean", "std"):
            if not isinstance(getattr(self, name), tuple):
                raise ConfigError(
                    f"{self.modality}: found {name} {getattr(self, name)!r}; expected a tuple"
                )
        modality.index(self.bands)
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
        for i in range(len(self.bands)):
            self._check(i, _band(modality, self.bands[i]))

    def stored(self, i: int) -> tuple[float, float]:
        """Return mean and standard deviation of the i-th band in stored values."""
        band = _band(MODALITIES[self.modality], self.bands[i])
        if self.scale == band.scale:
            return self.mean[i], self.std[i]
        return (self.mean[i] - band.offset) / band.scale, self.std[i] / band.scale

    def _check(self, i: int, band: Band) -> None:
        where, kind = f"{self.modality} {band.name}", MODALITIES[self.modality].kind
        if self.units[i] != band.unit:
            raise ConfigError(
                f"{where}: the model declares the unit {self.units[i]!r}, ours is {band.unit!r}; "
                f"convert the model's mean and std to {band.unit!r}, or leave the band out"
            )
        if self.scale not in (1.0, band.scale):
            raise ConfigError(
                f"{where}: the model declares scale {self.scale:g}; expected {band.scale:g} for "
                f"stored values or 1 for values in {band.unit!r}: convert its mean and std to one"
            )
        mean, std = self.mean[i], self.std[i]
        if not (math.isfinite(mean) and _LEAST_STD <= std <= _MOST_STD):
            raise ConfigError(
                f"{where}: found mean {mean:g} and std {std:g}; expected finite ones, std above 0, "
                f"{_LEAST_STD:g} to {_MOST_STD:g}"
            )
        if kind != "continuous" and (mean, std) != (0.0, 1.0):
            raise ConfigError(
                f"{where}: found mean {mean:g} and std {std:g} of a {kind} modality, which is not "
                "normalised; leave them out"
            )
        in_stored = self.stored(i)[0]
        if mean != 0.0 and not band.valid[0] <= in_stored <= band.valid[1]:
            raise ConfigError(
                f"{where}: a mean of {mean:g} with scale {self.scale:g} is {in_stored:g} as "
                f"stored, where values are {band.valid[0]:g} to {band.valid[1]:g}; correct the "
                f"scale (stored values have {band.scale:g}, values in {band.unit!r} have 1) or "
                "the mean"
            )


@dataclass(frozen=True, slots=True)
class Normalisation(Mapping[str, ModalityInput]):
    """What a model wants, by modality; read-only."""

    inputs: dict[str, ModalityInput]
    """By modality, in the order of MODALITIES."""

    def __getitem__(self, name: str) -> ModalityInput:
        return self.inputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.inputs)

    def __len__(self) -> int:
        return len(self.inputs)

    @classmethod
    def of(cls, inputs: Iterable[ModalityInput]) -> Normalisation:
        """Return the normalisation of some inputs, at most one a modality."""
        by_name = {each.modality: each for each in inputs}
        return cls({name: by_name[name] for name in MODALITIES if name in by_name})

    @classmethod
    def from_statistics(cls, document: Mapping[str, Any], subset: str) -> Normalisation:
        """Return all bands of all modalities with the means and deviations of a train subset.

        As published, a band that is nowhere valid has mean 0 and deviation 1; a constant one has
        deviation 1. Classes and encodings stay as they are.

        Args:
            document: statistics/<task>.json.
            subset: `train`, `train_50` or `train_5`: the one that is trained on.

        Raises:
            ConfigError: There is no such subset, or it has no sample.
            FormatError: The document is not such statistics.
        """
        one_of("subset", subset, SUBSETS)
        if not isinstance(document, Mapping):
            raise ConfigError(f"found document {document!r}; expected statistics/<task>.json, read")
        try:
            n, of = document[subset]["n_samples"], document[subset]["modalities"]
            inputs = [_of_statistics(name, of.get(name, {})) for name in MODALITIES]
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
    def from_model(cls, document: Mapping[str, Any]) -> Normalisation:
        """Return what a model declares.

        Args:
            document: `{modality: {bands, unit, scale, mean, std}}`. `bands`: names in the model's
                order, all if left out. `unit`: one, or one a band. `scale`: see `ModalityInput`;
                may be left out where stored values are in the unit already. `mean`, `std`: one a
                band; left out for classes and encodings, which are not normalised.

        Raises:
            ConfigError: It contradicts MODALITIES, or lacks something.
        """
        if not isinstance(document, Mapping):
            raise ConfigError(f"found document {document!r}; expected {{modality: {{bands, …}}}}")
        return cls.of(_declared(str(name), fields) for name, fields in document.items())

    @classmethod
    def from_file(cls, path: str | Path) -> Normalisation:
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
        return cls.from_model(document)

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


def without_mean(document: Mapping[str, Any], subset: str) -> list[tuple[str, str]]:
    """Return the (modality, band) to be normalised of which statistics have no mean.

    Args:
        document: statistics/<task>.json, of which `Normalisation.from_statistics` made one.
        subset: Of SUBSETS.
    """
    of = document[subset]["modalities"]
    return [
        (name, band.name)
        for name, modality in MODALITIES.items()
        for band in modality.bands
        if modality.kind == "continuous" and of.get(name, {}).get(band.name, {}).get("mean") is None
    ]


def _band(modality: Modality, name: str) -> Band:
    [position] = modality.index((name,))
    return modality.bands[position]


def _of_statistics(name: str, of_bands: Mapping[str, Any]) -> ModalityInput:
    modality = MODALITIES[name]
    bands = modality.bands
    mean, std = [0.0] * len(bands), [1.0] * len(bands)
    if modality.kind == "continuous":
        for i, band in enumerate(bands):
            found = of_bands[band.name] if of_bands else {}
            mean[i], std[i] = _moments(f"{name} {band.name}", found)
    names, units = tuple(band.name for band in bands), tuple(band.unit for band in bands)
    return ModalityInput(name, names, units, bands[0].scale, tuple(mean), tuple(std))


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


def _declared(name: str, fields: Any) -> ModalityInput:
    if name not in MODALITIES or not isinstance(fields, Mapping):
        raise ConfigError(
            f"the model declares {name!r}; expected a modality with its fields, one of "
            f"{', '.join(MODALITIES)}"
        )
    modality, unknown = MODALITIES[name], [field for field in fields if field not in _FIELDS]
    if unknown:
        raise ConfigError(f"{name} has no field {unknown[0]!r}; expected {', '.join(_FIELDS)}")
    bands = tuple(_items(fields.get("bands", [band.name for band in modality.bands])))
    known = modality.index(bands)
    plain = modality.kind != "continuous"
    missing = [field for field in ("unit", "mean", "std") if not plain and field not in fields]
    if any(modality.bands[i].scale != 1.0 for i in known) and "scale" not in fields:
        missing.append("scale")
    if missing:
        raise ConfigError(
            f"{name}: the model does not declare its {missing[0]}; the bands are stored in "
            f"{modality.bands[known[0]].unit!r} / {modality.bands[known[0]].scale:g}, so give "
            f"{missing[0]} as it was pretrained"
        )
    units = tuple(_items(fields.get("unit", "1")))
    scale = _numbers(name, fields.get("scale", 1.0))
    if len(scale) != 1:
        raise ConfigError(f"{name}: found {len(scale)} of scale; expected one for all bands")
    declared = ModalityInput(
        name,
        bands,
        units * len(bands) if len(units) == 1 else units,
        scale[0],
        _numbers(name, fields.get("mean", [0.0] * len(bands))),
        _numbers(name, fields.get("std", [1.0] * len(bands))),
    )
    _check_steps(declared)
    return declared


def _check_steps(declared: ModalityInput) -> None:
    """Refuse a deviation of whole numbers below one: it is in another scale than declared."""
    modality = MODALITIES[declared.modality]
    if np.dtype(modality.dtype).kind not in "iu":
        return
    for i, name in enumerate(declared.bands):
        if (std := declared.stored(i)[1]) < 1.0:
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
