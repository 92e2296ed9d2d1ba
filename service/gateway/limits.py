"""Limits on requests: by address before authentication, then key and tenant by their plan.

They are declared and enforced through flask-limiter, with a storage of our own
(``service.gateway.windows``) and without its walk over declarations on each request,
which would cost as much as a prediction.
"""

import threading
from collections import defaultdict
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple, NoReturn, cast

from flask import Flask, request
from flask_limiter import Limiter
from limits import RateLimitItemPerMinute

from service.bootstrap import Services
from service.errors import Throttled, TooLarge, Unavailable
from service.gateway import shared_windows  # noqa: F401 - it registers its storage with the limits library.
from service.gateway.breaker import Breaker
from service.gateway.context import Exchange
from service.gateway.context import exchange as current
from service.gateway.windows import Entry, Window, Windows
from service.tenants.principal import PlanLimits, Principal

MINUTE: Final = 60
MOST_REMEMBERED: Final = 10_000
CONCURRENCY_RETRY_SECONDS: Final = 1

_NAMES: Final = ("key", "tenant")


class PlanLimiter(Limiter):
    """flask-limiter, with one step for each request that counts what the caller's plan limits.

    :param breaker: Redis, where the counts are shared; ``None`` counts in this process.
    """

    def __init__(self, services: Services, breaker: Breaker | None) -> None:
        options = {"breaker": breaker, "workers": services.settings.workers}
        super().__init__(
            key_func=lambda: request.remote_addr or "",
            storage_uri="modelward-redis://" if breaker else "modelward-memory://",
            storage_options=options if breaker else {},  # type: ignore[arg-type]
            strategy="sliding-window-counter",
            headers_enabled=False,
        )
        self._refused = RateLimitItemPerMinute(services.settings.failed_logins_per_minute, namespace="mw:refused")
        self._public = RateLimitItemPerMinute(services.settings.public_requests_per_minute, namespace="mw:public")
        self._telemetry = services.telemetry
        self._limited: dict[str, _Limited] = {}

    def init_app(self, app: Flask) -> None:
        """Make the storage, and leave out flask-limiter's own steps: ``count`` stands for them."""
        app.extensions.setdefault("limiter", set()).add(self)
        super().init_app(app)
        self._windows = cast("Windows", self.storage)

    def count_refusal(self, address: str) -> None:
        """Count a refused credential under the address that sent it.

        Only refusals are counted, and only what was never found good is held off, so that a
        caller with a good credential is not limited by others behind the same address.

        :raises Throttled: the address has sent too many.
        """
        fits, (window,) = self._windows.acquire_all([_of_address(self._refused, address)])
        if not fits:
            self._hold_off(window)

    def refuse_held_off(self, address: str) -> None:
        """Refuse, before anything is looked up, an address that sent too many refused credentials.

        :raises Throttled: it did.
        """
        # A limit that nothing fits under counts nothing, so this only looks.
        _, (seen,) = self._windows.acquire_all([_of_address(self._refused, address)._replace(limit=0)])
        window = seen._replace(limit=self._refused.amount)
        if not window.has_room:
            self._hold_off(window)

    def count_public(self, address: str, *, has_body: bool) -> None:
        """Count a request to a route for everybody under the address that sent it.

        :param has_body: whether it may carry a credential in its body, which is looked up then.
        :raises Throttled: the address has sent too many, or too many refused credentials.
        """
        fits, (window,) = self._windows.acquire_all([_of_address(self._public, address)])
        if not fits:
            self._telemetry.limit_refused("public")
            raise Throttled(
                f"An address may send {window.limit} requests without a credential in {window.seconds} s; "
                f"the next one fits in {window.reset} s.",
                retry_after=window.reset,
            )
        if has_body:
            self.refuse_held_off(address)

    def _hold_off(self, window: Window) -> NoReturn:
        self._telemetry.limit_refused("credentials")
        raise Throttled(
            "Too many refused credentials came from this address.",
            code="too_many_refused_credentials",
            retry_after=window.reset,
        )

    def count(self, exchange: Exchange) -> None:
        """Count the request under its key and its tenant.

        :raises Throttled: it does not fit under one of them.
        """
        principal = exchange.principal
        if principal is None:
            return
        limited = self._limited.get(principal.subject)
        if limited is None or limited.principal is not principal:
            limited = self._remember(principal)
        exchange.fields.append(limited.policy)
        if limited.entries:
            self._count(exchange, limited)
        else:
            exchange.fields.append(("RateLimit", f'"concurrency";r={principal.plan.max_concurrency}'))

    def _count(self, exchange: Exchange, limited: "_Limited") -> None:
        fits, windows = self._windows.acquire_all(limited.entries)
        exchange.windows = named = list(zip(limited.names, windows, strict=True))
        exchange.fields.append(("RateLimit", ", ".join([_stated(name, window) for name, window in named])))
        if not fits:
            self._refuse(named)

    def _remember(self, principal: Principal) -> "_Limited":
        entries = _entries(principal)
        policy = ("RateLimit-Policy", _policy(principal.plan))
        if len(self._limited) >= MOST_REMEMBERED:
            self._limited.clear()
        limited = self._limited[principal.subject] = _Limited(principal, tuple(entries), [*entries.values()], policy)
        return limited

    def _refuse(self, windows: list[tuple[str, Window]]) -> None:
        full = [(name, window) for name, window in windows if not window.has_room]
        name, window = max(full, key=lambda item: item[1].reset)
        self._telemetry.limit_refused(name)
        raise Throttled(
            f"The {name} may send {window.limit} requests in {window.seconds} s; "
            f"the next one fits in {window.reset} s.",
            retry_after=window.reset,
        )


