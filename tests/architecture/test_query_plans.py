"""What a long history costs a call: nothing. Each use runs over a short and over a long one.

SQLite counts the instructions that its virtual machine takes, which is exact. PostgreSQL
tells how it finds the rows, and how many it looks at.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy import event

from service import schema
from service.bootstrap import Services, build
from service.config import Settings
from service.registry.resolution import AliasRef, DefaultRef, VersionRef
from service.registry.versions import VersionFilter
from service.tenants.keys import KeySpec
from service.tenants.principal import Principal
from tests.architecture.history import BIG, LONG, MOMENT, SPARE, analyse, fill, text
from tests.registry.workers import regression
from tests.servers.postgresql import PostgresqlServer

SHORT_ROWS, LONG_ROWS, LONGEST_ROWS = 300, 10_000, 1_000_000
"""The longest only with ``--long``, and beside not more than ``LONG_ROWS`` other tenants."""

MIDDLE = text(SHORT_ROWS // 2)
HERE = "127.0.0.1"
SECRET = SecretStr("0123456789abcdefghijklmnopqrstuvwxyz-ABCDEF")
pytestmark = pytest.mark.timeout(1800)

FIXED = {"plans", "signing_keys"}
"""Tables that do not grow with what tenants do."""

INSTRUCTIONS = 10
"""Instructions of SQLite's virtual machine between two counts."""

PAGE_ROWS = 200
"""More rows than any of these uses needs to look at, and far fewer than there are."""


@dataclass
class Installation:
    """The services over a history, a key of its big tenant that nobody has used yet, and a principal of that tenant."""

    services: Services
    key: str
    principal: Principal


Use = Callable[[Installation], object]

