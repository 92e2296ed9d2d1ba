"""The answers of one connection, each made at once where that takes no time, and sent before the next begins."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from service.server.files import FileBody
from service.server.handler import Handler
from service.server.outlet import Outlet
from service.server.reading import Arriving
from service.server.requests import Environ, Refusal
from service.server.responses import Answer, rendered_head

_log = logging.getLogger(__name__)


class Answering:
    """Has a handler answer the requests of a connection, and sends what it says.

    There is no task for an answer that is there at once: a wake-up of the loop costs as
    much as a small model.

    :param done: called when an answer is sent for which ``respond`` did not wait, with
        whether the connection stays open.
    :param broken: called when one could not be sent, or not to its end.
    """

    def __init__(
        self, handler: Handler, outlet: Outlet, done: Callable[[bool], None], broken: Callable[[], None]
    ) -> None:
        self._handler = handler
        self._outlet = outlet
        self._done = done
        self._broken = broken
        self._task: asyncio.Task[None] | None = None

    @property
    def under_way(self) -> bool:
        """Whether an answer is still being made or sent."""
        return self._task is not None

    def respond(self, arriving: Arriving) -> bool:
        """Answer a request, or begin to; return whether the connection stays open so far."""
        environ = arriving.environ
        if arriving.refusal is not None or environ is None:
            arriving.close()
            assert arriving.refusal is not None
            return self._write(self._handler.refused(arriving.refusal, environ), environ, keep_alive=False)
        length = 0
        if arriving.body is not None:
            length = arriving.body.length
            environ["wsgi.input"] = arriving.body.taken()
        if environ.pop("HTTP_TRANSFER_ENCODING", None) is not None:
            environ["CONTENT_LENGTH"] = str(length)
        answer = self._handler.answer(environ, length)
        if isinstance(answer, Answer) and not isinstance(answer.body, FileBody):
            arriving.close()
            return self._write(answer, environ, keep_alive=arriving.keep_alive)
        self._task = asyncio.get_running_loop().create_task(self._respond_later(answer, arriving, environ))
        return True

    async def _respond_later(
        self, coming: Answer | Coroutine[Any, Any, Answer], arriving: Arriving, environ: Environ
    ) -> None:
        keep_alive = arriving.keep_alive
        try:
            try:
                answer = coming if isinstance(coming, Answer) else await coming
            finally:
                arriving.close()
            stays_open = await self._send(answer, environ, keep_alive)
        except Exception:  # noqa: BLE001 - Whatever it was, the caller must not wait for ever.
            self._broken()
            return
        self._task = None
        self._done(stays_open)

    async def _send(self, answer: Answer, environ: Environ, keep_alive: bool) -> bool:
        if not isinstance(answer.body, FileBody):
            return self._outlet.is_open and self._write(answer, environ, keep_alive=keep_alive)
        try:
            if not self._outlet.is_open:
                return False
            keep_alive = self._stays_open(answer, keep_alive)
            self._outlet.send(rendered_head(answer, environ, keep_alive))
            if _has_body(environ):
                return await self._outlet.send_file(answer.body) and keep_alive
            return keep_alive
        finally:
            answer.body.close()

    def _write(self, answer: Answer, environ: Environ | None, *, keep_alive: bool) -> bool:
        keep_alive = self._stays_open(answer, keep_alive)
        try:
            head = rendered_head(answer, environ, keep_alive)
        except ValueError:
            _log.exception("a header cannot be sent")
            answer = self._handler.refused(Refusal(500, "internal_error", "Something went wrong here."), environ)
            keep_alive = False
            head = rendered_head(answer, environ, keep_alive)
        assert isinstance(answer.body, bytes)
        self._outlet.send(head + answer.body if _has_body(environ) else head)
        return keep_alive

    def _stays_open(self, answer: Answer, keep_alive: bool) -> bool:
        return keep_alive and not answer.closes and not self._handler.draining


def _has_body(environ: Environ | None) -> bool:
    return environ is None or environ["REQUEST_METHOD"] != "HEAD"
