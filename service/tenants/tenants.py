"""Tenants: made with their first key, changed, suspended, resumed, deleted with all that is theirs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc, orm

from service.database import PLATFORM, Base, Database, after_commit
from service.errors import Conflict, Finding, Invalid, NotFound
from service.ids import is_name, new_id
from service.paging import Page, paginate
from service.tenants import fields
from service.tenants.audit import Audit
from service.tenants.epochs import Epochs
from service.tenants.keys import ApiKeys, IssuedKey, KeySpec
from service.tenants.principal import PLATFORM_TENANT_ID, PLATFORM_TENANT_SLUG, Principal
from service.tenants.tables import Plan, Tenant

FIRST_KEY: Final = KeySpec("First key", role="tenant-admin")

ACTIVE: Final = "active"
SUSPENDED: Final = "suspended"


@dataclass(frozen=True, slots=True)
class TenantView:
    """A tenant as operators see it; ``status`` is ``active`` or ``suspended``."""

    id: str
    slug: str
    name: str
    plan: str
    status: str
    revision: int
    created_at: datetime


class Tenants:
    """The tenants, but for the operators' own, which nothing here shows or changes."""

    def __init__(self, database: Database, epochs: Epochs, audit: Audit, keys: ApiKeys) -> None:
        self._database = database
        self._epochs = epochs
        self._audit = audit
        self._keys = keys

    def create(self, principal: Principal, slug: str, name: str, plan: str) -> tuple[TenantView, IssuedKey]:
        """Make a tenant and its first key, which has the role ``tenant-admin``, in one transaction.

        :raises Invalid: the slug or the name is no such thing, the slug is reserved, or there is no such plan.
        :raises Conflict: the slug is taken.
        """
        columns = fields.parse({"slug": slug, "name": name}, {"slug": _free_slug, "name": fields.title})
        with self._database.write(PLATFORM) as session:
            _require_plan(session, plan)
            tenant = Tenant(id=new_id("ten"), plan=plan, **columns)
            session.add(tenant)
            try:
                session.flush()
            except exc.IntegrityError as error:
                raise Conflict(f"There is a tenant {slug} already.", code="tenant_exists") from error
            self._record(session, principal, "tenant.create", tenant, {"plan": plan})
            key = self._keys.add(session, tenant.id, FIRST_KEY.columns(), principal.subject)
            return _view(tenant), key

    def get(self, slug: str) -> TenantView:
        """Return one tenant.

        :raises NotFound: there is none of that slug.
        """
        with self._database.read(PLATFORM) as session:
            return _view(_find(session, slug))

    def list(self, limit: int = 50, cursor: str | None = None, status: str | None = None) -> Page[TenantView]:
        """Return a page of tenants, the oldest first.

        :raises Malformed: the cursor is not one that this list gave out.
        """
        statement = sa.select(Tenant).where(Tenant.id != PLATFORM_TENANT_ID)
        if status is not None:
            statement = statement.where(Tenant.status == status)
        with self._database.read(PLATFORM) as session:
            page = paginate(session, statement, [Tenant.id], limit=limit, cursor=cursor)
        return Page([_view(tenant) for tenant in page.data], page.next_cursor)

    def change(
        self,
        principal: Principal,
        slug: str,
        name: str | None = None,
        plan: str | None = None,
        expected_revision: int | None = None,
    ) -> TenantView:
        """Change a tenant's name or plan; new limits hold within a second, on every worker.

        :raises Invalid: the name is no such thing, or there is no such plan.
        :raises NotFound: there is no such tenant.
        :raises PreconditionFailed: it is at another revision.
        """
        given = {"name": name, "plan": plan}
        changes = fields.parse({k: v for k, v in given.items() if v is not None}, {"name": fields.title, "plan": str})
        with self._database.write(PLATFORM) as session:
            tenant = _find(session, slug, lock=True)
            fields.require_revision(expected_revision, tenant.revision)
            if plan is not None:
                _require_plan(session, plan)
            self._change(session, principal, "tenant.change", tenant, changes, changes)
            return _view(tenant)

    def suspend(self, principal: Principal, slug: str, reason: str = "") -> TenantView:
        """Refuse everything that the tenant asks for, within a second, on every worker.

        Suspending it again changes nothing.

        :raises NotFound: there is no such tenant.
        """
        return self._set_status(principal, "tenant.suspend", slug, SUSPENDED, reason)

    def resume(self, principal: Principal, slug: str, reason: str = "") -> TenantView:
        """Serve the tenant again.

        :raises NotFound: there is no such tenant.
        """
        return self._set_status(principal, "tenant.resume", slug, ACTIVE, reason)

    def delete(self, principal: Principal, slug: str, expected_revision: int | None = None) -> tuple[str, set[str]]:
        """Delete a tenant and every row that is its own; the record of it stays with the operators.

        :returns: its id, and the digests of its artifacts, whose bytes are the caller's to drop.
        :raises NotFound: there is no such tenant.
        :raises PreconditionFailed: it is at another revision.
        """
        with self._database.write(PLATFORM) as session:
            # The lock keeps new rows of the tenant out until its own row is gone.
            tenant = _find(session, slug, lock=True)
            fields.require_revision(expected_revision, tenant.revision)
            digests = _delete_rows(session, tenant.id)
            session.delete(tenant)
            self._audit.record(
                session,
                tenant_id=PLATFORM_TENANT_ID,
                actor=principal.subject,
                action="tenant.delete",
                target=slug,
                details={"id": tenant.id, "artifacts": len(digests)},
            )
            after_commit(session, lambda: self._epochs.forget(tenant.id))
            return tenant.id, digests

    def _set_status(self, principal: Principal, action: str, slug: str, status: str, reason: str) -> TenantView:
        with self._database.write(PLATFORM) as session:
            tenant = _find(session, slug, lock=True)
            if tenant.status != status:
                self._change(session, principal, action, tenant, {"status": status}, {"reason": reason})
            return _view(tenant)

    def _change(
        self,
        session: orm.Session,
        principal: Principal,
        action: str,
        tenant: Tenant,
        changes: dict[str, Any],
        details: dict[str, Any],
    ) -> None:
        for field, value in changes.items():
            setattr(tenant, field, value)
        tenant.revision += 1
        self._record(session, principal, action, tenant, details)
        session.flush()
        self._epochs.bump(session, tenant.id)

    def _record(
        self, session: orm.Session, principal: Principal, action: str, tenant: Tenant, details: dict[str, Any]
    ) -> None:
        self._audit.record(
            session,
            tenant_id=tenant.id,
            actor=principal.subject,
            action=action,
            target=tenant.slug,
            details=details,
        )


