"""Tenants, as operators make, steer and delete them."""

from dataclasses import asdict
from datetime import datetime
from typing import Literal

from flask import Blueprint, Response

from service.api.answers import Answer, Listing, nothing, show
from service.api.bodies import Body, Change
from service.api.contract import operation
from service.api.fields import Line, Name, Reason
from service.api.parameters import Paging
from service.errors import Conflict
from service.gateway.context import principal, services
from service.gateway.guards import idempotent, requires
from service.registry.removal import remove_tenant
from service.tenants.scopes import Scope

routes = Blueprint("admin_tenants", __name__)

TENANTS = "/v1/admin/tenants"


class NewTenant(Body):
    """A tenant to make."""

    slug: Name
    name: Line
    plan: Name


class TenantChange(Change):
    """What may be changed of a tenant; what is left out stays."""

    name: Line = ""
    plan: Name = ""


class StandingChange(Body):
    """Why a tenant is suspended or resumed."""

    reason: Reason = ""


class TenantPaging(Paging):
    """Which tenants."""

    status: Literal["active", "suspended"] | None = None


class TenantAnswer(Answer):
    """A tenant."""

    id: str
    slug: str
    name: str
    plan: str
    status: str
    revision: int
    created_at: datetime


class TenantWithKey(TenantAnswer):
    """A tenant as it was just made; `api_key` is its first key, and is shown this once."""

    api_key: str


@routes.get(TENANTS)
@requires(Scope.PLATFORM_ADMIN)
@operation("List tenants", query=TenantPaging, answer=Listing[TenantAnswer])
def list_tenants(query: TenantPaging) -> Response:
    """Every tenant, the oldest first."""
    return show(Listing[TenantAnswer], services().tenants.list(query.limit, query.cursor, query.status))


@routes.post(TENANTS)
@requires(Scope.PLATFORM_ADMIN)
@idempotent
@operation("Make a tenant", body=NewTenant, answer=TenantWithKey, status=201, refuses=(Conflict,))
def create_tenant(body: NewTenant) -> Response:
    """Make a tenant and its first key, which has the role `tenant-admin`."""
    tenant, key = services().tenants.create(principal(), body.slug, body.name, body.plan)
    shown = {**asdict(tenant), "api_key": key.secret}
    return show(TenantWithKey, shown, 201, location=f"{TENANTS}/{tenant.slug}")


@routes.get(f"{TENANTS}/<tenant>")
@requires(Scope.PLATFORM_ADMIN)
@operation("Read a tenant", answer=TenantAnswer)
def get_tenant(tenant: str) -> Response:
    """One tenant."""
    return show(TenantAnswer, services().tenants.get(tenant))


@routes.patch(f"{TENANTS}/<tenant>")
@requires(Scope.PLATFORM_ADMIN)
@operation("Change a tenant", body=TenantChange, answer=TenantAnswer, conditional=True)
def change_tenant(tenant: str, body: TenantChange, expected_revision: int | None) -> Response:
    """Change a tenant's name or plan; new limits hold within a second."""
    changed = services().tenants.change(principal(), tenant, **body.changes(), expected_revision=expected_revision)
    return show(TenantAnswer, changed)


@routes.delete(f"{TENANTS}/<tenant>")
@requires(Scope.PLATFORM_ADMIN)
@operation("Delete a tenant", status=204, conditional=True)
def delete_tenant(tenant: str, expected_revision: int | None) -> Response:
    """Delete a tenant with its data: rows first, then the bytes of its artifacts."""
    remove_tenant(services().database, services().store, services().tenants, principal(), tenant, expected_revision)
    return nothing()


@routes.post(f"{TENANTS}/<tenant>/suspend")
@requires(Scope.PLATFORM_ADMIN)
@operation("Suspend a tenant", body=StandingChange, optional_body=True, answer=TenantAnswer)
def suspend_tenant(tenant: str, body: StandingChange) -> Response:
    """Refuse everything that the tenant asks for, within a second."""
    return show(TenantAnswer, services().tenants.suspend(principal(), tenant, body.reason))


@routes.post(f"{TENANTS}/<tenant>/resume")
@requires(Scope.PLATFORM_ADMIN)
@operation("Resume a tenant", body=StandingChange, optional_body=True, answer=TenantAnswer)
def resume_tenant(tenant: str, body: StandingChange) -> Response:
    """Serve a suspended tenant again."""
    return show(TenantAnswer, services().tenants.resume(principal(), tenant, body.reason))
