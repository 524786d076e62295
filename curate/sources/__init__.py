"""SOURCES: where observations can come from, by the `kind` in a configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmearth.catalog.errors import ConfigError
from mmearth.curate.labels.burnt import Burnt
from mmearth.curate.labels.local import Painter, WithTargets
from mmearth.curate.labels.raster_target import raster_target
from mmearth.curate.limit import LocalLimit
from mmearth.curate.source import Source
from mmearth.curate.sources.files import Files
from mmearth.curate.sources.synthetic import Synthetic

if TYPE_CHECKING:
    from mmearth.curate.config import BuildConfig
    from mmearth.curate.sources.earthengine.source import EarthEngine


def _synthetic(config: BuildConfig, base: Path) -> Source:
    kind: Any = config.source
    return Synthetic(kind.seed, config.catalogue)


def _files(config: BuildConfig, base: Path) -> Source:
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
    return EarthEngine(config.catalogue, config.quirks, kind.days, access, limit, tag=tag)


SOURCES: dict[str, Callable[[BuildConfig, Path], Source]] = {
    "synthetic": _synthetic,
    "files": _files,
    "earthengine": _earthengine,
}
"""Every source, by kind."""


def make_source(config: BuildConfig, base: Path) -> Source:
    """Return the source that a configuration describes.

    Args:
        config: The build's configuration.
        base: Directory that relative paths start from.

    Raises:
        ConfigError: What it needs is missing or contradicts itself.
    """
    return SOURCES[config.source.kind](config, base)


def with_targets(config: BuildConfig, base: Path, source: Source, scratch: Path | None) -> Source:
    """Return a source whose pixel-level targets come from files, where the configuration says so.

    Args:
        config: The build's configuration.
        base: Directory that relative paths start from.
        source: Answers everything else.
        scratch: Directory where the footprints of all GEDI granules are kept together; None leaves
            GEDI out.

    Raises:
        ConfigError: A pattern matches no file, or a file cannot be read.
        FormatError: A granule is broken or no GEDI L4A granule.
    """
    painters: list[Painter] = []
    for name, task in config.tasks.items():
        spec = config.catalogue.tasks[name]
        if task.polygons is not None:
            painters.append(Burnt(spec, task.polygons, base / task.polygons.path))
        if task.raster is not None:
            painters.append(raster_target(name, task.raster, base, config.catalogue))
        if task.gedi is not None and scratch is not None:
            from mmearth.curate.labels.gedi import keep_footprints
            from mmearth.curate.labels.gedi.painted import Painted

            path = keep_footprints(task.gedi, base, scratch).resolve()
            painters.append(Painted(path, spec.target, config.quirks.labels_in_circle))
    return WithTargets(source, tuple(painters)) if painters else source
