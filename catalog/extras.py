"""EXTRAS: what an installation may leave out, and the sentence that says how to add it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata, util

from mmearth.catalog.errors import MissingExtraError


@dataclass(frozen=True, slots=True)
class Extra:
    """One name in `pip install 'mmearth[NAME]'`."""

    purpose: str
    """What it is for, as it reads after "to"."""
    packages: dict[str, str]
    """Module that is imported → package that is installed."""


_TORCH = {"torch": "torch"}
_BENCHMARK = _TORCH | {
    "pydantic": "pydantic",
    "lightning_fabric": "lightning-fabric",
    "timm": "timm",
    "sklearn": "scikit-learn",
    "scipy": "scipy",
    "threadpoolctl": "threadpoolctl",
}
_ENCODERS = _BENCHMARK | {
    "torchgeo": "torchgeo",
    "requests": "requests",
    "terratorch": "terratorch",
    "rslearn": "rslearn",
    "olmoearth_pretrain_minimal": "olmoearth-pretrain-minimal",
}
EXTRAS: dict[str, Extra] = {
    "curate": Extra(
        "build, catalogue and draw datasets",
        {
            "cftime": "cftime",
            "geopandas": "geopandas",
            "jsonschema": "jsonschema",
            "pandas": "pandas",
            "PIL": "pillow",
            "pyogrio": "pyogrio",
            "pydantic": "pydantic",
            "pystac": "pystac",
            "rasterio": "rasterio",
            "stac_geoparquet": "stac-geoparquet",
            "urllib3": "urllib3",
        },
    ),
    "earthengine": Extra(
        "collect from Google Earth Engine", {"ee": "earthengine-api", "tenacity": "tenacity"}
    ),
    "gedi": Extra("read GEDI granules", {"h5py": "h5py"}),
    "h5": Extra("read and write the published HDF5 files", {"h5py": "h5py"}),
    "dask": Extra("collect on many machines", {"distributed": "distributed"}),
    "cloud": Extra("read datasets over the network", {"obstore": "obstore"}),
    "hub": Extra("push datasets to Hugging Face", {"huggingface_hub": "huggingface_hub"}),
    "torch": Extra("stream batches into PyTorch", _TORCH),
    "benchmark": Extra("train and adapt models", _BENCHMARK),
    "encoders": Extra("run pretrained encoders", _ENCODERS),
    "croissant": Extra("validate croissant.json", {"mlcroissant": "mlcroissant"}),
}
"""By name, as in pyproject.toml; a package of several extras is asked for by the first of them."""


def versions(extra: str) -> dict[str, str | None]:
    """Return package → its version, None where it is not installed."""
    return {
        package: _version(module, package) for module, package in EXTRAS[extra].packages.items()
    }


def missing_sentence(exc: ImportError, extra: str | None = None) -> str | None:
    """Return what to say of an import that failed; None if no extra installs the module.

    Args:
        exc: What Python said.
        extra: The extra that was at work, where that is known.
    """
    top = (exc.name or "").partition(".")[0]
    names = [name for name, each in EXTRAS.items() if top in each.packages]
    if not names:
        return None
    name = extra if extra in names else names[0]
    package = EXTRAS[name].packages[top]
    # It may be there in another version than what is imported from it.
    absent = isinstance(exc, ModuleNotFoundError)
    found, how = ("is not installed", "") if absent else (f"does not fit ({exc})", " -U")
    return f"{package} {found}: to {EXTRAS[name].purpose}, pip install{how} 'mmearth[{name}]'"


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Turn a package that the imports inside the block lack into a sentence.

    Raises:
        MissingExtraError: A package of an extra is not installed, or in another version.
    """
    try:
        yield
    except ImportError as exc:
        sentence = missing_sentence(exc, extra)
        if sentence is None:
            raise
        raise MissingExtraError(sentence) from exc


def _version(module: str, package: str) -> str | None:
    if util.find_spec(module) is None:
        return None
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # imported from a source tree
        return "unknown"
