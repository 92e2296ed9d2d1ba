"""Takes connections from the socket that all workers share, as many as may be."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Final

CONNECTIONS: Final = 10_000
NO_DESCRIPTORS_SECONDS: Final = 0.5

TOGETHER: Final = 8
"""Connections that a busy worker accepts before it goes on; an idle one accepts them one by one, to share them."""


class Acceptor:
    """Accepts, up to a number of connections, and of each address.

    :param listener: the shared socket, non-blocking.
    :param make: makes what answers a connection.
    :param per_address: connections of one address; ``None`` is no such cap.
    :param is_busy: whether the worker has other work to do.
    :param turn_away: returns what is told to an address that has too many.
    """

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[], asyncio.Protocol],
        per_address: int | None,
        is_busy: Callable[[], bool],
        turn_away: Callable[[], bytes],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make = make
        self._per_address = per_address
        self._is_busy = is_busy
        self._turn_away = turn_away
        self._held: Counter[str] = Counter()
        self._making: set[asyncio.Task[object]] = set()
        self._count = 0
        self._accepts = False
        self._ended = False
        self.resume()

    @property
    def is_done(self) -> bool:
        """Whether it has ended, and every connection too."""
        return self._ended and not self._count and not self._making

    def opened(self, address: str) -> None:
        """Hear of a connection."""
        self._count += 1
        self._held[counted_as(address)] += 1

    def closed(self, address: str) -> None:
        """Hear of its end."""
        self._count -= 1
        counted = counted_as(address)
        self._held[counted] -= 1
        if not self._held[counted]:
            del self._held[counted]
        self.resume()

    def resume(self) -> None:
        """Accept."""
        if not self._accepts and not self._ended:
            self._accepts = True
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def end(self) -> None:
        """Accept no more."""
        self._ended = True
        self._pause()
        self._listener.close()

    def _pause(self) -> None:
        if self._accepts:
            self._accepts = False
            self._loop.remove_reader(self._listener.fileno())

    def _accept(self) -> None:
        for _ in range(TOGETHER if self._is_busy() else 1):
            try:
                accepted, peer = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # No descriptor is free; the others may close theirs.
                self._pause()
                self._loop.call_later(NO_DESCRIPTORS_SECONDS, self.resume)
                return
            accepted.setblocking(False)
            if self._per_address is not None and self._held[counted_as(peer[0])] >= self._per_address:
                self._send_away(accepted)
                continue
            making = self._loop.create_task(self._loop.connect_accepted_socket(self._make, accepted))
            self._making.add(making)
            making.add_done_callback(self._made)
            if self._count + len(self._making) >= CONNECTIONS:
                self._pause()
                return

    def _made(self, making: "asyncio.Task[object]") -> None:
        self._making.discard(making)
        making.exception()

    def _send_away(self, accepted: socket.socket) -> None:
        with accepted, contextlib.suppress(OSError):
            accepted.send(self._turn_away())
            accepted.shutdown(socket.SHUT_WR)
            # What it has sent and nobody read would be answered by a reset, which destroys the answer on its way.
            accepted.recv(1 << 16)


def counted_as(address: str) -> str:
    """Return the address that an address counts under: of IPv6, a caller has at least 64 bits to choose from."""
    if ":" not in address:
        return address
    parsed = ip_address(address.partition("%")[0])
    assert isinstance(parsed, IPv6Address)
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))
