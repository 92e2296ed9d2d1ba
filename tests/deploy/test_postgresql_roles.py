"""`deploy/postgresql/roles.sql` on a real server: the owner migrates, the login serves and owns nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from service import schema
from service.database import NEWEST, PLATFORM, Database, revision_of
from tests.architecture.test_migrations import counts_of_models_and_bytes, have_models_and_bytes
from tests.servers.postgresql import StoppablePostgresql

ROLES = Path(__file__).parents[2] / "deploy" / "postgresql" / "roles.sql"


def statements(passwords: dict[str, str]) -> Iterator[str]:
    """Each statement as psql would send it, with its variables filled in."""
    lines = [line for line in ROLES.read_text().splitlines() if not line.startswith(("--", "\\getenv"))]
    text = "\n".join(lines)
    for variable, password in passwords.items():
        text = text.replace(f":'{variable}'", f"'{password}'")
    return (statement for statement in text.split(";") if statement.strip())


@pytest.fixture(scope="module")
def server() -> Iterator[StoppablePostgresql]:
    """A server on which the file was run."""
    server = StoppablePostgresql(durable=False)
    try:
        for statement in statements({"owner_password": "o", "login_password": "l"}):
            server.run(statement)
        yield server
    finally:
        server.close()


def url(server: StoppablePostgresql, role: str) -> str:
    return server.url.set(username=role, password="x", database="modelward").render_as_string(hide_password=False)


def test_every_password_comes_from_a_variable_that_prepare_writes() -> None:
    prepare = (ROLES.parents[1] / "prepare").read_text()
    taken = [line.split()[1:] for line in ROLES.read_text().splitlines() if line.startswith("\\getenv")]
    assert [variable for variable, _ in taken] == ["owner_password", "login_password"]
    assert all(f"\n{name}=" in prepare for _, name in taken)


def test_the_owner_migrates_and_the_login_serves(server: StoppablePostgresql) -> None:
    schema.upgrade(url(server, "modelward_owner"))
    database = Database(url(server, "modelward"))
    with database.read(PLATFORM) as session:
        assert session.scalar(sa.text("SELECT count(*) FROM plans")) == 3
    with database.read("ten_nobody") as session:
        assert session.scalar(sa.text("SELECT count(*) FROM tenants")) == 0
    database.dispose()
    assert revision_of(url(server, "modelward")) == NEWEST


def test_the_owner_fills_what_a_migration_adds(server: StoppablePostgresql) -> None:
    owner = url(server, "modelward_owner")
    schema.upgrade(owner)
    schema.downgrade(owner, "0003")
    database = Database(url(server, "modelward"))
    have_models_and_bytes(database)
    schema.upgrade(owner)
    assert counts_of_models_and_bytes(database) == {"a": (1, 5), "b": (0, 0), "ten_platform": (0, 0)}
    database.dispose()


def test_the_login_has_no_right_of_its_own(server: StoppablePostgresql) -> None:
    schema.upgrade(url(server, "modelward_owner"))
    engine = sa.create_engine(url(server, "modelward"), poolclass=sa.NullPool)
    for statement in ("SELECT * FROM tenants", "CREATE TABLE mine (id int)", "CREATE DATABASE mine"):
        with engine.connect() as connection, pytest.raises(exc.ProgrammingError, match="permission denied"):
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text(statement))
