"""Between the connections of a worker and the WSGI application: what runs where, and what is refused."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, cast

from service.config import Settings
from service.server import deadlines, waiting
from service.server.files import FileBody
from service.server.lanes import Lane, Lanes
from service.server.pace import Pace
from service.server.requests import Environ, Environs, Refusal
from service.server.responses import Answer

_log = logging.getLogger(__name__)

DRAINING: Final = "modelward.draining"
"""Set in the environment of a request that a stopping server answers."""

INLINE_BYTES: Final = 2 << 10
"""A body that fits in here holds a few rows; what a larger one costs, the route's last calls do not tell."""

FILES: Final = ("application/vnd.", "text/csv")
"""How the media types of bodies begin that hold many rows, however short they are."""

QUEUED_PER_THREAD: Final = 32

_ADDED: Final = ("modelward.", "werkzeug.", "flask.")
"""With these begin the names of what the application and its libraries keep in an environment."""

Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
Refuse = Callable[[Refusal, Environ | None], tuple[int, list[tuple[str, str]], bytes]]


class Shell:
    """Runs a WSGI application for the connections of a worker.

    A request runs in a thread, or on the loop where its route is quick
    (``service.server.pace``) and its body small. Nobody takes all threads
    (``service.server.lanes``). More requests than the threads could answer in reasonable
    time are refused at once.

    :param application: the WSGI application.
    :param settings: deadlines, caps and the number of threads.
    :param lane: called on the loop; returns whose share of the threads a request is taken from.
    :param body_limit: called in a thread for a body that is large or finds no room in memory; returns the bytes
        that its sender may send, ``None`` where nobody knows who that is.
    :param refuse: renders a refusal as status, headers and body.
    :param close: called once, when the last request is answered.
    """

    def __init__(
        self,
        application: Application,
        settings: Settings,
        *,
        lane: Callable[[Environ], Lane],
        body_limit: Callable[[Environ], int | None],
        refuse: Refuse,
        close: Callable[[], None],
    ) -> None:
        self.environs = Environs()
        self.draining = False
        self._application = application
        self._settings = settings
        self._lane = lane
        self._lanes = Lanes(settings.threads)
        self._body_limit = body_limit
        self._refuse = refuse
        self._close = close
        self._closed = False
        self._pace = Pace()
        self._pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="request")
        self._queued = 0
        self._most_queued = settings.threads * QUEUED_PER_THREAD

    def answer(self, environ: Environ, length: int) -> Answer | Coroutine[Any, Any, Answer]:
        """Answer a request at once where that takes no time, else return what will answer it.

        :param length: of the body, in bytes.
        """
        if self.draining:
            environ[DRAINING] = True
        if deadlines.HEADER in environ:
            try:
                deadlines.note(environ)
            except Refusal as refusal:
                return self._told(refusal, environ)
            if deadlines.seconds_left(environ) == 0:
                return self._told(_too_late(), environ)
        key = environ["REQUEST_METHOD"] + environ["PATH_INFO"]
        is_small = length <= INLINE_BYTES and _is_plain(environ)
        if not is_small or not self._pace.is_quick(key):
            return self._answer_slowly(environ, key if is_small else None)
        began = time.perf_counter()
        try:
            answer = self._answered(environ)
        except waiting.OnLoopError:
            self._pace.waits(key)
            return self._answer_slowly(_as_it_came(environ), key)
        self._pace.ran_on_loop(key, time.perf_counter() - began)
        return answer

    def lane(self, environ: Environ) -> Lane:
        """Return whose request it is: the tenant's, or that of the address of one who is not known."""
        return self._lane(environ)

    def refused(self, refusal: Refusal, environ: Environ | None) -> Answer:
        """Return how a refusal is told; its connection ends with it, because more of the request may come."""
        return Answer(*self._refuse(refusal, environ), closes=True)

    async def body_limit(self, environ: Environ) -> int | None:
        """Return how many bytes the sender of a request may send as its body; ``None`` where nobody knows who it is."""
        cap = await asyncio.get_running_loop().run_in_executor(self._pool, self._body_limit, environ)
        return None if cap is None else min(cap, self._settings.body_bytes)

    def close(self) -> None:
        """Let go of everything, after the last response."""
        if not self._closed:
            self._closed = True
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._close()

    def _answer_slowly(self, environ: Environ, key: str | None) -> Answer | Coroutine[Any, Any, Answer]:
        """Return what will answer a request in a thread, or at once that there is no thread for it."""
        lane = self._lane(environ)
        try:
            if self._queued >= self._most_queued:
                raise Refusal(503, "overloaded", "The server has all the work that it can do in time.", retry_after=1)
            self._lanes.enter(lane)
        except Refusal as refusal:
            return self._told(refusal, environ)
        self._queued += 1
        return self._answer_in_thread(environ, lane, key)

    async def _answer_in_thread(self, environ: Environ, lane: Lane, key: str | None) -> Answer:
        try:
            try:
                async with AsyncExitStack() as place:
                    async with asyncio.timeout(deadlines.seconds_left(environ)):
                        await place.enter_async_context(self._lanes.place(lane))
                    loop = asyncio.get_running_loop()
                    answer, wall, processor, waited = await loop.run_in_executor(self._pool, self._timed, environ)
            finally:
                self._queued -= 1
                self._lanes.leave(lane)
        except TimeoutError:
            return self._told(_too_late(), environ)
        except Refusal as refusal:
            return self._told(refusal, environ)
        if key is not None and waited:
            self._pace.waits(key)
        elif key is not None:
            self._pace.ran_in_thread(key, wall, processor)
        return answer

    def _told(self, refusal: Refusal, environ: Environ) -> Answer:
        environ["wsgi.input"].close()
        return Answer(*self._refuse(refusal, environ))

    def _timed(self, environ: Environ) -> tuple[Answer, float, float, bool]:
        waiting.begin()
        if deadlines.seconds_left(environ) == 0:
            # Whoever asked does not wait any more; the work would be for nobody.
            raise _too_late()
        began, busy = time.perf_counter(), time.thread_time()
        answer = self._answered(environ)
        return answer, time.perf_counter() - began, time.thread_time() - busy, waiting.waited()

    def _answered(self, environ: Environ) -> Answer:
        try:
            answer = self._call(environ)
        except Exception:  # noqa: BLE001 - Whatever it was, the caller is told, and the worker goes on.
            _log.exception("the application raised")
            refusal = Refusal(500, "internal_error", "Something went wrong here.")
            answer = Answer(*self._refuse(refusal, environ), closes=True)
        environ["wsgi.input"].close()
        return answer

    def _call(self, environ: Environ) -> Answer:
        status, headers = 500, cast("list[tuple[str, str]]", [])

        def start_response(line: str, fields: list[tuple[str, str]], _exc_info: object = None) -> None:
            nonlocal status, headers
            status, headers = int(line[:3]), fields

        parts = self._application(environ, start_response)
        if isinstance(parts, FileBody):
            return Answer(status, headers, parts)
        try:
            body = b"".join(parts)
        finally:
            with suppress(AttributeError):
                parts.close()  # type: ignore[attr-defined]
        return Answer(status, headers, body)


def _is_plain(environ: Environ) -> bool:
    """Whether a body's size says what work is in it: not where it is compressed, or a file in a form of its own."""
    return "HTTP_CONTENT_ENCODING" not in environ and not environ.get("CONTENT_TYPE", "").startswith(FILES)


def _as_it_came(environ: Environ) -> Environ:
    """Return a request's environment without what its first run has left in it."""
    environ["wsgi.input"].seek(0)
    return {name: value for name, value in environ.items() if name == DRAINING or not name.startswith(_ADDED)}


def _too_late() -> Refusal:
    return Refusal(504, "deadline_exceeded", "The time of X-Request-Timeout-Ms was over before the work began.")
