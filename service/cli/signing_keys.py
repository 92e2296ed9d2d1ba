"""``modelward signing-key``: the keys that sign tokens."""

import click

from service.cli.installation import operate
from service.cli.output import Output, with_output
from service.cli.pages import PAGE_SIZE, every
from service.tenants.principal import Principal


@click.group("signing-key")
def signing_key() -> None:
    """List and rotate the keys that sign tokens.

    The public halves are at /.well-known/jwks.json. The first key is made when it is
    first needed; rotate as often as your rules ask for.

    \b
    modelward signing-key list
    modelward signing-key rotate
    """


@signing_key.command("list")
@with_output
def list_signing_keys(output: Output) -> None:
    """List the keys that sign, are about to, or still verify.

    \b
    modelward signing-key list
    modelward signing-key list --json
    """
    with operate() as services:
        keys = list(every(lambda cursor: services.signing_keys.list(PAGE_SIZE, cursor)))
    output.rows(keys, columns=["kid", "status", "signs_from", "retires_at"])


@signing_key.command()
@with_output
def rotate(output: Output) -> None:
    """Make a new key. No request fails over it.

    The new key is published at once and signs two seconds later, when every worker
    knows it; the one before goes on verifying until its last token has ended.

    \b
    modelward signing-key rotate
    KID=$(modelward signing-key rotate -q)
    """
    with operate() as services:
        kid = services.signing_keys.rotate(Principal.operator())
    output.record({"kid": kid}, brief=kid)
