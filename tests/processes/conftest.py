"""A production server over its own PostgreSQL and Redis, and tenants in it."""

from collections.abc import Callable, Iterator

import pytest

from tests.processes.calling import Caller
from tests.servers.modelward import Modelward
from tests.servers.postgresql import StoppablePostgresql
from tests.servers.redis import StoppableRedis

METRICS_TOKEN = "a-metrics-token-for-tests"
"""Long enough for production."""


class Installation:
    """A migrated Modelward, and the keys of the tenants that were made in it."""

    def __init__(self, server: Modelward) -> None:
        self.server = server
        self.server.run("migrate")
        self.keys: dict[str, str] = {}
        self.ids: dict[str, str] = {}

    def tenant(self, slug: str) -> None:
        """Make a tenant without request limits."""
        made = self.server.json("tenant", "create", slug, "--plan", "unlimited")
        self.keys[slug], self.ids[slug] = made["api_key"], made["id"]

    def caller(self, slug: str) -> Caller:
        """A new caller with the tenant's key."""
        return Caller(self.server.url, self.keys[slug])


@pytest.fixture
def caller() -> Iterator[Callable[[Installation, str], Caller]]:
    """Make a caller of a tenant, which is closed after the test."""
    made: list[Caller] = []

    def make(installation: Installation, slug: str) -> Caller:
        made.append(installation.caller(slug))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="package")
def postgresql_of_production() -> Iterator[StoppablePostgresql]:
    """A durable PostgreSQL that these tests alone use, and may stop; it logs every statement."""
    server = StoppablePostgresql(options=["log_statement=all"])
    yield server
    server.close()


@pytest.fixture(scope="package")
def redis_of_production() -> Iterator[StoppableRedis]:
    """A Redis that these tests alone use, and may stop."""
    server = StoppableRedis()
    yield server
    server.close()


@pytest.fixture(scope="package")
def production(
    tmp_path_factory: pytest.TempPathFactory,
    postgresql_of_production: StoppablePostgresql,
    redis_of_production: StoppableRedis,
) -> Iterator[Installation]:
    """`modelward serve` with two workers, with a tenant `acme` and a tenant `globex`."""
    server = Modelward(
        tmp_path_factory.mktemp("production"),
        database_url=postgresql_of_production.url.render_as_string(hide_password=False),
        redis_url=redis_of_production.url,
        metrics_token=METRICS_TOKEN,
        workers=2,
    )
    installation = Installation(server)
    for slug in ("acme", "globex"):
        installation.tenant(slug)
    server.start()
    yield installation
    server.stop()


@pytest.fixture
def production_settings(postgresql_url: str, redis_url: str) -> dict[str, object]:
    """What a production server of one test alone needs, on a fresh database."""
    return {"database_url": postgresql_url, "redis_url": redis_url, "metrics_token": METRICS_TOKEN, "workers": 2}
