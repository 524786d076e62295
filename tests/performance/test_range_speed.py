"""A range over HTTP, ours and obstore's: the processor's time and the clock's, in turn.

obstore is the floor: it is compiled, and follows every redirect. The server is another process that
answers from memory, in as few lines as there can be.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmearth.loaders.fetch.http import Http

_N_REQUESTS, _N_ROUNDS = 200, 9
_SERVER = """
import asyncio
DATA = bytes(1 << 22)
async def answer(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\\r\\n\\r\\n")).lower()
            first, last = map(int, head.split(b"range: bytes=")[1].split(b"\\r\\n")[0].split(b"-"))
            writer.write(
                b"HTTP/1.1 206 Partial Content\\r\\nContent-Length: %d\\r\\n"
                b"Content-Range: bytes %d-%d/%d\\r\\nETag: \\"x\\"\\r\\n"
                b"Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\\r\\n\\r\\n"
                % (last - first + 1, first, last, len(DATA)) + DATA[first : last + 1]
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def _measured(ask: Callable[[int], object], threads: int) -> tuple[float, float]:
    """Return milliseconds of the processor and of the clock that a request takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(ask, range(_N_REQUESTS)))
    spent = time.process_time() - cpu, time.perf_counter() - wall
    return spent[0] / _N_REQUESTS * 1e3, spent[1] / _N_REQUESTS * 1e3


@pytest.mark.performance
@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("nbytes", [16_512, 393_344])
def test_a_range_takes_no_longer_than_obstores(nbytes: int, threads: int) -> None:
    import obstore
    from obstore.store import from_url

    with subprocess.Popen([sys.executable, "-c", _SERVER], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        http = Http(url, 60.0, 16)
        store = from_url(url, client_options={"allow_http": True})

        def with_obstore(i: int) -> None:
            answer = obstore.get(store, "x", options={"range": (i, i + nbytes)})
            assert len(answer.bytes().to_bytes()) == nbytes

        def with_ours(i: int) -> None:
            assert len(http.get("x", i, i + nbytes)[0]) == nbytes

        rounds = [
            (_measured(with_ours, threads), _measured(with_obstore, threads))
            for _ in range(_N_ROUNDS)
        ][1:]
        server.terminate()
    cpu, wall = (
        statistics.median(ours[i] / theirs[i] for ours, theirs in rounds) for i in range(2)
    )
    least = [min(pair[who][0] for pair in rounds) for who in range(2)]
    print(
        f"\n{nbytes} bytes, {threads} threads: {least[0]:.3f} ms of the processor, obstore "
        f"{least[1]:.3f}; ours ÷ obstore {cpu:.2f} of the processor, {wall:.2f} by the clock"
    )
    assert cpu < 1.5
