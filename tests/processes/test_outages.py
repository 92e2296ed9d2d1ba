"""Redis or PostgreSQL goes away under load and comes back: what is warm goes on, and all of it recovers."""

import time
from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.processes.calling import Caller, Load
from tests.processes.conftest import Installation
from tests.processes.estimators import constant
from tests.servers.postgresql import StoppablePostgresql
from tests.servers.redis import StoppableRedis
from tests.servers.subprocesses import wait_until

RECOVERY_SECONDS = 5
ANSWERS_AWAY = 300

WARM_SECONDS = 2
"""Longer than a change may go unseen: after that both workers have read what they serve from."""


@pytest.fixture
def load(production: Installation) -> Iterator[Load]:
    """Predictions of a promoted model by four callers, warm on both workers."""
    owner = production.caller("globex")
    version = owner.uploaded("steady", constant(7.0))["version"]
    assert owner.move("steady", version).status_code == 200
    owner.close()
    with Load(lambda: production.caller("globex"), ask) as load:
        warm = time.monotonic() + WARM_SECONDS
        while time.monotonic() < warm:
            load.wait_for(100)
        yield load


def ask(caller: Caller, number: int) -> httpx2.Response:
    return caller.predict("steady", [[number / 1000, 0.0]])


def status(production: Installation) -> str:
    return str(httpx2.get(f"{production.server.url}/readyz", timeout=10).json()["status"])


def write(caller: Caller) -> httpx2.Response:
    return caller.client.patch("/v1/models/steady", json={"description": "still here"})


def test_redis_stopped_under_load_fails_no_prediction(
    production: Installation, redis_of_production: StoppableRedis, load: Load
) -> None:
    redis_of_production.stop()
    try:
        load.wait_for(ANSWERS_AWAY)
        assert status(production) == "degraded"
        assert httpx2.get(f"{production.server.url}/healthz", timeout=10).status_code == 200
    finally:
        redis_of_production.start()
    wait_until(lambda: status(production) == "ready", "ready again", seconds=RECOVERY_SECONDS)
    load.wait_for(100)
    assert load.refused() == []


def test_postgresql_stopped_leaves_warm_predictions_and_refuses_writes_until_it_is_back(
    production: Installation,
    postgresql_of_production: StoppablePostgresql,
    load: Load,
    caller: Callable[[Installation, str], Caller],
) -> None:
    owner = caller(production, "globex")
    postgresql_of_production.stop()
    try:
        load.wait_for(ANSWERS_AWAY)
        refused = write(owner)
        assert refused.status_code == 503, refused.text
        assert refused.headers["content-type"] == "application/problem+json"
        assert int(refused.headers["Retry-After"]) >= 1
        assert httpx2.get(f"{production.server.url}/healthz", timeout=10).status_code == 200
        load.wait_for(ANSWERS_AWAY)
    finally:
        postgresql_of_production.start()
    wait_until(lambda: write(owner).status_code == 200, "writes again", seconds=RECOVERY_SECONDS)
    wait_until(lambda: status(production) == "ready", "ready again", seconds=RECOVERY_SECONDS)
    load.wait_for(100)
    assert load.refused() == []
