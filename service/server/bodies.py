"""A request's body as it comes in: in memory while it is small and there is room, else in a file, never over its cap.

A handler that reads a body as it trickles in holds its thread for as long as the
caller likes; a handful of such callers stop a server that has a handful of threads. Here
a body is whole before any handler runs, and a slow one costs a few hundred bytes.

Where a worker has no room in memory left (``service.server.room``), senders are asked who
they are: a body of one who is known goes on in a file, whoever is not known is refused.
To leave bodies unread until there is room again, or to refuse all of them, would let
whoever holds the room with bodies that never end keep everybody else out.
"""

import io
import tempfile
from typing import IO, Final

from service.server.requests import Refusal
from service.server.room import Room

NO_ROOM_SECONDS: Final = 5

IN_MEMORY_BYTES: Final = 1 << 20
"""Longer bodies are written to a temporary file; up to this length nobody is asked who sends it."""

ALWAYS_BYTES: Final = 4 << 10
"""Up to this length there is always room: ten thousand such bodies take 40 MB."""


class Incoming:
    """The body of a request that is arriving; ``cap`` is what its sender may send, once somebody was asked.

    :param declared: its length in bytes, ``None`` where it comes in chunks.
    :param room: what it takes its memory from, until it is closed.
    """

    __slots__ = ("_file", "_held", "_is_crowded", "_is_known", "_parts", "_room", "cap", "declared", "length")

    def __init__(self, declared: int | None, room: Room) -> None:
        self.declared = declared
        self.length = 0
        self.cap: int | None = None
        self._room = room
        self._held = 0
        self._is_crowded = False
        self._is_known = False
        self._parts: list[bytes] = []
        self._file: IO[bytes] | None = None

    @property
    def asks(self) -> bool:
        """Whether its sender must be known before more of it is read."""
        return self.cap is None and (self._is_crowded or max(self.declared or 0, self.length) > IN_MEMORY_BYTES)

    def allow(self, cap: int | None) -> None:
        """Take in what its sender may send, ``None`` where the sender is not known.

        :raises Refusal: the body is larger, or says that it will be; or there is no room for a stranger's.
        """
        self._is_known = cap is not None
        self.cap = IN_MEMORY_BYTES if cap is None else cap
        self._refuse_over(max(self.declared or 0, self.length))
        if self._is_crowded:
            self._spill()

    def add(self, part: bytes) -> None:
        """Take in the next part.

        :raises Refusal: the body is larger than its sender may send, or there is no room for it.
        """
        self.length += len(part)
        if self.cap is not None:
            self._refuse_over(self.length)
        self._parts.append(part)
        self._held += len(part)
        if not self._room.take(len(part)) and self.length > ALWAYS_BYTES:
            self._is_crowded = True
        if (self._is_crowded or self.length > IN_MEMORY_BYTES) and not self.asks:
            self._spill()

    def _spill(self) -> None:
        """Write down what is in memory."""
        if not self._is_known:
            raise Refusal(503, "overloaded", "The server has no room for the body now.", NO_ROOM_SECONDS)
        try:
            self._write()
        except OSError as error:
            raise Refusal(503, "no_room", "There is no room for the body now.", NO_ROOM_SECONDS) from error

    def _write(self) -> None:
        if self._file is None:
            # Without a buffer, so that what does not fit is known here and not when somebody reads.
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - whoever takes the body closes it.
        for part in self._parts:
            written = 0
            while written < len(part):
                written += self._file.write(memoryview(part)[written:])
        self._parts.clear()
        self._room.give_back(self._held)
        self._held = 0

    def taken(self) -> IO[bytes]:
        """Return the whole body, from its beginning; the caller closes it, and this too when it is done with it."""
        if self._file is None:
            parts, self._parts = self._parts, []
            return io.BytesIO(parts[0] if len(parts) == 1 else b"".join(parts))
        file, self._file = self._file, None
        file.seek(0)
        return file

    def close(self) -> None:
        """Give back the room, and let go of a body that nobody takes."""
        if self._held:
            self._parts.clear()
            self._room.give_back(self._held)
            self._held = 0
        if self._file is not None:
            self._file.close()

    def _refuse_over(self, length: int) -> None:
        if self.cap is not None and length > self.cap:
            raise Refusal(
                413, "body_too_large", f"The body is larger than the {self.cap} bytes that this caller may send."
            )
