"""The ``modelward`` command, one file a group of commands.

Commands act through ``service.bootstrap`` as the operator, like any other caller of
the domain. What they exit with: 0 done; 1 refused, or a check failed, with a line on
standard error that says why; 2 the command line itself was wrong; 130 interrupted.
"""

from importlib import import_module
from typing import Any, Final, NamedTuple

import click

from service.cli.output import Failure
from service.errors import ModelwardError


class Named(NamedTuple):
    """A command by its name in the code, with what it does, so that the list of commands needs no import."""

    target: str
    does: str


COMMANDS: Final = {
    "up": Named("service.cli.up:up", "Run everything on this machine, in the foreground."),
    "serve": Named("service.cli.serve:serve", "Serve in production, on settings that are safe."),
    "migrate": Named("service.cli.migrate:migrate", "Bring the database to the schema of this release."),
    "doctor": Named("service.cli.doctor:doctor", "Check everything, and say what to do about each fault."),
    "tenant": Named("service.cli.tenants:tenant", "Make, list, suspend and delete tenants."),
    "key": Named("service.cli.keys:key", "Make, list, rotate and revoke API keys."),
    "signing-key": Named("service.cli.signing_keys:signing_key", "List and rotate the keys that sign tokens."),
    "bench": Named("service.cli.bench:bench", "Measure how fast a running server answers."),
    "sweep": Named("service.cli.sweep:sweep", "Remove what nothing refers to any more."),
}


class Commands(click.Group):
    """Imports a command when it is asked for: ``--help`` need not wait for scikit-learn."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which somebody meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, or ``None``."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].target.split(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.does) for name, command in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what the domain refuses becomes a line on standard error."""
        try:
            return super().invoke(ctx)
        except ModelwardError as error:
            raise Failure.of(error) from error
        except KeyboardInterrupt:
            ctx.exit(130)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="modelward", message="%(prog)s %(version)s")
def main() -> None:
    """Serve versioned scikit-learn models to many tenants, safely.

    \b
    Try it on this machine:      modelward up
    Run it in production:        modelward migrate
                                 modelward tenant create acme --plan standard
                                 modelward key create --platform-admin
                                 modelward serve
    See what is wrong:           modelward doctor

    Settings are environment variables named MODELWARD_…; the README lists them all.
    Commands other than up and serve take --json for scripts and -q to say less.

    Exit codes: 0 done; 1 refused or failed, with a line that says why;
    2 the command line was wrong; 130 interrupted.
    """