class _Limited(NamedTuple):
    """What is counted for a principal, as long as it is the same: under which names, and how that is announced."""

    principal: Principal
    names: tuple[str, ...]
    entries: list[Entry]
    policy: tuple[str, str]


def _stated(name: str, window: Window) -> str:
    remaining, reset = window.state()
    return f'"{name}";r={remaining};t={reset}'


def _policy(plan: PlanLimits) -> str:
    rates = zip(_NAMES, (plan.key_requests_per_minute, plan.tenant_requests_per_minute), strict=True)
    parts = [f'"{name}";q={rate};w={MINUTE}' for name, rate in rates if rate is not None]
    return ", ".join(parts) or f'"concurrency";q={plan.max_concurrency};qu="concurrent-requests"'


def requests_left() -> dict[str, int | None]:
    """Return how many requests the caller's key and tenant may still send in this minute; ``None`` is no limit."""
    windows = dict(current().windows)
    return {f"{name}_requests": windows[name].remaining if name in windows else None for name in _NAMES}


class Concurrency:
    """Caps the requests that a tenant has under way in this process, and the size of their bodies.

    That a tenant who waits for slow models leaves threads to the others, whatever its plan
    allows, is the server's part (``service.server.lanes``); there its requests wait.
    """

    def __init__(self, services: Services) -> None:
        self._telemetry = services.telemetry
        self._under_way: defaultdict[str, int] = defaultdict(int)
        self._lock = threading.Lock()

    def enter(self, exchange: Exchange) -> None:
        """Take a place for the request under way.

        :raises Unavailable: the tenant has as many under way as its plan allows.
        :raises TooLarge: the body is larger than the plan allows.
        """
        principal = exchange.principal
        if principal is None:
            return
        length = exchange.environ.get("CONTENT_LENGTH")
        if length and int(length) > principal.plan.max_body_bytes:
            raise TooLarge(f"The plan allows bodies of {principal.plan.max_body_bytes} bytes.")
        with self._lock:
            if self._under_way[principal.tenant_id] < principal.plan.max_concurrency:
                self._under_way[principal.tenant_id] += 1
                exchange.holds = principal.tenant_id
                return
        self._telemetry.limit_refused("concurrency")
        raise Unavailable(
            f"The tenant has {principal.plan.max_concurrency} requests under way, which is what its plan allows.",
            code="too_many_under_way",
            retry_after=CONCURRENCY_RETRY_SECONDS,
        )

    def leave(self, exchange: Exchange) -> None:
        """Give the place back, where the request had one."""
        tenant, exchange.holds = exchange.holds, None
        if tenant is not None:
            with self._lock:
                self._under_way[tenant] -= 1
                if not self._under_way[tenant]:
                    del self._under_way[tenant]


def _entries(principal: Principal) -> dict[str, Entry]:
    plan = principal.plan
    entries = {}
    # The braces make a Redis cluster keep both counters in one place, so that one script reaches them.
    if plan.key_requests_per_minute is not None:
        key = f"mw:{{{principal.tenant_id}}}:key:{principal.subject}"
        entries["key"] = Entry(key, plan.key_requests_per_minute, MINUTE)
    if plan.tenant_requests_per_minute is not None:
        entries["tenant"] = Entry(f"mw:{{{principal.tenant_id}}}:tenant", plan.tenant_requests_per_minute, MINUTE)
    return entries


def _of_address(limit: RateLimitItemPerMinute, address: str) -> Entry:
    return Entry(limit.key_for(_network(address)), limit.amount, MINUTE)


def _network(address: str) -> str:
    """Return what an address is counted as: of IPv6, a caller has at least the last 64 bits to choose from."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(IPv6Address(int(parsed) >> 64 << 64))
    return address
