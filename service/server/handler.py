"""What a connection asks of its worker."""

from collections.abc import Coroutine
from typing import Any, Protocol

from service.server.requests import Environ, Environs, Refusal
from service.server.responses import Answer
from service.server.room import Room


class Watched(Protocol):
    """A connection, as its worker sees it."""

    address: str
    deadline: float

    def work(self) -> None:
        """Answer what is complete."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way on it."""

    def break_off(self) -> None:
        """Give up its caller."""

    def flush(self) -> None:
        """Send what waits."""

    def late(self) -> None:
        """Hear that its deadline is over."""

    def hurry(self, latest: float) -> None:
        """Have its deadline no later than that."""

    def close(self) -> None:
        """Close it."""


class Handler(Protocol):
    """What answers the requests of all connections of a worker; every call comes on the loop."""

    environs: Environs
    room: Room
    draining: bool
    body_seconds: float

    def opened(self, connection: Watched) -> None:
        """Hear of a connection."""

    def closed(self, connection: Watched) -> None:
        """Hear of its end."""

    def has_work(self, connection: Watched, environ: Environ) -> None:
        """Hear that a request is complete; have it answered when it is its caller's turn."""

    def wrote(self, connection: Watched) -> None:
        """Hear that a connection has something to send; ``flush`` it soon."""

    def answer(self, environ: Environ, length: int) -> Answer | Coroutine[Any, Any, Answer]:
        """Answer a request at once, or return what will."""

    def refused(self, refusal: Refusal, environ: Environ | None) -> Answer:
        """Return how a refusal is told."""

    async def body_limit(self, environ: Environ) -> int | None:
        """Return how many bytes the sender of a request may send as its body; ``None`` where nobody knows who it is."""
