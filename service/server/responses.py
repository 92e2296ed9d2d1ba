"""The head of a response, as bytes."""

import time
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from service.server.files import FileBody
from service.server.requests import Environ

_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_LENGTH: Final = "content-length"
_WITHOUT_BODY: Final = frozenset({204, 304})


@dataclass(slots=True)
class Answer:
    """A response, its body as bytes or in a file; ``closes`` ends the connection after it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes | FileBody
    closes: bool = field(default=False)


def rendered_head(answer: Answer, environ: Environ | None, keep_alive: bool) -> bytes:
    """Return status line and headers.

    :param environ: of the request, ``None`` where there was none to read.
    :param keep_alive: whether the connection stays open after the response.
    :raises ValueError: a header holds a line break.
    """
    lines = [f"{name}: {value}\r\n" for name, value in answer.headers]
    # Looking at the names' lengths first is the cheaper part, and nearly always all of it.
    stated = [value for name, value in answer.headers if len(name) == len(_LENGTH) and name.lower() == _LENGTH]
    if answer.status not in _WITHOUT_BODY and not stated:
        length = answer.body.length if isinstance(answer.body, FileBody) else len(answer.body)
        lines.append(f"Content-Length: {length}\r\n")
    if not keep_alive:
        lines.append("Connection: close\r\n")
    elif environ is not None and environ["SERVER_PROTOCOL"] == "HTTP/1.0":
        lines.append("Connection: keep-alive\r\n")
    line = _LINES.get(answer.status) or f"HTTP/1.1 {answer.status} \r\n"
    head = f"{line}Date: {_date()}\r\n{''.join(lines)}\r\n"
    if head.count("\n") != len(lines) + 3 or head.count("\r") != len(lines) + 3:
        raise ValueError("a header of the response holds a line break")
    return head.encode("latin-1")


_rendered_date = (0, "")


def _date() -> str:
    """Return the moment as HTTP writes it; it is written anew once a second."""
    global _rendered_date  # noqa: PLW0603 - one clock for all responses.
    now = int(time.time())
    if _rendered_date[0] != now:
        _rendered_date = (now, formatdate(now, usegmt=True))
    return _rendered_date[1]
