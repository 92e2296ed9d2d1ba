"""Plans: what tenants may use, and how operators change that."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc, orm

from service.database import PLATFORM, Database
from service.errors import Conflict, NotFound
from service.ids import is_name
from service.paging import Page, paginate
from service.tenants import fields
from service.tenants.audit import Audit
from service.tenants.epochs import Epochs
from service.tenants.principal import PLATFORM_TENANT_ID, PlanLimits, Principal
from service.tenants.tables import Plan

_FIELDS: Final[dict[str, fields.Parser]] = {
    "name": fields.title,
    "key_requests_per_minute": fields.count_or_none,
    "tenant_requests_per_minute": fields.count_or_none,
    "rows_per_day": fields.count_or_none,
    "max_models": fields.count,
    "max_bytes": fields.count,
    "max_body_bytes": fields.count,
    "max_concurrency": fields.count,
}


@dataclass(frozen=True, slots=True)
class PlanSpec:
    """A plan to be made; units are those of ``PlanLimits``, ``None`` is no limit."""

    slug: str
    name: str
    max_models: int
    max_bytes: int
    max_body_bytes: int
    max_concurrency: int
    key_requests_per_minute: int | None = None
    tenant_requests_per_minute: int | None = None
    rows_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class PlanView:
    """A plan as operators see it."""

    slug: str
    name: str
    key_requests_per_minute: int | None
    tenant_requests_per_minute: int | None
    rows_per_day: int | None
    max_models: int
    max_bytes: int
    max_body_bytes: int
    max_concurrency: int
    revision: int
    created_at: datetime


class Plans:
    """Lists, makes and changes plans."""

    def __init__(self, database: Database, epochs: Epochs, audit: Audit) -> None:
        self._database = database
        self._epochs = epochs
        self._audit = audit

    def list(self, limit: int = 50, cursor: str | None = None) -> Page[PlanView]:
        """Return a page of plans, by slug.

        :raises Malformed: the cursor is not one that this list gave out.
        """
        with self._database.read(PLATFORM) as session:
            page = paginate(session, sa.select(Plan), [Plan.slug], limit=limit, cursor=cursor)
        return Page([_view(plan) for plan in page.data], page.next_cursor)

    def get(self, slug: str) -> PlanView:
        """Return one plan.

        :raises NotFound: there is none of that slug.
        """
        with self._database.read(PLATFORM) as session:
            return _view(_find(session, slug))

    def create(self, principal: Principal, spec: PlanSpec) -> PlanView:
        """Make a plan.

        :raises Invalid: a field is out of its range.
        :raises Conflict: the slug is taken.
        """
        plan = Plan(**fields.parse(asdict(spec), {"slug": fields.name, **_FIELDS}))
        with self._database.write(PLATFORM) as session:
            session.add(plan)
            try:
                session.flush()
            except exc.IntegrityError as error:
                raise Conflict(f"There is a plan {spec.slug} already.", code="plan_exists") from error
            self._record(session, principal, "plan.create", plan.slug, asdict(spec))
            return _view(plan)

    def change(
        self, principal: Principal, slug: str, changes: Mapping[str, Any], expected_revision: int | None = None
    ) -> PlanView:
        """Change a plan; every tenant on it has the new limits within a second, on every worker.

        :param changes: new values by field; what is not named stays.
        :raises Invalid: a field is unknown or out of its range.
        :raises NotFound: there is no such plan.
        :raises PreconditionFailed: it is at another revision.
        """
        parsed = fields.parse(changes, _FIELDS)
        with self._database.write(PLATFORM) as session:
            plan = _find(session, slug, lock=True)
            fields.require_revision(expected_revision, plan.revision)
            for field, value in parsed.items():
                setattr(plan, field, value)
            plan.revision += 1
            self._record(session, principal, "plan.change", slug, dict(changes))
            self._epochs.bump_plan(session, slug)
            return _view(plan)

    def _record(
        self, session: orm.Session, principal: Principal, action: str, slug: str, details: dict[str, Any]
    ) -> None:
        self._audit.record(
            session,
            tenant_id=PLATFORM_TENANT_ID,
            actor=principal.subject,
            action=action,
            target=slug,
            details=details,
        )


def limits_of(plan: Plan) -> PlanLimits:
    """Return the frozen copy of a plan's limits that a principal carries."""
    return PlanLimits(
        slug=plan.slug,
        key_requests_per_minute=plan.key_requests_per_minute,
        tenant_requests_per_minute=plan.tenant_requests_per_minute,
        rows_per_day=plan.rows_per_day,
        max_models=plan.max_models,
        max_bytes=plan.max_bytes,
        max_body_bytes=plan.max_body_bytes,
        max_concurrency=plan.max_concurrency,
    )


def _find(session: orm.Session, slug: str, *, lock: bool = False) -> Plan:
    plan = session.get(Plan, slug, with_for_update=lock) if is_name(slug) else None
    if plan is None:
        raise NotFound("There is no such plan.")
    return plan


def _view(plan: Plan) -> PlanView:
    return PlanView(
        plan.slug,
        plan.name,
        plan.key_requests_per_minute,
        plan.tenant_requests_per_minute,
        plan.rows_per_day,
        plan.max_models,
        plan.max_bytes,
        plan.max_body_bytes,
        plan.max_concurrency,
        plan.revision,
        plan.created_at,
    )
