"""Transactions, each with its reach, and what is to happen once they have ended."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, cast

import sqlalchemy as sa
from sqlalchemy import exc, orm
from sqlalchemy.dialects import postgresql, sqlite

from service.database.engine import make_engine
from service.database.reach import PLATFORM, bound, change_reach
from service.database.tables import Base
from service.errors import Conflict, Unavailable

RETRY_SECONDS: Final = 2
_FOREIGN_KEY_VIOLATION: Final = "23503"


class Database:
    """Transactions over one database, each with its reach.

    :param url: SQLAlchemy URL of SQLite or PostgreSQL.
    :param pool_size: connections kept to PostgreSQL.
    """

    def __init__(self, url: str, *, pool_size: int = 5) -> None:
        self.engine = make_engine(url, pool_size=pool_size)
        self._readers = self.engine.execution_options(writes=False)
        self._sessions = orm.sessionmaker(class_=orm.Session, expire_on_commit=False)
        self._joined: ContextVar[orm.Session | None] = ContextVar("joined", default=None)
        bound(self._sessions)

    @property
    def is_postgresql(self) -> bool:
        """Whether row-level security stands behind the session's filter."""
        return self.engine.dialect.name == "postgresql"

    @contextmanager
    def read(self, reach: str) -> Iterator[orm.Session]:
        """Open a transaction that only reads.

        :param reach: a tenant's id, or ``PLATFORM``.
        :raises Unavailable: the database does not answer.
        """
        with self._transaction(reach, writes=False) as session:
            yield session

    @contextmanager
    def write(self, reach: str, *, independent: bool = False) -> Iterator[orm.Session]:
        """Open a transaction, and commit it at the end of the block.

        Inside ``joined`` it becomes part of the outer transaction, unless it is
        ``independent``: the audit record of a refusal must outlive the roll-back.

        :raises Unavailable: the database does not answer.
        :raises Conflict: a row would refer to one that was removed meanwhile.
        """
        outer = self._joined.get()
        if outer is None or independent:
            with self._transaction(reach, writes=True) as session:
                yield session
            return
        before = outer.info["reach"]
        change_reach(outer, reach)
        yield outer
        outer.flush()
        change_reach(outer, before)

    @contextmanager
    def joined(self, reach: str) -> Iterator[orm.Session]:
        """Open a transaction that every ``write`` inside the block becomes part of.

        An idempotent request stores its response in the transaction of what it did, so
        that neither is there without the other. It begins with its first statement, so
        that work before that holds no connection and no lock.
        """
        with self._transaction(reach, writes=True) as session:
            token = self._joined.set(session)
            try:
                yield session
            finally:
                self._joined.reset(token)

    @contextmanager
    def _transaction(self, reach: str, *, writes: bool) -> Iterator[orm.Session]:
        try:
            with self._sessions(bind=self.engine if writes else self._readers) as session:
                session.info["reach"] = reach
                with _undone_on_error(session):
                    yield session
                    session.commit()
                for callback in session.info.get("after_commit", ()):
                    callback()
        except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
            raise Unavailable(
                "The database does not answer; try again shortly.",
                code="database_unavailable",
                retry_after=RETRY_SECONDS,
            ) from error
        except exc.IntegrityError as error:
            if not _is_about_a_reference(error):
                raise
            raise Conflict(
                "What this builds on was removed meanwhile; look again.",
                code="state_changed",
                retry_after=RETRY_SECONDS,
            ) from error

    def ping(self) -> None:
        """Ask the database for an answer.

        :raises Unavailable: it gives none.
        """
        with self.read(PLATFORM) as session:
            session.execute(sa.text("SELECT 1"))

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def after_commit(session: orm.Session, callback: Callable[[], None]) -> None:
    """Have ``callback`` called once the session's transaction is committed, and never otherwise."""
    session.info.setdefault("after_commit", []).append(callback)


def after_rollback(session: orm.Session, callback: Callable[[], None]) -> None:
    """Have ``callback`` called once the session's transaction is rolled back, and never otherwise."""
    session.info.setdefault("after_rollback", []).append(callback)


@contextmanager
def _undone_on_error(session: orm.Session) -> Iterator[None]:
    try:
        yield
    except BaseException:
        session.rollback()
        for callback in session.info.get("after_rollback", ()):
            callback()
        raise


def insert(session: orm.Session, table: type[Base]) -> sqlite.Insert:
    """Return an INSERT that can say what happens on a conflict, in the dialect of the session's database.

    Both dialects have the same ``on_conflict_do_nothing`` and ``on_conflict_do_update``;
    the annotation names one of them.
    """
    rows = cast("sa.Table", table.__table__)
    if session.get_bind().dialect.name == "postgresql":
        return cast("sqlite.Insert", postgresql.insert(rows))
    return sqlite.insert(rows)


def _is_about_a_reference(error: exc.IntegrityError) -> bool:
    """Whether a row was about to refer to one that is not there, such as its tenant that was just deleted."""
    return getattr(error.orig, "sqlstate", None) == _FOREIGN_KEY_VIOLATION or "FOREIGN KEY" in str(error.orig)
