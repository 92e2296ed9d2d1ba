"""``modelward key``: API keys, of tenants and of operators."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from service.cli.installation import operate
from service.cli.output import Output, plain, with_output
from service.cli.pages import PAGE_SIZE, every
from service.database import now
from service.tenants.keys import IssuedKey, KeySpec
from service.tenants.principal import PLATFORM_TENANT_ID, Principal
from service.tenants.scopes import ROLES, Scope

if TYPE_CHECKING:
    from service.bootstrap import Services

F = TypeVar("F", bound=Callable[..., Any])

TENANT_ROLES = [role for role in ROLES if role != "platform-admin"]
SCOPES = [scope.value for scope in Scope]


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose keys are meant: those of the tenant of that slug, or, with ``None``, the operators' own."""

    slug: str | None

    @classmethod
    def chosen(cls, tenant: str | None, platform_admin: bool) -> "Owner":
        """Return the owner that the options name.

        :raises UsageError: they name none, or two.
        """
        if (tenant is None) != platform_admin:
            raise click.UsageError("Give either --tenant SLUG or --platform-admin.")
        return cls(tenant)

    def id(self, services: "Services") -> str:
        """Return the tenant's id.

        :raises NotFound: there is no such tenant.
        """
        return PLATFORM_TENANT_ID if self.slug is None else services.tenants.get(self.slug).id


def of_owner(command: F) -> F:
    """Give a command the options that say whose keys are meant."""
    command = click.option("--platform-admin", is_flag=True, help="The operators' own keys, of no tenant.")(command)
    return click.option("--tenant", metavar="SLUG", help="The tenant that the key belongs to.")(command)


@click.group()
def key() -> None:
    """Make, list, rotate and revoke API keys.

    Only a digest of a key is stored: it is shown when it is made, and never again.

    \b
    modelward key create --platform-admin
    modelward key create --tenant acme --role predictor --model iris
    modelward key revoke --tenant acme key_01j…
    """


@key.command()
@of_owner
@click.option("--name", default="cli", show_default=True, help="What it is for, in the lists.")
@click.option("--role", type=click.Choice(TENANT_ROLES), help="A named bundle of scopes.  [default: tenant-admin]")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="One scope; repeat for more.")
@click.option("--model", "models", multiple=True, help="Reach only this model; repeat for more.")
@click.option("--cidr", "networks", multiple=True, help="Hold only from this network; repeat for more.")
@click.option("--expires-in-days", "days", type=click.IntRange(min=1), help="End after so many days.  [default: never]")
@with_output
def create(
    output: Output,
    tenant: str | None,
    platform_admin: bool,
    name: str,
    role: str | None,
    scopes: tuple[str, ...],
    models: tuple[str, ...],
    networks: tuple[str, ...],
    days: int | None,
) -> None:
    """Make a key, and show it this once; with -q it is all that is printed.

    \b
    modelward key create --platform-admin --json
    modelward key create --tenant acme --role publisher --name "nightly training"
    modelward key create --tenant acme --scope models:predict --cidr 10.0.0.0/8
    modelward key create --platform-admin --scope metrics:read --name prometheus
    """
    owner = Owner.chosen(tenant, platform_admin)
    if role and (scopes or platform_admin):
        raise click.UsageError(
            "Give --role alone: operators' keys have another role, and --scope names scopes instead."
        )
    spec = KeySpec(
        name=name,
        role=None if scopes else "platform-admin" if platform_admin else role or "tenant-admin",
        scopes=scopes or None,
        expires_at=_end(days),
        models=models or None,
        allowed_cidrs=networks or None,
    )
    with operate() as services:
        issued = services.keys.create(Principal.operator(), spec, owner.id(services))
        services.signing_keys.ensure()
    _show_issued(output, owner, issued)


@key.command("list")
@of_owner
@with_output
def list_keys(output: Output, tenant: str | None, platform_admin: bool) -> None:
    """List keys, the oldest first, expired and revoked ones among them; never their secrets.

    \b
    modelward key list --tenant acme
    modelward key list --platform-admin --json
    """
    owner = Owner.chosen(tenant, platform_admin)
    with operate() as services:
        owner_id = owner.id(services)
        keys = list(every(lambda cursor: services.keys.list(Principal.operator(), PAGE_SIZE, cursor, owner_id)))
    shown = ["id", "name", "status", "hint", "models", "expires_at"]
    output.rows([{**plain(view), "status": view.status} for view in keys], columns=shown)


@key.command()
@of_owner
@click.argument("key_id")
@with_output
def revoke(output: Output, tenant: str | None, platform_admin: bool, key_id: str) -> None:
    """End the key KEY_ID and every token made from it, on every worker within a second.

    \b
    modelward key revoke --tenant acme key_01j…
    """
    owner = Owner.chosen(tenant, platform_admin)
    with operate() as services:
        view = services.keys.revoke(Principal.operator(), key_id, tenant_id=owner.id(services))
    output.record(view, brief=view.id)


@key.command()
@of_owner
@click.argument("key_id")
@click.option("--overlap-seconds", type=click.IntRange(min=0), default=0, show_default=True, help="How long both hold.")
@with_output
def rotate(output: Output, tenant: str | None, platform_admin: bool, key_id: str, overlap_seconds: int) -> None:
    """Make a key that may do the same as KEY_ID, and end that one after an overlap.

    \b
    modelward key rotate --tenant acme key_01j… --overlap-seconds 3600
    """
    owner = Owner.chosen(tenant, platform_admin)
    with operate() as services:
        operator, tenant_id = Principal.operator(), owner.id(services)
        issued = services.keys.rotate(operator, key_id, overlap_seconds, tenant_id=tenant_id)
    _show_issued(output, owner, issued)


def _end(days: int | None) -> datetime | None:
    return None if days is None else now() + timedelta(days=days)


def _show_issued(output: Output, owner: Owner, issued: IssuedKey) -> None:
    # Both names that the HTTP API has for it, as the first key of a tenant and as any other.
    secrets = {"key": issued.secret, "api_key": issued.secret}
    output.record({**plain(issued.view), "tenant": owner.slug, **secrets}, brief=issued.secret)
    output.note("The key is shown this once; keep it now.")
