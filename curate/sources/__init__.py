"""SOURCES: where observations can come from, by the `kind` in a configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmearth.catalog.errors import ConfigError
from mmearth.curate.limit import LocalLimit
from mmearth.curate.source import Source

if TYPE_CHECKING:
    from mmearth.curate.config import BuildConfig
    from mmearth.curate.sources.earthengine.source import EarthEngine


def _synthetic(kind: Any, config: BuildConfig, base: Path, cache: Path | None) -> Source:
    from mmearth.curate.sources.synthetic import Synthetic

    return Synthetic(kind.seed, kind.shifts, config.catalogue)


def _files(kind: Any, config: BuildConfig, base: Path, cache: Path | None) -> Source:
    from mmearth.curate.remote.access import remote_access
    from mmearth.curate.remote.address import is_remote
    from mmearth.curate.sources.files import Files
    from mmearth.curate.sources.files.remote import RemoteFiles

    entries = [entry for some in kind.rasters.values() for entry in some]
    if any(is_remote(entry.path) for entry in (*entries, *kind.polygons.values())):
        return RemoteFiles(kind, base, config.catalogue, remote_access(cache))
    return Files(kind, base, config.catalogue)


def _earthengine(kind: Any, config: BuildConfig, base: Path, cache: Path | None) -> EarthEngine:
    try:
        from mmearth.curate.sources.earthengine.access import access_of_environment
        from mmearth.curate.sources.earthengine.source import EarthEngine, workload_tag
    except ModuleNotFoundError as exc:
        raise ConfigError(
            f"source: earthengine needs {exc.name}: pip install 'mmearth[earthengine]'"
        ) from exc
    access = access_of_environment()
    limit = LocalLimit(access.in_flight, access.per_second)
    tag = workload_tag(config.name, config.sha256)
    how = config.quirks, kind.days, access, limit, config.own_earthengine
    return EarthEngine(config.catalogue, *how, tag=tag)


def _stac(kind: Any, config: BuildConfig, base: Path, cache: Path | None) -> Source:
    from mmearth.curate.remote.access import remote_access
    from mmearth.curate.sources.stac.source import Stac

    access = remote_access(cache)
    limit = LocalLimit(access.in_flight, access.per_second)
    return Stac(kind, config.catalogue, config.quirks, access, limit)


def _foreign(kind: Any, config: BuildConfig, base: Path, cache: Path | None) -> Source:
    from mmearth.curate.sources.foreign import Foreign

    return Foreign(kind.place, kind.model_extra or {}, base.resolve(), config.catalogue)


SOURCES: dict[str, Callable[[Any, BuildConfig, Path, Path | None], Source]] = {
    "synthetic": _synthetic,
    "files": _files,
    "earthengine": _earthengine,
    "stac": _stac,
}
"""Every source that is here, by kind; other kinds are of other packages."""


def make_source(config: BuildConfig, base: Path, cache: Path | None = None) -> Source:
    """Return the source that a configuration describes.

    Args:
        config: The build's configuration.
        base: Directory that relative paths start from.
        cache: Directory of what is kept of files on servers; None: the user's.

    Raises:
        ConfigError: What it needs is missing or contradicts itself.
    """
    first = _made(config.source, config, base, cache)
    if not config.sources:
        return first
    from mmearth.curate.sources.mixed import Part, mixed

    parts = [Part(first, config.source.kind, ())]
    for kind, names in config.layers_of_sources:
        parts.append(Part(_made(kind, config, base, cache), f"{kind.kind} {len(parts)}", names))
    return mixed(parts)


def _made(kind: Any, config: BuildConfig, base: Path, cache: Path | None) -> Source:
    return SOURCES.get(kind.kind, _foreign)(kind, config, base, cache)
