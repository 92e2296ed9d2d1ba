"""Structured log lines on standard output: one for each request, and whatever is worth a warning.

A line holds no credential, no body, no query and no raw path: a route's rule says which
call it was, and the tenant and subject say whose.
"""

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import MutableMapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

import orjson
import structlog
from flask import Response

from service import telemetry
from service.gateway.context import UNMATCHED, Exchange
from service.tenants.background import Background

FLUSH_SECONDS: Final = 0.25
MOST_LINES: Final = 1000

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _StandardOutput:
    """Standard output as it is at the moment of writing, which a test may have replaced."""

    def write(self, line: bytes) -> None:
        sys.stdout.buffer.write(line)

    def flush(self) -> None:
        sys.stdout.buffer.flush()


_OUTPUT: Final[Any] = _StandardOutput()


class _JsonLines(logging.Handler):
    """Writes the lines of the standard library's loggers in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        _OUTPUT.write(self._rendered(record))
        _OUTPUT.flush()

    @staticmethod
    def _rendered(record: logging.LogRecord) -> bytes:
        line: dict[str, Any] = {
            "event": record.getMessage(),
            "logger": record.name,
            "level": record.levelname.lower(),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "request_id": telemetry.request_id.get(),
        }
        if record.exc_info:
            line["exception"] = logging.Formatter().formatException(record.exc_info)
        return orjson.dumps(line) + b"\n"


def configure(level: str) -> None:
    """Have structlog and the standard library write JSON lines of at least ``level``."""
    structlog.configure(
        processors=[
            _add_request_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=orjson.dumps, default=repr),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.BytesLoggerFactory(_OUTPUT),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    if not any(isinstance(handler, _JsonLines) for handler in root.handlers):
        root.addHandler(_JsonLines())
    # What libraries tell about their ordinary work is of no use to an operator.
    logging.getLogger("service").setLevel(_LEVELS[level])
    root.setLevel(max(_LEVELS[level], logging.WARNING))


_Call: TypeAlias = tuple[str | None, str, int, str | None, str | None, str | None]
"""Method, route, status, code, tenant and subject."""


class _Line(NamedTuple):
    """What the line of a request says.

    :param ended: seconds since 1970.
    :param seconds: that it took, ``None`` where nothing was done for it.
    :param length: bytes of its answer, where they are known.
    """

    call: _Call
    ended: float
    seconds: float | None
    length: int | None
    request_id: str

    def rendered(self) -> str:
        second, fraction = divmod(self.ended, 1)
        milliseconds = "null" if self.seconds is None else format(self.seconds * 1000, ".3f")
        length = "null" if self.length is None else self.length
        # No character of an acceptable id needs an escape.
        return (
            f'{_opening(self.call)},"ms":{milliseconds},"bytes":{length},"request_id":"{self.request_id}",'
            f'"timestamp":"{_moment(int(second))}.{int(fraction * 1_000_000):06}Z"}}'
        )


@lru_cache(maxsize=1024)
def _opening(call: _Call) -> str:
    """Return how a line begins, which is the same for all calls of one caller with one outcome."""
    said = dict(zip(("method", "route", "status", "code", "tenant", "subject"), call, strict=True))
    return orjson.dumps({"event": "request", "level": "info", **said}).decode()[:-1]


@lru_cache(maxsize=2)
def _moment(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class AccessLog:
    """Writes one line for each request, where the level asks for it.

    It goes past structlog's processors, which cost more than the rest of the line. Once it
    is started, lines gather for a quarter of a second: a write for each would hand the
    interpreter to another thread in the middle of every request.
    """

    def __init__(self, level: str) -> None:
        self._writes = _LEVELS[level] <= logging.INFO
        self._gathers = False
        self._lines: deque[_Line] = deque()
        self._flushing = threading.Lock()
        self._flusher = Background("access log", FLUSH_SECONDS, self.flush)

    def start(self) -> None:
        """Gather lines from now on; a process that serves calls it once."""
        if self._writes:
            self._gathers = True
            self._flusher.start()

    def close(self) -> None:
        """Write what has gathered, and gather no more."""
        self._gathers = False
        self._flusher.close()
        self.flush()

    def flush(self) -> None:
        """Write what has gathered."""
        with self._flushing:
            lines = [self._lines.popleft().rendered() for _ in range(len(self._lines))]
            if lines:
                lines.append("")
                _OUTPUT.write("\n".join(lines).encode())
                _OUTPUT.flush()

    def write(self, exchange: Exchange, response: Response) -> None:
        """Write the line of a request."""
        if not self._writes:
            return
        principal = exchange.principal
        whose = (None, None) if principal is None else (principal.tenant, principal.subject)
        call = (exchange.environ["REQUEST_METHOD"], exchange.route, response.status_code, exchange.code, *whose)
        seconds = time.perf_counter() - exchange.began
        self._gather(_Line(call, time.time(), seconds, response.content_length, exchange.request_id))

    def refused(self, request_id: str, status: int, code: str) -> None:
        """Write the line of a request that never reached the application."""
        if self._writes:
            self._gather(_Line((None, UNMATCHED, status, code, None, None), time.time(), None, None, request_id))

    def _gather(self, line: _Line) -> None:
        self._lines.append(line)
        if not self._gathers or len(self._lines) > MOST_LINES:
            self.flush()


def _add_request_id(_logger: object, _name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    line.setdefault("request_id", telemetry.request_id.get())
    return line
