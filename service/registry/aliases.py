"""Aliases: movable names of versions.

A change holds the tenant's lock from its first statement (``kept_bytes`` says why), so
what it compares is what it sets: two callers who expect the same version never both win.
"""

from datetime import datetime
from enum import Enum, auto
from typing import Final

import sqlalchemy as sa
from sqlalchemy import orm

from service.database import Database
from service.errors import Conflict
from service.paging import Page, paginate
from service.registry import ledger
from service.registry.tables import Alias, AliasMove, Version
from service.registry.views import AliasView, MoveView
from service.registry.visibility import (
    not_found,
    require_name,
    visible_alias,
    visible_model,
    visible_version,
)
from service.tenants.audit import Audit
from service.tenants.epochs import Epochs
from service.tenants.fields import require_revision
from service.tenants.principal import Principal

PRODUCTION: Final = "production"
"""The alias that a call without version or alias goes to."""


class Unset(Enum):
    """Stands for an expectation that was not stated, where ``None`` states one."""

    UNSET = auto()


UNSET: Final = Unset.UNSET


class Aliases:
    """A tenant's aliases."""

    def __init__(self, database: Database, epochs: Epochs, audit: Audit) -> None:
        self._database = database
        self._epochs = epochs
        self._audit = audit

    def list(self, principal: Principal, model: str, *, limit: int = 50, cursor: str | None = None) -> Page[AliasView]:
        """Return a page of a model's aliases, by name.

        :raises NotFound: the model does not exist for this caller.
        """
        with self._database.read(principal.tenant_id) as session:
            visible_model(session, principal, model)
            statement = sa.select(Alias).where(Alias.model == model)
            page = paginate(session, statement, [Alias.name], limit=limit, cursor=cursor)
        return Page([AliasView.of(row) for row in page.data], page.next_cursor)

    def get(self, principal: Principal, model: str, alias: str) -> AliasView:
        """Return an alias.

        :raises NotFound: it does not exist for this caller.
        """
        with self._database.read(principal.tenant_id) as session:
            return AliasView.of(visible_alias(session, principal, model, alias))

    def move(
        self,
        principal: Principal,
        model: str,
        alias: str,
        version: int,
        *,
        expected: int | Unset | None = UNSET,
        reason: str = "",
        expected_revision: int | None = None,
    ) -> AliasView:
        """Have an alias name a version; it is made where it is not there.

        :param expected: the version that it must name at this moment, ``None`` for an alias
            that must not be there.
        :raises NotFound: the model or the version does not exist for this caller.
        :raises Conflict: ``alias_moved`` where it is not as expected, ``version_archived`` or
            ``version_quarantined`` where the version cannot be served.
        :raises PreconditionFailed: it changed since the caller read it.
        """
        require_name(alias, "alias")
        with self._database.write(principal.tenant_id) as session:
            self._epochs.bump(session, principal.tenant_id)
            visible_model(session, principal, model)
            row = session.get(Alias, (principal.tenant_id, model, alias))
            _require_expected(row, expected)
            require_revision(expected_revision, row.revision if row else 0)
            require_ready(visible_version(session, principal, model, version))
            return AliasView.of(self.move_within(session, principal, model, alias, version, reason=reason))

    def move_within(
        self,
        session: orm.Session,
        principal: Principal,
        model: str,
        alias: str,
        version: int,
        *,
        reason: str = "",
        action: str = "moved",
    ) -> Alias:
        """Move an alias inside the caller's transaction, which holds the tenant's lock and has looked at the version.

        An alias that names the version already is left alone, and the ledger with it.
        """
        row = session.get(Alias, (principal.tenant_id, model, alias))
        if row is not None and row.version == version:
            return row
        before = row.version if row else None
        line = ledger.append(session, principal, model, alias, before, version, action if row else "set", reason)
        if row is None:
            row = Alias(tenant_id=principal.tenant_id, model=model, name=alias)
            session.add(row)
        # The ledger's sequence serves as the revision, since it never begins anew.
        row.version, row.revision = version, line.sequence
        row.updated_at, row.updated_by = line.at, principal.subject
        session.flush()
        self._record(session, principal, line)
        return row

    def delete(
        self, principal: Principal, model: str, alias: str, *, reason: str = "", expected_revision: int | None = None
    ) -> None:
        """Remove an alias; its ledger stays.

        :raises NotFound: it does not exist for this caller.
        :raises PreconditionFailed: it changed since the caller read it.
        """
        with self._database.write(principal.tenant_id) as session:
            self._epochs.bump(session, principal.tenant_id)
            row = visible_alias(session, principal, model, alias)
            require_revision(expected_revision, row.revision)
            self._record(session, principal, _remove(session, principal, row, reason))

    def rollback(self, principal: Principal, model: str, alias: str, *, reason: str = "") -> AliasView:
        """Take back the last move of an alias that is not taken back yet.

        So a second rollback goes one step further back, and never forth again.

        :raises NotFound: the alias does not exist for this caller.
        :raises Conflict: ``nothing_to_roll_back``, or the version before cannot be served any more.
        """
        with self._database.write(principal.tenant_id) as session:
            self._epochs.bump(session, principal.tenant_id)
            row = visible_alias(session, principal, model, alias)
            before = ledger.way_back(session, principal, model, alias)
            if before is None:
                raise Conflict(f"The alias {row.name} named no version before this one.", code="nothing_to_roll_back")
            require_ready(visible_version(session, principal, model, before))
            moved = self.move_within(session, principal, model, alias, before, reason=reason, action=ledger.ROLLED_BACK)
            return AliasView.of(moved)

    def history(
        self,
        principal: Principal,
        model: str,
        alias: str,
        *,
        as_of: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[MoveView]:
        """Return a page of an alias's ledger, the newest move first, also of one that is removed.

        :param as_of: leave out what came after; the first move then tells what the alias
            named at that moment.
        :raises NotFound: there never was such an alias for this caller.
        """
        with self._database.read(principal.tenant_id) as session:
            visible_model(session, principal, model)
            if not ledger.exists(session, principal, model, alias):
                raise not_found()
            page = ledger.page(session, model, alias, as_of=as_of, limit=limit, cursor=cursor)
        return Page([MoveView.of(row) for row in page.data], page.next_cursor)

    def _record(self, session: orm.Session, principal: Principal, line: AliasMove) -> None:
        self._audit.record(
            session,
            tenant_id=principal.tenant_id,
            actor=principal.subject,
            action="alias.delete" if line.to_version is None else "alias.move",
            target=f"models/{line.model}/aliases/{line.alias}",
            details={"from": line.from_version, "to": line.to_version, "reason": line.reason},
        )


def require_ready(version: Version) -> None:
    """Refuse a version that is not served.

    :raises Conflict: ``version_archived`` or ``version_quarantined``.
    """
    if version.status != "ready":
        raise Conflict(
            f"Version {version.number} of {version.model} is {version.status}, and so not served.",
            code=f"version_{version.status}",
        )


def aliases_of(session: orm.Session, model: str, version: int) -> list[str]:
    """Return the names of the aliases that point at a version."""
    statement = sa.select(Alias.name).where(Alias.model == model, Alias.version == version)
    return list(session.scalars(statement.order_by(Alias.name)))


def remove_all(session: orm.Session, principal: Principal, model: str, *, reason: str) -> None:
    """Remove every alias of a model inside the caller's transaction, which holds the tenant's lock."""
    for row in session.scalars(sa.select(Alias).where(Alias.model == model).order_by(Alias.name)).all():
        _remove(session, principal, row, reason)


def _require_expected(row: Alias | None, expected: int | Unset | None) -> None:
    named = row.version if row else None
    if expected is not UNSET and expected != named:
        raise Conflict(
            f"The alias names version {named}." if row else "The alias is not set.",
            code="alias_moved",
        )


def _remove(session: orm.Session, principal: Principal, row: Alias, reason: str) -> AliasMove:
    line = ledger.append(session, principal, row.model, row.name, row.version, None, "removed", reason)
    session.delete(row)
    session.flush()
    return line
