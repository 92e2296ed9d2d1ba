"""The trail of privileged acts, each written in the transaction of the act itself."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import orm

from service.database import PLATFORM, Database, now
from service.errors import Conflict, Forbidden, printable
from service.ids import least_id, new_id
from service.paging import Page, paginate
from service.telemetry import request_id
from service.tenants.tables import AuditEvent, Tenant

_PREFIX: Final = "aud"
_SLACK: Final = timedelta(minutes=1)
"""What may lie between the making of an event's id and the moment that it tells, clocks being set among it."""


@dataclass(frozen=True, slots=True)
class AuditView:
    """One act: who did what to what, when, and how it ended (``ok`` or ``refused``).

    ``tenant`` is the slug of the tenant whose trail it stands in, where the list spans tenants.
    """

    id: str
    at: datetime
    actor: str
    action: str
    target: str
    outcome: str
    request_id: str | None
    details: dict[str, Any]
    tenant: str | None = None


class Audit:
    """Writes and lists audit events. No part of an event ever holds a secret."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self,
        session: orm.Session,
        *,
        tenant_id: str,
        actor: str,
        action: str,
        target: str,
        outcome: str = "ok",
        details: dict[str, Any] | None = None,
    ) -> None:
        """Add an event to the caller's transaction, so that neither is there without the other.

        :param tenant_id: whose trail it stands in.
        :param actor: the subject of the principal who acts.
        :param action: ``resource.verb``, such as ``key.revoke``.
        :param target: the id or name of what is acted on.
        """
        event = AuditEvent(
            tenant_id=tenant_id,
            id=new_id(_PREFIX),
            at=now(),
            actor=actor,
            action=action,
            target=printable(target),
            outcome=outcome,
            request_id=request_id.get(),
            details=_printable(details or {}),
        )
        session.add(event)

    def record_refusal(
        self, tenant_id: str, actor: str, action: str, target: str, details: dict[str, Any] | None = None
    ) -> None:
        """Write that an act was refused, in a transaction of its own that outlives the refused one's.

        Call it before the refused transaction wrote anything, or after it is rolled back:
        SQLite has one writer at a time. A tenant that was just deleted has no trail any more.
        """
        with suppress(Conflict), self._database.write(tenant_id, independent=True) as session:
            self.record(
                session,
                tenant_id=tenant_id,
                actor=actor,
                action=action,
                target=target,
                outcome="refused",
                details=details,
            )

    @contextmanager
    def recording_refusals(self, tenant_id: str, actor: str, action: str, target: str) -> Iterator[None]:
        """Record each ``Forbidden`` that the block raises, as ``record_refusal`` does."""
        try:
            yield
        except Forbidden as error:
            self.record_refusal(tenant_id, actor, action, target, {"code": error.reason})
            raise

    def list(
        self,
        tenant_id: str,
        *,
        models: Collection[str] | None = None,
        action: str | None = None,
        actor: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[AuditView]:
        """Return a page of the tenant's trail, the newest first.

        :param models: leave out what was done to any model but these; ``None`` leaves out nothing.
        :param since: the first moment that counts.
        :param until: the first moment that no longer counts.
        :raises Malformed: the cursor is not one that this list gave out.
        """
        with self._database.read(tenant_id) as session:
            page = paginate(
                session,
                _matching(action, actor, since, until).where(_on(models)),
                [AuditEvent.id],
                limit=limit,
                cursor=cursor,
                descending=True,
            )
        return Page([_view(event) for event in page.data], page.next_cursor)

    def list_all(
        self,
        *,
        tenant: str | None = None,
        action: str | None = None,
        actor: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[AuditView]:
        """Return a page of every tenant's trail, the newest first; ``tenant`` is a slug to narrow it to."""
        statement = _matching(action, actor, since, until)
        with self._database.read(PLATFORM) as session:
            if tenant is not None:
                only = sa.select(Tenant.id).where(Tenant.slug == tenant).scalar_subquery()
                statement = statement.where(AuditEvent.tenant_id == only)
            page = paginate(session, statement, [AuditEvent.id], limit=limit, cursor=cursor, descending=True)
            ids = {event.tenant_id for event in page.data}
            tenants = session.execute(sa.select(Tenant.id, Tenant.slug).where(Tenant.id.in_(ids))).all()
        slugs = {row.id: row.slug for row in tenants}
        return Page([_view(event, slugs[event.tenant_id]) for event in page.data], page.next_cursor)


def _printable(value: Any) -> Any:
    """Return details with no character that a database cannot keep, whoever the text in them is from."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(str(key)): _printable(each) for key, each in value.items()}
    return [_printable(each) for each in value] if isinstance(value, list | tuple) else value


def _matching(
    action: str | None, actor: str | None, since: datetime | None, until: datetime | None
) -> sa.Select[AuditEvent]:
    statement = sa.select(AuditEvent)
    if action is not None:
        statement = statement.where(AuditEvent.action == action)
    if actor is not None:
        statement = statement.where(AuditEvent.actor == actor)
    # An event's id is made within the moment that it tells, and the list is in the order of the ids: so of a
    # long trail only the part between two ids is read.
    if since is not None:
        statement = statement.where(AuditEvent.at >= since, AuditEvent.id >= least_id(_PREFIX, since - _SLACK))
    if until is not None:
        statement = statement.where(AuditEvent.at < until, AuditEvent.id <= least_id(_PREFIX, until + _SLACK))
    return statement


def _on(models: Collection[str] | None) -> sa.ColumnElement[bool]:
    """Whether an act was on one of those models, or on no model."""
    if models is None:
        return sa.true()
    others = AuditEvent.target.not_like("models/%")
    return sa.or_(others, *(_is_on(model) for model in sorted(models)))


def _is_on(model: str) -> sa.ColumnElement[bool]:
    target = f"models/{model}"
    return sa.or_(AuditEvent.target == target, AuditEvent.target.startswith(f"{target}/", autoescape=True))


def _view(event: AuditEvent, tenant: str | None = None) -> AuditView:
    return AuditView(
        event.id,
        event.at,
        event.actor,
        event.action,
        event.target,
        event.outcome,
        event.request_id,
        event.details,
        tenant,
    )
