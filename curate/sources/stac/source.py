"""STAC: open collections as a Source. Visits are answered in rounds, which share their blocks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmearth.catalog.anchor import anchor_date
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import (
    ConfigError,
    MMEarthError,
    NoDataError,
    RefusedError,
    StorageError,
)
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.sample import Observation
from mmearth.catalog.task import Task
from mmearth.curate import encode
from mmearth.curate.limit import Limit
from mmearth.curate.recipes import Quirks
from mmearth.curate.remote.access import RemoteAccess
from mmearth.curate.remote.client import Client
from mmearth.curate.remote.mirror import Mirror
from mmearth.curate.source import Label, Outcome, Price, Visit
from mmearth.curate.sources.stac.assets import Assets
from mmearth.curate.sources.stac.config import StacConfig
from mmearth.curate.sources.stac.cost import cost
from mmearth.curate.sources.stac.round import ANCHOR, Round
from mmearth.curate.sources.stac.searches import Searches

VERSION = 1
"""Goes up when the same items would give other bytes."""
AHEAD = 48
"""Tiles of a round: fewer than a search takes, and of one or a few neighbouring cells."""
KEY = "PC_SDK_SUBSCRIPTION_KEY"
"""Variable with the key of an account at Planetary Computer."""
_COMPUTED = ("geolocation", "month")


@dataclass(frozen=True, slots=True)
class Stac:
    """Collections behind STAC APIs, as a Source."""

    config: StacConfig
    """Which."""
    catalogue: Catalogue
    """Of the dataset."""
    quirks: Quirks
    """Which published rules are kept."""
    access: RemoteAccess
    """How hosts are asked."""
    limit: Limit
    """Shared by all workers."""
    sas: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Containers that are signed; see `Client.sas`."""
    answers: dict[Visit, dict[str, Outcome]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """What was foreseen and is not used yet."""

    @property
    def name(self) -> str:
        """`stac 1`."""
        return f"stac {VERSION}"

    def fingerprint(self, name: str) -> str:
        """Return the SHA-256 of the version, and of the collections and rules of a layer."""
        catalogs = [
            {"url": c.url, "entries": [each.model_dump(mode="json") for each in entries]}
            for c in self.config.catalogs
            if (entries := c.collections.get(name))
        ]
        rules: list[Any] = [self.name, catalogs]
        if name == ANCHOR:
            cloud = self.config.cloud.model_dump(mode="json")
            rules += [cloud, self.config.days, self.quirks.ends_excluded]
        return sha256_bytes(json.dumps(rules, sort_keys=True).encode())

    @property
    def in_flight(self) -> int:
        """See `Metered`."""
        return self.access.in_flight

    @property
    def per_second(self) -> float:
        """See `Metered`."""
        return self.access.per_second

    @property
    def pauses_s(self) -> tuple[float, float]:
        """See `Metered`."""
        return self.access.pause_s, self.access.longest_pause_s

    @property
    def ahead(self) -> int:
        """See `Metered`."""
        return AHEAD

    def visitors(self, n_cores: int) -> int:
        """See `Metered`: some read while others wait for hosts, each for many blocks at once."""
        return 2 * n_cores

    def price(self, visits: Sequence[Visit]) -> Price:
        """See `Metered`."""
        return cost(self.config, visits)

    def limited(self, limit: Limit) -> Stac:
        """See `Metered`."""
        return replace(self, limit=limit)

    @property
    def mirror(self) -> Mirror:
        """Where the files come from."""
        client = Client(self.access, self.limit, self.sas, os.environ.get(KEY))
        return Mirror(client)

    def look_ahead(self, visits: Sequence[Visit]) -> None:
        """Answer several visits together; see `Farsighted`."""
        self.answers.update(self._round(visits))

    def observe(self, visit: Visit) -> dict[str, Outcome]:
        """Observe layers over one tile; see `Source.observe`."""
        found = self.answers.pop(visit, None) or self._round([visit])[visit]
        nothing = NoDataError("no collection of source: has it")
        return {name: found.get(name, nothing) for name in visit.wanted}

    def labels(self, task: Task, count: int, seed: int) -> Iterator[Label]:
        """Refuse: places for collections come from points or a grid; see `Source.labels`."""
        raise ConfigError(
            f"tasks.{task.name}: the source `stac` has no labels; give points: or grid:"
        )

    def _round(self, visits: Sequence[Visit]) -> dict[Visit, dict[str, Outcome]]:
        mirror = self.mirror
        searches = Searches(mirror.client, self.sas)
        about = self.config, self.catalogue, self.quirks, self.name, searches
        try:
            outcomes = Round(*about, Assets(mirror)).answer(visits)
        except (RefusedError, StorageError):
            raise
        except MMEarthError as exc:
            return {visit: dict.fromkeys(visit.wanted, exc) for visit in visits}
        for visit, found in outcomes.items():
            found.update(_computed(visit, found.get(ANCHOR)))
        return outcomes


def _computed(visit: Visit, scene: Outcome | None) -> dict[str, Outcome]:
    """Return what follows from the place and the date."""
    found: dict[str, Outcome] = {}
    if "geolocation" in visit.wanted:
        found["geolocation"] = encode.geolocation(visit.tile)
    if "month" in visit.wanted:
        if isinstance(scene, MMEarthError) and not isinstance(scene, NoDataError):
            found["month"] = scene
        else:
            day = scene.acquired if isinstance(scene, Observation) else visit.anchor
            found["month"] = encode.month(day or anchor_date(visit.date, visit.tile.lat))
    return found
