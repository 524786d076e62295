"""What a build would take, found out without writing anything."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.codec import Codec
from mmearth.catalog.observed_sql import LEDGER
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.config import BuildConfig, load_config
from mmearth.curate.gather import unstored
from mmearth.curate.identity import Identities
from mmearth.curate.jobs import Difference, Wanted, pending, wanted
from mmearth.curate.ledger import Ledger
from mmearth.curate.look import Looks, look
from mmearth.curate.painters import with_targets
from mmearth.curate.plan import TaskPlan, make_plan, moved
from mmearth.curate.shared_store import SharedStore
from mmearth.curate.source import Metered, Source, Visit, is_metered
from mmearth.curate.sources import make_source
from mmearth.curate.sources.mixed import asked_of, parts_of
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
    difference: Difference | None = None
    """From what is there; None where no directory was named. Then bytes, seconds, requests and
    EECU-hours are of what is left."""
    n_left: int = 0
    """Tiles of which something is left to collect."""
    n_moved: int = 0
    """Tiles that would change their split."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        others = ("looks", "catalogue", "difference")
        names = [f.name for f in fields(self) if f.name not in others]
        plain = {name: getattr(self, name) for name in names}
        return {
            **plain,
            "tasks": [asdict(task) for task in self.tasks],
            "files": self.looks.to_json(),
            "difference": None if self.difference is None else self.difference.to_json(),
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


def estimate(
    config_path: Path, calibrate: int = 0, out: Path | None = None, store: Path | None = None
) -> Estimate:
    """Plan a build and find out what it would take.

    Args:
        config_path: The YAML configuration.
        calibrate: How many tiles are asked of a metered service, to learn what the rest cost; 0
            sends it nothing. Other sources are tried on a few tiles always.
        out: The dataset's directory, which may lack, to be told what is left; None for all of it.
        store: Of a store that builds share: what it has is not reckoned with.

    Raises:
        ConfigError: The configuration is wrong.
        RefusedError: A person must act before the service answers.
    """
    config = load_config(config_path)
    base = config_path.parent
    is_there = out is not None and (out / LEDGER).exists()
    with TemporaryDirectory() as nowhere:
        root = out if out is not None and is_there else Path(nowhere)
        is_compared = is_there or store is not None
        scratch = (root / LEDGER).parent / "gedi" if is_compared else None
        source = with_targets(config, base, make_source(config, base), scratch)
        plan = make_plan(config, source, config_path.parent)
        everything = wanted(config, plan)
        visits = list(_visits(everything))
        looks = look(config, source, plan, [visit.tile for visit in visits])
        n_samples, difference, left = plan.table.num_rows, None, visits
        if is_compared:
            left, difference = _left(root, config, source, everything, store)
            n_samples = len(left)
        n_moved = moved(root / "tiles.parquet", plan.table)
        cost = _metered(source, left, config.catalogue, calibrate)
        if cost is None:
            cost = _tried(source, left, config.catalogue.codec)
    return Estimate(
        tasks=plan.tasks,
        modalities=tuple(config.catalogue.layers),
        require=config.require,
        n_tiles=len(visits),
        bytes=round(cost.bytes_per_tile * n_samples),
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
        difference=difference,
        n_left=len(left),
        n_moved=n_moved,
    )


def _left(
    root: Path, config: BuildConfig, source: Source, everything: Wanted, store: Path | None
) -> tuple[list[Visit], Difference]:
    """Return the visits that are left of a directory's build, and what differs."""
    identities = Identities(config.catalogue, source, config.require)
    is_there = (root / LEDGER).exists()
    with Ledger.reading(root) if is_there else Ledger(root) as ledger:
        jobs, difference = pending(everything, identities, config.require, ledger, root)
        if store is None:
            return [job.visit for job in jobs], difference
        with SharedStore(store) as shared:
            return [job.visit for job in unstored(jobs, shared, difference)], difference


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
        outcomes = source.observe(visit)
        seen = [o for o in outcomes.values() if isinstance(o, Observation)]
        nbytes += sum(len(codec.encode(o.array)) for o in seen if o.layer.is_pixel)
    seconds = (time.perf_counter() - begin) / max(len(tried), 1)
    return _Cost(nbytes / max(len(tried), 1), seconds * len(visits), len(tried))


def _metered(
    source: Source, visits: Sequence[Visit], catalogue: Catalogue, n_tried: int
) -> _Cost | None:
    """Return what services are asked for; None for a source that asks none."""
    found = [
        _of_service(part.source, asked_of(source, part, visits), catalogue, n_tried)
        for part in parts_of(source)
        if is_metered(part.source)
    ]
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


def _of_service(
    source: Metered, visits: Sequence[Visit], catalogue: Catalogue, n_tried: int
) -> _Cost:
    price = source.price(visits)
    at_best = price.requests / source.per_second
    if price.n_bytes is not None or not n_tried or not visits:
        whole = sum(layer.nbytes for layer in catalogue.layers.values())
        return _Cost(whole, at_best, 0, price.requests, network_bytes=price.n_bytes)
    from mmearth.curate.sources.earthengine.cost import calibrate
    from mmearth.curate.sources.earthengine.source import EarthEngine

    assert isinstance(source, EarthEngine)  # the only one that charges
    found = calibrate(source, spread(visits, n_tried), source.ahead)
    share = len(visits) / max(found.n_tiles, 1)
    charged = found.eecu_s * share / 3600.0 if found.eecu_s else None
    nbytes = found.bytes / max(found.n_tiles, 1)
    seconds = max(at_best, found.seconds * share / source.in_flight)
    return _Cost(nbytes, seconds, found.n_tiles, price.requests, charged)
