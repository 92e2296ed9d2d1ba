"""What happens to every request, before and after the route that it is for.

``Gateway`` lists the steps in their order.
"""

import contextlib
from typing import Any

from flask import Flask, Response
from werkzeug.middleware.proxy_fix import ProxyFix

from service.bootstrap import Services, connect_redis
from service.config import Settings
from service.gateway import access_log, auth, caching, context, encodings, errors, guards, tokens
from service.gateway.application import Application
from service.gateway.auth import Authentication
from service.gateway.breaker import Breaker
from service.gateway.context import Environ
from service.gateway.errors import Problems
from service.gateway.headers import Cors, Edge
from service.gateway.limits import Concurrency, PlanLimiter
from service.gateway.metrics import EXTENSION, Metrics

__all__ = ["Application", "Gateway"]


class Gateway:
    """What stands between the server and the routes of ``app``.

    It is made before the services, because they report to its ``metrics`` and keep answers
    in its ``answers``.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self.metrics = Metrics()
        self._app = app
        self._settings = settings
        self._breaker = Breaker(connect_redis(settings.redis_url)) if settings.redis_url else None
        self.answers = caching.answers(app, settings, self._breaker)

    def init_app(self, services: Services) -> None:
        """Give every request of the application its steps."""
        app, settings = self._app, self._settings
        app.extensions[context.EXTENSION] = services
        app.extensions[EXTENSION] = self.metrics
        access_log.configure(settings.log_level)
        tokens.init_app(app, services)

        self._services = services
        self._cors = Cors(settings)
        self._limiter = PlanLimiter(services, self._breaker)
        self._limiter.init_app(app)
        self._authentication = Authentication(app, services, self._limiter)
        self._concurrency = Concurrency(services)
        self._log = access_log.AccessLog(settings.log_level)
        Problems(self._limiter).init_app(app)

        app.before_request(self._before)
        app.after_request(self._after)
        app.teardown_request(self._finally)
        app.wsgi_app = self._behind_proxies(Edge(app.wsgi_app, services))  # type: ignore[method-assign]

    def verify(self) -> None:
        """Refuse an application with an unguarded route; called when all are there.

        :raises RuntimeError: with the endpoints that state no guard.
        """
        guards.verify(self._app)

    def body_limit(self, environ: Environ) -> int | None:
        """Return how many bytes the sender of a request may send as its body; ``None`` where nobody knows who it is."""
        seen = dict(environ)
        self._behind_proxies(lambda _environ, _start: [])(seen, lambda *_: None)
        return auth.body_limit(self._app, self._services, seen)

    def lane(self, environ: Environ) -> tuple[str, int, int]:
        """Return whose share of the threads a request is taken from, and how many they may have under way."""
        seen = dict(environ)
        self._behind_proxies(lambda _environ, _start: [])(seen, lambda *_: None)
        return auth.lane(self._app, self._services, seen)

    def refuse(
        self, status: int, code: str, detail: str, environ: Environ | None, retry_after: int | None
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return status, headers and body for a request that never reaches the application."""
        sent = environ or {}
        request_id = context.acceptable_id(sent.get("HTTP_X_REQUEST_ID"))
        self.metrics.refused(sent.get("REQUEST_METHOD"), status)
        self._log.refused(request_id, status, code)
        return errors.bare(status, code, detail, request_id, retry_after)

    def start(self) -> None:
        """Start the threads; a process that serves calls it once."""
        self._log.start()
        self.metrics.start()

    def close(self) -> None:
        """Write what is still held in memory, and let go of Redis."""
        self._log.close()
        self.metrics.close()
        if self._breaker is not None:
            self._breaker.close()

    def _before(self) -> Response | None:
        exchange = context.exchange()
        answer = self._cors.preflight(exchange)
        if answer is None:
            self._authentication.authenticate(exchange)
            self._limiter.count(exchange)
            self._concurrency.enter(exchange)
            self._authentication.authorize(exchange)
            encodings.decode(exchange)
        return answer

    def _after(self, response: Response) -> Response:
        exchange = context.exchange()
        self._cors.allow(exchange, response)
        self.metrics.observe(exchange, response)
        self._log.write(exchange, response)
        return response

    def _finally(self, _error: BaseException | None) -> None:
        exchange = context.exchange()
        self._concurrency.leave(exchange)
        if exchange.inflated is not None:
            # Closing writes what found no room before.
            with contextlib.suppress(OSError):
                exchange.inflated.close()

    def _behind_proxies(self, application: Any) -> Any:
        """Believe X-Forwarded-For and -Proto of as many proxies as the settings name, of none by default."""
        hops = self._settings.trusted_hops
        return ProxyFix(application, x_for=hops, x_proto=hops, x_host=0) if hops else application
