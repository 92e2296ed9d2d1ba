"""The schema's migrations, and the row-level security that every migration builds with.

``upgrade`` and ``downgrade`` run the migrations; ``create_roles``, ``grant`` and
``protect`` are for the migrations themselves and do nothing on SQLite.

On PostgreSQL two roles that own nothing and cannot log in stand for the two reaches of
``service.database``: the login that Modelward uses is a member of both and takes one of
them for the length of a transaction.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command, op
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from service.database import NEWEST, PLATFORM_ROLE, TENANT_ROLE, TENANT_SETTING, connected, revision_of
from service.errors import Conflict, NotFound

_CREATE_ROLE = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        CREATE ROLE {role} NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- Roles belong to the whole cluster, and another database's migration made it just now.
END $$;
DO $$
BEGIN
    -- From PostgreSQL 16 on, who makes a role may give it away but not take it.
    IF NOT pg_has_role(current_user, '{role}', CASE WHEN current_setting('server_version_num')::int < 160000
            THEN 'MEMBER' ELSE 'SET' END) THEN
        GRANT {role} TO CURRENT_USER;
    END IF;
END $$;
GRANT USAGE ON SCHEMA public TO {role};
"""


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to ``revision``, each time from where it is.

    :raises Conflict: the database is of a newer release.
    :raises Unavailable: the database does not answer.
    """
    refuse_newer(url)
    with connected(url) as connection:
        command.upgrade(_configuration(connection), revision)
        connection.commit()


def downgrade(url: str, revision: str) -> None:
    """Take the database back to ``revision``; ``base`` removes everything."""
    refuse_newer(url)
    with connected(url) as connection:
        command.downgrade(_configuration(connection), revision)
        connection.commit()


def move(url: str, revision: str) -> None:
    """Bring the database to ``revision``, forwards or back.

    :raises Conflict: the database is of a newer release.
    :raises NotFound: this release has no such revision.
    :raises Unavailable: the database does not answer.
    """
    if is_behind(url, revision):
        downgrade(url, revision)
    else:
        upgrade(url, revision)


def is_behind(url: str, revision: str) -> bool:
    """Whether ``revision`` is older than the database is, so that going there removes something.

    :raises Conflict: the database is of a newer release.
    :raises NotFound: this release has no such revision.
    """
    refuse_newer(url)
    try:
        target = _scripts().get_revision(revision)
    except CommandError as error:
        raise NotFound(f"There is no revision {revision}; the newest is {NEWEST}.") from error
    at = revision_of(url)
    if at is None or target is None:
        return at is not None
    older = [script.revision for script in _scripts().iterate_revisions(at, "base")][1:]
    return target.revision in older


def refuse_newer(url: str) -> None:
    """Refuse a database that a newer release has migrated.

    :raises Conflict: with both revisions.
    """
    revision = revision_of(url)
    if revision is None:
        return
    try:
        _scripts().get_revision(revision)
    except CommandError as error:
        raise Conflict(
            f"The database is at revision {revision}, which this release does not know (its newest is {NEWEST}). "
            "Install the newer release, or restore the database from before its migration.",
            code="database_newer",
        ) from error


def create_roles() -> None:
    """Make the roles of the two reaches, and let the current role take them."""
    if _on_postgresql():
        for role in (TENANT_ROLE, PLATFORM_ROLE):
            op.execute(_CREATE_ROLE.format(role=role))
        # The login has no rights before it takes a role, and `current` asks before that.
        op.execute("GRANT SELECT ON alembic_version TO PUBLIC")


def grant(table: str, *, tenant: str, platform: str) -> None:
    """Give each reach its rights on a table that no tenant owns; an empty string gives none."""
    if _on_postgresql():
        for role, rights in ((TENANT_ROLE, tenant), (PLATFORM_ROLE, platform)):
            if rights:
                op.execute(f"GRANT {rights} ON {table} TO {role}")


def protect(table: str, *, column: str = "tenant_id", tenant: str) -> None:
    """Force row-level security on a tenant-owned table, and grant the rights that go with it.

    :param column: the column that holds the tenant's id.
    :param tenant: the rights of a tenant's own requests; operators have all.
    """
    if not _on_postgresql():
        return
    grant(table, tenant=tenant, platform="SELECT, INSERT, UPDATE, DELETE")
    # An unset or empty setting is NULL here, and NULL equals no tenant.
    own = f"{column} = NULLIF(current_setting('{TENANT_SETTING}', true), '')"
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY own_rows ON {table} TO {TENANT_ROLE} USING ({own}) WITH CHECK ({own})")
    op.execute(f"CREATE POLICY every_row ON {table} TO {PLATFORM_ROLE} USING (true) WITH CHECK (true)")


@contextmanager
def reaching_every_tenant() -> Iterator[None]:
    """Have statements of a migration reach every row: row-level security is forced on the tables' owner too."""
    if not _on_postgresql():
        yield
        return
    op.execute(f"SET LOCAL ROLE {PLATFORM_ROLE}")
    yield
    op.execute("RESET ROLE")


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _location() -> Path:
    # A wheel carries the migrations inside the package; a checkout has them beside it.
    packaged = Path(__file__).parent / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "migrations"


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_location()))


def _configuration(connection: sa.Connection) -> Config:
    configuration = Config(attributes={"connection": connection})
    configuration.set_main_option("script_location", str(_location()))
    return configuration
