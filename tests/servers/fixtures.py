"""Fixtures over the servers; `tests/conftest.py` makes them known to every test."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.modelward import Modelward
from tests.servers.postgresql import PostgresqlServer, StoppablePostgresql
from tests.servers.proxy import FaultyProxy
from tests.servers.redis import RedisServer, StoppableRedis


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """The PostgreSQL that all tests share; ``with postgresql_server.database() as url`` makes a database in it."""
    if given := os.environ.get("MODELWARD_TEST_POSTGRESQL_URL"):
        yield PostgresqlServer(given)
        return
    server = StoppablePostgresql(durable=False)
    yield server
    server.close()


@pytest.fixture
def postgresql_url(postgresql_server: PostgresqlServer) -> Iterator[str]:
    """A fresh, empty database of this test alone, as ``postgresql+psycopg://…``."""
    with postgresql_server.database() as url:
        yield url


@pytest.fixture(scope="module")
def postgresql_url_of_module(postgresql_server: PostgresqlServer) -> Iterator[str]:
    """A fresh, empty database that the tests of one module share."""
    with postgresql_server.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh, empty database of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'modelward.db'}"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The Redis that all tests share."""
    if given := os.environ.get("MODELWARD_TEST_REDIS_URL"):
        yield RedisServer(given)
        return
    server = StoppableRedis()
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    """The URL of the shared Redis, which is emptied before each test that uses it."""
    return redis_server.url


@pytest.fixture(autouse=True)
def _empty_redis(request: pytest.FixtureRequest) -> None:
    if "redis_server" in request.fixturenames:
        request.getfixturevalue("redis_server").empty()


@pytest.fixture
def stoppable_postgresql() -> Iterator[StoppablePostgresql]:
    """A durable PostgreSQL of this test alone, with ``stop()`` and ``start()``."""
    server = StoppablePostgresql()
    yield server
    server.close()


@pytest.fixture
def stoppable_redis() -> Iterator[StoppableRedis]:
    """A Redis of this test alone, with ``stop()``, ``kill()`` and ``start()``."""
    server = StoppableRedis()
    yield server
    server.close()


@pytest.fixture
def modelward(tmp_path: Path) -> Iterator[Callable[..., Modelward]]:
    """Make the real command with the given settings: ``modelward(workers=2).start()``; each is stopped afterwards."""
    made: list[Modelward] = []

    def make(**settings: object) -> Modelward:
        directory = tmp_path / f"server{len(made)}"
        directory.mkdir()
        made.append(Modelward(directory, **settings))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def faulty_proxy() -> Iterator[Callable[[int], FaultyProxy]]:
    """Put a proxy that injects faults in front of a port of 127.0.0.1."""
    made: list[FaultyProxy] = []

    def make(target: int) -> FaultyProxy:
        made.append(FaultyProxy(target))
        return made[-1]

    yield make
    for each in made:
        each.close()
