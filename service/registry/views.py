"""What the registry shows of its rows: frozen copies with exactly the contract's fields.

``revision`` is the resource's ETag.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from service.registry.tables import Alias, AliasMove, Model, Version
from service.runtimes.policy import ISOLATED, NATIVE


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model."""

    name: str
    description: str
    tags: dict[str, Any]
    parity: str
    created_at: datetime
    created_by: str
    revision: int

    @classmethod
    def of(cls, row: Model) -> Self:
        """Return the view of a row."""
        return cls(row.name, row.description, row.tags, row.parity, row.created_at, row.created_by, row.revision)


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version; ``digest`` is ``None`` once its bytes are purged."""

    model: str
    version: int
    status: str
    format: str
    digest: str | None
    size_bytes: int
    estimator: str
    task: str
    classes: list[Any] | None
    methods: list[str]
    signature: dict[str, Any]
    runtime: dict[str, Any]
    sklearn_version: str
    description: str
    tags: dict[str, Any]
    metrics: dict[str, Any]
    created_at: datetime
    created_by: str
    revision: int
    tenant: str | None = None
    """The tenant's slug, where the list spans tenants."""

    @classmethod
    def of(cls, row: Version, tenant: str | None = None) -> Self:
        """Return the view of a row."""
        return cls(
            row.model,
            row.number,
            row.status,
            row.format,
            row.digest,
            row.size_bytes,
            row.estimator,
            row.task,
            row.classes,
            row.methods,
            row.signature,
            _shown(row.runtime),
            row.sklearn_version,
            row.description,
            row.tags,
            row.metrics,
            row.created_at,
            row.created_by,
            row.revision,
            tenant,
        )


def _shown(runtime: dict[str, Any]) -> dict[str, Any]:
    """Return what runs a version with the word for where: scikit-learn itself runs in a process of the model's own."""
    return runtime | {"backend": ISOLATED} if runtime.get("backend") == NATIVE else runtime


@dataclass(frozen=True, slots=True)
class AliasView:
    """An alias, and the version that it names."""

    model: str
    alias: str
    version: int
    updated_at: datetime
    updated_by: str
    revision: int

    @classmethod
    def of(cls, row: Alias) -> Self:
        """Return the view of a row."""
        return cls(row.model, row.name, row.version, row.updated_at, row.updated_by, row.revision)


@dataclass(frozen=True, slots=True)
class MoveView:
    """A line of an alias's ledger; ``None`` as a version stands for an alias that is not set."""

    model: str
    alias: str
    sequence: int
    action: str
    from_version: int | None
    to_version: int | None
    reason: str
    actor: str
    at: datetime

    @classmethod
    def of(cls, row: AliasMove) -> Self:
        """Return the view of a row."""
        return cls(
            row.model,
            row.alias,
            row.sequence,
            row.action,
            row.from_version,
            row.to_version,
            row.reason,
            row.actor,
            row.at,
        )
