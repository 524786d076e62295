"""A remote raster is here in part, and what is read of it is what a whole copy would give."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.windows import Window

from mmearth.catalog.errors import FormatError, QuotaError, SourceError, StorageError
from mmearth.curate.limit import LocalLimit, Purse
from mmearth.curate.remote import have as haves
from mmearth.curate.remote import mirror as mirrors
from mmearth.curate.remote.access import RemoteAccess
from mmearth.curate.remote.client import Client
from mmearth.curate.remote.have import copy_of
from mmearth.curate.remote.mirror import Mirror
from mmearth.curate.remote.tiff import Region
from mmearth.tests.range_server import Fault, RangeServer, serving

REGION = Region(600, 600, 134, 134)
BOX = np.s_[600:734, 600:734]
KINDS: dict[str, dict[str, Any]] = {
    "cog": {"driver": "COG", "compress": "DEFLATE", "predictor": 2, "blocksize": 512},
    "strips": {"compress": "LZW"},
    "plain": {"tiled": True, "blockxsize": 256, "blockysize": 256},
    "big_endian": {"tiled": True, "blockxsize": 256, "blockysize": 256, "endianness": "BIG"},
    "big_tiff": {"tiled": True, "blockxsize": 256, "blockysize": 256, "bigtiff": "YES"},
    "zstd": {"driver": "COG", "compress": "ZSTD", "blocksize": 256},
    "lerc": {"driver": "COG", "compress": "LERC", "blocksize": 256},
}


def values(n_bands: int = 1, size: int = 1000) -> NDArray[np.uint16]:
    """Return bands in which every pixel has another value than its neighbours."""
    rows, columns = np.indices((size, size))
    band = (rows * 37 + columns * 101) % 60_000
    return np.stack([band + 1 + i for i in range(n_bands)]).astype(np.uint16)


def write(path: Path, array: NDArray[Any], **how: Any) -> Path:
    profile = {"driver": "GTiff", "crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
    count, height, width = array.shape
    size = {"count": count, "height": height, "width": width, "dtype": array.dtype}
    with rasterio.open(path, "w", **profile | size | how) as dataset:
        dataset.write(array)
    return path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RangeServer]:
    folder = tmp_path / "served"
    folder.mkdir()
    with serving(folder) as running:
        yield running


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    return mirror_at(tmp_path / "cache")


def mirror_at(cache: Path, limit: LocalLimit | None = None, **how: Any) -> Mirror:
    access = RemoteAccess(cache, **{"cache_bytes": 10**9, "pause_s": 0.001} | how)
    return Mirror(Client(access, limit or LocalLimit(40, 1000.0)))


def read(mirror: Mirror, url: str, region: Region = REGION) -> NDArray[Any]:
    box = Window(region.column, region.row, region.width, region.height)
    with mirror.opened({url: [region]}) as paths, rasterio.open(paths[url]) as dataset:
        return np.asarray(dataset.read(window=box))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_tiff_is_read_as_the_whole_file(
    server: RangeServer, mirror: Mirror, kind: str
) -> None:
    write(server.directory / "a.tif", values(), **KINDS[kind])
    url = f"{server.url}/a.tif"
    assert np.array_equal(read(mirror, url), values()[:, *BOX])
    assert server.n_requests <= 3
    server.forget()
    assert np.array_equal(read(mirror, url), values()[:, *BOX])
    assert server.n_requests == 0


def test_only_the_blocks_under_the_tile_are_fetched_a_request_a_row(
    server: RangeServer, mirror: Mirror
) -> None:
    write(server.directory / "a.tif", values(), **KINDS["plain"])  # 4 × 4 blocks of 131,072 bytes
    read(mirror, f"{server.url}/a.tif", Region(200, 200, 100, 100))
    assert server.n_requests == 1 + 2  # of two rows
    assert 4 * 131_072 < server.n_bytes <= 4 * 131_072 + 16_384 + 2 * 8


def test_a_mask_and_planes_come_with_the_pixels(server: RangeServer, mirror: Mirror) -> None:
    path = server.directory / "a.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write(path, values(3), interleave="band", tiled=True, blockxsize=256, blockysize=256)
        with rasterio.open(path, "r+") as dataset:
            mask = np.full((1000, 1000), 255, np.uint8)
            mask[650:] = 0
            dataset.write_mask(mask)
    url = f"{server.url}/a.tif"
    with mirror.opened({url: [REGION]}) as paths, rasterio.open(paths[url]) as dataset:
        found = dataset.read(window=Window(600, 600, 134, 134), masked=True)
    assert np.array_equal(found.data[:, :50], values(3)[:, 600:650, 600:734])
    assert found.mask[:, 50:].all() and not found.mask[:, :50].any()


def test_a_header_longer_than_the_first_bytes_is_fetched_whole(
    server: RangeServer, mirror: Mirror
) -> None:
    """Zeros in place of the rest would be blocks that were never written: pixels 0, no error."""
    how = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "DEFLATE"}
    path = write(server.directory / "a.tif", values(size=2000), **how)
    url = f"{server.url}/a.tif"
    assert (read(mirror, url) == values(size=2000)[:, *BOX]).all()
    have = copy_of(url, mirror.client.access.cache).have()
    assert have is not None and have.n_bytes < path.stat().st_size / 2


def test_blocks_that_were_never_written_are_no_data_and_no_request(
    server: RangeServer, mirror: Mirror
) -> None:
    path = server.directory / "a.tif"
    how = {"tiled": True, "blockxsize": 256, "blockysize": 256, "sparse_ok": True, "nodata": 7}
    profile = {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
    size = {"driver": "GTiff", "count": 1, "height": 1000, "width": 1000, "dtype": "uint16"}
    with rasterio.open(path, "w", **profile, **size, **how) as dataset:
        dataset.write(values()[0, :256, :256], 1, window=Window(0, 0, 256, 256))
    assert (read(mirror, f"{server.url}/a.tif") == 7).all()
    assert server.n_requests == 1


def test_what_is_not_fetched_is_never_read_as_zeros(server: RangeServer, mirror: Mirror) -> None:
    write(server.directory / "a.tif", values(), **KINDS["plain"])
    url = f"{server.url}/a.tif"
    read(mirror, url, Region(0, 0, 10, 10))
    have = copy_of(url, mirror.client.access.cache).have()
    assert have is not None and have.n_bytes < 200_000
    assert (read(mirror, url) == values()[:, *BOX]).all()


def test_what_is_no_tiff_or_cut_short_is_refused(server: RangeServer, mirror: Mirror) -> None:
    (server.directory / "a.tif").write_bytes(b"<html>" + b" " * 100)
    with pytest.raises(FormatError, match=r"a\.tif is no TIFF"):
        read(mirror, f"{server.url}/a.tif")
    path = write(server.directory / "b.tif", values(), **KINDS["plain"])
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(FormatError, match=r"b\.tif is shorter than its directory says"):
        read(mirror, f"{server.url}/b.tif")


def test_a_file_that_is_replaced_is_begun_anew(server: RangeServer, mirror: Mirror) -> None:
    """Between header and block, and between two builds, by its ETag: its length is the same."""
    path = write(server.directory / "a.tif", values(), **KINDS["plain"])
    url = f"{server.url}/a.tif"
    server.versions["/a.tif"] = "first"
    mirror.header(url)
    write(path, values() + 1, **KINDS["plain"])
    server.versions["/a.tif"] = "second"
    assert (read(mirror, url) == values()[:, *BOX] + 1).all()
    write(path, values() + 2, **KINDS["plain"])
    server.versions["/a.tif"] = "third"
    other = Region(0, 0, 10, 10)
    assert (read(mirror, url, other) == values()[:, :10, :10] + 2).all()
    assert (read(mirror, url) == values()[:, *BOX] + 2).all()


def test_many_threads_fetch_each_block_once(server: RangeServer, mirror: Mirror) -> None:
    write(server.directory / "a.tif", values(), **KINDS["plain"])
    url = f"{server.url}/a.tif"
    server.latency_s = 0.02
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda _: read(mirror, url), range(12)))
    assert all((each == values()[:, *BOX]).all() for each in found)
    assert server.n_requests == 2


def test_threads_that_want_some_of_the_same_blocks_fetch_each_once(
    server: RangeServer, mirror: Mirror
) -> None:
    write(server.directory / "a.tif", values(), **KINDS["plain"])
    url = f"{server.url}/a.tif"
    mirror.header(url)
    server.forget()
    server.latency_s = 0.05
    regions = [Region(column, 0, 300, 256) for column in (0, 256, 512)]  # two blocks each
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda region: mirror.fetch(url, [region]), regions))
    assert server.n_bytes <= 4 * 256 * 256 * 2 + 3 * 8


def test_names_and_lists_hold_no_signature(server: RangeServer, tmp_path: Path) -> None:
    write(server.directory / "a.tif", values(), **KINDS["cog"])
    mirror = mirror_at(tmp_path / "cache")
    read(mirror, f"{server.url}/a.tif?sig=secret1&se=2030&sp=r")
    server.forget()
    read(mirror, f"{server.url}/a.tif?sig=secret2&se=2031&sp=r")  # the same file, signed anew
    assert server.n_requests == 0
    for path in (tmp_path / "cache").rglob("*"):
        assert "secret" not in str(path)
        assert not path.is_file() or b"secret" not in path.read_bytes()


def test_the_budget_of_bytes_ends_the_run(server: RangeServer, tmp_path: Path) -> None:
    write(server.directory / "a.tif", values(), **KINDS["plain"])
    limit = LocalLimit(4, 100.0, purse=Purse(n_bytes=20_000))
    with pytest.raises(QuotaError, match="budget of bytes is spent"):
        read(mirror_at(tmp_path / "cache", limit), f"{server.url}/a.tif")
    assert server.n_bytes <= 20_000


def test_the_cache_stays_within_its_bound(server: RangeServer, tmp_path: Path) -> None:
    for i in range(8):
        write(server.directory / f"{i}.tif", values(), **KINDS["plain"])
    mirror = mirror_at(tmp_path / "cache", cache_bytes=600_000)
    for i in range(8):  # 150 kB each
        assert (read(mirror, f"{server.url}/{i}.tif") == values()[:, *BOX]).all()
        files = [path for path in (tmp_path / "cache").rglob("data*")]
        assert sum(path.stat().st_blocks * 512 for path in files) <= 800_000
    assert copy_of(f"{server.url}/0.tif", tmp_path / "cache").have() is None
    assert copy_of(f"{server.url}/7.tif", tmp_path / "cache").have() is not None


def test_a_full_disk_stops_the_run_and_leaves_no_false_list(
    server: RangeServer, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(server.directory / "a.tif", values(), **KINDS["plain"])
    url = f"{server.url}/a.tif"
    mirror.header(url)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(StorageError, match="no space is left"):
            read(mirror, url)
    assert (read(mirror, url) == values()[:, *BOX]).all()


KILLED = """
import os, signal, sys
from pathlib import Path
from mmearth.tests.unit.curate.remote.test_mirror import mirror_at, read
real = os.pwrite
def half(handle, data, at):
    n = real(handle, bytes(data)[: len(data) // 2 + 1], at)
    if at > 20_000:
        os.kill(os.getpid(), signal.SIGKILL)
    return n
os.pwrite = half
read(mirror_at(Path(sys.argv[1])), sys.argv[2])
"""


def test_a_kill_within_a_block_lists_no_half_of_it(server: RangeServer, tmp_path: Path) -> None:
    write(server.directory / "a.tif", values(), **KINDS["plain"])
    url = f"{server.url}/a.tif"
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "cache"), url]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    copy = copy_of(url, tmp_path / "cache")
    assert max(end for _, end, _ in copy.have().listed) <= 16_384  # type: ignore[union-attr]
    assert (read(mirror_at(tmp_path / "cache"), url) == values()[:, *BOX]).all()


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_line_of_the_list_that_was_cut_short_says_nothing(
    server: RangeServer, tmp_path: Path, cut: int
) -> None:
    write(server.directory / "a.tif", values(), **KINDS["plain"])
    url = f"{server.url}/a.tif"
    read(mirror_at(tmp_path / "cache"), url)
    copy = copy_of(url, tmp_path / "cache")
    whole = copy.record.read_bytes()
    copy.record.write_bytes(whole[:-cut])
    server.forget()
    for _ in range(2):  # what is listed behind it counts
        haves._SEEN.clear()
        assert (read(mirror_at(tmp_path / "cache"), url) == values()[:, *BOX]).all()
    assert server.n_requests == (cut > 1)


def test_what_a_power_cut_took_is_fetched_again(
    server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listed, and never on the disk: after the next start of the machine it is zeros."""
    write(server.directory / "a.tif", values(), **KINDS["plain"])
    url = f"{server.url}/a.tif"
    read(mirror_at(tmp_path / "cache"), url)
    copy, n_asked = copy_of(url, tmp_path / "cache"), server.n_requests
    monkeypatch.setattr(haves, "_boot", lambda: "another start")
    haves._SEEN.clear()
    assert (read(mirror_at(tmp_path / "cache"), url) == values()[:, *BOX]).all()
    assert server.n_requests == n_asked  # all of it is there, and so it counts
    with copy.data.open("r+b") as stream:
        stream.seek(max(begin for begin, _, _ in copy.have().listed))  # type: ignore[union-attr]
        stream.write(bytes(4_096))
    haves._SEEN.clear()
    assert copy.have() is None
    assert (read(mirror_at(tmp_path / "cache"), url) == values()[:, *BOX]).all()
    assert server.n_requests > n_asked


OTHER = """
import sys
from pathlib import Path
from mmearth.curate.remote.tiff import Region
from mmearth.tests.unit.curate.remote.test_mirror import mirror_at, read, values
for i in range(10):
    at = 80 * i
    found = read(mirror_at(Path(sys.argv[1])), sys.argv[2], Region(at, at, 20, 20))
    assert (found == values()[:, at : at + 20, at : at + 20]).all()
"""


def test_two_processes_share_a_cache(server: RangeServer, tmp_path: Path) -> None:
    write(server.directory / "a.tif", values(), **KINDS["plain"])
    command = [sys.executable, "-c", textwrap.dedent(OTHER), str(tmp_path / "cache")]
    both = [subprocess.Popen([*command, f"{server.url}/a.tif"]) for _ in range(2)]
    assert [each.wait() for each in both] == [0, 0]


def test_a_server_that_sends_whole_files_is_left_at_once(
    server: RangeServer, mirror: Mirror
) -> None:
    write(server.directory / "a.tif", values(), **KINDS["plain"])
    server.faults.append(Fault("ignore_range"))
    with pytest.raises(SourceError, match="sends files as a whole only"):
        read(mirror, f"{server.url}/a.tif")
    assert server.n_requests == 1


def test_faults_that_pass_leave_the_pixels_as_they_are(server: RangeServer, mirror: Mirror) -> None:
    write(server.directory / "a.tif", values(), **KINDS["plain"])
    for kind in ("truncate", "reset"):
        server.faults.append(Fault(kind, times=1))  # type: ignore[arg-type]
    server.faults += [Fault("status", times=1, status=status) for status in (500, 404, 503)]
    assert (read(mirror, f"{server.url}/a.tif") == values()[:, *BOX]).all()


def test_claims_are_given_back(server: RangeServer, mirror: Mirror) -> None:
    with pytest.raises(SourceError, match="is not there"):
        read(mirror, f"{server.url}/none.tif")
    assert not mirrors._CLAIMS._spans and not mirrors._CLAIMS._files
