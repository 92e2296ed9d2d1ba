"""The trail of privileged acts: a tenant's own, and for operators every tenant's."""

from datetime import datetime
from typing import Annotated, Any

from flask import Blueprint, Response
from pydantic import Field

from service.api.answers import Answer, Listing, show
from service.api.contract import operation
from service.api.fields import Moment, Name
from service.api.parameters import Paging
from service.gateway.context import principal, services
from service.gateway.guards import requires
from service.tenants.scopes import Scope

routes = Blueprint("audit", __name__)

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]


class Trail(Paging):
    """Which acts; `since` is the first moment that counts, `until` the first that no longer does."""

    action: Word | None = None
    actor: Word | None = None
    since: Moment | None = None
    until: Moment | None = None


class PlatformTrail(Trail):
    """Which acts, and whose."""

    tenant: Name | None = None


class AuditAnswer(Answer):
    """One act, or the refusal of one."""

    id: str
    at: datetime
    actor: str
    action: str
    target: str
    outcome: str
    request_id: str | None
    details: dict[str, Any]


class PlatformAuditAnswer(AuditAnswer):
    """One act, and the tenant whose trail it stands in."""

    tenant: str


@routes.get("/v1/audit")
@requires(Scope.AUDIT_READ)
@operation("Read the trail", query=Trail, answer=Listing[AuditAnswer])
def list_audit(query: Trail) -> Response:
    """The tenant's own trail, the newest act first; a key that is bound to models sees no act on another."""
    caller = principal()
    page = services().audit.list(caller.tenant_id, models=caller.models, **query.model_dump())
    return show(Listing[AuditAnswer], page)


@routes.get("/v1/admin/audit")
@requires(Scope.PLATFORM_ADMIN)
@operation("Read every trail", query=PlatformTrail, answer=Listing[PlatformAuditAnswer])
def list_platform_audit(query: PlatformTrail) -> Response:
    """Every tenant's trail, the newest act first."""
    return show(Listing[PlatformAuditAnswer], services().audit.list_all(**query.model_dump()))
