"""What a tenant has of what its plan bounds: models, and bytes of artifacts.

Both are counted on the tenant's own row, so that one model more costs the same for a
tenant of a million as for one of ten. That row is the tenant's lock (``kept_bytes`` says
why), so what is compared with the plan is what is changed: of two who ask for the last
place one gets it.
"""

import sqlalchemy as sa
from sqlalchemy import orm

from service.artifacts.tables import Artifact
from service.errors import Forbidden
from service.registry.tables import Model
from service.tenants.principal import Principal
from service.tenants.tables import Tenant


def require_room_for_model(session: orm.Session, principal: Principal) -> None:
    """Refuse one model more than the plan allows.

    :raises Forbidden: ``models_quota_exceeded``, with the plan's number.
    """
    if _counted(session, principal.tenant_id, Tenant.model_count) >= principal.plan.max_models:
        raise Forbidden(
            f"The plan {principal.plan.slug} allows {principal.plan.max_models} models; delete one first.",
            code="models_quota_exceeded",
        )


def require_room_for_bytes(session: orm.Session, principal: Principal, more: int) -> None:
    """Refuse so many bytes more than the plan allows.

    :raises Forbidden: ``bytes_quota_exceeded``, with the plan's number.
    """
    if _counted(session, principal.tenant_id, Tenant.artifact_bytes) + more > principal.plan.max_bytes:
        raise Forbidden(
            f"The plan {principal.plan.slug} allows {principal.plan.max_bytes} bytes of artifacts; "
            "purge a version first.",
            code="bytes_quota_exceeded",
        )


def count_models(session: orm.Session, tenant_id: str, more: int) -> None:
    """Count models that are made in this transaction, or, below zero, deleted. The tenant's lock must be held."""
    _set(session, tenant_id, model_count=Tenant.model_count + more)


def count_bytes(session: orm.Session, tenant_id: str, more: int) -> None:
    """Count bytes that are kept from this transaction on, or, below zero, dropped. The tenant's lock must be held."""
    _set(session, tenant_id, artifact_bytes=Tenant.artifact_bytes + more)


def miscounted(session: orm.Session) -> list[str]:
    """Return the ids of tenants whose counts are not what their rows say.

    A release from before the counts, which runs on while an upgrade rolls out, does not keep them.
    """
    models, kept = _recounted()
    statement = sa.select(Tenant.id).where(sa.or_(Tenant.model_count != models, Tenant.artifact_bytes != kept))
    return list(session.scalars(statement.order_by(Tenant.id)))


def recount(session: orm.Session, tenant_id: str) -> None:
    """Count a tenant's rows anew. The tenant's lock must be held."""
    models, kept = _recounted()
    _set(session, tenant_id, model_count=models, artifact_bytes=kept)


def _recounted() -> tuple[sa.ScalarSelect[int], sa.ScalarSelect[int]]:
    living = sa.select(sa.func.count()).where(Model.tenant_id == Tenant.id, Model.deleted_at.is_(None))
    size = sa.select(sa.func.coalesce(sa.func.sum(Artifact.size_bytes), 0)).where(Artifact.tenant_id == Tenant.id)
    return living.scalar_subquery(), size.scalar_subquery()


def _counted(session: orm.Session, tenant_id: str, column: orm.InstrumentedAttribute[int]) -> int:
    return session.scalar(sa.select(column).where(Tenant.id == tenant_id)) or 0


def _set(session: orm.Session, tenant_id: str, **values: sa.SQLColumnExpression[int]) -> None:
    statement = sa.update(Tenant).where(Tenant.id == tenant_id).values(values)
    session.execute(statement, execution_options={"synchronize_session": False})
