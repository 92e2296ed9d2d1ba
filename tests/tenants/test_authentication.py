import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from service.database import PLATFORM, Database
from service.errors import Forbidden, ModelwardError, Unauthenticated
from service.ids import random_name
from service.tenants import key_format
from service.tenants.epochs import Epochs
from service.tenants.keys import IssuedKey, KeySpec
from service.tenants.scopes import Scope
from service.tenants.tables import ApiKey
from tests.servers.subprocesses import wait_until
from tests.tenants.workers import ADDRESS, OPERATOR, Statements, Worker


def refusal(worker: Worker, presented: str, address: str = ADDRESS) -> str:
    with pytest.raises(ModelwardError) as refused:
        worker.keys.authenticate(presented, address)
    assert presented == "" or presented not in str(refused.value)
    return refused.value.reason


def bound_key(worker: Worker, *cidrs: str) -> IssuedKey:
    return worker.keys.create(worker.principal(), KeySpec("bound", ["models:read"], allowed_cidrs=cidrs))


def expire(database: Database, key_id: str) -> None:
    with database.write(PLATFORM) as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        session.execute(sa.update(ApiKey).where(ApiKey.id == key_id).values(expires_at=past))


def test_a_key_that_was_seen_before_costs_no_statement(worker: Worker, statements: Statements) -> None:
    secret = worker.tenant().secret
    assert statements.during(lambda: worker.keys.authenticate(secret, ADDRESS)) > 0
    assert statements.during(lambda: worker.keys.authenticate(secret, ADDRESS)) == 0


def test_a_bad_checksum_costs_no_statement(worker: Worker, statements: Statements) -> None:
    secret = worker.tenant().secret
    forged = secret[:-1] + ("0" if secret[-1] != "0" else "1")
    assert statements.during(lambda: refusal(worker, forged)) == 0


@pytest.mark.parametrize("presented", ["", "mw_", "secret", "mw_\0", "mw_é", "\udcff", "x" * 100_000])
def test_what_is_no_key_is_refused(worker: Worker, presented: str) -> None:
    assert refusal(worker, presented) == "invalid_api_key"


def test_a_well_formed_key_that_never_was_is_refused(worker: Worker) -> None:
    assert refusal(worker, key_format.mint(random_name())) == "invalid_api_key"


def test_another_secret_for_a_known_id_is_refused(worker: Worker, statements: Statements) -> None:
    secret = worker.tenant().secret
    parsed = key_format.parse(secret)
    assert parsed is not None
    worker.keys.authenticate(secret, ADDRESS)
    guess = key_format.mint(parsed.id)
    assert statements.during(lambda: refusal(worker, guess)) == 0
    assert refusal(worker, guess) == "invalid_api_key"


def test_a_refresh_token_is_no_key(worker: Worker) -> None:
    grant = worker.tokens.issue(worker.principal())
    assert refusal(worker, grant.refresh_token) == "invalid_api_key"


def test_a_key_expires_in_memory_too(worker: Worker) -> None:
    admin = worker.principal()
    soon = datetime.now(UTC) + timedelta(seconds=0.5)
    issued = worker.keys.create(admin, KeySpec("short", ["models:read"], expires_at=soon))
    worker.keys.authenticate(issued.secret, ADDRESS)
    wait_until(lambda: datetime.now(UTC) > soon, "the key expires")
    assert refusal(worker, issued.secret) == "expired_api_key"


def test_an_expired_key_is_refused(worker: Worker, database: Database) -> None:
    issued = worker.tenant()
    expire(database, issued.view.id)
    assert refusal(worker, issued.secret) == "expired_api_key"


def test_a_suspended_tenant_is_refused_on_every_worker_until_it_is_resumed(
    worker: Worker, another_worker: Worker
) -> None:
    secret = worker.tenant().secret
    another_worker.keys.authenticate(secret, ADDRESS)
    worker.tenants.suspend(OPERATOR, "acme", "unpaid")
    another_worker.epochs.refresh()
    assert {refusal(each, secret) for each in (worker, another_worker)} == {"tenant_suspended"}
    worker.tenants.resume(OPERATOR, "acme", "paid")
    another_worker.epochs.refresh()
    assert another_worker.keys.authenticate(secret, ADDRESS) == worker.keys.authenticate(secret, ADDRESS)


def test_a_deleted_tenant_is_refused_on_every_worker(worker: Worker, another_worker: Worker) -> None:
    secret = worker.tenant().secret
    another_worker.keys.authenticate(secret, ADDRESS)
    worker.tenants.delete(OPERATOR, "acme")
    another_worker.epochs.refresh()
    assert {refusal(each, secret) for each in (worker, another_worker)} == {"invalid_api_key"}


