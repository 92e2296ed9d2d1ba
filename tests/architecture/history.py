"""A database with a long history: one tenant that has much of everything, among many that have little."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

import service.artifacts.tables
import service.registry.tables
import service.tenants.tables  # noqa: F401 - the three modules declare every table of Base
from service.database import PLATFORM, PLATFORM_ROLE, Base, Database
from service.ids import least_id
from service.registry.room import recount

BIG = "ten_big"
LONG, SPARE = "long", "spare"
"""Models of the big tenant: one with many versions, aliases and moves, and one with a version that no alias names."""

ROOMY = "roomy"
"""The big tenant's plan, which has room for one more of everything."""

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
SIGNATURE = {"inputs": [{"name": "x", "dtype": "float64"}]}
MADE_UP = {str: "a", int: 1, datetime: MOMENT, bytes: b"a", bool: True, dict: {}, object: {}}

UNCHECKED = (
    "SET LOCAL statement_timeout = 0",
    "RESET ROLE",
    "SELECT set_config('session_replication_role', 'replica', true) FROM pg_user WHERE usename = user AND usesuper",
    f"SET LOCAL ROLE {PLATFORM_ROLE}",
)
"""To look each row's parents up would take most of the time."""

I: sa.ColumnClause[int] = sa.column("i", sa.Integer)  # noqa: E741
"""A row's number, from 1 on."""

Values = Mapping[str, Any]


def fill(database: Database, rows: int, others: int) -> None:
    """Give the big tenant so many rows in each table, and so many others one each."""
    with _unchecked(database) as session:
        session.execute(_one("plans", {"slug": ROOMY, "max_models": 2 * rows + 3, "max_bytes": 1 << 40}))
        session.execute(_one("tenants", {"id": BIG, "slug": "big", "plan": ROOMY, "status": "active"}))
        for model in (LONG, SPARE):
            session.execute(_one("models", {"tenant_id": BIG, "name": model, "next_version": rows + 1}))
            session.execute(_one("artifacts", {"tenant_id": BIG, "digest": digest(model)}))
        own = {"tenant_id": BIG, "model": SPARE, "digest": digest(SPARE)}
        session.execute(_one("versions", {**own, "status": "ready"}))
    # Each by itself, because SQLite finds its way ever more slowly in a log that is not taken over yet.
    for table, values, count in _many(rows, others):
        with _unchecked(database) as session:
            session.execute(_insert(table, values, count))
    with _unchecked(database) as session:
        recount(session, BIG)


@contextmanager
def _unchecked(database: Database) -> Iterator[orm.Session]:
    """Open a transaction in which PostgreSQL, where its role may, takes each row's parents for granted."""
    with database.write(PLATFORM) as session:
        if database.is_postgresql:
            for statement in UNCHECKED:
                session.execute(sa.text(statement))
        yield session


def analyse(database: Database) -> None:
    """Have the database count what it has, as it does by itself from time to time."""
    with database.engine.connect() as connection:
        if database.is_postgresql:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql("ANALYZE")
        connection.commit()


def text(number: int) -> str:
    """Return what stands for a row's number in names."""
    return str(1_000_000 + number)


def digest(model: str) -> str:
    """Return the digest of the artifact of one of those two models."""
    return f"sha256:{hashlib.sha256(model.encode()).hexdigest()}"


def _many(rows: int, others: int) -> Iterator[tuple[str, Values, int]]:
    """Yield what varies in each table and how often, parents before children: of the big tenant, and of the others.

    Their ids are mixed, as they are where all make something from time to time.
    """
    k = _key()
    yield "tenants", {"id": "ten_" + k, "slug": "t" + k, "plan": "unlimited", "status": "active"}, others
    for table, values in _of_each(sa.literal(BIG), "b"):
        yield table, values, rows
    for table, values in _of_each("ten_" + k, ""):
        yield table, values, others
    long = {"tenant_id": BIG, "model": LONG}
    yield "versions", {**long, "number": I, "status": "ready", "digest": digest(LONG)}, rows
    yield "aliases", {**long, "name": "a" + k, "version": I}, rows
    yield "alias_moves", {**long, "alias": "production", "sequence": I, "to_version": I, "action": "set"}, rows


def _of_each(tenant: sa.ColumnElement[str], mark: str) -> Iterator[tuple[str, Values]]:
    k = _key()
    day = "20" + sa.cast(I % 3 + 10, sa.String) + "-01-01"
    own = {"tenant_id": tenant}
    model = {**own, "model": "m" + k}
    yield "api_keys", {**own, "id": "key_" + k + mark, "scopes": ["models:read"]}
    yield "artifacts", {**own, "digest": "sha256:" + k}
    act = {"action": "act." + sa.cast(I % 3, sa.String), "actor": "key_" + sa.cast(I % 3, sa.String)}
    yield "audit_events", {**own, **act, "id": least_id("aud", MOMENT) + k + mark}
    yield "idempotency_records", {**own, "key": "k" + k}
    yield "models", {**own, "name": "m" + k}
    yield "refresh_tokens", {**own, "id": "rtk_" + k + mark, "key_id": "key_" + k + mark, "family": "f" + k}
    yield "revoked_tokens", {**own, "jti": "jti_" + k}
    yield "usage_counters", {**model, "day": day}
    yield "versions", {**model, "number": 1, "status": "ready", "digest": "sha256:" + k}
    yield "aliases", {**model, "name": "production", "version": 1}
    yield "alias_moves", {**model, "alias": "production", "sequence": 1, "to_version": 1, "action": "set"}


def _key() -> sa.ColumnElement[str]:
    return sa.cast(I + 1_000_000, sa.String)


def _one(name: str, values: Values) -> sa.Insert:
    table = Base.metadata.tables[name]
    return table.insert().values({**_made_up(table), **values})


def _insert(name: str, values: Values, count: int) -> sa.Insert:
    table = Base.metadata.tables[name]
    columns = {**_made_up(table), **values}
    given = [
        value if isinstance(value, sa.ColumnElement) else sa.literal(value, table.c[column].type)
        for column, value in columns.items()
    ]
    return table.insert().from_select(list(columns), sa.select(*given).select_from(_numbers(count)))


def _numbers(count: int) -> sa.CTE:
    """Return the numbers from 1 to ``count`` as a table whose column is ``I``."""
    numbers = sa.select(sa.literal(1).label(I.name)).cte("numbers", recursive=True)
    return numbers.union_all(sa.select(numbers.c.i + 1).where(numbers.c.i < count))


def _made_up(table: sa.Table) -> dict[str, Any]:
    """Return a value for each column that must have one."""
    required = [column for column in table.columns if not column.nullable]
    made_up = {column.name: MADE_UP[_plain(column.type).python_type] for column in required}
    return made_up | ({"signature": SIGNATURE} if "signature" in made_up else {})


def _plain(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    return kind.impl_instance if isinstance(kind, sa.TypeDecorator) else kind
