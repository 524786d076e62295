"""ENCODERS: every encoder that can be named in a configuration, built when it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmearth.benchmark.encoder import Encoder
from mmearth.catalog.errors import ConfigError
from mmearth.loaders.inputs import Normalisation


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """How an encoder is made, without importing it."""

    title: str
    """For people."""
    place: str
    """`module:Class`."""
    packages: tuple[str, ...]
    """That it is imported from."""
    options: dict[str, Any] = field(default_factory=dict)
    """Given to the class, after the statistics."""


_SCRATCH = "mmearth.benchmark.encoders.scratch"
ENCODERS: dict[str, EncoderSpec] = {
    "convnextv2_atto": EncoderSpec(
        "ConvNeXt V2-Atto from scratch, RGB", f"{_SCRATCH}:ConvNeXtV2Atto", ("timm",)
    ),
    "convnextv2_atto_multimodal": EncoderSpec(
        "ConvNeXt V2-Atto from scratch, all modalities",
        f"{_SCRATCH}:ConvNeXtV2Atto",
        ("timm",),
        {"multimodal": True},
    ),
    "convnextv2_tiny": EncoderSpec(
        "a ConvNeXt V2 of 0.06 million weights, RGB", f"{_SCRATCH}:ConvNeXtV2Tiny", ("timm",)
    ),
    "convnextv2_tiny_multimodal": EncoderSpec(
        "a ConvNeXt V2 of 0.06 million weights, all modalities",
        f"{_SCRATCH}:ConvNeXtV2Tiny",
        ("timm",),
        {"multimodal": True},
    ),
}
"""By name."""


def build_encoder(name: str, statistics: Normalisation, weights: str, recipe: str) -> Encoder:
    """Return a new encoder.

    Args:
        name: A key of ENCODERS, `module:Class` or `file.py:Class`. Such a class is called without
            arguments, or with the statistics if it takes any.
        statistics: The z-scores of the train subset, for encoders that were trained on no others.
        weights: `none`, or `published`.
        recipe: `default`, or `mmearth-bench-2026` for the published quirks of its inputs.

    Raises:
        ConfigError: There is no such encoder, a package is missing, or it has no such weights.
    """
    spec = ENCODERS.get(name)
    if spec is None and ":" not in name:
        raise ConfigError(
            f"there is no encoder {name!r}; expected one of {', '.join(ENCODERS)}, or module:Class"
        )
    place, options = (name, {}) if spec is None else (spec.place, spec.options)
    kind = _class(place)
    if weights != "none":
        raise ConfigError(f"{name} has no published weights; say `weights: none`")
    encoder = kind(statistics, **options) if spec is not None else _make(kind, statistics)
    if not isinstance(encoder, Encoder):
        raise ConfigError(f"{name} is no mmearth.benchmark.encoder.Encoder; derive it from that")
    return encoder


def _make(kind: Any, statistics: Normalisation) -> Any:
    try:
        return kind(statistics) if kind.__init__.__code__.co_argcount > 1 else kind()
    except AttributeError:  # no __init__ of its own
        return kind()


def _class(place: str) -> Any:
    module, _, name = place.rpartition(":")
    try:
        return getattr(_module(module), name)
    except (ImportError, AttributeError) as exc:
        raise ConfigError(
            f"the encoder {place} cannot be imported ({exc}); expected module:Class, or a file "
            "my.py:Class, and `pip install 'mmearth[benchmark]'` for those of mmearth"
        ) from exc


def _module(name: str) -> Any:
    path = Path(name)
    if path.suffix != ".py":
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError(f"there is no file {name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
