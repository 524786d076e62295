"""What an observation is known by, besides its tile and layer: all that its bytes depend on.

An identity is six short hashes in a row: of how members are written, of the date that the label
asks for, of the layer's definition, of the part of the source that answers for it, of the image
that fixes its date, and of what lies under the tile; behind them one of what only tells why
something is not there. Nothing else is in it: not the task, the seed, other layers or shards. Where
two identities differ says why an observation is stale.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.layer import Layer
from mmearth.catalog.tile import Tile
from mmearth.curate.source import Particular, Source

SCENE = "sentinel2"
"""Its image fixes the date that others follow."""
WHY = ("codec changed", "date changed", "layer changed", "recipe or source changed")
_FOLLOWS = f"{SCENE} changed"
_FILE = "file changed"
_REASONS = (*WHY, _FOLLOWS, _FILE, _FILE)
_LENGTH = 16  # of each hash: it tells successive states of one thing apart
_NONE = "-"


class Identities:
    """What the observations of one dataset are known by."""

    def __init__(self, catalogue: Catalogue, source: Source, require: Sequence[str]) -> None:
        """Begin with none.

        Args:
            catalogue: Of the dataset.
            source: Answers for its layers.
            require: Modalities without which a tile makes no sample.
        """
        self._catalogue, self._source = catalogue, source
        self._particular = source if isinstance(source, Particular) else None
        self._is_required = SCENE in require
        self._of_layer = lru_cache(4_096)(self._part)
        self._general = lru_cache(16_384)(self._parts)

    def all_of(
        self, tile: Tile, names: tuple[str, ...], date: str | None, wanted: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Return what each of several observations of a tile is known by.

        Args:
            tile: Where.
            names: Layers, and tasks with pixel-level targets.
            date: What the tile's label asks for.
            wanted: All that is wanted there.
        """
        parts = self._general(names, date, wanted)
        if self._particular is None:
            return tuple(f"{before}.{_NONE}.{after}" for before, _, after in parts)
        here = {name: self._particular.under(tile, name) for name in {*names, SCENE}}
        found = []
        for name, (before, follows, after) in zip(names, parts, strict=True):
            under = here[name] + here[SCENE] if follows and name != SCENE else here[name]
            found.append(f"{before}.{_hash(under)}.{after}")
        return tuple(found)

    def _parts(
        self, names: tuple[str, ...], date: str | None, wanted: tuple[str, ...]
    ) -> list[tuple[str, bool, str]]:
        """Return what stands before and behind the part of the tile; and if a scene decides it."""
        found = []
        for name in names:
            codec, layer, source, dating, otherwise = self._of_layer(name, wanted)
            before = ".".join((codec, _hash(date or ""), layer, source, dating))
            found.append((before, dating != _NONE, otherwise))
        return found

    def _part(self, name: str, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """Return the parts that are the same on every tile where the same is wanted."""
        layer, source = self._catalogue.observed(name), self._source
        codec = self._catalogue.codec.name if layer.is_pixel else _NONE
        dating, otherwise = scene_of(source, layer, wanted), ""
        if self._particular is not None:
            dating = self._particular.dating(layer, wanted, self._is_required)
            otherwise = self._particular.otherwise(name)
        defined = f"{layer} {self._catalogue.grid}"
        return codec, *map(_hash, (defined, source.fingerprint(name), dating, otherwise))


def scene_of(source: Source, layer: Layer, wanted: Sequence[str]) -> str:
    """Return what `Particular.dating` does, for a source of which no more is known."""
    return source.fingerprint(SCENE) if layer.timing != "static" and SCENE in wanted else ""


def is_same(known: str, wanted: str, is_done: bool) -> bool:
    """Return whether an observation of one identity is what another identity wants.

    Args:
        known: Of the observation.
        wanted: What is wanted.
        is_done: Whether it is there: then why something is not there is of no account.
    """
    if known == wanted:
        return True
    return is_done and known.rpartition(".")[0] == wanted.rpartition(".")[0] != ""


def why_other(known: str, wanted: str) -> str:
    """Return in two words why an observation is not what is wanted."""
    pairs = zip(_REASONS, known.split("."), wanted.split("."), strict=False)
    return next((reason for reason, a, b in pairs if a != b), WHY[-1])


def _hash(text: str) -> str:
    return sha256_bytes(text.encode())[:_LENGTH] if text else _NONE
