"""Tables of the registry: models, their versions, aliases and the ledger of alias moves."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base, TenantOwned, now
from service.runtimes.policy import EXACT


class Model(TenantOwned, Base):
    """A named thing that a tenant calls.

    A deleted model keeps its row, so that a later one of the same name goes on counting
    and no version number ever means two things. ``parity`` is the policy under which
    compiled forms of its next versions are admitted.
    """

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(primary_key=True)
    description: Mapped[str] = mapped_column(default="")
    tags: Mapped[dict[str, Any]] = mapped_column(default=dict)
    parity: Mapped[str] = mapped_column(default=EXACT, server_default=EXACT)
    next_version: Mapped[int] = mapped_column(default=1)
    revision: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(default=now)
    created_by: Mapped[str]
    deleted_at: Mapped[datetime | None]


class Version(TenantOwned, Base):
    """An immutable numbered artifact of a model, with its signature.

    ``digest`` is ``NULL`` once the bytes are purged.
    """

    __tablename__ = "versions"
    __table_args__ = (
        sa.ForeignKeyConstraint(["tenant_id", "model"], ["models.tenant_id", "models.name"]),
        sa.ForeignKeyConstraint(["tenant_id", "digest"], ["artifacts.tenant_id", "artifacts.digest"]),
        sa.CheckConstraint("status IN ('ready', 'archived', 'quarantined')", name="status"),
        sa.Index(None, "tenant_id", "digest"),
        sa.Index(None, "created_at", "tenant_id", "model", "number"),
        sa.Index(None, "status", "created_at"),
        sa.Index(None, "status", "tenant_id", "model", "number"),
        sa.Index(None, "estimator", "tenant_id", "model", "number"),
    )

    model: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]
    format: Mapped[str]
    digest: Mapped[str | None]
    size_bytes: Mapped[int]
    estimator: Mapped[str] = mapped_column(index=True)
    task: Mapped[str]
    classes: Mapped[list[Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    methods: Mapped[list[str]]
    signature: Mapped[dict[str, Any]]
    runtime: Mapped[dict[str, Any]]
    sklearn_version: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    tags: Mapped[dict[str, Any]] = mapped_column(default=dict)
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    revision: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(default=now)
    created_by: Mapped[str]


class Alias(TenantOwned, Base):
    """A movable name of a version."""

    __tablename__ = "aliases"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["tenant_id", "model", "version"], ["versions.tenant_id", "versions.model", "versions.number"]
        ),
    )

    model: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    revision: Mapped[int] = mapped_column(default=1)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    updated_by: Mapped[str]


class AliasMove(TenantOwned, Base):
    """One line of the append-only ledger: an alias was set, moved or removed."""

    __tablename__ = "alias_moves"
    __table_args__ = (sa.ForeignKeyConstraint(["tenant_id", "model"], ["models.tenant_id", "models.name"]),)

    model: Mapped[str] = mapped_column(primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    from_version: Mapped[int | None]
    to_version: Mapped[int | None]
    action: Mapped[str]
    reason: Mapped[str] = mapped_column(default="")
    actor: Mapped[str]
    at: Mapped[datetime] = mapped_column(default=now)
