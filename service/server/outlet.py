"""What goes out on a connection: gathered, handed on, and watched for whether anybody takes it."""

import asyncio
from collections.abc import Callable
from typing import Any

from service.server import files
from service.server.files import FileBody


class Outlet:
    """The sending half of a connection, open until the caller is gone or given up.

    :param transport: of the connection.
    :param wrote: called when something waits for a flush; it may flush at once.
    """

    def __init__(self, transport: Any, wrote: Callable[[], None]) -> None:
        self.is_open = True
        self._transport = transport
        self._wrote = wrote
        self._waiting: list[bytes] = []
        self._untaken = 0
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def has_room(self) -> bool:
        """Whether the caller takes what is sent."""
        return self._writable.is_set()

    def send(self, data: bytes) -> None:
        """Send with the next flush.

        Handing bytes to the kernel wakes their reader, which is not free; so the answers to
        what came together leave together.
        """
        self._waiting.append(data)
        if len(self._waiting) == 1:
            # Told last, because it may flush at once.
            self._wrote()

    def flush(self) -> None:
        """Hand on what waits."""
        waiting, self._waiting = self._waiting, []
        if waiting and self.is_open:
            self._transport.write(waiting[0] if len(waiting) == 1 else b"".join(waiting))

    async def send_file(self, body: FileBody) -> bool:
        """Send a file behind what waits, as fast as it is taken; return whether all of it was."""
        self.flush()
        return await files.send(self._transport, self._writable, body)

    def pause(self) -> None:
        """Hear that the caller does not take what was sent."""
        self._writable.clear()
        self._untaken = self._transport.get_write_buffer_size()

    def resume(self) -> None:
        """Hear that the caller has taken it."""
        self._writable.set()

    def moves(self) -> bool:
        """Whether the caller took something since the pause, or since this was last asked."""
        before, self._untaken = self._untaken, self._transport.get_write_buffer_size()
        return self._untaken < before

    def close(self) -> None:
        """Hear that the caller is gone; whoever waits to send goes on, and finds that out."""
        self.is_open = False
        self._writable.set()
