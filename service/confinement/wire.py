"""Frames: a header in JSON and a body of bytes, between the caller and the child.

Eight bytes of lengths, big-endian, lead each frame. The reader states how much it will
take, because the other end may have been taken over.
"""

import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from service import errors
from service.errors import Finding, ModelwardError

HEADER_BYTES: Final = 1 << 20
READY: Final = b"1"
"""What the fork server says once it has imported everything."""

_LENGTHS: Final = struct.Struct(">IQ")
_MOST_PARTS: Final = 64

Read = Callable[[int], bytes]
"""Reads at most that many bytes; no bytes mean the end."""

Buffer = bytes | bytearray | memoryview


class Frames:
    """Collects the frames that arrive at a socket, each into memory of its own.

    :param most: bytes of the largest body that is taken.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._begin()

    def next(self, source: socket.socket, deadline: float | None = None) -> tuple[dict[str, Any], bytearray] | None:
        """Return header and body of the next frame; ``None`` where the socket does not block and the rest is not there.

        :param deadline: of the monotonic clock, for a socket that blocks.
        :raises EOFError: the other end closed before the frame was whole.
        :raises ValueError: the frame breaks its form or its bounds.
        :raises TimeoutError: the deadline is over.
        """
        while True:
            while self._filled < len(self._part):
                if deadline is not None:
                    source.settimeout(left(deadline))
                try:
                    count = source.recv_into(memoryview(self._part)[self._filled :])
                except BlockingIOError:
                    return None
                if not count:
                    raise EOFError("the other end closed")
                self._filled += count
            frame = self._finish_part()
            if frame is not None:
                return frame

    def _begin(self) -> None:
        self._part, self._filled = bytearray(_LENGTHS.size), 0
        self._body_bytes: int | None = None
        self._header: dict[str, Any] | None = None

    def _finish_part(self) -> tuple[dict[str, Any], bytearray] | None:
        """Go from the lengths to the header and from there to the body, whose end is the frame's."""
        if self._body_bytes is None:
            header_bytes, self._body_bytes = _LENGTHS.unpack(self._part)
            _refuse_large(header_bytes, self._body_bytes, self._most)
            self._part, self._filled = bytearray(header_bytes), 0
            return None
        if self._header is None:
            self._header = _header(bytes(self._part))
            self._part, self._filled = bytearray(self._body_bytes), 0
            return None
        frame = self._header, self._part
        self._begin()
        return frame


def left(deadline: float) -> float:
    """Return the seconds until ``deadline``, never zero: a socket would take that for non-blocking."""
    return max(deadline - time.monotonic(), 0.001)


def pack(header: dict[str, Any], *body: Buffer) -> bytes:
    """Return one frame, whose body is the given parts, one after the other."""
    return b"".join((head(header, *body), *body))


def head(header: dict[str, Any], *body: Buffer) -> bytes:
    """Return what leads a frame of that body."""
    text = orjson.dumps(header)
    return _LENGTHS.pack(len(text), sum(map(len, body))) + text


def send(target: socket.socket, header: dict[str, Any], body: Sequence[Buffer], deadline: float) -> None:
    """Send one frame, whose large parts are not copied first.

    :param body: parts of single bytes.
    :param deadline: of the monotonic clock.
    :raises TimeoutError: it is over.
    """
    rest = [memoryview(part) for part in (head(header, *body), *body) if len(part)]
    while rest:
        target.settimeout(left(deadline))
        sent = target.sendmsg(rest[:_MOST_PARTS])
        while rest and sent >= len(rest[0]):
            sent -= len(rest.pop(0))
        if sent:
            rest[0] = rest[0][sent:]


def unpack(frame: bytes | memoryview) -> tuple[dict[str, Any], memoryview]:
    """Return header and body of a frame that is held whole.

    :raises ValueError: it is not one frame.
    """
    view = memoryview(frame)
    if len(view) < _LENGTHS.size:
        raise ValueError("the frame is cut off")
    header, body = _LENGTHS.unpack(view[: _LENGTHS.size])
    start = _LENGTHS.size + header
    if len(view) != start + body:
        raise ValueError("the frame is cut off")
    return _header(bytes(view[_LENGTHS.size : start])), view[start:]


def receive(read: Read, most: int) -> tuple[dict[str, Any], bytes]:
    """Read one frame with a body of at most ``most`` bytes.

    :raises EOFError: the other end closed before the frame was whole.
    :raises ValueError: the frame breaks its form or its bounds.
    """
    header, body = _LENGTHS.unpack(_exactly(read, _LENGTHS.size))
    _refuse_large(header, body, most)
    return _header(_exactly(read, header)), _exactly(read, body)


def write_all(descriptor: int, part: Buffer) -> None:
    """Write all of ``part``, with no system call but ``write``."""
    rest = memoryview(part)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def describe(error: ModelwardError) -> dict[str, Any]:
    """Return an error as JSON, for ``revive`` at the other end."""
    return {
        "error": type(error).__name__,
        "detail": error.detail,
        "code": error.reason,
        "findings": [[finding.at, finding.message] for finding in error.findings],
        "retry_after": error.retry_after,
    }


def revive(header: dict[str, Any]) -> ModelwardError:
    """Return the error that ``describe`` was given.

    :raises KeyError: it is none of ``describe``'s.
    :raises TypeError: it names no error of the domain.
    """
    family = getattr(errors, str(header["error"]), None)
    if not (isinstance(family, type) and issubclass(family, ModelwardError)):
        raise TypeError("the child answered an unknown error")
    return family(
        str(header["detail"]),
        code=str(header["code"]),
        findings=[Finding(str(at), str(message)) for at, message in header["findings"]],
        retry_after=header["retry_after"],
    )


def _refuse_large(header: int, body: int, most: int) -> None:
    if header > HEADER_BYTES or body > most:
        raise ValueError("the frame is larger than it may be")


def _header(text: bytes) -> dict[str, Any]:
    header = orjson.loads(text)
    if not isinstance(header, dict):
        raise TypeError("a frame's header is an object")
    return header


def _exactly(read: Read, size: int) -> bytes:
    parts = []
    while size:
        part = read(min(size, 1 << 20))
        if not part:
            raise EOFError("the other end closed")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