def test_a_new_plan_holds_on_every_worker(worker: Worker, another_worker: Worker) -> None:
    secret = worker.tenant().secret
    assert another_worker.keys.authenticate(secret, ADDRESS).plan.max_models == 100
    worker.plans.change(OPERATOR, "standard", {"max_models": 7})
    another_worker.epochs.refresh()
    assert another_worker.keys.authenticate(secret, ADDRESS).plan.max_models == 7
    worker.tenants.change(OPERATOR, "acme", plan="free")
    another_worker.epochs.refresh()
    assert another_worker.keys.authenticate(secret, ADDRESS).plan.slug == "free"


@pytest.mark.parametrize("address", ["10.9.8.7", "::ffff:10.9.8.7", "fd00::1"])
def test_an_address_within_the_networks_is_allowed(worker: Worker, address: str) -> None:
    issued = bound_key(worker, "10.0.0.0/8", "fd00::/8")
    assert worker.keys.authenticate(issued.secret, address).subject == issued.view.id


@pytest.mark.parametrize("address", ["11.9.8.7", "::1", "", "unix:", "10.0.0.1, 11.0.0.1"])
def test_an_address_outside_the_networks_is_refused_cold_and_warm(worker: Worker, address: str) -> None:
    issued = bound_key(worker, "10.0.0.0/8")
    assert refusal(worker, issued.secret, address) == "address_not_allowed"
    worker.keys.authenticate(issued.secret, "10.0.0.1")
    assert refusal(worker, issued.secret, address) == "address_not_allowed"


def test_nobody_learns_about_a_key_whose_secret_they_do_not_have(worker: Worker, database: Database) -> None:
    issued = worker.tenant()
    parsed = key_format.parse(issued.secret)
    assert parsed is not None
    expire(database, issued.view.id)
    worker.tenants.suspend(OPERATOR, "acme")
    assert refusal(worker, key_format.mint(parsed.id)) == "invalid_api_key"


def test_a_scope_that_no_longer_exists_grants_nothing(worker: Worker, database: Database) -> None:
    issued = worker.tenant()
    with database.write(PLATFORM) as session:
        scopes = ["models:read", "models:transmute"]
        session.execute(sa.update(ApiKey).where(ApiKey.id == issued.view.id).values(scopes=scopes))
    assert worker.keys.authenticate(issued.secret, ADDRESS).scopes == {"models:read"}


def test_nothing_is_believed_for_longer_than_the_stated_time(database: Database, statements: Statements) -> None:
    worker = Worker(database)
    worker.epochs = Epochs(database, 1, stale_seconds=-1)
    impatient = Worker(database)
    impatient.keys = type(worker.keys)(database, worker.vault, worker.epochs, worker.audit)
    secret = impatient.tenant().secret
    impatient.keys.authenticate(secret, ADDRESS)
    assert statements.during(lambda: impatient.keys.authenticate(secret, ADDRESS)) > 0


def test_threads_that_authenticate_at_once_agree(worker: Worker) -> None:
    secrets = [worker.tenant(f"tenant-{number}").secret for number in range(4)]
    found: list[tuple[str, str]] = []

    def run() -> None:
        found.extend((secret, worker.keys.authenticate(secret, ADDRESS).tenant) for secret in secrets * 10)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 240
    assert set(found) == {(secret, f"tenant-{number}") for number, secret in enumerate(secrets)}


def test_a_key_revoked_while_it_is_read_is_refused_after_the_next_look(worker: Worker, another_worker: Worker) -> None:
    admin = worker.principal()
    found: list[str] = []
    for _ in range(20):
        issued = worker.keys.create(admin, KeySpec("short-lived", ["models:read"]))
        reading = threading.Thread(target=_authenticate, args=(another_worker, issued.secret, found))
        reading.start()
        worker.keys.revoke(admin, issued.view.id)
        reading.join()
        another_worker.epochs.refresh()
        assert refusal(another_worker, issued.secret) == "revoked_api_key"
    assert set(found) <= {"acme", "revoked_api_key"}


def _authenticate(worker: Worker, secret: str, found: list[str]) -> None:
    try:
        found.append(worker.keys.authenticate(secret, ADDRESS).tenant)
    except Unauthenticated as error:
        found.append(error.reason)


def test_forbidden_and_unauthenticated_are_told_apart(worker: Worker) -> None:
    secret = worker.tenant().secret
    worker.tenants.suspend(OPERATOR, "acme")
    with pytest.raises(Forbidden):
        worker.keys.authenticate(secret, ADDRESS)


def test_a_principal_is_refused_what_is_beyond_its_scopes_and_models(worker: Worker) -> None:
    principal = worker.principal()
    principal.require(next(iter(principal.scopes)))
    with pytest.raises(Forbidden) as refused:
        principal.require(Scope.PLATFORM_ADMIN)
    assert refused.value.reason == "missing_scope"
    assert principal.reaches("anything")
    bound = worker.keys.create(principal, KeySpec("bound", ["models:read"], models=["iris"]))
    reached = worker.keys.authenticate(bound.secret, ADDRESS)
    assert (reached.reaches("iris"), reached.reaches("wine")) == (True, False)
