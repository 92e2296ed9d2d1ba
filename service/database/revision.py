"""At which revision of the schema a database is, found without what migrates it: every start asks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa
from sqlalchemy import exc

from service.database.engine import make_engine
from service.database.reach import PLATFORM_ROLE
from service.errors import Unavailable

NEWEST: Final = "0004"
"""The revision that this release works with: the last of ``migrations/versions``."""

# The server's login has no rights before it takes a role; before the first migration there may be none to take.
_TAKE_PLATFORM_ROLE: Final = """
SELECT set_config('role', rolname, true) FROM pg_roles
WHERE rolname = :role AND pg_has_role(current_user, oid, 'MEMBER')
"""


def revision_of(url: str) -> str | None:
    """Return the revision of the database, ``None`` where it has no tables yet.

    :raises Unavailable: the database does not answer.
    """
    with connected(url) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text(_TAKE_PLATFORM_ROLE), {"role": PLATFORM_ROLE})
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    """Yield a connection of its own to a database, and close it.

    :raises Unavailable: the database does not answer.
    """
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            yield connection
    except exc.OperationalError as error:
        raise Unavailable("The database does not answer.", code="database_unavailable") from error
    finally:
        engine.dispose()
