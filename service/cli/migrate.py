"""``modelward migrate``: bring the database to the schema of this release."""

import click

from service import schema
from service.cli.data_directory import DataDirectory
from service.cli.installation import database_file, read_settings
from service.cli.output import Failure, Output, with_output
from service.config import Settings
from service.database import NEWEST, revision_of


@click.command()
@click.option("--to", "revision", default="head", show_default=True, help="The revision to go to; `base` is empty.")
@click.option("--check", is_flag=True, help="Change nothing; exit 1 unless the database is at the newest revision.")
@click.option("--yes", is_flag=True, help="Do not ask before going back to an older revision.")
@with_output
def migrate(output: Output, revision: str, check: bool, yes: bool) -> None:
    """Bring the database to the schema of this release.

    Run it before the first `modelward serve` and with each upgrade, as often as you
    like: what is done is not done again, and two at once wait for one another. The
    release before this one keeps running on the new schema.

    On PostgreSQL it connects as MODELWARD_MIGRATION_URL where that is set: the role
    that owns the tables, which the server itself should not be.

    \b
    modelward migrate                  # to the newest revision
    modelward migrate --check          # for a deployment that waits for it
    modelward migrate --to 0001        # back, or forward, to one revision
    """
    settings = read_settings()
    url = settings.migration_url or settings.resolved_database_url
    if database_file(settings) is not None and not check:
        DataDirectory(settings.data_dir).prepare()
    before = _revision(settings, url)
    if not check:
        _move(url, revision, sure=yes)
    _report(output, before, _revision(settings, url), check=check)


def _revision(settings: Settings, url: str) -> str | None:
    # Asking SQLite would make the file, and --check changes nothing.
    file = database_file(settings)
    return None if file is not None and not file.exists() else revision_of(url)


def _move(url: str, revision: str, *, sure: bool) -> None:
    if not sure and schema.is_behind(url, revision):
        click.confirm(f"Going back to {revision} removes what later revisions hold. Go back?", abort=True, err=True)
    schema.move(url, revision)


def _report(output: Output, before: str | None, now: str | None, *, check: bool) -> None:
    output.record({"before": before, "revision": now, "newest": NEWEST}, brief=now)
    if check and now != NEWEST:
        raise Failure(f"The database is at revision {now}, not {NEWEST}; run `modelward migrate`.")
