"""Bodies that lie in a file: sent at the reader's pace, through no memory of the worker."""

import contextlib
import io
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from service.server import FileBody
from tests.server.applications import MEGABYTE, PATTERN
from tests.server.running import Server, get, status
from tests.servers.subprocesses import wait_until

LONG = 32 * MEGABYTE
PIPE, DELETED = "pipe:", " (deleted)"
"""How the kernel names a pipe, and a file that has no name any more."""


def taken(connection: socket.socket, length: int) -> bytes:
    """Return the body of that length that follows the next head, or what comes of it until the server hangs up."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    assert b"content-length: %d\r\n" % length in head.lower()
    body = bytearray(length)
    filled = 0
    while filled < length and (count := connection.recv_into(memoryview(body)[filled:])):
        filled += count
    return bytes(body[:filled])


def content(length: int) -> bytes:
    return (PATTERN * (length // len(PATTERN) + 1))[:length]


def memory(pid: int) -> int:
    """The most bytes that a process has held in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


def opened(pid: int, what: str) -> int:
    """How many descriptors of a process are of such files."""
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # Closed since.
            found += what in str(descriptor.readlink())
    return found


@pytest.mark.parametrize("length", [0, 1, MEGABYTE, MEGABYTE + 1, 5 * MEGABYTE + 3])
def test_a_file_arrives_whole_and_the_connection_goes_on(server: Server, length: int) -> None:
    with server.connect() as connection:
        for _ in range(2):
            connection.sendall(get(f"/file/{length}"))
            assert taken(connection, length) == content(length)


def test_readers_who_wait_cost_the_worker_no_memory(start: Callable[..., Server]) -> None:
    server = start()
    worker = server.workers()[0]
    assert status(server.get(f"/file/{2 * MEGABYTE}")) == 200  # Whatever any such answer needs is there now.
    before = memory(worker)
    waiting = [server.connect() for _ in range(4)]
    for connection in waiting:
        connection.sendall(get(f"/file/{LONG}"))
    wait_until(lambda: opened(worker, DELETED) == 4, "the answers are under way")
    assert status(server.get("/echo")) == 200
    for connection in waiting:
        assert taken(connection, LONG) == content(LONG)
    assert memory(worker) - before < LONG / 2
    wait_until(lambda: opened(worker, DELETED) == 0, "the files are closed")


def test_a_reader_who_goes_away_is_forgotten(server: Server) -> None:
    worker = server.workers()[0]
    before = opened(worker, PIPE)
    for _ in range(3):
        with server.connect() as connection:
            connection.sendall(get(f"/file/{LONG}"))
            connection.recv(1000)
    wait_until(lambda: (opened(worker, DELETED), opened(worker, PIPE)) == (0, before), "nothing is left of them")
    assert status(server.get("/echo")) == 200


def test_a_reader_who_takes_too_long_gets_no_more(server: Server) -> None:
    """The server of these tests gives bodies a second."""
    worker = server.workers()[0]
    with server.connect() as connection:
        connection.sendall(get(f"/file/{LONG}"))
        wait_until(lambda: opened(worker, DELETED) == 1, "the answer is under way")
        wait_until(lambda: opened(worker, DELETED) == 0, "the server gives it up")
        assert len(taken(connection, LONG)) < LONG


def test_another_server_iterates_over_the_file_and_closes_it() -> None:
    file = io.BytesIO(b"x" * 600_000)
    body = FileBody(file)
    assert body.length == 600_000
    assert b"".join(body) == b"x" * 600_000
    body.close()
    assert file.closed
