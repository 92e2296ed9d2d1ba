"""What operators may do to the versions of every tenant."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy import orm

from service.database import PLATFORM, Database
from service.errors import Conflict
from service.paging import Page, paginate
from service.registry.tables import Version
from service.registry.views import VersionView
from service.registry.visibility import not_found
from service.tenants.audit import Audit
from service.tenants.epochs import Epochs
from service.tenants.principal import PLATFORM_TENANT_ID, Principal
from service.tenants.tables import Tenant

SYSTEM: Final = "system"
"""The actor of what the server does by itself."""


@dataclass(frozen=True, slots=True)
class VersionFilter:
    """Which versions to list; ``None`` leaves a property open.

    :param tenant: a tenant's slug.
    :param older_than: versions made before that moment.
    :param larger_than: versions of more bytes.
    """

    status: str | None = None
    estimator: str | None = None
    tenant: str | None = None
    older_than: datetime | None = None
    larger_than: int | None = None

    def narrow(self, statement: sa.Select[Version]) -> sa.Select[Version]:
        """Return the statement with this filter's conditions, but for the tenant's."""
        if self.status is not None:
            statement = statement.where(Version.status == self.status)
        if self.estimator is not None:
            statement = statement.where(Version.estimator == self.estimator)
        if self.older_than is not None:
            statement = statement.where(Version.created_at < self.older_than)
        if self.larger_than is not None:
            statement = statement.where(Version.size_bytes > self.larger_than)
        return statement


class Oversight:
    """Quarantine, release, and the list over all tenants. Each act stands in the tenant's own trail."""

    def __init__(self, database: Database, epochs: Epochs, audit: Audit) -> None:
        self._database = database
        self._epochs = epochs
        self._audit = audit

    def quarantine(self, principal: Principal, tenant: str, model: str, version: int, reason: str) -> VersionView:
        """Stop serving a version; ``Versions.quarantine`` says the rest."""
        with self._database.write(PLATFORM) as session:
            row = self._held(session, _tenant_id(session, tenant), model, version)
            if row.status == "archived":
                raise Conflict(f"Version {version} is archived, and so not served.", code="version_archived")
            self._turn(session, principal.subject, row, "quarantined", "version.quarantine", reason)
            return VersionView.of(row, tenant)

    def condemn(self, tenant_id: str, model: str, version: int, reason: str) -> None:
        """Quarantine a version on the server's own account, once; ``Versions.condemn`` says the rest."""
        with self._database.write(PLATFORM) as session:
            row = self._held(session, tenant_id, model, version)
            if row.status == "ready":
                self._turn(session, SYSTEM, row, "quarantined", "version.quarantine", reason)

    def release(self, principal: Principal, tenant: str, model: str, version: int, reason: str) -> VersionView:
        """Serve a quarantined version again; ``Versions.release`` says the rest."""
        with self._database.write(PLATFORM) as session:
            row = self._held(session, _tenant_id(session, tenant), model, version)
            if row.status != "quarantined":
                raise Conflict(f"Version {version} is not quarantined.", code="version_not_quarantined")
            self._turn(session, principal.subject, row, "ready", "version.release", reason)
            return VersionView.of(row, tenant)

    def list_all(self, filters: VersionFilter, *, limit: int, cursor: str | None) -> Page[VersionView]:
        """Return a page of every tenant's versions; ``Versions.list_all`` says the rest."""
        with self._database.read(PLATFORM) as session:
            statement = filters.narrow(sa.select(Version))
            if filters.tenant is not None:
                statement = statement.where(Version.tenant_id == _tenant_id(session, filters.tenant))
            order = [Version.tenant_id, Version.model, Version.number]
            page = paginate(session, statement, order, limit=limit, cursor=cursor)
            ids = {row.tenant_id for row in page.data}
            named = session.execute(sa.select(Tenant.id, Tenant.slug).where(Tenant.id.in_(ids)))
            slugs: dict[str, str] = {tenant_id: slug for tenant_id, slug in named}  # noqa: C416 - rows are no tuples to a type checker
        return Page([VersionView.of(row, slugs[row.tenant_id]) for row in page.data], page.next_cursor)

    def _held(self, session: orm.Session, tenant_id: str, model: str, version: int) -> Version:
        """Return the version's row, with its tenant's lock held."""
        self._epochs.bump(session, tenant_id)
        row = session.get(Version, (tenant_id, model, version))
        if row is None:
            raise not_found()
        return row

    def _turn(self, session: orm.Session, actor: str, row: Version, status: str, action: str, reason: str) -> None:
        row.status, row.revision = status, row.revision + 1
        self._audit.record(
            session,
            tenant_id=row.tenant_id,
            actor=actor,
            action=action,
            target=f"models/{row.model}/versions/{row.number}",
            details={"reason": reason},
        )


def _tenant_id(session: orm.Session, slug: str) -> str:
    statement = sa.select(Tenant.id).where(Tenant.slug == slug, Tenant.id != PLATFORM_TENANT_ID)
    found = session.scalar(statement)
    if found is None:
        raise not_found()
    return found
