"""A response body that lies in a file: sent as fast as its reader takes it, and no faster."""

import asyncio
import os
from collections.abc import Iterator
from typing import IO, Any, Final

_PIECE: Final = 256 << 10


class FileBody:
    """A body for WSGI servers.

    :param file: sent from its beginning, and closed at the end.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.length = file.seek(0, os.SEEK_END)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body in pieces."""
        self.file.seek(0)
        while piece := self.file.read(_PIECE):
            yield piece

    def close(self) -> None:
        """Close the file."""
        self.file.close()


async def send(transport: Any, writable: asyncio.Event, body: FileBody) -> bool:
    """Write a body to a transport, each piece when there is room for it; return whether all of it was.

    :param writable: set while the transport takes more; also when its connection is lost.
    """
    for piece in body:
        await writable.wait()
        if transport.is_closing():
            return False
        transport.write(piece)
    await writable.wait()
    return not transport.is_closing()
