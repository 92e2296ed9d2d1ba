"""What goes on while PostgreSQL is stopped, and what comes back with it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from service import schema
from service.database import Database
from service.errors import Unavailable
from service.ids import random_name
from service.tenants import key_format
from service.tenants.idempotency import Claim, Idempotency
from service.tenants.usage import Usage
from tests.servers.postgresql import StoppablePostgresql
from tests.servers.subprocesses import wait_until
from tests.tenants.workers import ADDRESS, OPERATOR, Worker


@pytest.fixture
def database(stoppable_postgresql: StoppablePostgresql) -> Iterator[Database]:
    url = stoppable_postgresql.url.render_as_string(hide_password=False)
    schema.upgrade(url)
    database = Database(url)
    yield database
    database.dispose()


def test_warm_callers_are_served_and_cold_ones_asked_to_come_back(
    worker: Worker, stoppable_postgresql: StoppablePostgresql
) -> None:
    secret = worker.tenant().secret
    claims = worker.tokens.issue(worker.keys.authenticate(secret, ADDRESS)).access_claims
    worker.tokens.principal_of(claims, ADDRESS)
    kid, _ = worker.signing_keys.signing()
    worker.epochs.start()
    stoppable_postgresql.stop()
    wait_until(lambda: not worker.epochs.healthy, "a look fails")
    assert worker.keys.authenticate(secret, ADDRESS).tenant == "acme"
    assert worker.tokens.principal_of(claims, ADDRESS).tenant == "acme"
    assert worker.signing_keys.signing()[0] == kid
    with pytest.raises(Unavailable) as refused:
        worker.keys.authenticate(key_format.mint(random_name()), ADDRESS)
    assert refused.value.retry_after
    stoppable_postgresql.start()
    wait_until(lambda: worker.epochs.healthy, "a look succeeds again")
    worker.tenants.suspend(OPERATOR, "acme")
    worker.epochs.close()


def test_counts_stay_in_memory_until_they_can_be_written(
    worker: Worker, stoppable_postgresql: StoppablePostgresql
) -> None:
    acme, other = worker.principal(), worker.principal("other")
    usage = Usage(worker.database)
    usage.charge(acme, "iris", 1)
    stoppable_postgresql.stop()
    usage.charge(acme, "iris", 2)
    usage.charge(other, "iris", 5)
    with pytest.raises(Unavailable):
        usage.flush()
    usage.charge(acme, "iris", 3)
    stoppable_postgresql.start()
    today = datetime.now(UTC).date()
    assert [(row.requests, row.rows) for row in usage.report(acme.tenant_id, today, today).data] == [(3, 6)]
    assert [(row.requests, row.rows) for row in usage.report(other.tenant_id, today, today).data] == [(1, 5)]


def test_closing_without_a_database_says_what_is_lost(
    worker: Worker, stoppable_postgresql: StoppablePostgresql, caplog: pytest.LogCaptureFixture
) -> None:
    usage, acme = Usage(worker.database), worker.principal()
    usage.charge(acme, "iris", 1)
    stoppable_postgresql.stop()
    usage.close()
    assert [record.getMessage() for record in caplog.records] == ["The last counts of usage could not be written"]


def test_a_claim_that_cannot_be_given_up_ends_with_its_lease(
    worker: Worker, stoppable_postgresql: StoppablePostgresql, caplog: pytest.LogCaptureFixture
) -> None:
    acme = worker.principal()
    idempotency = Idempotency(worker.database, worker.vault, lease_seconds=0)
    claim = idempotency.claim(acme.tenant_id, "k", b"print")
    assert isinstance(claim, Claim)

    def work() -> None:
        with idempotency.execution(claim) as finish:
            stoppable_postgresql.stop()
            finish(b"201 made")

    with pytest.raises(Unavailable):
        work()
    assert "stays claimed" in caplog.text
    stoppable_postgresql.start()
    assert isinstance(idempotency.claim(acme.tenant_id, "k", b"print"), Claim)