def _free_slug(slug: str) -> str:
    if slug == PLATFORM_TENANT_SLUG:
        raise ValueError(f"{PLATFORM_TENANT_SLUG} is the operators' own.")
    return fields.name(slug)


def _require_plan(session: orm.Session, slug: str) -> None:
    if not is_name(slug) or session.get(Plan, slug) is None:
        raise Invalid("There is no such plan.", findings=[Finding("plan", "There is no such plan.")])


def _find(session: orm.Session, slug: str, *, lock: bool = False) -> Tenant:
    statement = sa.select(Tenant).where(Tenant.slug == slug, Tenant.id != PLATFORM_TENANT_ID)
    if lock:
        statement = statement.with_for_update()
    tenant = session.scalar(statement) if is_name(slug) else None
    if tenant is None:
        raise NotFound("There is no such tenant.")
    return tenant


def _delete_rows(session: orm.Session, tenant_id: str) -> set[str]:
    """Delete the tenant's rows in every table that has tenants, those that refer to others first."""
    artifacts = Base.metadata.tables["artifacts"].columns
    digests = session.scalars(sa.select(artifacts["digest"]).where(artifacts["tenant_id"] == tenant_id)).all()
    for table in reversed(Base.metadata.sorted_tables):
        if "tenant_id" in table.columns:
            session.execute(sa.delete(table).where(table.columns["tenant_id"] == tenant_id))
    return set(digests)


def _view(tenant: Tenant) -> TenantView:
    return TenantView(
        tenant.id, tenant.slug, tenant.name, tenant.plan, tenant.status, tenant.revision, tenant.created_at
    )
