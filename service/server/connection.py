"""One connection of HTTP/1.1: requests in, whole, one after the other; responses out.

Everything here runs on the worker's loop. What is read becomes requests in
``service.server.reading``; they are answered in ``service.server.answering``, and sent
through ``service.server.outlet``. Here is when each of that happens, and how long the
caller has for its part.
"""

import asyncio
import logging
from typing import Any, Final

from service.server.answering import Answering
from service.server.handler import Handler
from service.server.outlet import Outlet
from service.server.reading import Arriving, Reader
from service.server.requests import Refusal

_log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 75.0
LINGER_SECONDS: Final = 2.0
NEVER: Final = float("inf")
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

MUCH_BYTES: Final = 32 << 10
"""Of one read, after which others have their turn: libuv goes on with up to 31 more while a caller sends."""

AT_ONCE: Final = 4
"""Requests of one connection that are answered before others have their turn."""

MOST_COMPLETE: Final = 16
"""Requests of one connection that wait for an answer before no more is read."""


class Connection(asyncio.Protocol):
    """Answers the requests of one caller, in order, who is at ``address``.

    ``deadline`` is the moment (of the loop's clock) at which the caller has kept it waiting
    for too long; the worker looks at it now and then and calls ``late``.
    """

    _reader: Reader
    _outlet: Outlet
    _answering: Answering

    def __init__(self, handler: Handler, loop: asyncio.AbstractEventLoop) -> None:
        self._handler = handler
        self._loop = loop
        self._transport: Any = None
        self._asking: asyncio.Task[None] | None = None
        self._ended = self._hung_up = False
        self._reading = True
        self.address = ""
        self.deadline = NEVER

    # What the loop tells.

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport = transport
        client, server = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self.address = client[0] if client else ""
        base = self._handler.environs.base(self.address, server)
        self._reader = Reader(self._handler.environs, base, self._handler.room, self._ask)
        self._outlet = Outlet(transport, lambda: self._handler.wrote(self))
        self._answering = Answering(self._handler, self._outlet, self._answered, self.break_off)
        self.deadline = self._loop.time() + IDLE_SECONDS
        self._handler.opened(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """Let go of everything."""
        self._ended = True
        self._transport = None
        self._outlet.close()
        self._reader.close()
        self._handler.closed(self)

    def pause_writing(self) -> None:
        """Wait until the caller takes what was written."""
        self._outlet.pause()
        self._wait_for_caller()
        self._flow()

    def resume_writing(self) -> None:
        """Go on."""
        self._outlet.resume()
        if self._ended:
            # What is left of the last answer has its own time.
            self._wait_for_caller()
        self._queue()

    def data_received(self, data: bytes) -> None:
        """Take in what came, and answer what is complete."""
        self._feed(data)
        self._queue()
        if len(data) >= MUCH_BYTES and self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()
            self._loop.call_soon(self._flow)

    def eof_received(self) -> bool:
        """Answer what came, though the caller sends no more."""
        self._hung_up = True
        self._reader.end()
        self._queue()
        return not self._ended

    # Reading.

    def _feed(self, data: bytes) -> None:
        before = self._reader.arriving
        self._reader.feed(data, MOST_COMPLETE)
        if self._reader.arriving is not before:
            self.deadline = NEVER
            if self._reader.arriving is not None:
                self._wait_for_caller()

    def _flow(self) -> None:
        """Read on where there is nothing to do with what came, and only there."""
        arriving = self._reader.arriving
        asking = arriving is not None and arriving.asking
        reads = self._is_free and not asking and not self._reader.kept and len(self._reader.complete) < MOST_COMPLETE
        if reads != self._reading and self._transport is not None:
            self._reading = reads
            self._transport.resume_reading() if reads else self._transport.pause_reading()

    def _ask(self, arriving: Arriving) -> None:
        self._flow()
        self._asking = self._loop.create_task(self._learn_limit(arriving))

    async def _learn_limit(self, arriving: Arriving) -> None:
        assert arriving.environ is not None
        assert arriving.body is not None
        try:
            arriving.body.allow(await self._handler.body_limit(arriving.environ))
        except Refusal as refusal:
            arriving.refusal = refusal
        except Exception:  # noqa: BLE001 - Whatever it was, the caller is told, and the worker goes on.
            _log.exception("the limit of a body could not be found")
            arriving.refusal = Refusal(503, "overloaded", "The server cannot take the body in now.", retry_after=1)
        arriving.asking = False
        if self._ended:
            return
        if arriving.refusal is None and not arriving.complete:
            self._wait_for_caller()
        self._queue()

    # Answering.

    def _queue(self) -> None:
        """Have what is complete answered in its turn, and at once what is refused."""
        complete = self._reader.complete
        if complete and complete[0].environ is not None:
            self._handler.has_work(self, complete[0].environ)
            self._flow()
        else:
            self.work()

    def work(self) -> None:
        """Answer what is complete, in order, and what is refused before it is."""
        complete = self._reader.complete
        for _ in range(AT_ONCE):
            arriving = complete[0] if complete else self._reader.arriving
            if arriving is None or not self._is_free or not (arriving.complete or arriving.refusal) or arriving.asking:
                break
            if complete:
                complete.popleft()
            if not self._answering.respond(arriving):
                self._end()
        else:
            # The others of this worker come first.
            self._queue()
        if not self._ended:
            self._go_on()

    def _go_on(self) -> None:
        """Take in more, where there is nothing to answer."""
        if self._reader.kept and len(self._reader.complete) < MOST_COMPLETE and self._is_free:
            self._feed(b"")
            self._queue()
            return
        self._flow()
        self._invite()
        if self.is_idle and self._hung_up:
            self._end()
        elif self.is_idle:
            self.deadline = self._loop.time() + IDLE_SECONDS

    def _invite(self) -> None:
        """Have a body come whose sender waits to hear so, once no answer can get between."""
        arriving = self._reader.arriving
        if arriving is None or not arriving.waits or arriving.asking or self._reader.complete:
            return
        if arriving.refusal is None and self._is_free:
            arriving.waits = False
            self._outlet.send(CONTINUE)

    def _answered(self, stays_open: bool) -> None:
        """Go on after an answer that took its time."""
        if self._ended:
            return
        if not stays_open:
            self._end()
            return
        if self._reader.arriving is not None:
            self._wait_for_caller()
        self._queue()

    @property
    def _is_free(self) -> bool:
        return not self._answering.under_way and not self._ended and self._outlet.has_room

    @property
    def is_idle(self) -> bool:
        """Whether nothing has come of a request, and no answer is under way."""
        return self._reader.arriving is None and not self._reader.complete and self._is_free

    def flush(self) -> None:
        """Send what waits."""
        self._outlet.flush()

    # Ending.

    def _end(self) -> None:
        """Say that nothing more comes, and give a caller who still sends a moment to read that."""
        self._ended = True
        still_sends = self._reader.arriving is not None and not self._hung_up
        self._reader.close()
        self._outlet.flush()
        if not still_sends:
            # It closes once the caller has taken what is unsent, for which there is an end too.
            self._wait_for_caller()
            self._transport.close()
            return
        # Closed at once, what still comes in would be answered by a reset, which also
        # destroys the answer on its way.
        if not self._reading:
            self._transport.resume_reading()
        self._transport.write_eof()
        self.deadline = self._loop.time() + LINGER_SECONDS

    def break_off(self) -> None:
        """Give up a caller whose answer cannot be sent, or not to its end."""
        _log.exception("an answer could not be sent")
        self._ended = True
        if self._transport is not None:
            self._transport.abort()

    def _wait_for_caller(self) -> None:
        self.deadline = self._loop.time() + self._handler.body_seconds

    def late(self) -> None:
        """Give up what the caller did not send or take in time."""
        if self._transport is None:
            return
        if not self._outlet.has_room:
            if self._outlet.moves():
                self._wait_for_caller()
            else:
                self._transport.abort()
        elif self._ended or self.is_idle:
            # Closing would wait for a caller who takes nothing.
            self._transport.abort()
        elif self._reader.arriving is not None and not self._reader.arriving.asking and not self._answering.under_way:
            what = "body" if self._reader.arriving.head_done else "head"
            self._reader.refuse(Refusal(408, "request_timeout", f"The request's {what} did not arrive in time."))
            self.work()

    def hurry(self, latest: float) -> None:
        """Leave the caller until ``latest`` to send what it began."""
        self.deadline = min(self.deadline, latest)

    def close(self) -> None:
        """Close it, once nothing is under way."""
        if self._transport is not None:
            self._transport.close()
