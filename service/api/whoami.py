"""Who the caller is, what it may do, and what is left of its limits."""

from flask import Blueprint, Response

from service.api.answers import Answer, show
from service.api.contract import operation
from service.gateway.context import principal, services
from service.gateway.guards import requires
from service.gateway.limits import requests_left

routes = Blueprint("whoami", __name__)


class Limits(Answer):
    """What the plan allows; null is no limit. Rates are requests a minute, sizes are bytes."""

    key_requests_per_minute: int | None
    tenant_requests_per_minute: int | None
    rows_per_day: int | None
    max_models: int
    max_bytes: int
    max_body_bytes: int
    max_concurrency: int


class Left(Answer):
    """What is left of the limits at this moment; null is no limit."""

    key_requests: int | None
    tenant_requests: int | None
    rows_today: int | None


class WhoAmI(Answer):
    """The principal of this request."""

    tenant: str
    subject: str
    scopes: list[str]
    models: list[str] | None
    plan: str
    limits: Limits
    left: Left


@routes.get("/v1/whoami")
@requires()
@operation("Ask who you are", answer=WhoAmI)
def whoami() -> Response:
    """The tenant and key behind the credential, its scopes, its plan, and what is left of the limits."""
    caller = principal()
    used = services().usage.rows_today(caller)
    rows_per_day = caller.plan.rows_per_day
    shown = {
        "tenant": caller.tenant,
        "subject": caller.subject,
        "scopes": sorted(caller.scopes),
        "models": None if caller.models is None else sorted(caller.models),
        "plan": caller.plan.slug,
        "limits": caller.plan,
        "left": {**requests_left(), "rows_today": None if rows_per_day is None else max(0, rows_per_day - used)},
    }
    return show(WhoAmI, shown)
