"""Which files there are, where they lie, and which of them cannot be used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import rasterio
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import transform_bounds

from mmearth.catalog.tile import Tile, lonlat_bounds
from mmearth.curate.sources.files.config import Rasters

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
    bounds: tuple[float, float, float, float]
    """West, south, east, north in degrees, west ≤ east; may lie beyond 180."""
    unit: str | None
    """What its first raster says of its first band's unit."""


@dataclass(frozen=True, slots=True)
class Index:
    """All products of one modality."""

    products: tuple[Product, ...]
    """In the order of the configuration, then by path."""
    broken: tuple[str, ...]
    """One sentence for each product that cannot be used."""

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


def build_index(entries: list[Rasters], root: Path) -> Index:
    """Find the files of a modality and look at their headers."""
    products: list[Product] = []
    broken: list[str] = []
    for entry in entries:
        paths = _match(root, entry.path)
        if not paths:
            broken.append(f"{root / entry.path} matches no file; correct path: or root:")
        for path in paths:
            found = _product(entry, path, root)
            if isinstance(found, str):
                broken.append(found)
            else:
                products.append(found)
    return Index(tuple(products), tuple(broken))


def content_key(path: Path) -> str:
    """Return a hash of a file: of all of it, or of the length, head and tail of a large one.

    Hashing the whole of a continent's mosaics would take hours. What a VRT points to is not seen.
    """
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


def dataset_name(path: Path, variable: str | None) -> str:
    """Return what GDAL opens: the path, or the variable of a NetCDF file."""
    return str(path) if variable is None else f'netcdf:"{path}":{variable}'


def _match(root: Path, pattern: str) -> list[Path]:
    if not _WILDCARDS & set(pattern):
        return [root / pattern] if (root / pattern).exists() else []
    return sorted(root.glob(pattern))


def _product(entry: Rasters, path: Path, root: Path) -> Product | str:
    """Return a product, or the sentence that says why it cannot be used."""
    rasters = {"": path}
    if entry.files is not None:
        matched = {band: _match(path, pattern) for band, pattern in entry.files.items()}
        for band, found in matched.items():
            if len(found) != 1:
                return f"{path} has {len(found)} files {entry.files[band]} for {band}; expected one"
        rasters = {band: found[0] for band, found in matched.items()}
    try:
        header = _header(next(iter(rasters.values())), entry)
    except (RasterioError, CRSError, ValueError, OSError) as exc:
        return f"{path} cannot be opened as a raster ({' '.join(str(exc).split())}); replace it"
    if isinstance(header, str):
        return header
    bounds, unit = header
    return Product(entry, path, rasters, path.relative_to(root).as_posix(), bounds, unit)


def _header(
    path: Path, entry: Rasters
) -> tuple[tuple[float, float, float, float], str | None] | str:
    with rasterio.open(dataset_name(path, entry.variable)) as dataset:
        unit = dataset.units[0] or None
        crs = dataset.crs or (CRS.from_user_input(entry.crs) if entry.crs else None)
        if crs is None:
            return f"{path} has no CRS; expected one in the file, or crs: in its entry"
        if crs.is_geographic:
            box = dataset.bounds
            south, north = sorted((box.bottom, box.top))  # rows may run north
            return (box.left, south, box.right, north), unit
        west, south, east, north = transform_bounds(crs, 4326, *dataset.bounds, densify_pts=21)
        return (west, south, east + (360.0 if east < west else 0.0), north), unit
