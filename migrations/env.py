"""Runs migrations over one connection, the caller's or that of the settings."""

import sqlalchemy as sa
from alembic import context

import service.artifacts.tables
import service.registry.tables
import service.tenants.tables  # noqa: F401 - the three modules declare every table of Base
from service.config import Settings
from service.database import Base, make_engine

ADVISORY_LOCK = 0x6D6F64656C7764
"""Taken for the whole run, so that two replicas that migrate at once do it one after the other."""


def migrate(connection: sa.Connection) -> None:
    """Run the migrations that the command asked for in one transaction."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = 0"))
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:id)"), {"id": ADVISORY_LOCK})
        context.run_migrations()


def main() -> None:
    """Use the connection that ``service.schema`` hands over, or open one from the settings."""
    given = context.config.attributes.get("connection")
    if given is not None:
        migrate(given)
        return
    settings = Settings()
    engine = make_engine(settings.migration_url or settings.resolved_database_url)
    with engine.connect() as connection:
        migrate(connection)
    engine.dispose()


main()
