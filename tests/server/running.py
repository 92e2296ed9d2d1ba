"""A server process of a test, and raw connections to it."""

import os
import select
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from service.config import Settings
from tests.servers.subprocesses import Child, wait_until

ROOT = Path(__file__).parents[2]


class Server:
    """The small application on a port of its own choice."""

    def __init__(self, directory: Path, *, target: str = "shell", ready: bool = True, **settings: object) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._url_file = directory / "url"
        self._connections: list[socket.socket] = []
        chosen = Settings.model_validate({"port": 0, "data_dir": directory, "drain_seconds": 4, **settings})
        self.child = Child(
            [sys.executable, "-m", "tests.server.applications", target, chosen.model_dump_json(), self._url_file],
            directory / "log",
            environment={**os.environ, "PYTHONPATH": str(ROOT)},
            directory=ROOT,
        )
        if ready:
            wait_until(self._announced, "the server says that it is ready")
            self.port = urlsplit(self._url_file.read_text()).port or 0

    def _announced(self) -> bool:
        if self.child.returncode is not None:
            raise RuntimeError(self.child.text())
        return self._url_file.exists() and bool(self._url_file.read_text())

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        self._connections.append(connection)
        return connection

    def close(self) -> None:
        """Close every connection and end the process."""
        for connection in self._connections:
            connection.close()
        self.child.stop()

    def ask(self, request: bytes) -> bytes:
        """Send bytes on a connection of their own and return all that comes until the server closes it."""
        with self.connect() as connection:
            connection.sendall(request)
            return received(connection)

    def get(self, path: str) -> bytes:
        return self.ask(get(path, close=True))

    def workers(self) -> list[int]:
        """The worker processes, by their ids."""
        children = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text()
        return [int(pid) for pid in children.split()]


Start = Callable[..., Server]
"""Starts a server of one test; its keywords are the server's."""


def get(path: str, *, close: bool = False) -> bytes:
    ending = "Connection: close\r\n" if close else ""
    return f"GET {path} HTTP/1.1\r\nHost: test\r\n{ending}\r\n".encode()


def received(connection: socket.socket) -> bytes:
    """Return everything until the server closes the connection."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def one_response(connection: socket.socket) -> tuple[bytes, bytes]:
    """Return the head and the body of the next response."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return data, b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head, body


def status(response: bytes) -> int:
    return int(response.split(b" ", 2)[1]) if response else 0


def is_answered(*connections: socket.socket) -> bool:
    """Whether anything has come on one of the connections by now."""
    return bool(select.select(connections, [], [], 0)[0])


def seconds_since(moment: float) -> float:
    return time.monotonic() - moment
