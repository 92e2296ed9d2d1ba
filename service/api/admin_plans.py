"""Plans, as operators make and change them."""

from datetime import datetime
from typing import Annotated

from flask import Blueprint, Response
from pydantic import Field

from service.api.answers import Answer, Listing, show
from service.api.bodies import Body, Change
from service.api.contract import operation
from service.api.fields import Line, Name, Whole
from service.api.parameters import Paging
from service.errors import Conflict
from service.gateway.context import principal, services
from service.gateway.guards import idempotent, requires
from service.tenants.fields import LARGEST_COUNT
from service.tenants.plans import PlanSpec
from service.tenants.scopes import Scope

routes = Blueprint("admin_plans", __name__)

PLANS = "/v1/admin/plans"

Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT), Whole]


class NewPlan(Body):
    """A plan to make. Rates are requests a minute, sizes are bytes; null is no limit."""

    slug: Name
    name: Line
    max_models: Count
    max_bytes: Count
    max_body_bytes: Count
    max_concurrency: Count
    key_requests_per_minute: Count | None = None
    tenant_requests_per_minute: Count | None = None
    rows_per_day: Count | None = None


class PlanChange(Change):
    """What may be changed of a plan; what is left out stays."""

    name: Line = ""
    max_models: Count = 0
    max_bytes: Count = 0
    max_body_bytes: Count = 0
    max_concurrency: Count = 0
    key_requests_per_minute: Count | None = None
    tenant_requests_per_minute: Count | None = None
    rows_per_day: Count | None = None


class PlanAnswer(Answer):
    """A plan."""

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


@routes.get(PLANS)
@requires(Scope.PLATFORM_ADMIN)
@operation("List plans", query=Paging, answer=Listing[PlanAnswer])
def list_plans(query: Paging) -> Response:
    """Every plan, by slug."""
    return show(Listing[PlanAnswer], services().plans.list(query.limit, query.cursor))


@routes.post(PLANS)
@requires(Scope.PLATFORM_ADMIN)
@idempotent
@operation("Make a plan", body=NewPlan, answer=PlanAnswer, status=201, refuses=(Conflict,))
def create_plan(body: NewPlan) -> Response:
    """Make a plan."""
    plan = services().plans.create(principal(), PlanSpec(**body.model_dump()))
    return show(PlanAnswer, plan, 201, location=f"{PLANS}/{plan.slug}")


@routes.get(f"{PLANS}/<plan>")
@requires(Scope.PLATFORM_ADMIN)
@operation("Read a plan", answer=PlanAnswer)
def get_plan(plan: str) -> Response:
    """One plan."""
    return show(PlanAnswer, services().plans.get(plan))


@routes.patch(f"{PLANS}/<plan>")
@requires(Scope.PLATFORM_ADMIN)
@operation("Change a plan", body=PlanChange, answer=PlanAnswer, conditional=True)
def change_plan(plan: str, body: PlanChange, expected_revision: int | None) -> Response:
    """Change a plan; every tenant on it has the new limits within a second."""
    return show(PlanAnswer, services().plans.change(principal(), plan, body.changes(), expected_revision))
