"""What the tests of tenants and credentials stand on: a migrated database of each kind, and processes over it."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from service import schema
from service.artifacts import tables as _artifact_tables  # noqa: F401 - Deleting a tenant reaches every table.
from service.database import Database
from service.registry import tables as _registry_tables  # noqa: F401 - As above.
from tests.servers.postgresql import PostgresqlServer
from tests.tenants.workers import Statements, Worker


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("migrated") / "modelward.db"
    schema.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_name(postgresql_server: PostgresqlServer) -> Iterator[str]:
    """The name of a migrated PostgreSQL database to copy."""
    with postgresql_server.database() as url:
        schema.upgrade(url)
        yield str(sa.make_url(url).database)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated database of each kind in turn."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            copy = shutil.copy(request.getfixturevalue("migrated_file"), tmp_path)
            url = f"sqlite:///{copy}"
        else:
            server: PostgresqlServer = request.getfixturevalue("postgresql_server")
            url = stack.enter_context(server.database(request.getfixturevalue("migrated_name")))
        database = Database(url, pool_size=16)
        stack.callback(database.dispose)
        yield database


@pytest.fixture
def worker(database: Database) -> Worker:
    """One process."""
    return Worker(database)


@pytest.fixture
def another_worker(database: Database) -> Worker:
    """A second process over the same database."""
    return Worker(database)


@pytest.fixture
def statements(database: Database) -> Statements:
    """The statements that the database is sent."""
    return Statements(database)
