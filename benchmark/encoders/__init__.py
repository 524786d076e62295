"""ENCODERS: every encoder that can be named in a configuration, built when it is asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any

from mmearth.catalog.errors import (
    ConfigError,
    FormatError,
    MissingExtraError,
    MMEarthError,
    UnavailableError,
)
from mmearth.catalog.extras import EXTRAS
from mmearth.catalog.plugins import ENCODERS as GROUP
from mmearth.catalog.plugins import digest, load, place_of, plugins
from mmearth.catalog.wording import first_line, nearest

if TYPE_CHECKING:  # the table of encoders is read where PyTorch is not installed
    from mmearth.benchmark.encoder import Encoder
    from mmearth.catalog.catalogue import Catalogue
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
    extra: str
    """Of mmearth, that installs them."""
    weights: str = ""
    """Where published ones come from; none if empty."""
    options: dict[str, Any] = field(default_factory=dict)
    """Given to the class."""

    @property
    def lacking(self) -> tuple[str, ...]:
        """Packages that have to be installed first, in the order of the extra's."""
        needed = dict.fromkeys(("torch", "timm", *self.packages))
        names = EXTRAS[self.extra].packages
        return tuple(names[each] for each in needed if importlib.util.find_spec(each) is None)


_HERE = "mmearth.benchmark.encoders"
_TORCHGEO, _TERRATORCH = ("torchgeo", "requests"), ("terratorch",)


def _scratch(title: str, kind: str, multimodal: bool) -> EncoderSpec:
    seen = "all modalities" if multimodal else "RGB"
    options = {"multimodal": True} if multimodal else {}
    place = f"{_HERE}.scratch:{kind}"
    return EncoderSpec(f"{title}, {seen}", place, ("timm",), "benchmark", "", options)


def _torchgeo(title: str, place: str) -> EncoderSpec:
    return EncoderSpec(title, f"{_HERE}.{place}", _TORCHGEO, "encoders", "torchgeo")


def _dinov3(title: str, tag: str) -> EncoderSpec:
    place = f"{_HERE}.dinov3:DINOv3"
    return EncoderSpec(title, place, ("timm",), "benchmark", "timm", {"tag": tag})


def _terratorch(title: str, place: str) -> EncoderSpec:
    return EncoderSpec(title, f"{_HERE}.{place}", _TERRATORCH, "encoders", "terratorch")


def _olmoearth(title: str, size: str) -> EncoderSpec:
    place, package = f"{_HERE}.olmoearth:OlmoEarth", "olmoearth_pretrain_minimal"
    return EncoderSpec(title, place, (package,), "encoders", "allenai", {"size": size})


_ATTO, _TINY = "ConvNeXt V2-Atto from scratch", "a ConvNeXt V2 of 0.06 million weights"
ENCODERS: dict[str, EncoderSpec] = {
    "convnextv2_atto": _scratch(_ATTO, "ConvNeXtV2Atto", False),
    "convnextv2_atto_multimodal": _scratch(_ATTO, "ConvNeXtV2Atto", True),
    "convnextv2_tiny": _scratch(_TINY, "ConvNeXtV2Tiny", False),
    "convnextv2_tiny_multimodal": _scratch(_TINY, "ConvNeXtV2Tiny", True),
    "mpmae": EncoderSpec(
        "MP-MAE, ConvNeXt V2-Atto", f"{_HERE}.mpmae:MPMAE", ("timm",), "benchmark", "MMEarth"
    ),
    "scalemae": _torchgeo("Scale-MAE, ViT-L/16", "scalemae:ScaleMAE"),
    "dinov3_web": _dinov3("DINOv3 of the web, ViT-L/16", "lvd1689m"),
    "dinov3_sat": _dinov3("DINOv3 of satellites, ViT-L/16", "sat493m"),
    "satlasnet": _torchgeo("SatlasNet, Swin V2-B", "satlasnet:SatlasNet"),
    "terramind": _terratorch("TerraMind 1.0, ViT-B/16", "terramind:TerraMind"),
    "copernicusfm": _torchgeo("Copernicus-FM, ViT-B/16", "copernicusfm:CopernicusFM"),
    "galileo": EncoderSpec(
        "Galileo, ViT-B", f"{_HERE}.galileo:Galileo", ("rslearn",), "encoders", "nasaharvest"
    ),
    "dofa": _torchgeo("DOFA, ViT-B/16", "dofa:DOFA"),
    "croma": _torchgeo("CROMA, ViT-B/8", "croma:CROMA"),
    "prithvi": _terratorch("Prithvi-EO-2.0-300M, ViT-L/16", "prithvi:Prithvi"),
    "panopticon": _torchgeo("Panopticon, ViT-B/14", "panopticon:Panopticon"),
    "olmoearth_nano": _olmoearth("OlmoEarth 1.0 Nano, ViT/8", "nano"),
    "olmoearth_base": _olmoearth("OlmoEarth 1.0 Base, ViT-B/8", "base"),
}
"""By name."""


