"""The caller's side of a child that stays: a connection to it, and what became of one that was lost."""

import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.confinement import wire
from service.confinement.limits import ANSWER_BYTES
from service.confinement.wire import Buffer, Frames

CONNECTION_BITS: Final = 63


class LostError(Exception):
    """The connection ended before the answer came, or the other end broke the rules."""


@dataclass(frozen=True, slots=True)
class Residence:
    """Which child to be attached to, and what it may use where it has to be started.

    :param key: whose child it is; callers with the same key share it.
    :param target: ``module:function`` of a ``service.confinement.resident.Load``; never from a request.
    :param memory_bytes: of address space beyond what the preloaded interpreter has mapped.
    :param busy_seconds: after which it is taken to be stuck in a request, and ended.
    :param expects_bytes: that it will hold once it has loaded; ``None`` starts none.
    """

    key: str
    target: str
    memory_bytes: int
    busy_seconds: float
    expects_bytes: int | None


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a connection.

    :param why: ``died``, ``killed`` from outside, ``stuck``, ``abandoned`` by the caller it worked
        for, ``evicted``, ``absent`` where none was to be started, ``too_large``, ``condemned``
        because it dies again and again, ``refused`` for want of processes, ``alive`` or ``unknown``.
    :param running: numbers of the requests on that connection that ran when the child ended.
    :param together: how many requests it ran then, those of others included.
    :param condemned: whether no other is started for a while.
    :param bytes: what it holds or would hold, where that is the reason.
    """

    why: str
    running: tuple[int, ...] = ()
    together: int = 0
    condemned: bool = False
    bytes: int = 0

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Fate":
        """Return what the fork server told."""
        return cls(**{**told, "running": tuple(told.get("running", ()))})


class Attachment:
    """A connection to a resident child, on which one request is under way at a time.

    :param channel: this end of it.
    """

    def __init__(self, channel: socket.socket, residence: Residence) -> None:
        self.residence = residence
        self.connection = secrets.randbits(CONNECTION_BITS)
        self.number = 0
        self._channel = channel
        self._frames = Frames(ANSWER_BYTES)

    def greeted(self, deadline: float) -> bool:
        """Wait until the child has time for this connection, and return whether it has loaded.

        One that has not waits for the next request, which says what to load.

        :raises TimeoutError: the deadline is over.
        :raises LostError: the child ended, or none was started.
        """
        return bool(self._receive(deadline)[0].get("loaded"))

    def ask(
        self, header: Mapping[str, Any], body: Sequence[Buffer], deadline: float
    ) -> tuple[dict[str, Any], bytearray]:
        """Send a request and return header and body of its answer.

        :raises TimeoutError: the deadline is over; nothing but ``close`` may follow.
        :raises LostError: the child ended; nothing but ``close`` may follow.
        """
        self.number += 1
        try:
            wire.send(self._channel, {**header, "number": self.number}, body, deadline)
        except ConnectionError:
            raise LostError from None
        return self._receive(deadline)

    def close(self) -> None:
        """Let go of it; an answer that is still to come reaches nobody."""
        self._channel.close()

    def _receive(self, deadline: float) -> tuple[dict[str, Any], bytearray]:
        try:
            frame = self._frames.next(self._channel, deadline)
        except (EOFError, ConnectionError, ValueError, TypeError):
            raise LostError from None
        if frame is None or frame[0].get("number") != self.number:
            raise LostError
        return frame
