"""What a tenant consumed, and for operators what every tenant did."""

from datetime import date, timedelta
from typing import Annotated

from flask import Blueprint, Response

from service.api.answers import Answer, Listing, show
from service.api.contract import operation
from service.api.parameters import Day, Paging, cursor_over
from service.database import now
from service.gateway.context import principal, services
from service.gateway.guards import requires
from service.tenants.scopes import Scope

routes = Blueprint("usage", __name__)

DEFAULT_DAYS = 30


class Days(Paging):
    """Which days (UTC), both ends among them; the last thirty by default."""

    since: Day | None = None
    until: Day | None = None

    def span(self) -> tuple[date, date]:
        """Return the first and the last day."""
        until = self.until or now().date()
        return self.since or until - timedelta(days=DEFAULT_DAYS - 1), until


class DaysByModel(Days):
    """Which days, in a list that is ordered by day and model."""

    cursor: Annotated[str | None, cursor_over(str, str)] = None


class UsageAnswer(Answer):
    """What a tenant used of one model in a day."""

    day: str
    model: str
    requests: int
    rows: int


class TenantUsageAnswer(Answer):
    """What one tenant used in those days."""

    tenant: str
    requests: int
    rows: int


@routes.get("/v1/usage")
@requires(Scope.USAGE_READ)
@operation("Read the usage", query=DaysByModel, answer=Listing[UsageAnswer])
def list_usage(query: DaysByModel) -> Response:
    """The tenant's own usage by day and model; a key that is bound to models sees that of those.

    Rows that were fitted and answered stand under `_LinearRegression` and `_SVC`.
    """
    caller = principal()
    page = services().usage.report(
        caller.tenant_id, *query.span(), models=caller.models, limit=query.limit, cursor=query.cursor
    )
    return show(Listing[UsageAnswer], page)


@routes.get("/v1/admin/usage")
@requires(Scope.PLATFORM_ADMIN)
@operation("Read every tenant's usage", query=Days, answer=Listing[TenantUsageAnswer])
def list_platform_usage(query: Days) -> Response:
    """Each tenant's usage in those days, by slug."""
    page = services().usage.report_all(*query.span(), limit=query.limit, cursor=query.cursor)
    return show(Listing[TenantUsageAnswer], page)
