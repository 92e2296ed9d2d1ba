"""What happens in a forked child that stays: it loads once, and then answers on every connection that it is handed.

It is one process with one thread, which several callers share. Requests that came while it
was busy wait here, where the work itself chooses those that it answers together. Each
carries a number, which the answer repeats.
"""

import gc
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, NoReturn, Protocol

from service.confinement import child, system_calls, wire
from service.confinement.board import Board
from service.confinement.child import Reply
from service.confinement.wire import Buffer, Frames

MOST_CONNECTIONS: Final = 4096
MOST_BODY: Final = 1 << 33
IDLE_MILLISECONDS: Final = 1000

ALLOWED: Final = system_calls.ALLOWED | system_calls.OF_RESIDENTS


class Request(NamedTuple):
    """What one caller asks: a connection, the request's number on it, and its frame."""

    link: "Link"
    number: int
    header: dict[str, Any]
    body: bytearray


class Work(Protocol):
    """What a resident does once it has loaded."""

    def choose(self, waiting: deque[Request]) -> list[Request]:
        """Take from ``waiting``, which holds at least one, those that are answered next, and together."""
        ...

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Return a reply to each, whatever happens to one of them."""
        ...


Load = Callable[[dict[str, Any], bytearray], Work]
"""Makes the work from the frame that the first caller sends; it may clear the body to have the memory back."""


def live(
    control: socket.socket, board: Board, order: dict[str, Any], parent: int
) -> NoReturn:  # pragma: no cover - a confined process can write down no measurement.
    """Confine this process and serve until the fork server closes ``control``.

    :param control: a packet socket, on which connections arrive.
    :param order: ``target``, the name of a ``Load``, and ``memory_bytes``.
    :param parent: process id of the fork server.
    """
    status = child.FAILED_TO_ANSWER
    try:
        load = child.resolve(order["target"])
        child.confine(control.fileno(), parent, order["memory_bytes"], descriptors=MOST_CONNECTIONS, calls=ALLOWED)
        Resident(control, board, load).serve()
        status = 0
    finally:
        os._exit(status)


class Link:  # pragma: no cover - a confined process can write down no measurement.
    """A connection to one caller; nothing here waits for it.

    :param connection: the number by which the fork server knows it.
    """

    def __init__(self, channel: socket.socket, connection: int) -> None:
        self.channel = channel
        self.connection = connection
        self._frames = Frames(MOST_BODY)
        self._outgoing: deque[memoryview] = deque()

    def next(self) -> tuple[dict[str, Any], bytearray] | None:
        """Return the next frame where it is whole."""
        return self._frames.next(self.channel)

    def send(self, header: dict[str, Any], body: Sequence[Buffer] = ()) -> None:
        """Send what can be sent at once, and keep the rest for ``flush``."""
        self._outgoing.extend(memoryview(part) for part in (wire.head(header, *body), *body) if len(part))
        self.flush()

    def flush(self) -> None:
        """Send more of what is kept."""
        while self._outgoing:
            part = self._outgoing[0]
            try:
                sent = os.write(self.channel.fileno(), part)
            except BlockingIOError:
                return
            if sent == len(part):
                self._outgoing.popleft()
            else:
                self._outgoing[0] = part[sent:]

    @property
    def wants(self) -> int:
        """What to wait for on this connection."""
        return select.POLLIN | (select.POLLOUT if self._outgoing else 0)


class Resident:  # pragma: no cover - a confined process can write down no measurement.
    """The loop of a child that stays.

    A new connection is told whether the work is loaded. Of those that come before, one
    at a time is asked for what there is to load; the others hear when that is done.
    """

    def __init__(self, control: socket.socket, board: Board, load: Load) -> None:
        self._control = control
        self._board = board
        self._load = load
        self._work: Work | None = None
        self._loader: Link | None = None
        self._unloaded: deque[Link] = deque()
        self._links: dict[int, Link] = {}
        self._waiting: deque[Request] = deque()
        self._poll = select.poll()

    def serve(self) -> None:
        """Serve until the other end of the control socket closes."""
        self._poll.register(self._control, select.POLLIN)
        while True:
            # Whatever else has come is read first, so that it can be answered together with what waits.
            for descriptor, _ in self._events():
                if descriptor == self._control.fileno():
                    if not self._take_connection():
                        return
                elif link := self._links.get(descriptor):
                    self._advance(link)
            if self._waiting:
                self._answer()

    def _events(self) -> list[tuple[int, int]]:
        """Wait for what comes next; after a while in which nothing came, give memory back first."""
        if self._waiting:
            return self._poll.poll(0)
        events = self._poll.poll(IDLE_MILLISECONDS)
        if not events:
            # The C library keeps what large calls have used for the next ones, as much as the largest took.
            system_calls.trim()
            events = self._poll.poll()
        return events

    def _take_connection(self) -> bool:
        """Take a connection from the fork server; return whether there will be more."""
        packet, descriptors, _, _ = socket.recv_fds(self._control, 64, 1)
        for descriptor in descriptors:
            # What kind of socket it is must be said, because to ask is one of the system calls that are refused.
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=descriptor)
            link = Link(channel, int(packet))
            self._links[descriptor] = link
            self._poll.register(descriptor, link.wants)
            self._unloaded.append(link)
            self._greet()
        return bool(packet)

    def _greet(self) -> None:
        """Tell whoever was not told yet where we stand."""
        while self._unloaded and (self._work is not None or self._loader is None):
            link = self._unloaded.popleft()
            if self._work is None:
                self._loader = link
            self._send(link, {"number": 0, "loaded": self._work is not None})

    def _advance(self, link: Link) -> None:
        """Read and write what is possible on a connection, and drop it where it ended or breaks the rules."""
        try:
            link.flush()
            frame = link.next()
        except (OSError, EOFError, ValueError, TypeError, MemoryError):
            self._drop(link)
            return
        self._poll.modify(link.channel, link.wants)
        if frame is not None:
            self._take(link, *frame)

    def _take(self, link: Link, header: dict[str, Any], body: bytearray) -> None:
        number = header.get("number")
        if not isinstance(number, int):
            self._drop(link)
        elif self._work is not None:
            self._waiting.append(Request(link, number, header, body))
        elif link is self._loader:
            self._open(Request(link, number, header, body))
        else:
            self._drop(link)

    def _open(self, request: Request) -> None:
        """Load what the work is done with."""
        link, number, header, body = request
        self._board.begin([(link.connection, number)])
        try:
            self._work = self._load(header, body)
            reply = {}
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller must learn of it.
            reply = child.failure(error)
        gc.collect()
        system_calls.trim()
        self._board.end()
        self._loader = None
        self._send(link, {"number": number} | reply)
        self._greet()

    def _answer(self) -> None:
        assert self._work is not None
        chosen = self._work.choose(self._waiting)
        self._board.begin([(request.link.connection, request.number) for request in chosen])
        replies = self._work.answer(chosen)
        self._board.end()
        for request, (header, body) in zip(chosen, replies, strict=True):
            self._send(request.link, {"number": request.number} | header, body)

    def _send(self, link: Link, header: dict[str, Any], body: Sequence[Buffer] = ()) -> None:
        if link.channel.fileno() not in self._links:
            return  # The caller has given up meanwhile.
        try:
            link.send(header, body)
        except OSError:
            self._drop(link)
        else:
            self._poll.modify(link.channel, link.wants)

    def _drop(self, link: Link) -> None:
        """Forget a caller and what it asked for."""
        self._poll.unregister(link.channel)
        del self._links[link.channel.fileno()]
        link.channel.close()
        self._waiting = deque(request for request in self._waiting if request.link is not link)
        if link in self._unloaded:
            self._unloaded.remove(link)
        if link is self._loader:
            self._loader = None
        self._greet()
