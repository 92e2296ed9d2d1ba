"""From the bytes of a connection to its requests, each whole or refused.

The parser is llhttp (httptools), in its strict mode.
"""

import logging
import re
from collections import deque
from collections.abc import Callable
from typing import Final

import httptools

from service.server import deadlines
from service.server.bodies import ALWAYS_BYTES, Incoming
from service.server.requests import Environ, Environs, Head, Refusal, malformed
from service.server.room import Room

_log = logging.getLogger(__name__)

MAX_HEAD_BYTES: Final = 64 << 10
"""Of a head in any state of its coming; what it may hold in the end is ``requests``' to say."""

SLICE_BYTES: Final = 4 << 10
"""Of many small requests that come at once, so many bytes become requests before anybody counts them."""

_METHOD: Final = re.compile(rb"[A-Za-z]{1,32} ")
_FOREIGN: Final = re.compile(rb" (RTSP|ICE)/")


class Arriving:
    """A request of which something has come; one without a body has none.

    ``asking`` says that the cap of its body is being asked for; nothing is read meanwhile.
    ``waits`` says that its sender waits to hear that the body may come.
    """

    __slots__ = (
        "asking",
        "body",
        "complete",
        "environ",
        "head_done",
        "headers",
        "keep_alive",
        "refusal",
        "target",
        "waits",
    )

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.environ: Environ | None = None
        self.body: Incoming | None = None
        self.refusal: Refusal | None = None
        self.head_done = self.complete = self.asking = self.keep_alive = self.waits = False

    def close(self) -> None:
        """Let go of its body."""
        if self.body is not None:
            self.body.close()


