"""Tables of tenants, plans and credentials."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base, TenantOwned, now


class Plan(Base):
    """A tenant's limits and quotas. ``NULL`` is no limit."""

    __tablename__ = "plans"

    slug: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    key_requests_per_minute: Mapped[int | None]
    tenant_requests_per_minute: Mapped[int | None]
    rows_per_day: Mapped[int | None]
    max_models: Mapped[int]
    max_bytes: Mapped[int]
    max_body_bytes: Mapped[int]
    max_concurrency: Mapped[int]
    revision: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Tenant(Base):
    """A customer; owns everything below it.

    ``epoch`` grows with every change that a warm worker must learn of. ``model_count`` and
    ``artifact_bytes`` are what it has of what its plan bounds, counted in the transaction of
    each change and under the lock of this row.
    """

    __tablename__ = "tenants"
    __table_args__ = (sa.CheckConstraint("status IN ('active', 'suspended')", name="status"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    plan: Mapped[str] = mapped_column(sa.ForeignKey("plans.slug"), index=True)
    status: Mapped[str] = mapped_column(default="active")
    epoch: Mapped[int] = mapped_column(default=1)
    model_count: Mapped[int] = mapped_column(default=0, server_default="0")
    artifact_bytes: Mapped[int] = mapped_column(default=0, server_default="0")
    revision: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(default=now)


class ApiKey(TenantOwned, Base):
    """A key, as the digest of its secret and what it may do."""

    __tablename__ = "api_keys"
    __table_args__ = (sa.UniqueConstraint("id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    digest: Mapped[bytes]
    hint: Mapped[str]
    scopes: Mapped[list[str]]
    models: Mapped[list[str] | None] = mapped_column(sa.JSON(none_as_null=True))
    allowed_cidrs: Mapped[list[str] | None] = mapped_column(sa.JSON(none_as_null=True))
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    revision: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(default=now)
    created_by: Mapped[str]


class RefreshToken(TenantOwned, Base):
    """A refresh token: spent once; its family is revoked when it is used again."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        sa.ForeignKeyConstraint(["tenant_id", "key_id"], ["api_keys.tenant_id", "api_keys.id"], ondelete="CASCADE"),
        sa.UniqueConstraint("id"),
        sa.Index(None, "tenant_id", "family"),
        sa.Index(None, "expires_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str]
    family: Mapped[str]
    digest: Mapped[bytes]
    scopes: Mapped[list[str]]
    expires_at: Mapped[datetime]
    spent_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    successor: Mapped[bytes | None]
    """The sealed answer to the first use, given again to one whose answer was lost."""


class RevokedToken(TenantOwned, Base):
    """An access token that is refused before its end."""

    __tablename__ = "revoked_tokens"
    __table_args__ = (sa.Index(None, "expires_at"),)

    jti: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime]


class SigningKey(Base):
    """A key that signs tokens. The private half is sealed; ``retires_at`` ends its verifying."""

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(primary_key=True)
    algorithm: Mapped[str]
    public_jwk: Mapped[dict[str, Any]]
    sealed_private: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(default=now)
    signs_from: Mapped[datetime]
    retires_at: Mapped[datetime | None]


class AuditEvent(TenantOwned, Base):
    """One privileged act, or the refusal of one."""

    __tablename__ = "audit_events"
    __table_args__ = (
        sa.Index(None, "id"),
        sa.Index(None, "tenant_id", "action", "id"),
        sa.Index(None, "tenant_id", "actor", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
    actor: Mapped[str]
    action: Mapped[str]
    target: Mapped[str]
    outcome: Mapped[str]
    request_id: Mapped[str | None]
    details: Mapped[dict[str, Any]]


class UsageCounter(TenantOwned, Base):
    """What a tenant used of a model in a day (UTC)."""

    __tablename__ = "usage_counters"

    day: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    requests: Mapped[int] = mapped_column(default=0)
    rows: Mapped[int] = mapped_column(default=0)


class IdempotencyRecord(TenantOwned, Base):
    """The first response to a key, sealed, or the lease of the request that is at it."""

    __tablename__ = "idempotency_records"
    __table_args__ = (sa.Index(None, "expires_at"),)

    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes]
    lease: Mapped[str]
    leased_until: Mapped[datetime]
    sealed_response: Mapped[bytes | None]
    expires_at: Mapped[datetime]


__all__ = [
    "ApiKey",
    "AuditEvent",
    "IdempotencyRecord",
    "Plan",
    "RefreshToken",
    "RevokedToken",
    "SigningKey",
    "Tenant",
    "UsageCounter",
]
