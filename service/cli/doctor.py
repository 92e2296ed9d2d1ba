"""``modelward doctor``: look at everything that has to be right, and say what to do where it is not."""

import click
from rich.console import Console
from rich.text import Text

from service.cli.checks import CHECKS, Finding, Level, check_settings
from service.cli.installation import read_settings, with_local_secret
from service.cli.output import Failure, Output, with_output


@click.command()
@with_output
def doctor(output: Output) -> None:
    """Check the settings and everything that they point at; say what to do about each fault.

    It looks at settings, database, migrations, Redis, artifact store, clock, signing
    keys and disk space, and changes nothing. A warning leaves the exit code 0.

    \b
    modelward doctor
    modelward doctor --json | jq '.checks[] | select(.level != "ok")'
    """
    settings = with_local_secret(read_settings())
    findings = check_settings(settings)
    for check in CHECKS:
        findings += check(settings)
    _report(output, findings)


def _report(output: Output, findings: list[Finding]) -> None:
    failed = [finding for finding in findings if finding.level == Level.FAILED]
    if output.json:
        output.record({"ok": not failed, "checks": findings})
    elif not output.quiet:
        for finding in findings:
            _print(finding)
    if failed:
        raise Failure(f"{len(failed)} of {len(findings)} checks failed: {', '.join(f.check for f in failed)}.")


def _print(finding: Finding) -> None:
    colour = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILED: "bold red"}[finding.level]
    line = Text.assemble((f"{finding.level:<8}", colour), f"{finding.check:<15}{finding.detail}")
    Console().print(line, soft_wrap=True)
    if finding.advice:
        click.echo(f"{'':23}-> {finding.advice}")
