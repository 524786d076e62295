"""The store: one file per observation, `store/<epsg>/<tile>/<modality>.tif` or `.json`.

Pixel-level observations are GeoTIFFs that any GIS opens: band names, no-data and provenance inside.
Tile-level ones are small JSON documents. The same observation gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Compression
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from mmearth.catalog.documents import parse_json
from mmearth.catalog.errors import FormatError, IntegrityError
from mmearth.catalog.files import read_regular, sha256_bytes, write_atomic
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile

STORE = "store"
"""Name of the store's directory in a dataset."""
_TAGS_BYTES = 4 << 20  # of names of source images, mostly: each has some hundred bytes
_DAMAGE = (
    rasterio.errors.RasterioError,
    AttributeError,
    FormatError,
    LookupError,
    TypeError,
    ValueError,
)
"""What a file of the store that is not ours makes libraries raise."""


def observation_path(tile: Tile, layer: Layer) -> str:
    """Return where an observation is kept, relative to the dataset's root."""
    suffix = "tif" if layer.is_pixel else "json"
    return f"{STORE}/{tile.epsg}/{tile.id}/{layer.name}.{suffix}"


def write_observation(root: Path, tile: Tile, observation: Observation) -> bytes:
    """Keep one observation in the store, atomically.

    Args:
        root: The dataset's directory.
        tile: The place.
        observation: Checked before it is written.

    Returns:
        The bytes written, for their length and checksum.

    Raises:
        DataError: The array breaks its contract.
        StorageError: The disk is full or the directory cannot be written.
    """
    observation.check()
    path = root / observation_path(tile, observation.layer)
    data = _geotiff(tile, observation) if path.suffix == ".tif" else _json(observation)
    write_atomic(path, data)
    return data


def read_observation(
    root: Path, tile: Tile, layer: Layer, sha256: str | None = None
) -> tuple[Observation, str]:
    """Read one observation back, bit for bit; return it with its file's SHA-256.

    The store may be a stranger's: nothing is opened but a GeoTIFF with the layout of the layer,
    from memory, so that it can lead to no other file or URL and take no more memory than a tile.

    Args:
        root: The dataset's directory.
        tile: The place.
        layer: What it is of.
        sha256: What the file must have, before anything in it is looked at; None: anything.

    Raises:
        FormatError: The file is missing or is not what `write_observation` wrote.
        IntegrityError: It has another SHA-256.
    """
    path = root / observation_path(tile, layer)
    data = read_stored(root, tile, layer)
    digest = sha256_bytes(data)
    if sha256 is not None and digest != sha256:
        raise IntegrityError(
            f"{path} is not the file that was collected (sha256 {digest[:12]}…, expected "
            f"{sha256[:12]}…); delete it and run the build again"
        )
    try:
        if path.suffix == ".tif":
            return _from_geotiff(data, tile, layer), digest
        return _from_json(data, layer), digest
    except _DAMAGE as exc:
        raise FormatError(
            f"{path} cannot be read back ({exc}); delete it and run the build again"
        ) from exc


def read_stored(root: Path, tile: Tile, layer: Layer) -> bytes:
    """Return the bytes of an observation's file.

    Raises:
        FormatError: It is missing, is no regular file of the dataset, or is too large.
    """
    path = root / observation_path(tile, layer)
    try:
        return read_regular(path, root, _most(layer))
    except OSError as exc:
        raise FormatError(
            f"{path} cannot be read back ({exc.strerror}); delete it and run the build again"
        ) from exc


@contextmanager
def reading_many() -> Iterator[None]:
    """Keep GDAL's settings while many observations are read: a fifth of the time of each."""
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO"):
        yield


def _geotiff(tile: Tile, observation: Observation) -> bytes:
    array = observation.array
    profile = {
        "driver": "GTiff",
        "count": array.shape[0],
        "height": array.shape[1],
        "width": array.shape[2],
        "dtype": array.dtype.name,
        "crs": f"EPSG:{tile.epsg}",
        "transform": Affine(*tile.transform),
        "nodata": observation.layer.nodata,
        "tiled": True,
        "blockxsize": array.shape[2],
        "blockysize": array.shape[1],
        "interleave": "band",
        # Level 1 with a predictor: half the bytes at the speed of the disk; level 6 saves 4 % more.
        "compress": "deflate",
        "zlevel": 1,
        "predictor": 3 if array.dtype.kind == "f" else 2,
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(array)
            dataset.descriptions = observation.layer.band_names
            dataset.update_tags(**_provenance(observation))
        return bytes(memory.read())


def _from_geotiff(data: bytes, tile: Tile, layer: Layer) -> Observation:
    # Opened from memory: GDAL would otherwise look for side-car files beside each one. Other
    # drivers than GTiff open other files and URLs.
    with MemoryFile(data) as memory, memory.open(driver="GTiff") as dataset:
        _check_layout(dataset, tile, layer)
        array: NDArray[np.generic] = dataset.read()
        tags = dataset.tags()
    return _observation(layer, array, tags)


def _check_layout(dataset: rasterio.DatasetReader, tile: Tile, layer: Layer) -> None:
    """Refuse a raster of another layout before memory is taken for it: a tiny file can claim much.

    Raises:
        ValueError: It is of another.
    """
    shape = layer.shape
    found, types = (dataset.count, *dataset.shape), set(dataset.dtypes)
    if found != shape or types != {layer.dtype}:
        raise ValueError(
            f"it is {found} of {', '.join(sorted(types))}, expected {shape} of {layer.dtype}"
        )
    if tuple(dataset.transform)[:6] != tile.transform:
        raise ValueError("it is not at the place of its tile")
    # GDAL takes memory for whole blocks, and some codecs for what their own header claims.
    blocks, codec = set(dataset.block_shapes), dataset.compression
    if blocks != {shape[1:]} or codec != Compression.deflate:
        raise ValueError(f"it has blocks of {sorted(blocks)} and the codec {codec}, expected ours")


def _most(layer: Layer) -> int:
    """Return the bytes that a file may have: those of the array, of incompressible values, tags."""
    return 2 * layer.nbytes + _TAGS_BYTES


def _json(observation: Observation) -> bytes:
    document = {
        "bands": list(observation.layer.band_names),
        "values": observation.array.tolist(),
        **_provenance(observation),
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _from_json(data: bytes, layer: Layer) -> Observation:
    document = parse_json(data, "it")
    array = np.asarray(document["values"], dtype=layer.dtype)
    if array.shape != layer.shape:
        raise ValueError(f"it has values of shape {array.shape}")
    return _observation(layer, array, document)


def _provenance(observation: Observation) -> dict[str, str]:
    """Return the tags of an observation; one that has no value is left out."""
    tags = {
        "modality": observation.layer.name,
        "acquired": observation.acquired or "",
        "source": observation.source,
        "source_ids": json.dumps(observation.source_ids, ensure_ascii=False),
        "stand_in": observation.stand_in or "",
        "expression": observation.expression or "",
    }
    return {name: value for name, value in tags.items() if value}


def _observation(layer: Layer, array: NDArray[np.generic], tags: dict[str, str]) -> Observation:
    return Observation(
        layer=layer,
        array=array,
        acquired=tags.get("acquired"),
        source=tags.get("source", ""),
        source_ids=tuple(parse_json(tags.get("source_ids", "").encode(), "its source_ids")),
        stand_in=tags.get("stand_in"),
        expression=tags.get("expression"),
    )
