"""Versions: immutable numbered artifacts of a model, from upload to purge."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from service.artifacts.admission import Admission
from service.artifacts.store import ArtifactStore
from service.database import Database
from service.errors import Conflict
from service.paging import Page, paginate
from service.registry.aliases import Aliases, aliases_of
from service.registry.kept_bytes import lock_tenant, release
from service.registry.oversight import Oversight, VersionFilter
from service.registry.tables import Version
from service.registry.uploads import Metadata, Uploads
from service.registry.views import VersionView
from service.registry.visibility import visible_model, visible_version
from service.registry.withdrawals import Withdrawals
from service.telemetry import Telemetry
from service.tenants.audit import Audit
from service.tenants.epochs import Epochs
from service.tenants.fields import require_revision
from service.tenants.principal import Principal

__all__ = ["Metadata", "VersionFilter", "Versions"]


class Versions:
    """A tenant's versions, and the operator's reach over everybody's."""

    def __init__(
        self,
        database: Database,
        epochs: Epochs,
        audit: Audit,
        store: ArtifactStore,
        admission: Admission,
        aliases: Aliases,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._database = database
        self._epochs = epochs
        self._audit = audit
        self._store = store
        self._uploads = Uploads(database, epochs, audit, store, admission, aliases, telemetry or Telemetry())
        self._oversight = Oversight(database, epochs, audit)
        self._withdrawals = Withdrawals(database, epochs, audit)

    def upload(self, principal: Principal, model: str, data: bytes, metadata: Metadata | None = None) -> VersionView:
        """Admit an artifact as the next version of a model, which is made on its first upload.

        :param data: the bytes of a ``.skops`` file.
        :raises Rejected: admission refused it; only the audit record is kept.
        :raises Unsupported: it is of a format that is never accepted.
        :raises Forbidden: ``models_quota_exceeded`` or ``bytes_quota_exceeded``: the plan's are used up.
        :raises NotFound: the credential does not reach a model of that name.
        :raises Forbidden: ``missing_scope``: it names an alias, and the credential may not promote.
        """
        return self._uploads.upload(principal, model, data, metadata or Metadata())

    def list(
        self, principal: Principal, model: str, *, limit: int = 50, cursor: str | None = None
    ) -> Page[VersionView]:
        """Return a page of a model's versions, the newest first.

        :raises NotFound: the model does not exist for this caller.
        """
        with self._database.read(principal.tenant_id) as session:
            visible_model(session, principal, model)
            statement = sa.select(Version).where(Version.model == model)
            page = paginate(session, statement, [Version.number], limit=limit, cursor=cursor, descending=True)
        return Page([VersionView.of(row) for row in page.data], page.next_cursor)

    def get(self, principal: Principal, model: str, version: int) -> VersionView:
        """Return a version.

        :raises NotFound: it does not exist for this caller.
        """
        with self._database.read(principal.tenant_id) as session:
            return VersionView.of(visible_version(session, principal, model, version))

    def artifact(self, principal: Principal, model: str, version: int) -> bytes:
        """Return a version's bytes, checked against its digest.

        :raises NotFound: it does not exist for this caller.
        :raises Conflict: ``version_purged``, or ``version_quarantined``.
        """
        view = self.get(principal, model, version)
        if view.digest is None:
            raise Conflict(f"The bytes of version {version} are purged.", code="version_purged")
        if view.status == "quarantined":
            raise Conflict(f"Version {version} is quarantined.", code="version_quarantined")
        return self._store.get(principal.tenant_id, view.digest)

    def change(
        self,
        principal: Principal,
        model: str,
        version: int,
        changes: Mapping[str, Any],
        expected_revision: int | None = None,
    ) -> VersionView:
        """Change what is said about a version; the artifact itself never changes.

        :param changes: new values of ``description`` and ``tags``; what is left out stays.
        :raises NotFound: it does not exist for this caller.
        :raises PreconditionFailed: it changed since the caller read it.
        """
        with self._database.write(principal.tenant_id) as session:
            lock_tenant(session, principal.tenant_id)
            row = self._to_change(session, principal, model, version, expected_revision)
            if changes:
                row.description = changes.get("description", row.description)
                row.tags = changes.get("tags", row.tags)
                row.revision += 1
                self._record(session, principal, "version.change", row)
            return VersionView.of(row)

    def archive(
        self, principal: Principal, model: str, version: int, expected_revision: int | None = None
    ) -> VersionView:
        """Stop serving a version and keep its bytes. One that is archived stays so.

        :raises NotFound: it does not exist for this caller.
        :raises Conflict: ``version_in_use`` while an alias points at it, ``version_quarantined``.
        :raises PreconditionFailed: it changed since the caller read it.
        """
        return self._retire(principal, model, version, expected_revision, purge=False)

    def purge(
        self, principal: Principal, model: str, version: int, expected_revision: int | None = None
    ) -> VersionView:
        """Archive a version and remove its bytes, unless another version of the tenant has the same.

        :raises NotFound: it does not exist for this caller.
        :raises Conflict: ``version_in_use`` while an alias points at it, ``version_quarantined``.
        :raises PreconditionFailed: it changed since the caller read it.
        """
        return self._retire(principal, model, version, expected_revision, purge=True)

    def _retire(
        self, principal: Principal, model: str, version: int, expected_revision: int | None, *, purge: bool
    ) -> VersionView:
        with self._database.write(principal.tenant_id) as session:
            self._epochs.bump(session, principal.tenant_id)
            row = self._to_change(session, principal, model, version, expected_revision)
            if row.status == "quarantined":
                # Evidence stays until an operator has looked at it.
                raise Conflict(f"Version {version} is quarantined.", code="version_quarantined")
            names = aliases_of(session, model, version)
            if names:
                raise Conflict(
                    f"Version {version} is named by {', '.join(names)}; move or remove that first.",
                    code="version_in_use",
                )
            row.status, row.revision = "archived", row.revision + 1
            if purge and row.digest is not None:
                digest, row.digest = row.digest, None
                release(session, self._database, self._store, principal.tenant_id, [digest])
            self._record(session, principal, "version.purge" if purge else "version.archive", row)
            return VersionView.of(row)

    def _to_change(
        self, session: orm.Session, principal: Principal, model: str, version: int, expected_revision: int | None
    ) -> Version:
        row = visible_version(session, principal, model, version)
        require_revision(expected_revision, row.revision)
        return row

    def quarantine(self, principal: Principal, tenant: str, model: str, version: int, reason: str = "") -> VersionView:
        """Stop serving a tenant's version at once, on every worker within a second.

        :param tenant: the tenant's slug.
        :raises NotFound: there is no such version.
        :raises Conflict: ``version_archived``: it is not served anyway.
        """
        return self._oversight.quarantine(principal, tenant, model, version, reason)

    def condemn(self, tenant_id: str, model: str, version: int, reason: str) -> None:
        """Quarantine a version because of what it does to the server; one that is not served stays as it is.

        :raises NotFound: there is no such version any more.
        """
        self._oversight.condemn(tenant_id, model, version, reason)

    def withdraw(self, tenant_id: str, model: str, version: int, form: str, reason: str) -> bool:
        """Have scikit-learn answer what a compiled form answered, for good and on every worker within a second.

        :param form: as a version's ``runtime`` names it.
        :param reason: what stands in the version's ``runtime`` and in the tenant's trail.
        :returns: whether it was in use until now.
        """
        return self._withdrawals.withdraw(tenant_id, model, version, form, reason)

    def release(self, principal: Principal, tenant: str, model: str, version: int, reason: str = "") -> VersionView:
        """Serve a quarantined version again.

        :param tenant: the tenant's slug.
        :raises NotFound: there is no such version.
        :raises Conflict: ``version_not_quarantined``.
        """
        return self._oversight.release(principal, tenant, model, version, reason)

    def list_all(
        self, filters: VersionFilter | None = None, *, limit: int = 50, cursor: str | None = None
    ) -> Page[VersionView]:
        """Return a page of every tenant's versions, with their tenants' slugs.

        :raises NotFound: the filter names a tenant that does not exist.
        """
        return self._oversight.list_all(filters or VersionFilter(), limit=limit, cursor=cursor)

    def _record(self, session: orm.Session, principal: Principal, action: str, row: Version) -> None:
        self._audit.record(
            session,
            tenant_id=principal.tenant_id,
            actor=principal.subject,
            action=action,
            target=f"models/{row.model}/versions/{row.number}",
        )
