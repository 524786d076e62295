"""Members: the same bytes every time, the same array back, and nothing believed of damaged ones."""

from __future__ import annotations

import hashlib
import io
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from mmearth.catalog.codec import NPY, Codec, CodecName
from mmearth.catalog.errors import FormatError
from mmearth.catalog.layer_rules import DTYPES

SHAPE = (3, 32, 48)
ZSTD, LZ4 = Codec("blosc-zstd"), Codec("blosc-lz4")
CODECS = [NPY, ZSTD, LZ4]


def an_array(dtype: str = "uint16") -> NDArray[Any]:
    """Return a slope with a little noise, and nothing in the last band."""
    slope = np.add.outer(np.arange(32), np.arange(48))
    noise = np.random.default_rng(1).integers(0, 4, SHAPE)
    array = (slope + noise).astype(dtype)
    array[-1] = 0
    return array


@pytest.mark.parametrize("codec", CODECS, ids=get_args(CodecName))
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_encoded_comes_back(codec: Codec, dtype: str) -> None:
    array = an_array(dtype)
    data = codec.encode(array)
    found = codec.decode(memoryview(data), "it", dtype, SHAPE)
    assert (found.dtype, found.shape) == (array.dtype, SHAPE)
    np.testing.assert_array_equal(found, array)
    out = np.ones_like(array)
    codec.decode_into(data, "it", out)
    np.testing.assert_array_equal(out, array)
    np.testing.assert_array_equal(
        codec.decode(codec.encode(array[:, ::2, ::3]), "it", dtype, (3, 16, 16)), array[:, ::2, ::3]
    )


def test_every_bit_of_a_float_comes_back() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, (1, 32, 32), dtype=np.uint32)
    for codec in CODECS:  # infinities, NaN of many kinds, -0: nothing that can be made smaller
        found = codec.decode(codec.encode(bits.view("f4")), "it", "float32", (1, 32, 32))
        np.testing.assert_array_equal(found.view("u4"), bits)


def test_npy_is_what_numpy_loads_after_a_header_of_128_bytes() -> None:
    array = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    data = NPY.encode(array)
    np.testing.assert_array_equal(np.load(io.BytesIO(data)), array)
    np.testing.assert_array_equal(np.frombuffer(data, np.uint16, offset=128), array.ravel())
    assert not NPY.decode(data, "it", "uint16", (2, 3, 4)).flags.owndata


def test_blosc_is_what_numcodecs_reads_with_what_the_catalogue_says() -> None:
    from numcodecs.registry import get_codec

    array = an_array()
    for codec in (ZSTD, LZ4):
        order, blosc = codec.to_json()
        assert order == {"name": "bytes", "configuration": {"endian": "little"}}
        fields = {**blosc["configuration"], "shuffle": 1}  # numcodecs has a number for it
        buffer = get_codec({"id": blosc["name"], **fields}).decode(codec.encode(array))
        np.testing.assert_array_equal(np.frombuffer(buffer, "<u2").reshape(SHAPE), array)


def test_compact_members_are_smaller() -> None:
    plain = len(NPY.encode(an_array()))
    assert len(ZSTD.encode(an_array())) < 0.3 * plain
    assert len(ZSTD.encode(an_array())) < len(LZ4.encode(an_array())) < 0.4 * plain


