"""Worker processes that fill blocks of shared memory; no array is ever pickled.

The parent owns every block: an unlinked file in memory that a worker gets as a descriptor over its
socket. So nothing is left behind whatever is killed, and a worker ends when its parent does.
"""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

import numpy as np

from mmearth.catalog.errors import FULL_DISK, MMEarthError, StorageError, storage_errors
from mmearth.loaders.batch_reader import BatchReader, Extents
from mmearth.loaders.orders.schedule import Turn
from mmearth.loaders.pool import Arrays, Block, Pool, carve, nbytes_of
from mmearth.loaders.reading import Finish, scratch

if TYPE_CHECKING:
    from mmearth.loaders.collate import Batch

_MEMORY = Path("/dev/shm")  # where Linux keeps files in memory; elsewhere, the temporary directory
_SIZE = struct.Struct("<Q")


class Ring:
    """Processes that read batches in turn, each into blocks that the parent sees too."""

    def __init__(self, reader: BatchReader, size: int, n_workers: int) -> None:
        """Start the processes.

        Args:
            reader: What each of them reads with.
            size: Samples of the greatest batch.
            n_workers: How many.
        """
        pickled = pickle.dumps((reader, size))
        self._workers = [_Worker(pickled) for _ in range(n_workers)]
        self._files: list[IO[bytes]] = []
        self._pool = Pool(nbytes_of(reader.layout(size)), self._shared_block)
        self._n_sent = 0
        self._end = weakref.finalize(self, _end, os.getpid(), self._workers, self._files)

    def close(self) -> None:
        """End the processes, without waiting for batches that were sent for."""
        self._end()

    def send(self, turn: Turn, finish: Finish) -> Callable[[], Batch]:
        """Let the next worker begin to read a batch; return what waits for it.

        What it returns raises the errors of `BatchReader.read`, and MMEarthError when the worker is
        gone.
        """
        worker = self._workers[self._n_sent % len(self._workers)]
        self._n_sent += 1
        slot = self._pool.take()
        block = self._pool.blocks[slot]
        worker.ask(slot, self._files[slot].fileno(), turn)
        return lambda: finish(turn, block, worker.answer())

    def _shared_block(self, nbytes: int) -> Block:
        place = _MEMORY if _MEMORY.is_dir() else Path(tempfile.gettempdir())
        with storage_errors(f"make a block of {nbytes} bytes in {place}"):
            try:
                file = tempfile.TemporaryFile(dir=place)  # noqa: SIM115 - open as long as the ring
                self._files.append(file)
                _reserve(file.fileno(), nbytes)
            except OSError as exc:
                if exc.errno not in FULL_DISK:
                    raise
                raise StorageError(
                    f"there is no room for a batch of {nbytes / 1e6:.0f} MB in {place}, which all "
                    "workers share; give it room (`docker run --shm-size=2g`), or take smaller "
                    "batches, fewer workers or a smaller prefetch"
                ) from exc
        return np.frombuffer(mmap.mmap(file.fileno(), nbytes), dtype=np.uint8)


def _reserve(descriptor: int, nbytes: int) -> None:
    """Make a file so long, with memory behind it: who writes where none is left is killed."""
    os.ftruncate(descriptor, nbytes)
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, nbytes)


def _end(process: int, workers: list[_Worker], files: list[IO[bytes]]) -> None:
    for worker in workers:
        if os.getpid() == process:
            worker.end()
        else:  # a fork of their parent has the sockets, and must not end what the parent uses
            worker.leave()
    for file in files:
        file.close()


class _Worker:
    """One process, as its parent sees it."""

    def __init__(self, pickled: bytes) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            # Not multiprocessing: a fork would copy the locks of other threads, and a spawn would
            # run the user's script once more where it has no `if __name__ == "__main__"`.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
            )
        _send(self._socket, pickled)
        self._known: set[int] = set()

    def ask(self, slot: int, descriptor: int, turn: Turn) -> None:
        """Ask for a batch in a block; the block's descriptor goes along the first time."""
        is_new = slot not in self._known
        self._known.add(slot)
        try:
            _send(self._socket, pickle.dumps((slot, is_new, turn.rows, turn.epoch)))
            if is_new:
                socket.send_fds(self._socket, [b"."], [descriptor])
        except OSError:
            self._died()

    def answer(self) -> Extents:
        """Wait for the batch that was asked for first."""
        try:
            reply = pickle.loads(_receive(self._socket))
        except (OSError, EOFError):
            self._died()
        if isinstance(reply, MMEarthError):
            raise reply
        found: Extents = reply
        return found

    def end(self) -> None:
        """Close the connection, at which the process ends, and wait for it."""
        self._socket.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def leave(self) -> None:
        """Close the connection, and leave the process alone."""
        self._socket.close()
        self._process.returncode = 0  # else it would be asked for when this object goes

    def _died(self) -> NoReturn:
        code = self._process.wait()
        if code == -signal.SIGBUS:
            raise StorageError(
                f"a worker process of the loader was killed by signal {signal.SIGBUS.value}: "
                f"{_MEMORY} is full, or a shard was cut short or cannot be read; give it room "
                "(`docker run --shm-size=2g`), take smaller batches or fewer workers, or run "
                "`mmearth packaging verify`"
            )
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        raise MMEarthError(
            f"a worker process of the loader {how}; where memory is short, take fewer workers"
        )


def _send(connection: socket.socket, message: bytes) -> None:
    connection.sendall(_SIZE.pack(len(message)) + message)


def _receive(connection: socket.socket) -> bytes:
    """Return a whole message.

    Raises:
        EOFError: The other side is gone.
    """
    [size] = _SIZE.unpack(_exactly(connection, _SIZE.size))
    return _exactly(connection, size)


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(min(size - len(parts), 1 << 20))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def _main() -> None:
    """Answer until the parent closes the connection, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the parent decides
    with socket.socket(fileno=int(sys.argv[1])) as connection, suppress(EOFError, OSError):
        reader, size = pickle.loads(_receive(connection))
        layout, work = reader.layout(size), scratch(reader, size)
        known: dict[int, Arrays] = {}
        while True:
            slot, is_new, rows, epoch = pickle.loads(_receive(connection))
            if is_new:
                [descriptor] = socket.recv_fds(connection, 1, 1)[1]
                block = np.frombuffer(mmap.mmap(descriptor, nbytes_of(layout)), dtype=np.uint8)
                os.close(descriptor)
                known[slot] = carve(block, layout)
            try:
                reply = reader.read(rows, known[slot], work, epoch)
            except MMEarthError as exc:
                reply = exc
            _send(connection, pickle.dumps(reply))


if __name__ == "__main__":
    _main()