# What an operator asks of all tenants by age, by size or by day is not among them: it reads what it has to.
USES: dict[str, Use] = {
    "authenticate": lambda i: i.services.keys.authenticate(i.key, HERE),
    "resolve by default": lambda i: i.services.resolution.resolve(i.principal, f"m{MIDDLE}", DefaultRef()),
    "resolve the newest": lambda i: i.services.resolution.resolve(i.principal, LONG, DefaultRef()),
    "resolve a version": lambda i: i.services.resolution.resolve(i.principal, LONG, VersionRef(SHORT_ROWS // 2)),
    "resolve an alias": lambda i: i.services.resolution.resolve(i.principal, LONG, AliasRef(f"a{MIDDLE}")),
    "look at epochs": lambda i: i.services.epochs.refresh(),
    "list models": lambda i: i.services.models.list(i.principal),
    "list models further on": lambda i: i.services.models.list(i.principal, cursor=f"m{MIDDLE}"),
    "list versions": lambda i: i.services.versions.list(i.principal, LONG),
    "list versions further on": lambda i: i.services.versions.list(i.principal, LONG, cursor=str(SHORT_ROWS // 2)),
    "list aliases": lambda i: i.services.aliases.list(i.principal, LONG),
    "list moves": lambda i: i.services.aliases.history(i.principal, LONG, "production"),
    "list moves further on": lambda i: i.services.aliases.history(i.principal, LONG, "production", cursor="150"),
    "make a model": lambda i: i.services.models.create(i.principal, "another"),
    "upload a version": lambda i: i.services.versions.upload(i.principal, LONG, regression(1.0)),
    "move an alias": lambda i: i.services.aliases.move(i.principal, LONG, "production", 7),
    "roll an alias back": lambda i: i.services.aliases.rollback(i.principal, LONG, "production"),
    "purge a version": lambda i: i.services.versions.purge(i.principal, SPARE, 1),
    "list keys": lambda i: i.services.keys.list(i.principal),
    "make a key": lambda i: i.services.keys.create(i.principal, KeySpec(name="another", role="viewer")),
    "list the trail": lambda i: i.services.audit.list(BIG),
    "list the trail further on": lambda i: i.services.audit.list(BIG, cursor=f"aud_zz{MIDDLE}"),
    "list the trail of an act": lambda i: i.services.audit.list(BIG, action="act.2"),
    "list the trail of an actor": lambda i: i.services.audit.list(BIG, actor="key_2"),
    "list the trail since a day": lambda i: i.services.audit.list(BIG, since=MOMENT + timedelta(days=1)),
    "list the trail until a day": lambda i: i.services.audit.list(BIG, until=MOMENT - timedelta(days=1)),
    "list every trail": lambda i: i.services.audit.list_all(),
    "charge rows": lambda i: i.services.usage.charge(i.principal, f"m{MIDDLE}", 1),
    "write usage": lambda i: i.services.usage.flush(),
    "report usage": lambda i: i.services.usage.report(BIG, date(2010, 1, 1), date(2010, 1, 1)),
    "list tenants": lambda i: i.services.tenants.list(),
    "list every version": lambda i: i.services.versions.list_all(VersionFilter()),
    "list every quarantined version": lambda i: i.services.versions.list_all(VersionFilter(status="quarantined")),
    "list every version of a kind": lambda i: i.services.versions.list_all(VersionFilter(estimator="SVC")),
    "claim an idempotency key": lambda i: i.services.idempotency.claim(BIG, "once", b"a"),
    "change a plan": lambda i: i.services.tenants.change(Principal.operator(), "big", None, "unlimited"),
}


@contextmanager
def installed(url: str, directory: Path, rows: int, *, analysed: bool = True) -> Iterator[Installation]:
    schema.upgrade(url)
    services = build(Settings(database_url=url, data_dir=directory, secret_key=SECRET))
    operator = Principal.operator()
    try:
        fill(services.database, rows, others=min(rows, LONG_ROWS))
        first, second = (services.keys.create(operator, KeySpec(name=n, role="tenant-admin"), BIG) for n in "ab")
        if analysed:
            analyse(services.database)
        yield Installation(services, first.secret, services.keys.authenticate(second.secret, HERE))
    finally:
        services.close()


def instructions(installation: Installation) -> dict[str, int]:
    """Return how many instructions each use takes, in tens."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    engine = installation.services.database.engine
    engine.dispose()
    event.listen(engine, "connect", lambda connection, _: connection.set_progress_handler(count, INSTRUCTIONS))
    taken = {}
    for name, use in USES.items():
        before = counted
        use(installation)
        taken[name] = counted - before
    return taken


@pytest.fixture(scope="module", params=["analysed", "as it grew"])
def costs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, long: bool) -> dict[str, list[int]]:
    """What each use takes on SQLite over the short and over the long history."""
    directory = tmp_path_factory.mktemp("histories")
    found: dict[str, list[int]] = defaultdict(list)
    for rows in (SHORT_ROWS, LONGEST_ROWS if long else LONG_ROWS):
        url = f"sqlite:///{directory / str(rows)}.db"
        with installed(url, directory, rows, analysed=request.param == "analysed") as installation:
            for name, count in instructions(installation).items():
                found[name].append(count)
    return found


@pytest.mark.parametrize("use", USES)
def test_on_sqlite_a_use_costs_the_same_however_long_the_history(costs: dict[str, list[int]], use: str) -> None:
    short, long = costs[use]
    assert 0 < long <= short * 1.1 + 5, (short, long)


Node = dict[str, Any]


def nodes(plan: Node) -> Iterator[Node]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def looked_at(node: Node) -> int:
    """Return the rows that a part of a plan looked at, as far as it ran."""
    rows = sum(node.get(name, 0) for name in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter"))
    return int(rows * node.get("Actual Loops", 1))


def planned(installation: Installation) -> dict[str, list[tuple[str, Node]]]:
    """Return the statements of each use, and the parts of their plans; those that only read have run."""
    found: dict[str, list[tuple[str, Node]]] = defaultdict(list)
    running = ""

    def explain(connection: sa.Connection, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        verb = statement.split(None, 1)[0]
        if verb not in {"SELECT", "INSERT", "UPDATE", "DELETE"} or "set_config" in statement:
            return
        # The same connection, and so the same role, tenant and transaction.
        cursor = psycopg.ClientCursor(connection.connection.dbapi_connection)  # type: ignore[arg-type]
        values = parameters[0] if isinstance(parameters, list) else parameters
        cursor.execute(f"EXPLAIN ({'ANALYZE, ' * (verb == 'SELECT')}FORMAT JSON) {statement}", values)
        found[running] += [(statement, node) for node in nodes(cursor.fetchone()[0][0]["Plan"])]  # type: ignore[index]

    event.listen(installation.services.database.engine, "before_cursor_execute", explain)
    for running, use in USES.items():  # noqa: B007 - the listener reads it
        use(installation)
    return found


@pytest.fixture(scope="module")
def plans(
    postgresql_server: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory, long: bool
) -> dict[str, list[tuple[str, Node]]]:
    """How PostgreSQL finds the rows of each use in the long history."""
    directory = tmp_path_factory.mktemp("artifacts")
    rows = LONGEST_ROWS if long else LONG_ROWS
    with postgresql_server.database() as url, installed(url, directory, rows) as installation:
        return planned(installation)


@pytest.mark.parametrize("use", USES)
def test_on_postgresql_a_use_finds_its_rows_by_indexes(plans: dict[str, list[tuple[str, Node]]], use: str) -> None:
    assert plans[use]
    for statement, node in plans[use]:
        is_scan = node["Node Type"] == "Seq Scan" and node["Relation Name"] not in FIXED
        assert not is_scan, (statement, node)
        assert looked_at(node) <= PAGE_ROWS, (statement, node)
