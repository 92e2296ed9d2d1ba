"""``modelward sweep``: remove what nothing refers to any more."""

import click

from service.cli.installation import operate
from service.cli.output import Output, with_output

HOUR = 3600


@click.command()
@click.option("--dry-run", is_flag=True, help="Remove nothing; say what would be.")
@click.option(
    "--older-than-seconds",
    type=click.IntRange(min=0),
    default=HOUR,
    show_default=True,
    help="Leave alone what is younger: an upload under way may be about to refer to it.",
)
@with_output
def sweep(output: Output, dry_run: bool, older_than_seconds: int) -> None:
    """Remove bytes that no version refers to, and records that have ended; name bytes that are missing.

    A crash in the middle of an upload leaves bytes without a row, never a row without
    bytes. What tenants have of models and bytes is counted anew: a release from before
    the counts did not keep them. Run it once a day and after an upgrade; it may run
    while the service does.

    \b
    modelward sweep --dry-run
    modelward sweep --json
    """
    with operate() as services:
        report = services.sweep.run(dry_run=dry_run, older_than_seconds=older_than_seconds)
    output.record(report)