@pytest.mark.parametrize("codec", CODECS, ids=get_args(CodecName))
def test_equal_arrays_give_equal_bytes_in_any_thread_and_process(codec: Codec) -> None:
    # Beyond a megabyte blosc would use its threads, and write blocks as they are ready.
    array = np.tile(an_array(), (1, 8, 8))
    once = codec.encode(array)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(codec.encode, [array] * 16)) == {once}
    code = (
        "import hashlib, numpy as np, numcodecs.blosc as blosc\n"
        "from mmearth.catalog.codec import Codec\n"
        "blosc.use_threads = True; blosc.set_nthreads(4)\n"
        "slope = np.add.outer(np.arange(32), np.arange(48))\n"
        "array = (slope + np.random.default_rng(1).integers(0, 4, (3, 32, 48))).astype('uint16')\n"
        "array[-1] = 0\n"
        f"data = Codec({codec.name!r}).encode(np.tile(array, (1, 8, 8)))\n"
        "print(hashlib.sha256(data).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(once).hexdigest()


@pytest.mark.parametrize("codec", CODECS, ids=get_args(CodecName))
@pytest.mark.parametrize("cut", [0, 5, 16, 100, 130, 500, -1])
def test_truncated_members_are_refused(codec: Codec, cut: int) -> None:
    with pytest.raises(FormatError, match=r"^a\.sentinel2.*damaged"):
        codec.decode(codec.encode(an_array())[:cut], "a.sentinel2", "uint16", SHAPE)


@pytest.mark.parametrize("codec", CODECS, ids=get_args(CodecName))
def test_a_member_of_another_layer_or_codec_is_refused(codec: Codec) -> None:
    for other in CODECS:
        data = other.encode(an_array())
        for dtype, shape in [("uint16", (3, 32, 32)), ("uint8", SHAPE), ("float64", SHAPE)]:
            with pytest.raises(FormatError, match="damaged"):
                codec.decode(data, "it", dtype, shape)
        if other is not codec:
            with pytest.raises(FormatError, match="damaged"):
                codec.decode(data, "it", "uint16", SHAPE)
    if codec is NPY:  # of which the header tells
        with pytest.raises(FormatError, match="damaged"):
            NPY.decode(NPY.encode(an_array("int16")), "it", "uint16", SHAPE)


def test_fortran_order_is_refused() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(np.arange(6).reshape(2, 3)))
    with pytest.raises(FormatError, match="is in Fortran order; mmearth writes C order"):
        NPY.decode(buffer.getvalue(), "sentinel2", "int64", (2, 3))


@pytest.mark.parametrize("field", range(7))
def test_nothing_that_a_blosc_header_says_is_believed(field: int) -> None:
    """No memory is taken, and nothing read beyond the member, because its header says so."""
    layout = struct.Struct("<BBBBIII")
    for codec in (ZSTD, LZ4):
        data = codec.encode(an_array())
        for value in (0, 1, 255, 2**31 - 1, 2**32 - 1):
            said: list[int] = list(layout.unpack_from(data))
            said[field] = value & 255 if field < 4 else value
            changed = layout.pack(*said) + data[16:]
            try:
                found = codec.decode(changed, "it", "uint16", SHAPE)
            except FormatError:
                continue
            assert found.nbytes == an_array().nbytes


def test_damaged_blocks_are_a_sentence_or_an_array_and_no_crash() -> None:
    draw = np.random.default_rng(3)
    for codec in (ZSTD, LZ4):
        whole, refused = codec.encode(an_array()), 0
        for _ in range(400):
            data = bytearray(whole)
            for at in draw.integers(16, len(data), draw.integers(1, 9)):
                data[at] = draw.integers(0, 256)
            try:
                found = codec.decode(data, "it", "uint16", SHAPE)
            except FormatError as exc:
                refused += 1
                assert str(exc).endswith("; it is damaged")
            else:
                assert found.shape == SHAPE
        assert refused > 20


@pytest.mark.parametrize(
    "chain",
    [
        None,
        [],
        {},
        [{"name": "bytes", "configuration": {"endian": "big"}}],
        [*NPY.to_json(), {"name": "gzip", "configuration": {"level": 5}}],
        [*NPY.to_json(), {"name": "blosc", "configuration": {"cname": "snappy"}}],
    ],
)
def test_a_codec_of_another_kind_is_refused(chain: Any) -> None:
    with pytest.raises(FormatError, match=r"catalogue\.json: found the codecs .* expected those"):
        Codec.from_json(chain, "catalogue.json")
