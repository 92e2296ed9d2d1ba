"""A TCP proxy on loopback that injects faults: it passes bytes, swallows them, or refuses the connection."""

import asyncio
import threading
from enum import Enum

from tests.servers.subprocesses import LOOPBACK


class Fault(Enum):
    """What the proxy does with a connection."""

    NONE = "pass everything on"
    BLACK_HOLE = "accept, read, and never answer"
    REFUSE = "close at once"


class FaultyProxy:
    """Forwards to ``127.0.0.1:target``; ``inject`` changes what it does, also to open connections.

    It runs an event loop in a thread of its own until ``close``.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._fault = Fault.NONE
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty-proxy")
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, LOOPBACK, 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def inject(self, fault: Fault) -> None:
        """From now on do this with every byte and every connection; ``REFUSE`` also cuts those that are open."""
        self._fault = fault
        if fault is Fault.REFUSE:
            self._call(self._cut())

    def close(self) -> None:
        """Cut every connection and stop listening."""
        self._call(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _cut(self) -> None:
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _shut(self) -> None:
        self._server.close()
        await self._cut()
        while self._open:
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._fault is Fault.REFUSE:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        try:
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        finally:
            for each in (writer, back):
                each.transport.abort()
            self._open -= {writer, back}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if self._fault is not Fault.BLACK_HOLE:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        writer.transport.abort()
