"""The limit of many processes: kept in one place, given back by the dead, gone with the driver."""

from __future__ import annotations

import json
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from mmearth.catalog.errors import ConfigError, UnavailableError
from mmearth.curate import token_server
from mmearth.curate.meter import Meter, Price
from mmearth.curate.shared_limit import SharedLimit, address_towards, serve_limit

_HEADER = """
import pickle, sys, threading, time
limit = pickle.loads(bytes.fromhex(sys.argv[1]))
"""
_ASK = """
begun, end = [], time.time() + 2.5
def ask():
    while time.time() < end:
        with limit.permit():
            begun.append(time.time())
            time.sleep(0.02)
threads = [threading.Thread(target=ask) for _ in range(15)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(*begun)
"""
_HOLD = """
def hold():
    with limit.permit():
        print("held\\n", end="", flush=True)
        time.sleep(60)
[threading.Thread(target=hold).start() for _ in range(3)]
"""


@contextmanager
def _process(code: str, limit: SharedLimit) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _HEADER + code, pickle.dumps(limit).hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_two_processes_share_one_rate() -> None:
    with (
        serve_limit(20, 100, "127.0.0.1") as limit,
        _process(_ASK, limit) as first,
        _process(_ASK, limit) as second,
    ):
        begun = [
            [float(word) for word in process.communicate(timeout=30)[0].split()]
            for process in (first, second)
        ]
    times = sorted(begun[0] + begun[1])
    assert min(map(len, begun)) > 50  # both got their share
    assert len(times) > 200
    assert max(bisect_right(times, t + 1.0) - i for i, t in enumerate(times)) <= 100


def test_what_a_killed_process_held_comes_back() -> None:
    with serve_limit(3, 1000, "127.0.0.1") as limit, _process(_HOLD, limit) as holder:
        assert holder.stdout is not None
        assert [holder.stdout.readline() for _ in range(3)] == ["held\n"] * 3
        entered = threading.Event()

        def ask() -> None:
            with limit.permit():
                entered.set()

        thread = threading.Thread(target=ask)
        thread.start()
        assert not entered.wait(0.3)  # all three permits are out
        holder.send_signal(signal.SIGKILL)
        assert entered.wait(2.0)
        thread.join()


def test_the_threads_of_one_process_hold_a_permit_each() -> None:
    with serve_limit(2, 1000, "127.0.0.1") as limit, limit.permit():
        began = []

        def ask() -> None:
            with limit.permit():
                began.append(time.monotonic())
                time.sleep(0.1)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert abs(began[0] - began[1]) >= 0.1  # one beside ours, the other after it


def test_all_slow_down_together_and_back() -> None:
    with serve_limit(4, 1000, "127.0.0.1") as limit:
        begin = time.monotonic()
        limit.slow_down(0.4)
        with limit.permit():
            assert time.monotonic() - begin >= 0.4
        assert _n_at_once(limit) == 2
        for _ in range(9):
            limit.answered()  # 2 → 3 takes three, 3 → 4 another four
        assert _n_at_once(limit) == 4


def _n_at_once(limit: SharedLimit) -> int:
    flying = most = 0
    lock = threading.Lock()

    def ask() -> None:
        nonlocal flying, most
        with limit.permit():
            with lock:
                flying += 1
                most = max(most, flying)
            time.sleep(0.2)
            with lock:
                flying -= 1

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return most


def test_a_service_that_is_gone_is_said_to_be() -> None:
    with serve_limit(1, 1000, "127.0.0.1") as limit:
        waiting = threading.Event()
        refused: list[str] = []

        def ask() -> None:
            waiting.set()
            try:
                with limit.permit():
                    pass
            except UnavailableError as exc:
                refused.append(str(exc))

        with limit.permit():
            pass
        held = limit.permit()
        held.__enter__()
        thread = threading.Thread(target=ask)
        thread.start()
        waiting.wait()
        time.sleep(0.1)
    thread.join(timeout=5)
    held.__exit__(None, None, None)  # who holds a permit is not disturbed
    assert len(refused) == 1
    for call in (limit.permit().__enter__, limit.answered, lambda: limit.slow_down(None)):
        with pytest.raises(UnavailableError, match=r"nobody at 127.0.0.1:\d+ says how fast"):
            call()


def test_a_stranger_is_not_answered() -> None:
    with serve_limit(1, 1000, "127.0.0.1") as limit:
        stranger = SharedLimit(limit.host, limit.port, "guessed")
        with pytest.raises(UnavailableError), stranger.permit():
            pass
        with socket.create_connection((limit.host, limit.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert client.recv(100) == b""
        with socket.create_connection((limit.host, limit.port)) as client:
            client.sendall(json.dumps({"token": limit.token}).encode() + b"\n[]\n")
            assert client.recv(100) == b""
        assert limit.token not in repr(limit)
        with limit.permit():
            pass


def test_strangers_cost_no_thread_and_no_traceback(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_server, "TELL_WITHIN_S", 0.5)
    with serve_limit(1, 1000, "127.0.0.1") as limit, ExitStack() as stack:
        address = limit.host, limit.port
        before = set(threading.enumerate())
        silent = [
            stack.enter_context(socket.create_connection(address))
            for _ in range(token_server.MOST_SILENT + 50)
        ]
        silent[-1].sendall(b"{")
        with limit.permit():
            # Threads of other tests may end meanwhile.
            assert len(set(threading.enumerate()) - before) == 1
        for brackets in (100, 4096):
            with socket.create_connection(address) as deep:
                deep.sendall(b"[" * brackets)
                with suppress(ConnectionResetError):
                    assert deep.recv(1) == b""
        begin = time.monotonic()
        for client in (silent[0], silent[100], silent[-1]):
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""
        assert time.monotonic() - begin < 3.0
    assert capfd.readouterr().err == ""


def test_a_token_that_comes_in_pieces_is_known() -> None:
    with (
        serve_limit(1, 1000, "127.0.0.1") as limit,
        socket.create_connection((limit.host, limit.port)) as client,
    ):
        line = token_server.greeting(limit.token) + b'{"do": "found"}\n'
        for piece in (line[:5], line[5:20], line[20:]):
            client.sendall(piece)
            time.sleep(0.06)
        assert json.loads(client.recv(100)) == {"due": None}


def test_an_answer_may_be_long() -> None:
    """Twenty ids of profiles are more than the longest message of a client."""
    meter = Meter(1e9, {})
    meter.charge("pixels", Price(200, 1.0))
    with serve_limit(1, 1000, "127.0.0.1", meter=meter) as limit:
        ids = [f"{i:0300}" for i in range(20)]
        due = [limit.profiled("pixels", name) for name in ids]
    assert due[:-1] == [[]] * 19 and sorted(due[-1]) == ids


def test_an_address_that_is_not_ours_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match=r"cannot listen at 192.0.2.1 .*address of this machine"),
        serve_limit(1, 1, "192.0.2.1"),
    ):
        pass


def test_the_address_that_a_scheduler_sees() -> None:
    assert address_towards("tcp://127.0.0.1:8786") == "127.0.0.1"
    for url in ("nowhere", "tcp://no.such.host.invalid:1"):
        with pytest.raises(ConfigError, match="expected tcp://host:port"):
            address_towards(url)
