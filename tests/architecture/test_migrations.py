"""The schema on both databases, and what PostgreSQL enforces when the code above it is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import exc

import service.artifacts.tables
import service.registry.tables
import service.tenants.tables  # noqa: F401 - the three modules declare every table of Base
from service import schema
from service.database import (
    NEWEST,
    PLATFORM,
    PLATFORM_ROLE,
    TENANT_ROLE,
    TENANT_SETTING,
    Base,
    Database,
    TenantOwned,
    UtcDateTime,
    now,
    revision_of,
)
from tests.servers.postgresql import PostgresqlServer

OWNED_TABLES = sorted(
    mapper.local_table.name for mapper in Base.registry.mappers if issubclass(mapper.class_, TenantOwned)
)
VALUES = {str: "a", int: 1, datetime: datetime(2030, 1, 1, tzinfo=UTC), bytes: b"a", dict: {}, object: {}}
TENANTS = "('a', 'a', 'a', 'free', 'active', 1, 1, :at), ('b', 'b', 'b', 'free', 'active', 1, 1, :at)"
MODELS = "('a', 'm', '', '{}', 1, 1, :at, '', NULL), ('a', 'n', '', '{}', 1, 1, :at, '', :at)"
MADE = "revision, created_at, created_by, deleted_at"
CHOICES = {("tenants", "status"): "active", ("versions", "status"): "ready"}


def revisions() -> list[str]:
    """Every revision, the oldest first."""
    scripts = ScriptDirectory(str(schema._location()))
    return [script.revision for script in scripts.walk_revisions()][::-1]


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    """A connection as the URL's own role, without any reach."""
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        yield connection


@contextmanager
def opened(url: str, pool_size: int = 5) -> Iterator[Database]:
    """The database as the product opens it."""
    database = Database(url, pool_size=pool_size)
    try:
        yield database
    finally:
        database.dispose()


def fill(url: str) -> dict[str, int]:
    """Put one row into each table that the database has, and return how many rows each has then."""
    with connected(url) as connection:
        tables = sa.MetaData()
        tables.reflect(connection)
    kept: dict[str, dict[str, Any]] = {}
    with opened(url) as database, database.write(PLATFORM) as session:
        for table in tables.sorted_tables:
            if table.name != "alembic_version":
                kept[table.name] = row_of(table, kept)
                session.execute(table.insert().values(kept[table.name]))
        return {name: count(session, tables.tables[name]) for name in kept}


def count(session: Any, table: sa.Table) -> int:
    return session.scalar(sa.select(sa.func.count()).select_from(table))


