"""What is promised of a transaction's end."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from service import schema
from service.database import PLATFORM, Database, after_commit, after_rollback
from service.tenants.tables import Tenant


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'modelward.db'}"
    schema.upgrade(url)
    database = Database(url)
    yield database
    database.dispose()


def rename(database: Database, called: list[str], *, fails: bool) -> None:
    with database.write(PLATFORM) as session:
        after_commit(session, lambda: called.append("committed"))
        after_rollback(session, lambda: called.append(name_elsewhere(database)))
        session.execute(sa.update(Tenant).values(name="renamed"))
        if fails:
            raise LookupError("not found")


def name_elsewhere(database: Database) -> str:
    """Write in a transaction of its own, which waits for whoever holds the lock."""
    with database.write(PLATFORM, independent=True) as session:
        return session.scalars(sa.select(Tenant.name)).one()


def test_a_callback_follows_the_end_that_it_is_for(database: Database) -> None:
    called: list[str] = []
    with pytest.raises(LookupError):
        rename(database, called, fails=True)
    assert called == ["Platform operators"]
    rename(database, called, fails=False)
    assert called == ["Platform operators", "committed"]


def test_within_a_joined_transaction_the_callback_waits_for_the_outer_end(database: Database) -> None:
    called: list[str] = []
    with pytest.raises(LookupError), database.joined(PLATFORM):
        rename(database, called, fails=True)
    assert called == ["Platform operators"]
    with database.joined(PLATFORM):
        rename(database, called, fails=False)
        assert called == ["Platform operators"]
    assert called == ["Platform operators", "committed"]
