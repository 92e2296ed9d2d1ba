"""What is known about the request under way.

It is kept in a variable of the request's own context instead of ``flask.g``: every look
at ``flask.g`` goes through two proxies, and each step of the gateway looks.
"""

import re
import time
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import IO, Any, Final, cast

from flask import current_app

from service import telemetry
from service.bootstrap import Services
from service.errors import Unauthenticated
from service.gateway.windows import Window
from service.ids import random_bytes
from service.tenants.principal import Principal

EXTENSION: Final = "modelward"
DRAINING: Final = "modelward.draining"
"""Set in the WSGI environment by a server that stops."""

UNMATCHED: Final = "unmatched"

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")

Environ = dict[str, Any]


@dataclass(slots=True)
class Exchange:
    """A request and what the gateway found out about it.

    ``route`` is the rule that the path matched, ``endpoint`` the name of its view. ``fields``
    are response headers that a step decided on, ``code`` is the stable code of the problem that
    is answered, ``windows`` the state of each limit with its name, ``holds`` the tenant whose place
    among the requests under way is held, ``inflated`` what its compressed body held, which ends with it.
    """

    environ: Environ
    services: Services
    request_id: str
    began: float
    route: str = UNMATCHED
    endpoint: str | None = None
    principal: Principal | None = None
    fields: list[tuple[str, str]] = field(default_factory=list)
    code: str | None = None
    windows: Iterable[tuple[str, Window]] = ()
    holds: str | None = None
    inflated: IO[bytes] | None = None


_current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


def begin(environ: Environ, services: Services) -> Exchange:
    """Give the request its id and start its clock."""
    begun = Exchange(environ, services, acceptable_id(environ.get("HTTP_X_REQUEST_ID")), time.perf_counter())
    telemetry.request_id.set(begun.request_id)
    _current.set(begun)
    return begun


def matched(route: str, endpoint: str) -> None:
    """Note which route the request under way is for, where it came through the gateway."""
    found = _current.get()
    if found is not None:
        found.route, found.endpoint = route, endpoint


def end() -> None:
    """Forget the request: its thread goes on to other work."""
    telemetry.request_id.set(None)
    _current.set(None)


def acceptable_id(sent: str | None) -> str:
    """Return the id that a caller sent, where it is a plain one, else a new id."""
    if sent is not None and _REQUEST_ID.fullmatch(sent):
        return sent
    return "req_" + random_bytes()[:12].hex()


def exchange() -> Exchange:
    """Return what is known about the request under way.

    :raises RuntimeError: there is none, or it did not come through the gateway.
    """
    found = _current.get()
    if found is None:
        raise RuntimeError("there is no request under way")
    return found


def environ() -> Environ:
    """Return the WSGI environment of the request under way; asking Flask's proxy for it costs ten times as much."""
    return exchange().environ


def principal() -> Principal:
    """Return who makes the request.

    :raises Unauthenticated: nobody was asked for; a route that is ``@public`` has no principal.
    """
    found = exchange().principal
    if found is None:
        raise Unauthenticated("This call needs an API key or an access token.")
    return found


def services() -> Services:
    """Return the long-lived objects of the application under way."""
    found = _current.get()
    return found.services if found is not None else cast("Services", current_app.extensions[EXTENSION])


def is_draining() -> bool:
    """Whether the server that runs the application is about to stop."""
    return DRAINING in exchange().environ
