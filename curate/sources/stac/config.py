"""The configuration of the `stac` source: which collections hold which layer, and what is clear."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from mmearth.catalog.anchor import normalised
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.configuration import AnyNumber, Strict
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.layer import Layer, Resampling
from mmearth.catalog.wording import one_of
from mmearth.catalog.yaml_file import read_yaml
from mmearth.curate.sources.files.config import Rasters, check_raster

KNOWN = ("earth-search", "planetary-computer")
"""Catalogues that are described here, by name."""
_COMPUTED = ("geolocation", "month")


class CollectionEntry(Strict):
    """A collection that holds a layer, or some of its bands."""

    collection: str
    """Its identifier at the API."""
    asset: str | None = None
    """Key of the one asset that holds the bands."""
    assets: dict[str, str] | None = None
    """Band → key of its own asset."""
    bands: dict[str, int | str] | None = None
    """Band → number from 1 or description in the asset; found by the rules of `files` unless given.
    """
    optional: bool = False
    """Bands whose asset an item lacks are no data; else such an item is not used."""
    where: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Property → the value that an item must have."""
    datetime: str | None = None
    """Interval `YYYY-MM-DD/YYYY-MM-DD` that an item must be of, whatever the anchor date."""
    days: int = Field(default=30, ge=0, le=183)
    """How far from the anchor date an image of a layer `nearest` may be."""
    product: str = "own"
    """See `Rasters.product`."""
    stand_in: str | None = None
    """See `Rasters.stand_in`."""
    licence: str | None = None
    """Of the product, where it is not the layer's own: told with `stand_in`."""
    scale: float | None = None
    """Stored value × scale + offset = value in `unit`; what the files say unless given."""
    offset: float | Literal["auto", "item"] | None = None
    """See `scale`; `auto`: of Sentinel-2 by each item's processing baseline; `item`: scale and
    offset as each item's `raster:bands` has them."""
    unit: str | None = None
    """See `Rasters.unit`."""
    nodata: AnyNumber | tuple[AnyNumber, ...] | None = None
    """See `Rasters.nodata`."""
    resampling: Resampling | None = None
    """See `Rasters.resampling`."""
    classes: dict[int, int | None] | None = None
    """See `Rasters.classes`."""
    clamp: bool = False
    """See `Rasters.clamp`."""
    derive_slope: bool = False
    """See `Rasters.derive_slope`."""
    scl: str | None = None
    """Key of the asset with Sentinel-2's scene classification, by which clouds are told."""
    probability: str | None = None
    """Key of the asset with a cloud probability in per cent."""
    s3: str | None = None
    """Address that takes the place of `s3://bucket` in hrefs."""
    megabytes: float = Field(default=1.0, gt=0)
    """Of a block of one band, about: what a tile costs where it shares no block with another."""

    @field_validator("datetime")
    @classmethod
    def _interval(cls, when: str | None) -> str | None:
        try:
            return None if when is None else normalised(when)
        except ConfigError as exc:
            raise ValueError(str(exc)) from exc

    @model_validator(mode="after")
    def _one_way(self) -> CollectionEntry:
        if (self.asset is None) == (self.assets is None):
            raise ValueError("expected one of asset: and assets:")
        if self.assets is not None and (self.bands is not None or not self.assets):
            raise ValueError("assets: names each band's own asset; leave out bands:")
        return self

    @property
    def keys(self) -> dict[str, str]:
        """Band → key of its asset; `""` → that of the one asset of all bands."""
        return self.assets if self.assets is not None else {"": str(self.asset)}

    def rasters(self, offset: float | None = None) -> Rasters:
        """Return how the assets of an item are read.

        Args:
            offset: What is added to the stored values of this item.
        """
        told = self.offset if isinstance(self.offset, float) else offset
        why = self.stand_in
        if why is not None and self.licence is not None:
            why = f"{why} (licence {self.licence})"
        return Rasters(
            path=self.collection,
            product=self.product,
            stand_in=why,
            files=self.assets,
            bands=self.bands,
            scale=self.scale,
            offset=told,
            unit=self.unit,
            nodata=self.nodata,
            resampling=self.resampling,
            classes=self.classes,
            clamp=self.clamp,
            derive_slope=self.derive_slope,
        )


