"""Every tenant's versions, as operators find and stop them."""

from typing import Annotated, Literal

from flask import Blueprint, Response
from pydantic import Field

from service.api.answers import Listing, show
from service.api.bodies import Body
from service.api.contract import operation
from service.api.fields import LARGEST_INTEGER, Moment, Name, Reason
from service.api.parameters import Paging, Written, cursor_over
from service.api.versions import VersionAnswer
from service.errors import Conflict, NotFound
from service.gateway.context import principal, services
from service.gateway.guards import requires
from service.registry.versions import VersionFilter
from service.tenants.scopes import Scope

routes = Blueprint("admin_versions", __name__)

VERSION = "/v1/admin/tenants/<tenant>/models/<model>/versions/<version>"


class Intervention(Body):
    """Why a version is stopped or served again."""

    reason: Reason = ""


class VersionSearch(Paging):
    """Which versions; `older_than` is a moment, `larger_than` a number of bytes."""

    status: Literal["ready", "archived", "quarantined"] | None = None
    estimator: Annotated[str | None, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")] = None
    tenant: Name | None = None
    older_than: Moment | None = None
    larger_than: Annotated[int, Field(ge=0, le=LARGEST_INTEGER), Written] | None = None
    cursor: Annotated[str | None, cursor_over(str, str, int)] = None


class PlatformVersionAnswer(VersionAnswer):
    """A version, and the tenant that it belongs to."""

    tenant: str


@routes.get("/v1/admin/versions")
@requires(Scope.PLATFORM_ADMIN)
@operation("List every version", query=VersionSearch, answer=Listing[PlatformVersionAnswer], refuses=(NotFound,))
def list_platform_versions(query: VersionSearch) -> Response:
    """Every tenant's versions."""
    filters = VersionFilter(**query.model_dump(exclude={"limit", "cursor"}))
    page = services().versions.list_all(filters, limit=query.limit, cursor=query.cursor)
    return show(Listing[PlatformVersionAnswer], page)


@routes.post(f"{VERSION}/quarantine")
@requires(Scope.PLATFORM_ADMIN)
@operation(
    "Quarantine a version",
    body=Intervention,
    optional_body=True,
    answer=PlatformVersionAnswer,
    refuses=(Conflict,),
)
def quarantine_version(tenant: str, model: str, version: int, body: Intervention) -> Response:
    """Stop serving a tenant's version, on every worker within a second."""
    stopped = services().versions.quarantine(principal(), tenant, model, version, body.reason)
    return show(PlatformVersionAnswer, stopped)


@routes.post(f"{VERSION}/release")
@requires(Scope.PLATFORM_ADMIN)
@operation(
    "Release a version", body=Intervention, optional_body=True, answer=PlatformVersionAnswer, refuses=(Conflict,)
)
def release_version(tenant: str, model: str, version: int, body: Intervention) -> Response:
    """Serve a quarantined version again."""
    released = services().versions.release(principal(), tenant, model, version, body.reason)
    return show(PlatformVersionAnswer, released)
