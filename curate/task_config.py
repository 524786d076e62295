"""The configuration of a task: what it predicts, where its places come from, how they are split."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from mmearth.catalog.configuration import Strict
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.splits import BUFFER_M, RULES
from mmearth.catalog.task import Task
from mmearth.curate.declared import TargetConfig
from mmearth.curate.places import (
    GediPlaces,
    GridPlaces,
    LabelsPlaces,
    PointsPlaces,
    PolygonTargets,
    RangePlaces,
    SoilPlaces,
)
from mmearth.curate.sources.files.config import RasterTargets


class SplitConfig(Strict):
    """How a task's tiles are split."""

    rule: str | None = None
    """A key of `splits.RULES`; the recipe's unless given."""
    buffer_m: float = Field(default=BUFFER_M, ge=0)
    """Distance kept between train and the tests by the default rule, in metres."""
    column: str | None = None
    """Column of `points:` that holds each place's split, in place of a rule."""

    @field_validator("rule")
    @classmethod
    def _known(cls, rule: str | None) -> str | None:
        if rule is not None and rule not in RULES:
            raise ValueError(f"expected one of {', '.join(RULES)}")
        return rule

    @model_validator(mode="after")
    def _one(self) -> SplitConfig:
        others = {"rule", "buffer_m"} & self.model_fields_set
        if self.column is not None and others:
            raise ValueError(f"column: keeps the table's splits; leave {sorted(others)[0]}: out")
        return self


class TaskConfig(Strict):
    """What a task predicts, and where its places come from: exactly one of the kinds."""

    target: TargetConfig | None = None
    """What a task of the user's own predicts; one number of unknown unit unless given."""
    labels: LabelsPlaces | None = None
    """The source's own labels."""
    points: PointsPlaces | None = None
    """A table of the user's."""
    grid: GridPlaces | None = None
    """A grid inside polygons, without labels of its own."""
    gedi: GediPlaces | None = None
    """Biomass footprints from GEDI L4A granules on disk."""
    soil: SoilPlaces | None = None
    """A table of soil profiles."""
    ranges: RangePlaces | None = None
    """Random places in species' ranges."""
    polygons: PolygonTargets | None = None
    """Polygons that are burnt onto each tile, and, without `points:` or `grid:`, its places."""
    raster: RasterTargets | None = None
    """A raster that is the target of each tile, and, without `points:` or `grid:`, its places."""
    split: SplitConfig = SplitConfig()
    """How its tiles are split."""

    @classmethod
    def kinds(cls) -> list[str]:
        """Return the keys of which one says where places come from."""
        return [name for name in cls.model_fields if name not in ("target", "split")]

    @property
    def origin(self) -> str:
        """The kind of places, and the files that they come from, as in the configuration."""
        kind = next(name for name in self.kinds() if getattr(self, name) is not None)
        places = getattr(self, kind)
        files = [places.path] if hasattr(places, "path") else list(getattr(places, "granules", ()))
        ranges = getattr(places, "ranges", None)
        return " ".join([kind, *files, *([f"ranges {ranges.path}"] if ranges else [])])

    @model_validator(mode="after")
    def _one_kind(self) -> TaskConfig:
        kinds = self.kinds()
        given = [name for name in kinds if getattr(self, name) is not None]
        if self.split.column is not None and self.points is None:
            raise ValueError("split: column: is of points:; give points:, or a rule")
        places = [name for name in given if name not in ("polygons", "raster")]
        if len(given) == 2 and places in (["points"], ["grid"]):
            return self
        if len(given) != 1:
            raise ValueError(
                f"expected exactly one of {', '.join(kinds)}, found {', '.join(given) or 'none'}"
            )
        return self


def check_places(task: Task, config: TaskConfig) -> None:
    """Refuse places that cannot hold a task's target.

    Raises:
        ValueError: The sentence names the key.
    """
    if config.soil is not None and task.column != "target":
        raise ValueError(f"{task.name}: soil: gives one number at a place; give points: instead")
    below = (getattr(places, "ranges", None) for places in (config.points, config.grid))
    if any((config.ranges, *below)) and task.outputs != MMEARTH_BENCH.tasks["species"].outputs:
        raise ValueError(f"{task.name}: ranges: tells the labels of species; leave it out")
    if config.gedi is not None and not (task.is_pixel and task.kind == "regression"):
        raise ValueError(f"{task.name}: gedi: is a number in pixels; say target: {{level: pixel}}")