def row_of(table: sa.Table, kept: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Make up a row that fits the table's types and refers to the rows in ``kept``."""
    row = {column.name: CHOICES.get((table.name, column.name), made_up(column.type)) for column in table.columns}
    for reference in table.foreign_keys:
        row[reference.parent.name] = kept[reference.column.table.name][reference.column.name]
    return row


def made_up(kind: sa.types.TypeEngine[Any]) -> Any:
    plain = kind.impl_instance if isinstance(kind, sa.TypeDecorator) else kind
    return VALUES[plain.python_type]


def shape(url: str) -> dict[str, list[str]]:
    """Tables with their columns and types."""
    with connected(url) as connection:
        found = sa.inspect(connection)
        return {
            table: sorted(f"{column['name']} {column['type']}" for column in found.get_columns(table))
            for table in found.get_table_names()
        }


def test_the_migrations_make_exactly_what_the_code_declares(database_url: str) -> None:
    schema.upgrade(database_url)
    with connected(database_url) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_schema_goes_up_down_and_up_again(database_url: str) -> None:
    assert revision_of(database_url) is None
    schema.upgrade(database_url)
    assert revision_of(database_url) == NEWEST == revisions()[-1]
    first = shape(database_url)
    schema.downgrade(database_url, "base")
    assert list(shape(database_url)) == ["alembic_version"]
    schema.upgrade(database_url)
    assert shape(database_url) == first


def test_each_revision_goes_up_and_down_with_data_in_every_table(database_url: str) -> None:
    for revision in revisions():
        schema.upgrade(database_url, revision)
        counts = fill(database_url)
        schema.upgrade(database_url)
        with opened(database_url) as database, database.read(PLATFORM) as session:
            assert {name: count(session, Base.metadata.tables[name]) for name in counts} == counts
        schema.downgrade(database_url, revision)
        schema.downgrade(database_url, "base")


def test_an_upgrade_that_has_nothing_to_do_keeps_every_row(database_url: str) -> None:
    schema.upgrade(database_url)
    counts = fill(database_url)
    schema.upgrade(database_url)
    with opened(database_url) as database, database.read(PLATFORM) as session:
        assert {name: count(session, Base.metadata.tables[name]) for name in counts} == counts


def test_counts_of_what_tenants_have_are_filled_from_their_rows(database_url: str) -> None:
    schema.upgrade(database_url, "0003")
    with opened(database_url) as database:
        have_models_and_bytes(database)
        schema.upgrade(database_url)
        assert counts_of_models_and_bytes(database) == {"a": (1, 5), "b": (0, 0), "ten_platform": (0, 0)}


def have_models_and_bytes(database: Database) -> None:
    """Have a tenant with two models, one of them deleted, and two artifacts, and one with nothing."""
    with database.write(PLATFORM) as session:
        for table, columns, rows in (
            ("tenants", "id, slug, name, plan, status, epoch, revision, created_at", TENANTS),
            ("models", f"tenant_id, name, description, tags, next_version, {MADE}", MODELS),
            ("artifacts", "tenant_id, digest, size_bytes, created_at", "('a', '1', 2, :at), ('a', '2', 3, :at)"),
        ):
            statement = sa.text(f"INSERT INTO {table} ({columns}) VALUES {rows}")
            session.execute(statement.bindparams(sa.bindparam("at", now(), UtcDateTime())))


def counts_of_models_and_bytes(database: Database) -> dict[str, tuple[int, int]]:
    with database.read(PLATFORM) as session:
        rows = session.execute(sa.text("SELECT id, model_count, artifact_bytes FROM tenants"))
        return {tenant_id: (models, kept) for tenant_id, models, kept in rows}


def test_the_plans_and_the_operators_tenant_are_there_from_the_first_migration(database_url: str) -> None:
    schema.upgrade(database_url)
    with opened(database_url) as database, database.read(PLATFORM) as session:
        assert set(session.scalars(sa.text("SELECT slug FROM plans"))) == {"free", "standard", "unlimited"}
        assert list(session.scalars(sa.text("SELECT slug FROM tenants"))) == ["platform"]


class Login:
    """A migrated PostgreSQL with a row in every table, and a login that may only take the two roles."""

    def __init__(self, server: PostgresqlServer, owner_url: str) -> None:
        schema.upgrade(owner_url)
        self.counts = fill(owner_url)
        self.owner_url = owner_url
        self.name = f"login_{sa.make_url(owner_url).database}"
        self.url = sa.make_url(owner_url).set(username=self.name, password="x").render_as_string(hide_password=False)
        server.run(f"CREATE ROLE {self.name} LOGIN NOINHERIT PASSWORD 'x' IN ROLE {TENANT_ROLE}, {PLATFORM_ROLE}")


@pytest.fixture(scope="module")
def login(postgresql_server: PostgresqlServer, postgresql_url_of_module: str) -> Iterator[Login]:
    made = Login(postgresql_server, postgresql_url_of_module)
    yield made
    postgresql_server.run(f"DROP ROLE {made.name}")


def test_every_table_of_tenants_forces_row_level_security_on_reads_and_on_writes(postgresql_url: str) -> None:
    schema.upgrade(postgresql_url)
    with connected(postgresql_url) as connection:
        tables = connection.execute(
            sa.text(
                "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class c "
                "WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND (relname = 'tenants' OR "
                "EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id'))"
            )
        ).all()
        policies = connection.execute(
            sa.text("SELECT tablename, roles::text, qual, with_check, cmd FROM pg_policies ORDER BY tablename, roles")
        ).all()
    assert sorted(name for name, *_ in tables) == sorted([*OWNED_TABLES, "tenants"])
    assert [name for name, enabled, forced in tables if not (enabled and forced)] == []
    for name, *_ in tables:
        of_table = {roles: (using, check, command) for table, roles, using, check, command in policies if table == name}
        assert set(of_table) == {f"{{{TENANT_ROLE}}}", f"{{{PLATFORM_ROLE}}}"}
        using, check, command = of_table[f"{{{TENANT_ROLE}}}"]
        assert TENANT_SETTING in using
        assert using == check
        assert command == "ALL"


def test_the_applications_roles_own_nothing_and_bypass_nothing(login: Login) -> None:
    with connected(login.owner_url) as connection:
        roles = connection.execute(
            sa.text(
                "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles "
                "WHERE rolname = ANY(:names)"
            ),
            {"names": [TENANT_ROLE, PLATFORM_ROLE, login.name]},
        ).all()
        owned = connection.scalars(
            sa.text(
                "SELECT classid::regclass || ' ' || objid FROM pg_shdepend "
                "WHERE deptype = 'o' AND refobjid = ANY(SELECT oid FROM pg_roles WHERE rolname = ANY(:names))"
            ),
            {"names": [TENANT_ROLE, PLATFORM_ROLE, login.name]},
        ).all()
    assert len(roles) == 3
    assert [name for name, *powers in roles if any(powers)] == []
    assert owned == []


@pytest.mark.parametrize("table", [*OWNED_TABLES, "tenants"])
def test_raw_sql_as_the_tenants_role_finds_no_row_without_a_tenant(login: Login, table: str) -> None:
    with connected(login.url) as connection:
        connection.execute(sa.text(f"SET ROLE {TENANT_ROLE}"))
        assert connection.execute(sa.text(f"SELECT * FROM {table}")).all() == []


@pytest.mark.parametrize("table", OWNED_TABLES)
def test_raw_sql_of_a_tenant_finds_its_rows_alone_and_writes_for_nobody_else(login: Login, table: str) -> None:
    with opened(login.url) as database:
        with database.read("a") as session:
            assert session.scalar(sa.text(f"SELECT count(*) FROM {table}")) == login.counts[table]
        with database.read("b") as session:
            assert session.scalar(sa.text(f"SELECT count(*) FROM {table}")) == 0
        with pytest.raises(exc.ProgrammingError, match="row-level security"), database.write("b") as session:
            session.execute(insert_for_tenant_a(Base.metadata.tables[table]))


def insert_for_tenant_a(table: sa.Table) -> sa.Insert:
    kept: dict[str, dict[str, Any]] = {}
    for each in Base.metadata.sorted_tables:
        kept[each.name] = row_of(each, kept)
    return table.insert().values(kept[table.name])


def test_the_login_itself_reads_no_table_until_it_takes_a_role(login: Login) -> None:
    for table in (*OWNED_TABLES, "tenants", "plans", "signing_keys"):
        with connected(login.url) as connection, pytest.raises(exc.ProgrammingError, match="permission denied"):
            connection.execute(sa.text(f"SELECT * FROM {table}"))


def test_the_login_can_tell_the_schemas_revision(login: Login) -> None:
    assert revision_of(login.url) == NEWEST


def test_a_tenant_cannot_alter_or_erase_its_trail(login: Login) -> None:
    for table in ("audit_events", "alias_moves"):
        for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET tenant_id = tenant_id"):
            with (
                opened(login.url) as database,
                pytest.raises(exc.ProgrammingError, match="permission denied"),
                database.write("a") as session,
            ):
                session.execute(sa.text(statement))


def test_a_pooled_connection_keeps_nothing_of_the_tenant_before(login: Login, long: bool) -> None:
    state = sa.text(f"SELECT pg_backend_pid(), current_user, coalesce(current_setting('{TENANT_SETTING}', true), '')")
    with opened(login.url, pool_size=1) as database:
        seen = set()
        for turn in range(2_500 if long else 50):
            for way in (leave_normally, leave_by_an_error, leave_a_savepoint, leave_after_a_refused_statement):
                way(database, f"tenant{turn}")
                with database.engine.connect() as connection:
                    seen.add(tuple(connection.execute(state).one()))
    assert len(seen) == 1
    assert next(iter(seen))[1:] == (login.name, "")


def leave_normally(database: Database, tenant: str) -> None:
    with database.write(tenant) as session:
        assert session.scalar(sa.text(f"SELECT current_setting('{TENANT_SETTING}')")) == tenant


def leave_by_an_error(database: Database, tenant: str) -> None:
    with suppress(ZeroDivisionError), database.write(tenant) as session:
        session.execute(sa.text("SELECT 1"))
        raise ZeroDivisionError


def leave_a_savepoint(database: Database, tenant: str) -> None:
    with database.write(tenant) as session:
        session.execute(sa.text("SELECT 1"))
        savepoint = session.begin_nested()
        session.execute(sa.text("SELECT 1"))
        savepoint.rollback()


def leave_after_a_refused_statement(database: Database, tenant: str) -> None:
    with suppress(exc.ProgrammingError), database.write(tenant) as session:
        session.execute(sa.text("SELECT * FROM signing_keys"))
