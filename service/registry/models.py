"""Models: named things that a tenant calls."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from service.artifacts.store import ArtifactStore
from service.database import Database, now
from service.errors import Conflict
from service.paging import Page, paginate
from service.registry.aliases import remove_all
from service.registry.kept_bytes import lock_tenant, release
from service.registry.room import count_models, require_room_for_model
from service.registry.tables import Model, Version
from service.registry.views import ModelView
from service.registry.visibility import only_reached, require_name, require_reach, visible_model
from service.runtimes.policy import EXACT, Policy
from service.tenants.audit import Audit
from service.tenants.epochs import Epochs
from service.tenants.fields import require_revision
from service.tenants.principal import Principal


class Models:
    """A tenant's models."""

    def __init__(self, database: Database, epochs: Epochs, audit: Audit, store: ArtifactStore) -> None:
        self._database = database
        self._epochs = epochs
        self._audit = audit
        self._store = store

    def list(self, principal: Principal, *, limit: int = 50, cursor: str | None = None) -> Page[ModelView]:
        """Return a page of the models that the credential reaches, by name."""
        with self._database.read(principal.tenant_id) as session:
            statement = only_reached(sa.select(Model).where(Model.deleted_at.is_(None)), principal)
            page = paginate(session, statement, [Model.name], limit=limit, cursor=cursor)
        return Page([ModelView.of(row) for row in page.data], page.next_cursor)

    def get(self, principal: Principal, name: str) -> ModelView:
        """Return a model.

        :raises NotFound: it does not exist for this caller.
        """
        with self._database.read(principal.tenant_id) as session:
            return ModelView.of(visible_model(session, principal, name))

    def create(
        self,
        principal: Principal,
        name: str,
        *,
        description: str = "",
        tags: Mapping[str, Any] | None = None,
        parity: Policy = EXACT,
    ) -> ModelView:
        """Make a model that has no version yet.

        :param parity: how far compiled forms of its versions may be from scikit-learn.

        :raises Invalid: the name breaks the rule of names.
        :raises NotFound: the credential is restricted to other models.
        :raises Conflict: ``model_exists``.
        :raises Forbidden: ``models_quota_exceeded``.
        """
        require_name(name, "name")
        require_reach(principal, name)
        with self._database.write(principal.tenant_id) as session:
            lock_tenant(session, principal.tenant_id)
            row = session.get(Model, (principal.tenant_id, name))
            if row is not None and row.deleted_at is None:
                raise Conflict(f"There is a model {name} already.", code="model_exists")
            row = found(session, principal, name)
            row.description, row.tags, row.parity = description, dict(tags or {}), parity
            self._record(session, principal, "model.create", name)
            session.flush()
            return ModelView.of(row)

    def change(
        self,
        principal: Principal,
        name: str,
        changes: Mapping[str, Any],
        expected_revision: int | None = None,
    ) -> ModelView:
        """Change the description or the policy of parity, or replace the tags.

        A policy holds for versions that are uploaded from then on: a version is never measured again.

        :param changes: new values of ``description``, ``tags`` and ``parity``; what is left out stays.
        :raises NotFound: it does not exist for this caller.
        :raises PreconditionFailed: it changed since the caller read it.
        """
        with self._database.write(principal.tenant_id) as session:
            lock_tenant(session, principal.tenant_id)
            row = visible_model(session, principal, name)
            require_revision(expected_revision, row.revision)
            if changes:
                row.description = changes.get("description", row.description)
                row.tags = changes.get("tags", row.tags)
                row.parity = changes.get("parity", row.parity)
                row.revision += 1
                self._record(session, principal, "model.change", name)
            return ModelView.of(row)

    def delete(self, principal: Principal, name: str, expected_revision: int | None = None) -> None:
        """Delete a model with its versions, their bytes and its aliases. Version numbers are never given again.

        :raises NotFound: it does not exist for this caller.
        :raises Conflict: ``version_quarantined`` while an operator holds one of its versions.
        :raises PreconditionFailed: it changed since the caller read it.
        """
        with self._database.write(principal.tenant_id) as session:
            self._epochs.bump(session, principal.tenant_id)
            row = visible_model(session, principal, name)
            require_revision(expected_revision, row.revision)
            own = sa.and_(Version.tenant_id == principal.tenant_id, Version.model == name)
            _refuse_quarantined(session, own)
            remove_all(session, principal, name, reason="model deleted")
            digests = session.scalars(sa.select(Version.digest).where(own, Version.digest.is_not(None))).all()
            # A later model of the same name shows nothing of this one; what was uploaded stands in the audit trail.
            session.execute(sa.delete(Version).where(own))
            release(session, self._database, self._store, principal.tenant_id, [each for each in digests if each])
            row.deleted_at, row.revision = now(), row.revision + 1
            count_models(session, principal.tenant_id, -1)
            self._record(session, principal, "model.delete", name)

    def _record(self, session: orm.Session, principal: Principal, action: str, name: str) -> None:
        self._audit.record(
            session, tenant_id=principal.tenant_id, actor=principal.subject, action=action, target=f"models/{name}"
        )


def _refuse_quarantined(session: orm.Session, own: sa.ColumnElement[bool]) -> None:
    held = session.scalar(sa.select(Version.number).where(own, Version.status == "quarantined").limit(1))
    if held is not None:
        # Evidence stays until an operator has looked at it.
        raise Conflict(f"Version {held} is quarantined, and so the model stays.", code="version_quarantined")


def found(session: orm.Session, principal: Principal, name: str) -> Model:
    """Return the model's row, made or brought back where there is none. The tenant's lock must be held.

    :raises Forbidden: ``models_quota_exceeded``.
    """
    row = session.get(Model, (principal.tenant_id, name))
    if row is not None and row.deleted_at is None:
        return row
    require_room_for_model(session, principal)
    count_models(session, principal.tenant_id, 1)
    if row is None:
        row = Model(tenant_id=principal.tenant_id, name=name, created_by=principal.subject)
        session.add(row)
    else:
        row.description, row.tags, row.parity, row.deleted_at = "", {}, EXACT, None
        row.created_at, row.created_by, row.revision = now(), principal.subject, row.revision + 1
    session.flush()
    return row
