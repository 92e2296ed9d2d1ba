"""Sends requests as fast as a server answers them, over connections that it keeps, and takes the times.

It runs in a process of its own and as a program of its own, ``python generator.py``: a
thread of the command would share its interpreter, and every import would delay the
start. So it knows the standard library alone. A plan comes in on standard input as JSON,
and ends early on SIGTERM; a line of JSON and the latencies go out on standard output.

Each connection has one request under way. One loop over epoll serves all of them,
because a thread for each would spend more on switching than on sending.
"""

import json
import re
import select
import signal
import socket
import ssl
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

RECEIVED_BYTES: Final = 1 << 16
CONNECT_SECONDS: Final = 5
LOOK_SECONDS: Final = 0.1
"""Between two looks for answers that do not come, and between two attempts to connect."""

COUNTER_DIGITS: Final = 8

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)
_CLOSES: Final = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
_OK: Final = b"200"


class Connection:
    """A connection that is opened again whenever it ends, and the request under way on it."""

    __slots__ = ("_context", "_host", "_port", "_unsent", "received", "sent_at", "socket", "still_to_read")

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self._host = host
        self._port = port
        self._context = context
        self._unsent = b""
        self.received = b""
        self.sent_at = 0.0
        self.still_to_read: Callable[[], int] = lambda: 0
        self.socket: socket.socket | None = None

    def open(self) -> socket.socket:
        """Connect anew.

        :raises OSError: nobody answers there, or not in TLS as it should be.
        """
        self.close()
        opened = socket.create_connection((self._host, self._port), CONNECT_SECONDS)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            secured = self._context.wrap_socket(opened, server_hostname=self._host)
            self.still_to_read = secured.pending
            opened = secured
        opened.setblocking(False)
        self.socket = opened
        return opened

    def close(self) -> None:
        """Close it, whatever is under way."""
        if self.socket is not None:
            self.socket.close()
        self.socket, self.received, self._unsent = None, b"", b""

    def send(self, request: bytes) -> bool:
        """Send a request, or as much as goes; return whether that was all.

        :raises OSError: the other end is gone.
        """
        assert self.socket is not None
        try:
            done = self.socket.send(request)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            done = 0
        self._unsent = request[done:]
        return not self._unsent

    def send_rest(self) -> bool:
        """Send what is left of the request; return whether that was all."""
        return self.send(self._unsent)


