"""Headers of every response: the request's id, security, CORS, and what other steps decided on."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from flask import Response

from service.bootstrap import Services
from service.config import Settings
from service.gateway import context
from service.gateway.context import Environ, Exchange

SECURITY: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
DEFAULTS: Final = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
"""What a route may state otherwise for itself."""

_DEFAULT_NAMES: Final = frozenset(name for name, _ in DEFAULTS)

TRANSPORT: Final = ("Strict-Transport-Security", "max-age=63072000; includeSubDomains")

PREFLIGHT_SECONDS: Final = "600"
ALLOWED_METHODS: Final = "GET, POST, PUT, PATCH, DELETE"
ALLOWED_FIELDS: Final = (
    "Authorization, Cache-Control, Content-Encoding, Content-Type, Idempotency-Key, If-Match, If-None-Match, "
    "X-API-Key, X-Request-Id, X-Request-Timeout-Ms"
)
EXPOSED_FIELDS: Final = (
    "Cache-Status, ETag, Idempotent-Replayed, Location, Modelward-Alias, Modelward-Model, Modelward-Runtime, "
    "Modelward-Version, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
)

Fields = list[tuple[str, str]]
StartResponse = Callable[..., Any]
WsgiApplication = Callable[[Environ, StartResponse], Iterable[bytes]]


class Edge:
    """The outermost step: begins and ends the exchange, and completes the headers of its response.

    It stands around the WSGI application rather than among Flask's own hooks, because
    there a header is one more element of a list.
    """

    def __init__(self, application: WsgiApplication, services: Services) -> None:
        self._application = application
        self._services = services

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        exchange = context.begin(environ, self._services)

        def start(status: str, fields: Fields, exc_info: Any = None) -> Any:
            complete(fields, exchange)
            return start_response(status, fields, exc_info)

        try:
            return self._application(environ, start)
        finally:
            context.end()


class Cors:
    """Which sites a browser may call from; none by default.

    An origin is compared as a whole. There is no star and no credential mode: a page sends
    its key or token in a header of its own accord.
    """

    def __init__(self, settings: Settings) -> None:
        self._origins = frozenset(settings.cors_origins)

    def preflight(self, exchange: Exchange) -> Response | None:
        """Answer a browser's question, before the request that it asks about."""
        environ = exchange.environ
        if environ["REQUEST_METHOD"] != "OPTIONS" or environ.get("HTTP_ORIGIN") not in self._origins:
            return None
        if "HTTP_ACCESS_CONTROL_REQUEST_METHOD" not in environ:
            return None
        return Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": ALLOWED_METHODS,
                "Access-Control-Allow-Headers": ALLOWED_FIELDS,
                "Access-Control-Max-Age": PREFLIGHT_SECONDS,
            },
        )

    def allow(self, exchange: Exchange, response: Response) -> None:
        """Say to the browser whether the page may read the response."""
        if not self._origins:
            return
        response.vary.add("Origin")
        origin = exchange.environ.get("HTTP_ORIGIN")
        if origin in self._origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = EXPOSED_FIELDS
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"


def complete(fields: Fields, exchange: Exchange) -> None:
    """Add what every response carries, and what the steps of the gateway decided on."""
    stated = {name for name, _ in fields}
    fields += (("X-Request-Id", exchange.request_id), *SECURITY, *exchange.fields)
    fields += DEFAULTS if stated.isdisjoint(_DEFAULT_NAMES) else [each for each in DEFAULTS if each[0] not in stated]
    if exchange.environ.get("wsgi.url_scheme") == "https":
        fields.append(TRANSPORT)


def bare(request_id: str) -> Fields:
    """Return the headers of a response that is made outside the application."""
    return [("X-Request-Id", request_id), *SECURITY, *DEFAULTS]
