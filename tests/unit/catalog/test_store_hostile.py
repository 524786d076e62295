"""A store of somebody else: nothing but our own GeoTIFFs is opened, in bounded memory."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import Affine

from mmearth.catalog.errors import FormatError, IntegrityError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.store import observation_path, read_observation, write_observation
from mmearth.catalog.tile import Tile

TILE = Tile(32633, 500_000, 4_649_760)
LAYER = MMEARTH_BENCH.layers["eth_gch"]
OURS = {
    "driver": "GTiff",
    "width": 128,
    "height": 128,
    "count": 2,
    "dtype": "float32",
    "tiled": True,
    "blockxsize": 128,
    "blockysize": 128,
    "compress": "deflate",
    "crs": "EPSG:32633",
    "transform": Affine(*TILE.transform),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_observation(tmp_path, TILE, Observation(LAYER, LAYER.empty()))
    return tmp_path / observation_path(TILE, LAYER)


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """Yield the URL of a server that has every file, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    found = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=found.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}", asked
    found.shutdown()
    thread.join()
    found.server_close()


def _vrt(source: str) -> bytes:
    band = (
        '<VRTRasterBand dataType="Float32" band="{}"><SimpleSource><SourceFilename>{}'
        "</SourceFilename><SourceBand>{}</SourceBand></SimpleSource></VRTRasterBand>"
    )
    bands = "".join(band.format(i, source, i) for i in (1, 2))
    return f'<VRTDataset rasterXSize="128" rasterYSize="128">{bands}</VRTDataset>'.encode()


def _raster(tag: str = "[]", **changed: Any) -> bytes:
    with rasterio.MemoryFile() as memory:
        with memory.open(**{**OURS, **changed}) as dataset:
            dataset.update_tags(source_ids=tag)
        return bytes(memory.read())


def _picture(form: str) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.zeros((128, 128, 3), np.uint8)).save(sink, form)
    return sink.getvalue()


def test_a_vrt_fetches_nothing(path: Path, server: tuple[str, list[str]]) -> None:
    url, asked = server
    path.write_bytes(_vrt(f"/vsicurl/{url}/secret.tif"))
    with pytest.raises(FormatError, match=r"eth_gch\.tif cannot be read back"):
        read_observation(path.parents[3], TILE, LAYER)
    assert asked == []


def test_a_vrt_reads_no_other_file(path: Path, tmp_path: Path) -> None:
    (tmp_path / "other.tif").write_bytes(path.read_bytes())
    path.write_bytes(_vrt(str(tmp_path / "other.tif")))
    with pytest.raises(FormatError, match="cannot be read back"):
        read_observation(tmp_path, TILE, LAYER)


HOSTILE = {
    "other driver": (lambda: _picture("PNG"), "cannot be read back"),
    "other place": (
        lambda: _raster(transform=Affine(10, 0, 0, 0, -10, 0)),
        "it is not at the place of its tile",
    ),
    "other dtype": (lambda: _raster(dtype="uint16"), "of uint16, expected .* of float32"),
    "other bands": (lambda: _raster(count=3), r"it is \(3, 128, 128\) of float32, expected \(2"),
    "other size": (lambda: _raster(width=64), r"it is \(2, 128, 64\)"),
    "sparse": (
        lambda: _raster(
            width=60_000, height=60_000, blockxsize=512, blockysize=512, sparse_ok=True
        ),
        r"it is \(2, 60000, 60000\) of float32, expected \(2, 128, 128\)",
    ),
    "large blocks": (
        lambda: _raster(blockxsize=8192, blockysize=8192, sparse_ok=True),
        r"it has blocks of \[\(8192, 8192\)\]",
    ),
    "other codec": (lambda: _raster(compress="lzw"), "the codec Compression.lzw, expected ours"),
    "no tags": (lambda: _raster(tag=""), "its source_ids is not JSON"),
    "deep tags": (lambda: _raster(tag="[" * 50_000), "nested too deeply"),
    "nothing": (lambda: b"", "cannot be read back"),
}


@pytest.mark.parametrize("harm", HOSTILE)
def test_what_is_no_raster_of_ours(path: Path, tmp_path: Path, harm: str) -> None:
    make, sentence = HOSTILE[harm]
    path.write_bytes(make())
    with pytest.raises(FormatError, match=sentence):
        read_observation(tmp_path, TILE, LAYER)


def test_another_checksum_is_refused_before_anything_is_opened(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"not even a raster")
    with pytest.raises(IntegrityError, match=r"is not the file that was collected \(sha256"):
        read_observation(tmp_path, TILE, LAYER, "0" * 64)


def test_what_is_no_file_of_the_store(path: Path, tmp_path: Path) -> None:
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(FormatError, match="is a named pipe; expected a regular file"):
        read_observation(tmp_path, TILE, LAYER)
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(FormatError, match="leads to /etc/passwd, which is outside of"):
        read_observation(tmp_path, TILE, LAYER)
    path.unlink()
    with path.open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(FormatError, match=r"has 1099511\.6 MB, expected 4\.5 MB at most"):
        read_observation(tmp_path, TILE, LAYER)


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ('{"values": []}', r"it has values of shape \(0,\)"),
        ('{"values": [[1, 2]], "source_ids": "[]"}', r"it has values of shape \(1, 2\)"),
        ('{"values": {"a": 1}, "source_ids": "[]"}', ""),
        ('{"values": [1, 2, 3], "source_ids": 5}', ""),
        ("[]", ""),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_document_of_ours(tmp_path: Path, document: str, sentence: str) -> None:
    layer = MMEARTH_BENCH.layers["precipitation"]
    path = tmp_path / observation_path(TILE, layer)
    path.parent.mkdir(parents=True)
    path.write_text(document)
    with pytest.raises(FormatError, match=rf"precipitation\.json cannot be read back.*{sentence}"):
        read_observation(tmp_path, TILE, layer)


LIMITED = """
import json, resource, sys
from pathlib import Path
from mmearth.catalog.errors import MMEarthError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.store import read_observation
from mmearth.catalog.tile import Tile
import rasterio
with open("/proc/self/statm") as stat:
    used = int(stat.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), used + (256 << 20)))
said, layer = [], MMEARTH_BENCH.layers["eth_gch"]
for root in sys.argv[1:]:
    try:
        read_observation(Path(root), Tile(32633, 500_000, 4_649_760), layer)
    except MMEarthError as exc:
        said.append(type(exc).__name__)
print(json.dumps(said))
"""


def test_a_quarter_of_a_gigabyte_is_enough_for_all_of_them(tmp_path: Path) -> None:
    roots = []
    for i, (make, _) in enumerate(HOSTILE.values()):
        path = tmp_path / str(i) / observation_path(TILE, LAYER)
        path.parent.mkdir(parents=True)
        path.write_bytes(make())
        roots.append(str(tmp_path / str(i)))
    command = [sys.executable, "-c", LIMITED, *roots]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["FormatError"] * len(HOSTILE)