class Load:
    """A plan under way.

    :param plan: ``host``, ``port``, ``tls``, ``requests`` (each one text, or two between which
        a number comes that counts up), ``first`` (that number), ``connections``, ``seconds``,
        ``patience`` (seconds for an answer), and ``ends`` (statuses after which nothing more is sent).
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self.latencies = array("I")
        self.errors: Counter[tuple[int, str]] = Counter()
        self.elapsed = self.busy = 0.0
        self.stopped = False
        self._requests = [tuple(part.encode("latin-1") for part in request) for request in plan["requests"]]
        self._number = plan["first"]
        self._seconds = plan["seconds"]
        self._patience = plan["patience"]
        self._ends = {str(status).encode() for status in plan["ends"]}
        context = ssl.create_default_context() if plan["tls"] else None
        self._connections = [Connection(plan["host"], plan["port"], context) for _ in range(plan["connections"])]
        self._open: dict[int, Connection] = {}
        self._poll = select.epoll()

    def run(self) -> None:
        """Send until the time is over, or somebody has set ``stopped``."""
        began, before = time.perf_counter(), time.process_time()
        try:
            self._send_until(began + self._seconds)
        finally:
            ended = time.perf_counter()
            self.elapsed, self.busy = ended - began, time.process_time() - before
            self._count_forgotten(ended)
            for connection in self._connections:
                connection.close()
            self._poll.close()

    def _send_until(self, end: float) -> None:
        clock, answered, connections = time.perf_counter, self._answered, self._open
        look_at = 0.0
        while not self.stopped and (moment := clock()) < end:
            if moment >= look_at:
                self._look(moment)
                look_at = moment + LOOK_SECONDS
            for descriptor, event in self._poll.poll(LOOK_SECONDS):
                connection = connections[descriptor]
                if event & select.EPOLLOUT:
                    self._send_rest(descriptor, connection)
                else:
                    answered(connection)

    def _count_forgotten(self, moment: float) -> None:
        """Count the requests that still wait, and do so for far longer than any that was answered."""
        longest = max(self.latencies, default=0) / 1e6
        waiting = [moment - connection.sent_at for connection in self._connections if connection.socket is not None]
        if forgotten := sum(seconds > max(1.0, 2 * longest) for seconds in waiting):
            self.errors[0, "unanswered"] += forgotten

    def _look(self, moment: float) -> None:
        """Open what is not open, and give up answers that are overdue."""
        for connection in self._connections:
            if connection.socket is not None and moment - connection.sent_at > self._patience:
                self._lose(connection, "timeout")
            if connection.socket is None and not self.stopped:
                try:
                    self._begin(connection)
                except OSError as error:
                    self.errors[0, _reason(error)] += 1

    def _begin(self, connection: Connection) -> None:
        opened = connection.open()
        self._open[opened.fileno()] = connection
        self._poll.register(opened, select.EPOLLIN)
        self._next(connection)

    def _lose(self, connection: Connection, reason: str) -> None:
        """Count a request that got no answer, and let its connection go."""
        self.errors[0, reason] += 1
        self._let_go(connection)

    def _let_go(self, connection: Connection) -> None:
        assert connection.socket is not None
        del self._open[connection.socket.fileno()]
        connection.close()

    def _send(self, connection: Connection) -> None:
        number = self._number
        self._number = number + 1
        request = self._requests[number % len(self._requests)]
        text = request[0] if len(request) == 1 else b"%b%08d%b" % (request[0], number % 10**COUNTER_DIGITS, request[1])
        connection.sent_at = time.perf_counter()
        if not connection.send(text):
            assert connection.socket is not None
            self._poll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)

    def _send_rest(self, descriptor: int, connection: Connection) -> None:
        try:
            if connection.send_rest():
                self._poll.modify(descriptor, select.EPOLLIN)
        except OSError as error:
            self._lose(connection, _reason(error))

    def _answered(self, connection: Connection) -> None:
        """Read what has come; where that ends an answer, count it and send the next request."""
        assert connection.socket is not None
        try:
            data = connection.socket.recv(RECEIVED_BYTES)
            while connection.still_to_read():
                data += connection.socket.recv(RECEIVED_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError as error:
            self._lose(connection, _reason(error))
            return
        if not data:
            self._lose(connection, "connection_closed")
            return
        if connection.received:
            data = connection.received + data
        head = data.find(b"\r\n\r\n")
        if not is_whole(data, head):
            connection.received = data
            return
        connection.received = b""
        self._take(connection, data, head)

    def _take(self, connection: Connection, data: bytes, head: int) -> None:
        if data[9:12] == _OK:
            self.latencies.append(int((time.perf_counter() - connection.sent_at) * 1e6))
        else:
            self._refused(data, head)
        if _CLOSES.search(data, 0, head):
            self._let_go(connection)
        elif not self.stopped:
            self._next(connection)

    def _next(self, connection: Connection) -> None:
        try:
            self._send(connection)
        except OSError as error:
            self._lose(connection, _reason(error))

    def _refused(self, data: bytes, head: int) -> None:
        status = data[9:12]
        self.errors[int(status), _code(data[head + 4 :])] += 1
        self.stopped = self.stopped or status in self._ends


def is_whole(data: bytes, head: int) -> bool:
    """Whether an answer is there to its end.

    :param head: where its head ends, -1 where it does not.
    """
    if head < 0:
        return False
    length = _LENGTH.search(data, 0, head)
    if length is not None:
        return len(data) >= head + 4 + int(length[1])
    return not _CHUNKED.search(data, 0, head) or data.endswith(b"0\r\n\r\n")


def _code(body: bytes) -> str:
    """Return the stable code of a problem, or nothing where the body is none."""
    try:
        problem = json.loads(body)
    except ValueError:
        return ""
    return str(problem.get("code", "")) if isinstance(problem, dict) else ""


def _reason(error: OSError) -> str:
    return "timeout" if isinstance(error, TimeoutError) else type(error).__name__


def main() -> None:
    """Run the plan of standard input, and report on standard output."""
    load = Load(json.load(sys.stdin))

    def stop(*_: object) -> None:
        load.stopped = True

    # Ctrl-C reaches every process of the terminal, and the command decides what becomes of this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    load.run()
    errors = [[status, code, count] for (status, code), count in load.errors.items()]
    summary = {"elapsed": load.elapsed, "busy": load.busy, "errors": errors}
    sys.stdout.buffer.write(json.dumps(summary).encode() + b"\n" + load.latencies.tobytes())


if __name__ == "__main__":
    main()
