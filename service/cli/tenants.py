"""``modelward tenant``: customers, each of which owns everything below it."""

import click

from service.cli.installation import operate
from service.cli.output import Output, plain, with_output
from service.cli.pages import PAGE_SIZE, every
from service.registry.removal import remove_tenant
from service.tenants.principal import Principal


@click.group()
def tenant() -> None:
    """Make, list, change, suspend and delete tenants.

    A tenant is a customer: it owns its keys, its models and its trail, and sees nothing
    of another's.

    \b
    modelward tenant create acme --plan standard
    modelward tenant change acme --plan unlimited
    modelward tenant suspend acme --reason "unpaid"
    """


@tenant.command()
@click.argument("slug")
@click.option("--plan", default="standard", show_default=True, help="The plan whose limits hold: free, standard, …")
@click.option("--name", help="The name that people read.  [default: the slug]")
@with_output
def create(output: Output, slug: str, plan: str, name: str | None) -> None:
    """Make the tenant SLUG, and its first key with the role tenant-admin.

    The key is shown this once; with -q it is all that is printed.

    \b
    modelward tenant create acme --plan standard --name "Acme Ltd"
    KEY=$(modelward tenant create acme -q)
    """
    with operate() as services:
        view, issued = services.tenants.create(Principal.operator(), slug, name or slug, plan)
        services.signing_keys.ensure()
    output.record({**plain(view), "api_key": issued.secret}, brief=issued.secret)
    output.note("The key is shown this once; keep it now.")


@tenant.command("list")
@click.option("--status", type=click.Choice(["active", "suspended"]), help="Only those that stand so.")
@with_output
def list_tenants(output: Output, status: str | None) -> None:
    """List the tenants.

    \b
    modelward tenant list
    modelward tenant list --status suspended --json
    """
    with operate() as services:
        tenants = list(every(lambda cursor: services.tenants.list(PAGE_SIZE, cursor, status)))
    output.rows(tenants, columns=["slug", "name", "plan", "status", "created_at"])


@tenant.command()
@click.argument("slug")
@with_output
def show(output: Output, slug: str) -> None:
    """Show the tenant SLUG.

    \b
    modelward tenant show acme
    """
    with operate() as services:
        output.record(services.tenants.get(slug), brief=slug)


@tenant.command()
@click.argument("slug")
@click.option("--plan", help="The plan whose limits hold from now on.")
@click.option("--name", help="The name that people read.")
@with_output
def change(output: Output, slug: str, plan: str | None, name: str | None) -> None:
    """Change the plan or the name of the tenant SLUG; new limits hold on every worker within a second.

    \b
    modelward tenant change acme --plan unlimited
    """
    if plan is None and name is None:
        raise click.UsageError("Give --plan, --name, or both.")
    with operate() as services:
        output.record(services.tenants.change(Principal.operator(), slug, name, plan), brief=slug)


@tenant.command()
@click.argument("slug")
@click.option("--reason", default="", help="Why, for the audit trail.")
@with_output
def suspend(output: Output, slug: str, reason: str) -> None:
    """Refuse every request of the tenant SLUG until it is resumed; nothing is lost.

    Every worker knows within a second.

    \b
    modelward tenant suspend acme --reason "unpaid"
    """
    with operate() as services:
        output.record(services.tenants.suspend(Principal.operator(), slug, reason), brief=slug)


@tenant.command()
@click.argument("slug")
@click.option("--reason", default="", help="Why, for the audit trail.")
@with_output
def resume(output: Output, slug: str, reason: str) -> None:
    """Let the suspended tenant SLUG call again.

    \b
    modelward tenant resume acme --reason "paid"
    """
    with operate() as services:
        output.record(services.tenants.resume(Principal.operator(), slug, reason), brief=slug)


@tenant.command()
@click.argument("slug")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_output
def delete(output: Output, slug: str, yes: bool) -> None:
    """Delete the tenant SLUG with everything it owns: keys, models, artifacts, usage. It cannot be undone.

    \b
    modelward tenant delete acme
    modelward tenant delete acme --yes      # in a script, which nobody can answer
    """
    if not yes:
        click.confirm(f"Delete {slug} with all its models and keys, for good?", abort=True, err=True)
    with operate() as services:
        remove_tenant(services.database, services.store, services.tenants, Principal.operator(), slug)
    output.record({"slug": slug, "deleted": True}, brief=slug)