def build_encoder(
    name: str, statistics: Normalisation, catalogue: Catalogue, weights: str, recipe: str
) -> Encoder:
    """Return a new encoder for a dataset.

    What its package sets for the whole process, the precision of products or the default type, is
    put back: other encoders run in the same process.

    Args:
        name: A key of ENCODERS, a plug-in, `module:Class` or `file.py:Class`. The class is called
            with those of this function's other arguments that it names.
        statistics: The z-scores of the train subset, for encoders that were trained on no others.
        catalogue: Of the dataset.
        weights: `none`, or `published`.
        recipe: `default`, or `mmearth-bench-2026` for the published quirks of its inputs.

    Raises:
        ConfigError: There is no such encoder, a package is missing, it has no such weights, or
            wants what the dataset has not.
        UnavailableError: The weights cannot be fetched.
        FormatError: They are of another model.
    """
    from mmearth.benchmark.encoder import Encoder, check_fits

    spec = ENCODERS.get(name)
    given = {"statistics": statistics, "catalogue": catalogue, "weights": weights, "recipe": recipe}
    options = {} if spec is None else spec.options
    with _settings_kept():
        check_encoder(name, weights)
        encoder = _make(name, _class(name), given, options)
    if not isinstance(encoder, Encoder):
        raise ConfigError(f"{name} is no mmearth.benchmark.encoder.Encoder; derive it from that")
    check_fits(name, encoder, catalogue)
    return encoder


def check_encoder(name: str, weights: str) -> None:
    """Refuse an encoder that `build_encoder` could not make, before anything runs.

    Raises:
        ConfigError: There is no such encoder, a package is missing, or it has no such weights.
    """
    spec = ENCODERS.get(name)
    if spec is None and place_of(GROUP, name) is None:
        names = (*ENCODERS, *(each.name for each in plugins(GROUP)))
        raise ConfigError(
            f"there is no encoder {name!r}{nearest(name, names)}; expected one of "
            f"{', '.join(names)}, module:Class or file.py:Class"
        )
    if weights != "none" and (spec is None or not spec.weights):
        raise ConfigError(f"{name} has no published weights; say `weights: none`")
    if spec is None:
        _refuse_other(name, _class(name))
    elif spec.lacking:
        raise MissingExtraError(
            f"the encoder {name} needs {', '.join(spec.lacking)}: "
            f"pip install 'mmearth[{spec.extra}]'"
        )


def _refuse_other(name: str, kind: Any) -> None:
    """Refuse a class that is no encoder; of a function only the call tells what it returns."""
    from mmearth.benchmark.encoder import Encoder

    if isinstance(kind, type) and not issubclass(kind, Encoder):
        raise ConfigError(f"{name} is no mmearth.benchmark.encoder.Encoder; derive it from that")


def source_digest(name: str) -> str:
    """Return the SHA-256 of the file that a user's encoder is in; empty for those of mmearth.

    Args:
        name: See `build_encoder`. Of what cannot be found it is empty too.
    """
    return "" if name in ENCODERS else digest(GROUP, name)


def _class(name: str) -> Any:
    """Return the class of an encoder that is known to be there."""
    spec = ENCODERS.get(name)
    if spec is None:
        return load(GROUP, place_of(GROUP, name) or name)
    return load(GROUP, spec.place, todo=f"`pip install 'mmearth[{spec.extra}]'`")


@contextmanager
def _settings_kept() -> Iterator[None]:
    """Put settings of PyTorch back at the end: terratorch 1.2 asks for bfloat16 on import."""
    import torch

    precision, dtype = torch.get_float32_matmul_precision(), torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.set_default_dtype(dtype)


def _make(name: str, kind: Any, given: dict[str, Any], options: dict[str, Any]) -> Any:
    try:
        named = signature(kind).parameters
        return kind(**{each: given[each] for each in given if each in named}, **options)
    except MMEarthError:
        raise
    except Exception as exc:  # a user's class may raise anything
        raise _said(name, exc, given) from exc


def _said(name: str, exc: Exception, given: Iterable[str]) -> MMEarthError:
    """Return why an encoder could not be made; of ours only the weights can be wrong."""
    if name in ENCODERS and isinstance(exc, OSError):  # of urllib, requests, httpx and the disk
        return UnavailableError(
            f"the weights of {name} could not be fetched ({first_line(exc)}); go where there is a "
            "network once, or say `weights: none`"
        )
    if name in ENCODERS and isinstance(exc, RuntimeError | AssertionError):
        return FormatError(
            f"the weights of {name} are not those of its model ({first_line(exc)}); install the "
            "versions of packages that mmearth names"
        )
    return ConfigError(
        f"the encoder {name} cannot be made ({type(exc).__name__}: {first_line(exc)}); its class "
        f"is called with those of {', '.join(given)} that it names"
    )
