"""Which files there are, where they lie, and which of them cannot be used."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmearth.catalog.errors import ConfigError, FormatError, MMEarthError
from mmearth.catalog.layer import Layer
from mmearth.catalog.tile import Tile, lonlat_bounds
from mmearth.curate.sources.files.config import Rasters
from mmearth.curate.sources.files.header import Bounds, Header, read_header
from mmearth.curate.sources.files.reading import Reading, readings_of

_WHOLE_BYTES = 64 * 1024 * 1024
"""Files up to this length are hashed whole: a second's work for three hundred scenes."""
_SAMPLE_BYTES = 4 * 1024 * 1024
_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Product:
    """One raster, or one directory with a raster a band."""

    entry: Rasters
    """The part of the configuration that it belongs to."""
    path: Path
    """The raster, or the directory."""
    rasters: dict[str, Path]
    """Band → its own raster, or `""` → the one raster of all bands."""
    name: str
    """Relative to the source's root, as it stands in provenance."""
    bounds: Bounds
    """West, south, east, north in degrees, west ≤ east; may lie beyond 180."""
    readings: tuple[Reading, ...]
    """How its bands are read."""
    crs_told: bool
    """The entry's CRS is used in place of the file's own."""
    beside: tuple[Path, ...] = ()
    """See `Header`."""

    @property
    def key(self) -> str:
        """A hash of all its files; see `content_key`."""
        return " ".join(content_key(path) for path in (*self.rasters.values(), *self.beside))


@dataclass(frozen=True, slots=True)
class Broken:
    """A product that cannot be used."""

    entry: Rasters
    """The part of the configuration that it belongs to."""
    reason: MMEarthError
    """Why; ConfigError where the entry is wrong."""


@dataclass(frozen=True, slots=True)
class Index:
    """All products of one modality."""

    products: tuple[Product, ...]
    """In the order of the configuration, then by path."""
    broken: tuple[Broken, ...]
    """The products that cannot be used."""

    def near(self, tile: Tile) -> list[Product]:
        """Return the products whose bounds touch a tile, in order."""
        west, south, east, north = lonlat_bounds([tile])[0]
        return [
            product
            for product in self.products
            if product.bounds[1] <= north
            and product.bounds[3] >= south
            and any(
                product.bounds[0] <= east + turn and product.bounds[2] >= west + turn
                for turn in (-360.0, 0.0, 360.0)
            )
        ]


def build_index(layer: Layer, entries: Sequence[Rasters], root: Path) -> Index:
    """Find the files of a modality or target and decide how each is read."""
    products: list[Product] = []
    kinds: dict[tuple[Reading, ...], tuple[Reading, ...]] = {}
    broken: list[Broken] = []
    for entry in entries:
        paths = match_paths(root, entry.path)
        if not paths:
            reason = FormatError(f"{root / entry.path} matches no file; correct path: or root:")
            broken.append(Broken(entry, reason))
        for path in paths:
            try:
                found = _product(layer, entry, path, root)
            except MMEarthError as exc:
                broken.append(Broken(entry, exc))
                continue
            # Thousands of scenes are read alike; a source travels to its workers with every visit.
            readings = kinds.setdefault(found.readings, found.readings)
            products.append(replace(found, readings=readings))
    return Index(tuple(products), tuple(broken))


def content_key(path: Path) -> str:
    """Return a hash of a file: of all of it, or of the length, head and tail of a large one.

    Hashing the whole of a continent's mosaics would take hours. Of a directory, as Zarr is, all
    files count, with their names.
    """
    if path.is_dir():
        files = sorted(each for each in path.rglob("*") if each.is_file())
        keys = [f"{each.relative_to(path).as_posix()} {content_key(each)}" for each in files]
        return hashlib.sha256("\n".join(keys).encode()).hexdigest()
    n_bytes = path.stat().st_size
    digest = hashlib.sha256(str(n_bytes).encode())
    with path.open("rb") as stream:
        if n_bytes <= _WHOLE_BYTES:
            digest.update(stream.read())
            return digest.hexdigest()
        digest.update(stream.read(_SAMPLE_BYTES))
        stream.seek(n_bytes - _SAMPLE_BYTES)
        digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def match_paths(root: Path, pattern: str) -> list[Path]:
    """Return the files that a path or pattern names, in order.

    A path that is there as it is written is no pattern, and `[` stands for itself where the
    pattern matches nothing else.
    """
    if (root / pattern).exists():
        return [root / pattern]
    if not _WILDCARDS & set(pattern):
        return []
    return sorted(root.glob(pattern)) or sorted(root.glob(pattern.replace("[", "[[]")))


def _product(layer: Layer, entry: Rasters, path: Path, root: Path) -> Product:
    """Return a product.

    Raises:
        ConfigError: What the entry says does not go with the file.
        FormatError: The file cannot be used.
    """
    rasters = {"": path}
    if entry.files is not None:
        matched = {band: match_paths(path, pattern) for band, pattern in entry.files.items()}
        for band, found in matched.items():
            if len(found) != 1:
                raise FormatError(
                    f"{path} has {len(found)} files {entry.files[band]} for {band}; expected one"
                )
        rasters = {band: found[0] for band, found in matched.items()}
    headers = {band: read_header(raster, entry) for band, raster in rasters.items()}
    relative = path.relative_to(root).as_posix()
    return Product(
        entry=entry,
        path=path,
        rasters=rasters,
        name=relative,
        bounds=_common(list(headers.values()), path),
        readings=readings_of(layer, entry, headers, relative),
        crs_told=any(header.crs_told for header in headers.values()),
        beside=tuple(file for header in headers.values() for file in header.beside),
    )


def _common(headers: Sequence[Header], path: Path) -> Bounds:
    """Return what encloses all of a product's rasters.

    Raises:
        ConfigError: They lie apart.
    """
    west, south, east, north = headers[0].bounds
    for header in headers[1:]:
        w, s, e, n = header.bounds
        if w > east or e < west or s > north or n < south:
            raise ConfigError(
                f"{path}: {header.path.name} lies elsewhere than {headers[0].path.name}; expected "
                "the bands of one place; correct files:"
            )
        west, south, east, north = min(w, west), min(s, south), max(e, east), max(n, north)
    return west, south, east, north