class Reader:
    """Reads the requests of a connection; the methods named ``on_`` are the parser's.

    ``complete`` are the requests that are whole, in their order, and ``arriving`` is the one
    that is not. Once ``deaf``, nothing that comes can be understood any more. ``kept`` is
    what came and waits to be read, because enough requests are complete.

    :param base: what the environments of all requests have in common.
    :param room: what the memory is taken from that requests need before they are answered.
    :param ask: called where a body's sender must be asked about.
    """

    def __init__(self, environs: Environs, base: Environ, room: Room, ask: Callable[[Arriving], None]) -> None:
        self.complete: deque[Arriving] = deque()
        self.arriving: Arriving | None = None
        self.deaf = False
        self.kept = b""
        self._environs = environs
        self._base = base
        self._room = room
        self._held = 0
        self._ask = ask
        self._parser = httptools.HttpRequestParser(self)
        self._head_bytes = 0
        self._last = b""
        """What the piece before ended with, where that was in the middle of a head."""

    def feed(self, data: bytes, most: int) -> None:
        """Take in what came, until that many requests are complete; the rest is kept for the next call."""
        if self.kept:
            data, self.kept = self.kept + data, b""
        start, end = 0, len(data)
        while end - start > SLICE_BYTES and not self.deaf:
            if len(self.complete) >= most:
                self.kept = data[start:]
                break
            piece = data[start : start + max(SLICE_BYTES, self._body_left())]
            start += len(piece)
            self._parse(piece)
        else:
            if start < end:
                self._parse(data[start:] if start else data)
        if self._held or self.kept or self._head_bytes:
            self._hold(len(self.kept) + self._head_bytes)

    def _hold(self, count: int) -> None:
        """Take room for what is no request yet."""
        more = count - self._held
        self._held = count
        if more < 0:
            self._room.give_back(-more)
        elif not self._room.take(more) and count > ALWAYS_BYTES:
            self.kept = b""
            self.refuse(Refusal(503, "overloaded", "The server has no room for more requests now.", retry_after=1))

    def _body_left(self) -> int:
        """Return how much more is to come of a body whose length is known."""
        arriving = self.arriving
        if arriving is None or arriving.body is None or arriving.body.declared is None:
            return 0
        return arriving.body.declared - arriving.body.length

    def _parse(self, data: bytes) -> None:
        if self.deaf:
            return
        if self.arriving is None or not self.arriving.head_done:
            self._head_bytes += len(data)
        seen = self._last + data if self._last else data
        if b"RTSP/" in seen or b"ICE/" in seen:
            self._parse_lines(data)
        else:
            self._execute(data)
        in_head = self.arriving is not None and not self.arriving.head_done
        self._last = seen[-len(b" RTSP") :] if in_head else b""
        if self._head_bytes > MAX_HEAD_BYTES and (self.arriving is None or not self.arriving.head_done):
            self.refuse(Refusal(431, "headers_too_large", "The request's head is too large."))

    def _parse_lines(self, data: bytes) -> None:
        """Parse line by line, and refuse the request lines of protocols that llhttp takes for HTTP."""
        begun = self.arriving
        is_first = begun is not None and not begun.head_done and not begun.headers
        for line in data.splitlines(keepends=True):
            if (is_first or self.arriving is None) and _FOREIGN.search(self._last + line):
                self.refuse(malformed("The only protocol spoken here is HTTP."))
            if self.deaf:
                return
            self._execute(line)
            is_first, self._last = False, b""

    def _execute(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # What follows is for whoever would speak the other protocol; nobody does.
            self.deaf = True
            self.complete[-1].keep_alive = False
        except httptools.HttpParserInvalidMethodError as error:
            known = Refusal(501, "method_not_implemented", "No such method is known; they are written in capitals.")
            self.refuse(known if _METHOD.match(data) else malformed(f"The request is malformed: {error}."))
        except httptools.HttpParserError as error:
            self.refuse(malformed(f"The request is malformed: {error}."))

    def end(self) -> None:
        """Take in nothing more, because the caller sends no more."""
        self.deaf = True
        if self.arriving is not None:
            self.refuse(malformed("The request broke off."))

    def refuse(self, refusal: Refusal) -> None:
        """Refuse the request that is arriving, and understand nothing after it."""
        self.deaf = True
        self.arriving = self.arriving or Arriving()
        self.arriving.refusal = self.arriving.refusal or refusal

    def close(self) -> None:
        """Let go of every body, and take in nothing more."""
        self.deaf = True
        self.kept = b""
        self._hold(0)
        if self.arriving is not None:
            self.arriving.close()
        for request in self.complete:
            request.close()
        self.complete.clear()

    def on_message_begin(self) -> None:
        """Begin a request."""
        self.arriving = Arriving()

    def on_url(self, part: bytes) -> None:
        """Take in a part of the target."""
        self.arriving.target += part  # type: ignore[union-attr]

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take in a header, or a trailer."""
        arriving = self.arriving
        assert arriving is not None
        if arriving.head_done:
            arriving.refusal = arriving.refusal or malformed("Trailers are not accepted.")
        else:
            arriving.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Judge the head. What was raised here would reach whoever feeds the parser in disguise."""
        arriving, parser = self.arriving, self._parser
        assert arriving is not None
        self._head_bytes = 0
        arriving.head_done = True
        head = Head(parser.get_method().decode(), arriving.target, parser.get_http_version(), arriving.headers)
        try:
            arriving.environ = environ = self._environs.of(self._base, head)
        except Refusal as refusal:
            arriving.refusal = refusal
            return
        declared = None if "HTTP_TRANSFER_ENCODING" in environ else int(environ.get("CONTENT_LENGTH") or 0)
        if declared != 0:
            arriving.body = Incoming(declared, self._room)
            arriving.waits = "HTTP_EXPECT" in environ
            self._look_at(arriving)

    def on_body(self, part: bytes) -> None:
        """Take in a part of the body."""
        arriving = self.arriving
        assert arriving is not None
        if arriving.refusal is None:
            assert arriving.body is not None
            try:
                arriving.body.add(part)
            except Refusal as refusal:
                arriving.refusal = refusal
            except OSError:
                _log.exception("a body could not be written down")
                arriving.refusal = Refusal(503, "overloaded", "The server cannot take the body in now.", retry_after=1)
            else:
                self._look_at(arriving)

    def on_message_complete(self) -> None:
        """End a request."""
        arriving, self.arriving = self.arriving, None
        assert arriving is not None
        arriving.complete = True
        arriving.keep_alive = self._parser.should_keep_alive()
        if arriving.environ is not None and deadlines.HEADER in arriving.environ:
            deadlines.arrived(arriving.environ)
        self.complete.append(arriving)

    def _look_at(self, arriving: Arriving) -> None:
        if arriving.body is not None and arriving.body.asks and not arriving.asking:
            arriving.asking = True
            self._ask(arriving)
