"""Who makes this request, as a small frozen snapshot; never an ORM row."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Self

from service.errors import Forbidden
from service.tenants.scopes import Scope

PLATFORM_TENANT_ID: Final = "ten_platform"
"""The tenant that operators belong to. The first migration makes it; it is in no list."""

PLATFORM_TENANT_SLUG: Final = "platform"


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """What a tenant's plan allows; ``None`` is no limit.

    Rates are requests a minute, ``rows_per_day`` counts rows predicted from midnight UTC,
    sizes are bytes, ``max_concurrency`` is the number of requests under way in a process.
    """

    slug: str
    key_requests_per_minute: int | None
    tenant_requests_per_minute: int | None
    rows_per_day: int | None
    max_models: int
    max_bytes: int
    max_body_bytes: int
    max_concurrency: int


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes this request: tenant, subject, scopes.

    ``subject`` is the id of the API key behind the request, also where a token made from
    it was sent. ``expires_at`` ends the credential that was sent, ``key_expires_at`` the key
    behind it (both seconds since 1970, ``None`` is never). ``models`` names the models that
    the key reaches, ``None`` means all.
    """

    tenant_id: str
    tenant: str
    subject: str
    scopes: frozenset[Scope]
    plan: PlanLimits
    models: frozenset[str] | None = None
    networks: tuple[IPv4Network | IPv6Network, ...] | None = None
    expires_at: float | None = None
    key_expires_at: float | None = None

    def require(self, scope: Scope) -> None:
        """Refuse a principal that lacks ``scope``.

        :raises Forbidden: with the scope's name.
        """
        if scope not in self.scopes:
            raise Forbidden(f"This call needs the scope {scope}.", code="missing_scope")

    def reaches(self, model: str) -> bool:
        """Whether the credential may see the model of that name at all."""
        return self.models is None or model in self.models

    @classmethod
    def operator(cls) -> Self:
        """Return the principal of the command line, whose reach is that of its database URL."""
        unlimited = PlanLimits("unlimited", None, None, None, 1 << 40, 1 << 60, 1 << 40, 1 << 20)
        return cls(PLATFORM_TENANT_ID, PLATFORM_TENANT_SLUG, "cli", frozenset(Scope), unlimited)
