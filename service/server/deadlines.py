"""How long a caller waits for its answer, as it says in ``X-Request-Timeout-Ms``."""

import time
from typing import Final

from service.server.requests import Environ, malformed

HEADER: Final = "HTTP_X_REQUEST_TIMEOUT_MS"
MOST_MILLISECONDS: Final = 3_600_000

_DEADLINE: Final = "server.deadline"
_ARRIVED: Final = "server.arrived"


def arrived(environ: Environ) -> None:
    """Note that a request has come to its end, whose caller says how long it waits."""
    environ[_ARRIVED] = time.monotonic()


def note(environ: Environ) -> None:
    """Note when the caller stops waiting, counted from the request's arrival, where it says so.

    :raises Refusal: it says something else than a number of milliseconds.
    """
    sent = environ.get(HEADER)
    if sent is None:
        return
    if not sent.isdigit() or len(sent) > len(str(MOST_MILLISECONDS)) or not 0 < int(sent) <= MOST_MILLISECONDS:
        raise malformed(f"X-Request-Timeout-Ms is a number of milliseconds from 1 to {MOST_MILLISECONDS}.")
    environ[_DEADLINE] = environ.get(_ARRIVED, time.monotonic()) + int(sent) / 1000


def seconds_left(environ: Environ) -> float | None:
    """Return the seconds that the caller still waits, none less than zero; ``None`` where it did not say."""
    deadline = environ.get(_DEADLINE)
    return None if deadline is None else max(deadline - time.monotonic(), 0.0)
