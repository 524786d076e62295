"""SOURCES: where observations can come from, by the `kind` in a configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmearth.catalog.errors import ConfigError
from mmearth.curate.limit import LocalLimit
from mmearth.curate.source import Source
from mmearth.curate.sources.stac.config import StacConfig

if TYPE_CHECKING:
    from mmearth.curate.config import BuildConfig
    from mmearth.curate.sources.earthengine.source import EarthEngine


def _synthetic(config: BuildConfig, base: Path) -> Source:
    from mmearth.curate.sources.synthetic import Synthetic

    kind: Any = config.source
    return Synthetic(kind.seed, kind.shifts, config.catalogue)


def _files(config: BuildConfig, base: Path) -> Source:
    from mmearth.curate.sources.files import Files

    kind: Any = config.source
    return Files(kind, base, config.catalogue)


def _earthengine(config: BuildConfig, base: Path) -> EarthEngine:
    try:
        from mmearth.curate.sources.earthengine.access import access_of_environment
        from mmearth.curate.sources.earthengine.source import EarthEngine, workload_tag
    except ModuleNotFoundError as exc:
        raise ConfigError(
            f"source: earthengine needs {exc.name}: pip install 'mmearth[earthengine]'"
        ) from exc
    kind: Any = config.source
    access = access_of_environment()
    limit = LocalLimit(access.in_flight, access.per_second)
    tag = workload_tag(config.name, config.sha256)
    how = config.quirks, kind.days, access, limit, config.own_earthengine
    return EarthEngine(config.catalogue, *how, tag=tag)


def _stac(config: BuildConfig, base: Path) -> Source:
    from mmearth.curate.remote.access import remote_access
    from mmearth.curate.sources.stac.source import Stac

    access, kind = remote_access(), config.source
    assert isinstance(kind, StacConfig)
    limit = LocalLimit(access.in_flight, access.per_second)
    return Stac(kind, config.catalogue, config.quirks, access, limit)


def _foreign(config: BuildConfig, base: Path) -> Source:
    from mmearth.curate.sources.foreign import Foreign

    kind: Any = config.source
    return Foreign(kind.place, kind.model_extra or {}, base.resolve(), config.catalogue)


SOURCES: dict[str, Callable[[BuildConfig, Path], Source]] = {
    "synthetic": _synthetic,
    "files": _files,
    "earthengine": _earthengine,
    "stac": _stac,
}
"""Every source that is here, by kind; other kinds are of other packages."""


def make_source(config: BuildConfig, base: Path) -> Source:
    """Return the source that a configuration describes.

    Args:
        config: The build's configuration.
        base: Directory that relative paths start from.

    Raises:
        ConfigError: What it needs is missing or contradicts itself.
    """
    return SOURCES.get(config.source.kind, _foreign)(config, base)
