"""Who is calling: from the credential alone, never from a path, a body or another header."""

import hmac
from collections.abc import Callable
from typing import Final

from flask import Flask

from service.bootstrap import Services
from service.errors import ModelwardError, Unauthenticated
from service.gateway import tokens
from service.gateway.context import Environ, Exchange, services
from service.gateway.context import exchange as current
from service.gateway.guards import Guard, guard_of
from service.gateway.limits import PlanLimiter
from service.tenants.principal import Principal
from service.tenants.scopes import Scope

KEY_PREFIX: Final = "mw_"
LIVENESS: Final = "/healthz"
"""The one route that is never counted: a process that answers has to say so."""

ANONYMOUS_BODY_BYTES: Final = 1 << 20
UNKNOWN_UNDER_WAY: Final = 64
"""Requests that may be under way in a process from one who is not known yet."""

CHALLENGE: Final = 'Bearer realm="modelward"'
UNIDENTIFIED: Final = Unauthenticated.code
"""The code of a request that sent no credential at all, which is not a guess at one."""


class Authentication:
    """Finds each request's principal, and holds it to the route's guard.

    These are two steps, because limits stand between them: a request that its scopes do
    not allow counts like any other.
    """

    def __init__(self, app: Flask, services: Services, limiter: PlanLimiter) -> None:
        self._app = app
        self._services = services
        self._limiter = limiter
        self._guards: dict[str, Guard | None] = {}

    def authenticate(self, exchange: Exchange) -> None:
        """Find who makes the request, where the route asks for it.

        :raises Unauthenticated: it sends no credential, or one that does not hold.
        :raises Forbidden: the tenant is suspended, or the address is not allowed.
        :raises Throttled: the address is held off, or sends too much without a credential.
        """
        guard = self._guard(exchange.endpoint)
        if guard is None or (guard.unless is not None and guard.unless()):
            return
        address = exchange.environ.get("REMOTE_ADDR", "")
        if guard.public:
            if exchange.route != LIVENESS:
                self._limiter.count_public(address, has_body=exchange.environ["REQUEST_METHOD"] == "POST")
            return
        exchange.principal = identify(self._services, exchange.environ, lambda: self._limiter.refuse_held_off(address))

    def authorize(self, exchange: Exchange) -> None:
        """Let the request in, or not.

        :raises Forbidden: the credential lacks the route's scope.
        """
        if exchange.principal is None:
            return
        guard = self._guard(exchange.endpoint)
        if guard is not None and guard.scope is not None and guard.scope not in exchange.principal.scopes:
            self._refuse(exchange, exchange.principal, guard.scope)

    def _guard(self, endpoint: str | None) -> Guard | None:
        if endpoint is None:
            return None
        guard = self._guards.get(endpoint)
        if guard is None:
            guard = self._guards[endpoint] = guard_of(self._app.view_functions[endpoint])
        return guard

    def _refuse(self, exchange: Exchange, principal: Principal, scope: Scope) -> None:
        # Trying doors is what an intruder with a stolen key does first.
        self._services.audit.record_refusal(
            principal.tenant_id,
            principal.subject,
            "scope.require",
            exchange.route,
            {"scope": scope, "method": exchange.environ["REQUEST_METHOD"]},
        )
        principal.require(scope)


def identify(services: Services, environ: Environ, before_lookup: Callable[[], None] | None = None) -> Principal:
    """Return who sends a request.

    :param before_lookup: called for a credential that was never found good here; what it raises goes on.
    :raises Unauthenticated: no credential, one that does not hold, or two of different callers.
    :raises Forbidden: the tenant is suspended, or the address is not allowed.
    """
    key, authorization = environ.get("HTTP_X_API_KEY"), environ.get("HTTP_AUTHORIZATION")
    address = environ.get("REMOTE_ADDR", "")
    if authorization is None:
        if key is None:
            raise Unauthenticated("This call needs an API key or an access token.")
        return services.keys.authenticate(key, address, before_lookup)
    bearer = _bearer(authorization)
    if key is None or key == bearer:
        return _by_bearer(services, bearer, address, before_lookup)
    return _agreed(
        services.keys.authenticate(key, address, before_lookup), _by_bearer(services, bearer, address, before_lookup)
    )


def lane(app: Flask, services: Services, environ: Environ) -> tuple[str, int, int]:
    """Return whose request this is, how many they may have under way in a process, and the weight of their turns.

    It is the tenant's, or the address's where finding the tenant would take a look-up. A
    tenant has turns in proportion to what its plan lets it have under way.
    """
    sent = environ.get("HTTP_X_API_KEY") or environ.get("HTTP_AUTHORIZATION", "").partition(" ")[2].strip()
    if sent.startswith(KEY_PREFIX):
        principal = services.keys.standing.met(sent)
        return _address(environ) if principal is None else _tenant(principal.tenant, principal)
    claims = tokens.known_claims(app, sent) if sent else None
    return _address(environ) if claims is None else _tenant(claims["tenant"], services.tokens.known(claims))


def _tenant(slug: str, principal: Principal | None) -> tuple[str, int, int]:
    if principal is None:
        return f"tenant {slug}", UNKNOWN_UNDER_WAY, 1
    most = principal.plan.max_concurrency
    return f"tenant {slug}", most, max(1, most)


def _address(environ: Environ) -> tuple[str, int, int]:
    return f"address {environ.get('REMOTE_ADDR', '')}", UNKNOWN_UNDER_WAY, 1


def body_limit(app: Flask, services: Services, environ: Environ) -> int | None:
    """Return how many bytes the sender of a request may send as its body; ``None`` where nobody knows who it is."""
    with app.app_context():
        try:
            return identify(services, environ).plan.max_body_bytes
        except ModelwardError:
            return None


def is_scraper() -> bool:
    """Whether the request carries the metrics token, or metrics are public."""
    exchange = current()
    settings = services().settings
    token = settings.metrics_token.get_secret_value()
    sent = exchange.environ.get("HTTP_AUTHORIZATION", "")
    return settings.metrics_public or (
        bool(token) and hmac.compare_digest(sent.encode("utf-8", "replace"), f"Bearer {token}".encode())
    )


def _bearer(authorization: str) -> str:
    scheme, _, credential = authorization.partition(" ")
    if scheme.lower() != "bearer" or not credential:
        raise Unauthenticated(
            "The header Authorization must be: Bearer <API key or access token>.", code="invalid_token"
        )
    return credential.strip()


def _by_bearer(
    services: Services, credential: str, address: str, before_lookup: Callable[[], None] | None
) -> Principal:
    if credential.startswith(KEY_PREFIX):
        return services.keys.authenticate(credential, address, before_lookup)
    claims = tokens.claims_of(credential, before_lookup)
    try:
        return services.tokens.principal_of(claims, address)
    except Unauthenticated:
        tokens.forget(credential)
        raise


def _agreed(one: Principal, other: Principal) -> Principal:
    """Return the one who sends two credentials, with what both of them allow."""
    if (one.tenant_id, one.subject) != (other.tenant_id, other.subject):
        raise Unauthenticated(
            "The two credentials belong to different callers; send one.", code="conflicting_credentials"
        )
    return one if one.scopes <= other.scopes else other