class CatalogConfig(Strict):
    """A STAC API."""

    name: str | None = None
    """A known one, whose keys stand unless they are given; else what it is called in sentences."""
    url: str | None = None
    """Its landing page; a known one's own unless given."""
    sas: str | None = None
    """Service that signs its containers: `<sas>/<account>/<container>` gives a signature."""
    collections: dict[str, list[CollectionEntry]] = Field(default_factory=dict)
    """By layer: of several the first that has something is taken; those of one collection with
    other bands are laid together."""

    @model_validator(mode="before")
    @classmethod
    def _described(cls, given: Any) -> Any:
        """Take what is known of a known catalogue; layers that are given take the place of its."""
        if isinstance(given, str):
            given = {"name": given}
        if not isinstance(given, dict):
            return given
        name = given.get("name")
        if name not in KNOWN:
            if "url" not in given:
                raise ValueError(f"found {name!r}, expected {one_of(KNOWN)}, or url:")
            return given
        known = _known(name)
        layers = {**known["collections"], **(given.get("collections") or {})}
        return {**known, **given, "collections": layers}

    @field_validator("url", "sas")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is not None and not re.match(r"https?://[^/]+", url):
            raise ValueError(f"found {url!r}, expected https://…")
        return None if url is None else url.rstrip("/")


class CloudConfig(Strict):
    """Which scenes are clear enough, on the tile itself."""

    least_clear: float = Field(default=0.9, ge=0, le=1)
    """Share of the tile's seen pixels that are no cloud and no shadow."""
    least_seen: float = Field(default=0.9, gt=0, le=1)
    """Share of the tile's pixels that were seen."""
    by: Literal["scl", "probability"] = "scl"
    """What tells clouds: the scene classification, or a probability of 10 % and more where the
    collection has one."""


class StacConfig(Strict):
    """Open collections behind STAC APIs."""

    kind: Literal["stac"]
    """Selects this source."""
    catalogs: tuple[CatalogConfig, ...] = Field(min_length=1)
    """In the order in which they are asked for a layer until one has it."""
    cloud: CloudConfig = CloudConfig()
    """Of Sentinel-2."""
    days: int = Field(default=15, ge=0, le=183)
    """How far from the date of a label the anchor scene may be."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that some catalogue has."""
        return tuple(dict.fromkeys(name for c in self.catalogs for name in c.collections))


def check_stac(config: StacConfig, known: Catalogue) -> None:
    """Refuse collections that have no meaning for what they are named for.

    Args:
        config: With the collections.
        known: All layers that the configuration may name, in use or not.

    Raises:
        ValueError: There is one; the sentence names the key.
    """
    for catalog in config.catalogs:
        for name, entries in catalog.collections.items():
            if name not in known.layers or name in _COMPUTED:
                usable = sorted(set(known.layers) - set(_COMPUTED))
                raise ValueError(f"{name!r} cannot come from a collection; expected {usable}")
            for entry in entries:
                _check_entry(known.layers[name], entry)


def _check_entry(layer: Layer, entry: CollectionEntry) -> None:
    check_raster(layer, entry.rasters())
    if entry.offset == "auto" and layer.name != "sentinel2":
        raise ValueError(f"{layer.name}: offset: auto is for sentinel2; give a number, or item")
    if entry.offset == "item" and (entry.scale is not None or layer.classes):
        raise ValueError(f"{layer.name}: offset: item tells scale, too, and is for numbers")
    if layer.name == "sentinel2" and entry.scl is None:
        raise ValueError(f"{layer.name}: scl: is missing: clouds and absent pixels are told by it")
    if layer.name == "sentinel2" and entry.offset is None:
        raise ValueError(
            f"{layer.name}: offset: is missing; expected auto, item, or what is added to its "
            "digital numbers, 0 where the offset of baseline 04.00 is taken off already"
        )


@lru_cache(maxsize=8)
def _known(name: str) -> dict[str, Any]:
    files = resources.files("mmearth") / "curate" / "sources" / "stac" / "catalogs"
    with resources.as_file(files / f"{name}.yaml") as path:
        found: dict[str, Any] = read_yaml(Path(path))
    return {"name": name, **found}
