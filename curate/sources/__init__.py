"""SOURCES: where observations can come from, by the `kind` in a configuration."""

from __future__ import annotations

from pathlib import Path

from mmearth.curate.source import Source
from mmearth.curate.sources.files import Files
from mmearth.curate.sources.files.config import FilesConfig
from mmearth.curate.sources.synthetic import Synthetic
from mmearth.curate.sources.synthetic.config import SyntheticConfig

SOURCES: dict[str, type[Source]] = {"synthetic": Synthetic, "files": Files}
"""Every source, by kind."""


def make_source(config: SyntheticConfig | FilesConfig, base: Path) -> Source:
    """Return the source that a configuration describes.

    Args:
        config: Its part of the configuration.
        base: Directory that relative paths start from.

    Raises:
        ConfigError: What it needs is missing or contradicts itself.
    """
    if isinstance(config, SyntheticConfig):
        return Synthetic(config.seed)
    return Files(config, base)
