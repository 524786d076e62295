"""What a build would take, found out without writing anything."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.codec import Codec
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.config import load_config
from mmearth.curate.jobs import Wanted, wanted
from mmearth.curate.look import Looks, look
from mmearth.curate.painters import with_targets
from mmearth.curate.plan import TaskPlan, make_plan
from mmearth.curate.source import Metered, Source, Visit, is_metered
from mmearth.curate.sources import make_source
from mmearth.curate.sources.files.remote import RemoteFiles
from mmearth.curate.sources.mixed import asked_of, parts_of
from mmearth.curate.sources.stac.source import Stac
from mmearth.curate.visits import spread

_TRIED = 4


@dataclass(frozen=True, slots=True)
class Estimate:
    """A plan and what it would cost."""

    tasks: tuple[TaskPlan, ...]
    """What became of each task's places."""
    modalities: tuple[str, ...]
    """What would be collected."""
    require: tuple[str, ...]
    """Modalities without which a tile makes no sample."""
    n_tiles: int
    """Different tiles of all tasks."""
    bytes: int
    """Of all shards, about."""
    seconds: float
    """For collecting, about: of one core, or at the pace that the service allows."""
    n_tried: int
    """Tiles that the estimate comes from; 0 where it is arithmetic."""
    requests: int | None
    """That a metered service would be sent; None where there is none."""
    eecu_hours: float | None
    """That Earth Engine would charge; None where no tile was tried or it does not say."""
    network_bytes: int | None
    """That hosts of rasters would send, the cache being empty; None where none is asked."""
    sources: dict[str, str]
    """Layer → the source that it comes from."""
    looks: Looks
    """What the files are like that it would read."""
    catalogue: Catalogue
    """Of the dataset."""
    problems: tuple[str, ...]
    """What of the user's cannot be used."""
    warnings: tuple[str, ...]
    """What is suspicious, each with the key to look at."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        names = [f.name for f in fields(self) if f.name not in ("looks", "catalogue")]
        plain = {name: getattr(self, name) for name in names}
        return {
            **plain,
            "tasks": [asdict(task) for task in self.tasks],
            "files": self.looks.to_json(),
        }


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a number of tiles takes."""

    bytes_per_tile: float
    seconds: float
    n_tried: int
    requests: int | None = None
    eecu_hours: float | None = None
    network_bytes: int | None = None


def estimate(config_path: Path, calibrate: int = 0) -> Estimate:
    """Plan a build and find out what it would take.

    Args:
        config_path: The YAML configuration.
        calibrate: How many tiles are asked of a metered service, to learn what the rest cost; 0
            sends it nothing. Other sources are tried on a few tiles always.

    Raises:
        ConfigError: The configuration is wrong.
        RefusedError: A person must act before the service answers.
    """
    config = load_config(config_path)
    base = config_path.parent
    source = with_targets(config, base, make_source(config, base), None)
    plan = make_plan(config, source, config_path.parent)
    everything = wanted(config, plan)
    visits = list(_visits(everything))
    looks = look(config, source, plan, [visit.tile for visit in visits])
    cost = _metered(source, visits, config.catalogue, calibrate)
    if cost is None:
        cost = _tried(source, visits, config.catalogue.codec)
    return Estimate(
        tasks=plan.tasks,
        modalities=tuple(config.catalogue.layers),
        require=config.require,
        n_tiles=len(visits),
        bytes=round(cost.bytes_per_tile * plan.table.num_rows),
        seconds=cost.seconds,
        n_tried=cost.n_tried,
        requests=cost.requests,
        eecu_hours=cost.eecu_hours,
        network_bytes=cost.network_bytes,
        sources={name: config.source_of(name).kind for name in config.modalities},
        looks=looks,
        catalogue=config.catalogue,
        problems=looks.problems,
        warnings=(
            *(f"{task.task}: {text}" for task in plan.tasks for text in task.facts.warnings),
            *looks.warnings,
        ),
    )


def _visits(everything: Wanted) -> Iterator[Visit]:
    """Yield the first visit to each tile of a plan."""
    for name, wanted_there, date in everything.planned():
        tile = Tile.parse(name, everything.grid)
        yield Visit(tile, wanted_there, date, everything.anchor(tile, date))


def _tried(source: Source, visits: Sequence[Visit], codec: Codec) -> _Cost:
    """Return what a few tiles took, for all of them."""
    tried = spread(visits, _TRIED)
    nbytes, begin = 0, time.perf_counter()
    for visit in tried:
        outcomes = source.observe(visit.tile, visit.wanted, visit.date, visit.anchor)
        seen = [o for o in outcomes.values() if isinstance(o, Observation)]
        nbytes += sum(len(codec.encode(o.array)) for o in seen if o.layer.is_pixel)
    seconds = (time.perf_counter() - begin) / max(len(tried), 1)
    return _Cost(nbytes / max(len(tried), 1), seconds * len(visits), len(tried))


def _metered(
    source: Source, visits: Sequence[Visit], catalogue: Catalogue, n_tried: int
) -> _Cost | None:
    """Return what services are asked for; None for a source that asks none."""
    found: list[_Cost] = []
    for part in parts_of(source):
        if not is_metered(part.source):
            continue
        asked = asked_of(source, part, visits)
        if isinstance(part.source, Stac | RemoteFiles):
            found.append(_of_network(part.source, asked, catalogue))
        else:
            found.append(_of_engine(part.source, asked, catalogue, n_tried))
    if not found:
        return None
    charged = [each.eecu_hours for each in found if each.eecu_hours is not None]
    sent = [each.network_bytes for each in found if each.network_bytes is not None]
    return _Cost(
        max(each.bytes_per_tile for each in found),
        max(each.seconds for each in found),
        max(each.n_tried for each in found),
        sum(each.requests or 0 for each in found),
        sum(charged) if charged else None,
        sum(sent) if sent else None,
    )


def _of_network(source: Stac | RemoteFiles, visits: Sequence[Visit], catalogue: Catalogue) -> _Cost:
    whole = sum(layer.nbytes for layer in catalogue.layers.values())
    found = source.cost(visits)
    at_best = found.requests / source.per_second
    return _Cost(whole, at_best, 0, found.requests, network_bytes=found.n_bytes)


def _of_engine(
    source: Metered, visits: Sequence[Visit], catalogue: Catalogue, n_tried: int
) -> _Cost:
    # The scalars of several tiles go together; the pixels of each go alone.
    requests = -(-len(visits) // source.ahead) + len(visits)
    at_best = requests / source.per_second
    if not n_tried:
        whole = sum(layer.nbytes for layer in catalogue.layers.values())
        return _Cost(whole, at_best, 0, requests)
    from mmearth.curate.sources.earthengine.cost import calibrate
    from mmearth.curate.sources.earthengine.source import EarthEngine

    assert isinstance(source, EarthEngine)  # the only one that charges
    found = calibrate(source, spread(visits, n_tried), source.ahead)
    share = len(visits) / max(found.n_tiles, 1)
    charged = found.eecu_s * share / 3600.0 if found.eecu_s else None
    nbytes = found.bytes / max(found.n_tiles, 1)
    seconds = max(at_best, found.seconds * share / source.in_flight)
    return _Cost(nbytes, seconds, found.n_tiles, requests, charged)
