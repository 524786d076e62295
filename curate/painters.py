"""Which targets are made here from files, as the configuration says: over whatever source."""

from __future__ import annotations

from pathlib import Path

from mmearth.curate.config import BuildConfig
from mmearth.curate.labels.burnt import Burnt
from mmearth.curate.labels.gedi import keep_footprints
from mmearth.curate.labels.gedi.painted import Painted
from mmearth.curate.labels.local import Painter, WithTargets
from mmearth.curate.labels.raster_target import raster_target
from mmearth.curate.source import Source


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
            path = keep_footprints(task.gedi, base, scratch).resolve()
            painters.append(Painted(path, spec.target, config.quirks.labels_in_circle))
    return WithTargets(source, tuple(painters)) if painters else source
