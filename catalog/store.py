"""The store: members in packs and shards; one file per observation, `.tif` or `.json`.

Pixel-level observations are GeoTIFFs that any GIS opens: band names, no-data and provenance inside.
Tile-level ones are small JSON documents. The same observation gives the same bytes.
"""

from __future__ import annotations

import io
import json
import os
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Compression
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from mmearth.catalog.documents import parse_json
from mmearth.catalog.errors import FormatError, IntegrityError, storage_errors
from mmearth.catalog.files import open_regular, read_regular, sha256_bytes, write_atomic
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile

PACKS = ".curate/packs"
"""Where packs are while a dataset is collected, relative to its root."""
BEFORE = ".curate/before"
"""Where files of a sealed dataset are, under their own names, while it is packed anew."""
_PACK_BYTES = 1 << 30  # of a pack that nothing is added to any more
_MOST_BYTES = 1 << 31  # of one member: far more than any layer has
_OPEN_FILES = 32  # that one reader keeps


@dataclass(frozen=True, slots=True)
class Location:
    """Where the bytes of one observation with pixels are: a member of a pack or of a shard."""

    path: str
    """Of the file, relative to the dataset's root: `.curate/packs/….pack` or `shards/….tar`."""
    byte_offset: int
    """Of the member's first byte."""
    nbytes: int
    """Its length."""
    sha256: str
    """Of its bytes."""


class PackWriter:
    """Adds members to a pack of its own, one after the other; threads may share it.

    A pack has no header and no index: the ledger's rows say where members are, and bytes that no
    row names, such as those of a writer that was killed, mean nothing. Nobody adds to a file that
    another writer began. What was added is on the disk when the file was synced.
    """

    def __init__(self, root: Path, most_bytes: int = _PACK_BYTES) -> None:
        """Begin with no file; the first member makes one.

        Args:
            root: The dataset's directory.
            most_bytes: A pack that has so many is not added to: the next member begins another.
        """
        self._root, self._most_bytes = root, most_bytes
        self._lock = Lock()
        self._file: io.FileIO | None = None
        self._name, self._nbytes = "", 0

    def add(self, data: bytes) -> Location:
        """Add a member; return where it is.

        Raises:
            StorageError: The disk is full or the directory cannot be written.
        """
        digest = sha256_bytes(data)
        with self._lock, storage_errors(f"write {self._root / PACKS}"):
            file = self._file
            if file is None or self._nbytes >= self._most_bytes:
                file = self._begin()
            begin = self._nbytes
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
            except BaseException:
                self._end()  # a part of the member may be in it
                raise
            self._nbytes += len(data)
            return Location(self._name, begin, len(data), digest)

    def sync(self) -> None:
        """Wait until all that was added to the newest pack is on the disk.

        Raises:
            StorageError: The disk is full: some file systems find that out only now.
        """
        with self._lock, storage_errors(f"write {self._root / PACKS}"):
            if self._file is not None:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Add no more to the newest pack."""
        with self._lock:
            self._end()

    def _begin(self) -> io.FileIO:
        if self._file is not None:
            os.fsync(self._file.fileno())
        self._end()
        self._name, self._nbytes = f"{PACKS}/{secrets.token_hex(8)}.pack", 0
        path = self._root / self._name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = io.FileIO(path, "xb")
        return self._file

    def _end(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None


class StoreReader:
    """Reads members of a dataset's packs and shards; keeps some files open; for one thread."""

    def __init__(self, root: Path) -> None:
        """Begin with no file open.

        Args:
            root: The dataset's directory.
        """
        self._root = root
        self._files: OrderedDict[str, io.FileIO] = OrderedDict()

    def __enter__(self) -> StoreReader:
        return self

    def __exit__(self, *exc: object) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def read(self, at: Location, what: str) -> bytes:
        """Return the bytes of a member, which have its SHA-256.

        They are looked for in the file that the location names and, where they are not in it, in
        the file of that name that was moved to `BEFORE` while the dataset is packed anew. Both may
        be a stranger's: nothing is opened but a regular file of the dataset.

        Args:
            at: Where it is.
            what: It is, for the sentence: `sentinel2 of tile 32632_666050_5374480`.

        Raises:
            FormatError: The file is missing, is no regular file of the dataset, or is too short.
            IntegrityError: The bytes are others.
            StorageError: It may not be read.
        """
        if at.nbytes > _MOST_BYTES:
            raise _lost(what, self._root / at.path, f"it claims {at.nbytes} bytes")
        refused: list[FormatError | IntegrityError] = []
        for path in (at.path, f"{BEFORE}/{at.path}"):
            try:
                return self._read(path, at, what)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (FormatError, IntegrityError) as exc:
                refused.append(exc)
        raise refused[0] if refused else _lost(what, self._root / at.path, "there is no such file")

    def _read(self, path: str, at: Location, what: str) -> bytes:
        file = self._opened(path)
        size = os.fstat(file.fileno()).st_size
        if not 0 <= at.byte_offset <= at.byte_offset + at.nbytes <= size:
            end = at.byte_offset + at.nbytes
            why = f"it has {size} bytes, and the range {at.byte_offset} to {end} is asked for"
            raise _lost(what, self._root / path, why)
        data = os.pread(file.fileno(), at.nbytes, at.byte_offset)
        if (digest := sha256_bytes(data)) != at.sha256:
            raise IntegrityError(
                f"{what} in {self._root / path} is not what was collected (sha256 {digest[:12]}…, "
                f"expected {at.sha256[:12]}…); run the build again"
            )
        return data

    def _opened(self, path: str) -> io.FileIO:
        if path in self._files:
            self._files.move_to_end(path)
        else:
            self._files[path] = open_regular(self._root / path, self._root)
            if len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        return self._files[path]


def read_location(root: Path, at: Location, what: str) -> bytes:
    """Return the bytes of one member, as `StoreReader.read` does."""
    with StoreReader(root) as reader:
        return reader.read(at, what)


def _lost(what: str, path: Path, why: str) -> FormatError:
    return FormatError(f"{what} cannot be read back from {path}: {why}; run the build again")


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
    """Keep one observation in the store, atomically; return its bytes.

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
