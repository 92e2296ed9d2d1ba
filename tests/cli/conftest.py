"""The command line over a data directory of each test's own."""

import json
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from service.artifacts import serialization
from service.cli import main
from service.cli.first_start import iris

SECRET = "0123456789abcdefghijklmnopqrstuvwxyz-ABCDEF"


class CommandLine:
    """Runs ``modelward`` in this process, and reads what it prints."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def run(self, *arguments: str, input: str | None = None) -> Result:  # noqa: A002 - as click calls it
        """Run a command, however it ends."""
        result = CliRunner().invoke(main, arguments, input=input, prog_name="modelward")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def prints(self, *arguments: str) -> str:
        """Run a command that must succeed, and return what it prints."""
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str) -> Any:
        """Run a command that must succeed with ``--json``, and return what it prints."""
        return json.loads(self.prints(*arguments, "--json"))

    def refuses(self, *arguments: str, code: int = 1) -> str:
        """Run a command that must be refused, and return what it says on standard error."""
        result = self.run(*arguments)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result.stderr


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests away from them."""
    for name in os.environ:
        if name.startswith("MODELWARD_"):
            monkeypatch.delenv(name)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line over an empty data directory, with a secret key."""
    monkeypatch.setenv("MODELWARD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("MODELWARD_SECRET_KEY", SECRET)
    return CommandLine(tmp_path / "data")


@pytest.fixture
def migrated(cli: CommandLine) -> CommandLine:
    """The command line over a migrated database with nothing in it."""
    cli.prints("migrate")
    return cli


Setting = Callable[[str, str], None]


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Setting:
    """Set one setting by its name without the prefix."""

    def change(name: str, value: str) -> None:
        monkeypatch.setenv(f"MODELWARD_{name}", value)

    return change


@pytest.fixture(scope="session")
def artifact() -> bytes:
    """A small ``.skops`` file that is admitted."""
    return serialization.dump(iris())


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port of the loopback interface that something listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def newer(migrated: CommandLine) -> None:
    """Have the database say that a newer release has migrated it."""
    with closing(sqlite3.connect(migrated.data_dir / "modelward.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
