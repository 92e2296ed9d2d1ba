"""The command itself: what it is made of, and how it says no."""

import importlib.metadata
import re
import subprocess
import sys

import click
import pytest

from service.cli import COMMANDS, main
from tests.cli.conftest import CommandLine


def every_command() -> list[tuple[str, click.Command]]:
    """Return each command with its whole name, groups among them."""
    context = click.Context(main)
    found = []
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {child}", command.commands[child]) for child in command.commands]
    return found


def test_version_is_the_distributions(cli: CommandLine) -> None:
    assert cli.prints("--version") == f"modelward {importlib.metadata.version('modelward')}\n"


def test_help_lists_every_command_with_what_it_does(cli: CommandLine) -> None:
    listed = dict(re.findall(r"^  ([a-z-]+)  +(\S.*)$", cli.prints("--help").split("Commands:")[1], re.MULTILINE))
    assert listed == {name: named.does for name, named in COMMANDS.items()}


def test_help_does_not_wait_for_what_it_lists() -> None:
    program = "import sys; from service.cli import main; main(['--help'], standalone_mode=False);"
    program += "sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize(("name", "command"), every_command())
def test_every_command_teaches(name: str, command: click.Command) -> None:
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{name} {option.opts}"


@pytest.mark.parametrize(("name", "command"), every_command())
def test_every_command_but_those_that_serve_speaks_json(name: str, command: click.Command) -> None:
    options = {opt for param in command.params for opt in param.opts}
    expected = not isinstance(command, click.Group) and name not in {"up", "serve"}
    assert ({"--json", "--quiet"} <= options) == expected


def test_an_unknown_command_is_a_usage_error(cli: CommandLine) -> None:
    assert "No such command" in cli.refuses("destroy", code=2)


def test_a_setting_that_cannot_be_is_named(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWARD_PORT", "many")
    monkeypatch.setenv("MODELWARD_DATABASE_URL", "postgres://user:hunter2@db/modelward")
    said = cli.refuses("tenant", "list")
    assert "MODELWARD_PORT" in said
    assert "MODELWARD_DATABASE_URL" in said
    assert "hunter2" not in said


def test_without_a_secret_key_nothing_is_done(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELWARD_SECRET_KEY")
    assert "MODELWARD_SECRET_KEY" in cli.refuses("tenant", "list")


def test_without_a_database_a_command_says_how_to_make_one(cli: CommandLine) -> None:
    assert "modelward migrate" in cli.refuses("tenant", "list")
    assert not cli.data_dir.exists()


def test_an_unmigrated_database_is_refused(cli: CommandLine) -> None:
    cli.data_dir.mkdir()
    (cli.data_dir / "modelward.db").touch()
    assert "modelward migrate" in cli.refuses("tenant", "list")


def test_python_can_run_it_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "service.cli", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: modelward")
