import threading

import pytest
import sqlalchemy as sa

from service.database import PLATFORM, Database
from service.errors import Conflict, Invalid, Malformed
from service.tenants.idempotency import Claim, Idempotency, Replay
from service.tenants.keys import KeySpec
from service.tenants.principal import Principal
from service.tenants.tables import IdempotencyRecord
from tests.tenants.workers import Worker

PRINT = b"fingerprint"
PREDICTOR = KeySpec("predictor", role="predictor")


@pytest.fixture
def acme(worker: Worker) -> Principal:
    return worker.principal()


@pytest.fixture
def idempotency(worker: Worker) -> Idempotency:
    return Idempotency(worker.database, worker.vault)


def claimed(idempotency: Idempotency, acme: Principal, key: str = "k") -> Claim:
    claim = idempotency.claim(acme.tenant_id, key, PRINT)
    assert isinstance(claim, Claim)
    return claim


def keys_of(worker: Worker, acme: Principal) -> int:
    return len(worker.keys.list(acme).data)


def test_a_repeated_request_gets_the_first_response(idempotency: Idempotency, acme: Principal) -> None:
    with idempotency.execution(claimed(idempotency, acme)) as finish:
        finish(b"201 made")
    assert idempotency.claim(acme.tenant_id, "k", PRINT) == Replay(b"201 made")
    assert idempotency.claim(acme.tenant_id, "k", PRINT) == Replay(b"201 made")


def test_another_request_with_the_same_key_is_refused(idempotency: Idempotency, acme: Principal) -> None:
    claim = claimed(idempotency, acme)
    with pytest.raises(Invalid) as refused:
        idempotency.claim(acme.tenant_id, "k", b"another")
    assert refused.value.reason == "idempotency_key_reused"
    with idempotency.execution(claim) as finish:
        finish(b"201 made")
    with pytest.raises(Invalid):
        idempotency.claim(acme.tenant_id, "k", b"another")


def test_a_request_under_way_holds_off_its_repetition(idempotency: Idempotency, acme: Principal) -> None:
    claimed(idempotency, acme)
    with pytest.raises(Conflict) as refused:
        idempotency.claim(acme.tenant_id, "k", PRINT)
    assert refused.value.reason == "idempotency_in_flight"
    assert refused.value.retry_after


def test_keys_are_the_tenants_own(worker: Worker, idempotency: Idempotency, acme: Principal) -> None:
    other = worker.principal("other")
    with idempotency.execution(claimed(idempotency, acme)) as finish:
        finish(b"201 made")
    assert isinstance(idempotency.claim(other.tenant_id, "k", PRINT), Claim)


@pytest.mark.parametrize("key", ["", "x" * 256, "a\0b", "é", "a\nb", "a b"])
def test_a_malformed_key_is_refused(idempotency: Idempotency, acme: Principal, key: str) -> None:
    with pytest.raises(Malformed) as refused:
        idempotency.claim(acme.tenant_id, key, PRINT)
    assert refused.value.reason == "invalid_idempotency_key"


def test_work_and_response_are_committed_together(worker: Worker, idempotency: Idempotency, acme: Principal) -> None:
    before = keys_of(worker, acme)
    with idempotency.execution(claimed(idempotency, acme)) as finish:
        worker.keys.create(acme, PREDICTOR)
        finish(b"201 made")
        assert keys_of(worker, acme) == before
    assert keys_of(worker, acme) == before + 1


def test_a_request_that_fails_leaves_neither_work_nor_claim(
    worker: Worker, idempotency: Idempotency, acme: Principal
) -> None:
    before = keys_of(worker, acme)

    def fail() -> None:
        with idempotency.execution(claimed(idempotency, acme)) as finish:
            worker.keys.create(acme, PREDICTOR)
            finish(b"201 made")
            raise KeyError("after all")

    with pytest.raises(KeyError):
        fail()
    assert keys_of(worker, acme) == before
    claimed(idempotency, acme)


def test_a_request_without_a_response_to_keep_leaves_no_claim(idempotency: Idempotency, acme: Principal) -> None:
    with idempotency.execution(claimed(idempotency, acme)):
        pass
    claimed(idempotency, acme)


def test_a_claim_whose_process_died_is_taken_over(worker: Worker, acme: Principal) -> None:
    dead = claimed(Idempotency(worker.database, worker.vault, lease_seconds=0), acme)
    heir = Idempotency(worker.database, worker.vault)
    with heir.execution(claimed(heir, acme)) as finish:
        finish(b"201 by the heir")
    assert heir.claim(acme.tenant_id, "k", PRINT) == Replay(b"201 by the heir")
    assert dead.lease


def test_who_lost_the_lease_commits_nothing(worker: Worker, acme: Principal) -> None:
    before = keys_of(worker, acme)
    slow = Idempotency(worker.database, worker.vault, lease_seconds=0)
    late = claimed(slow, acme)
    with slow.execution(claimed(slow, acme)) as finish:
        worker.keys.create(acme, PREDICTOR)
        finish(b"201 in time")

    def come_late() -> None:
        with slow.execution(late) as finish:
            worker.keys.create(acme, PREDICTOR)
            finish(b"201 too late")

    with pytest.raises(Conflict) as refused:
        come_late()
    assert refused.value.reason == "idempotency_lease_lost"
    assert keys_of(worker, acme) == before + 1
    assert slow.claim(acme.tenant_id, "k", PRINT) == Replay(b"201 in time")


def test_after_its_day_a_key_is_new(worker: Worker, idempotency: Idempotency, acme: Principal) -> None:
    with idempotency.execution(claimed(idempotency, acme)) as finish:
        finish(b"201 made")
    with worker.database.write(PLATFORM) as session:
        past = worker.tenants.get("acme").created_at
        session.execute(sa.update(IdempotencyRecord).values(expires_at=past))
    assert isinstance(idempotency.claim(acme.tenant_id, "k", b"another"), Claim)


def test_a_response_is_sealed_at_rest(worker: Worker, idempotency: Idempotency, acme: Principal) -> None:
    with idempotency.execution(claimed(idempotency, acme)) as finish:
        finish(b"the secret of a key")
    with worker.database.read(PLATFORM) as session:
        sealed = session.scalars(sa.select(IdempotencyRecord.sealed_response)).one()
    assert sealed is not None
    assert b"secret" not in sealed


def test_of_many_at_once_one_works_and_the_others_wait_or_replay(
    worker: Worker, database: Database, acme: Principal, long: bool
) -> None:
    before = keys_of(worker, acme)
    rounds = 40 if long else 4
    for number in range(rounds):
        outcomes = _race(worker, acme, f"key-{number}")
        assert outcomes.count("worked") == 1
        assert set(outcomes) <= {"worked", "in flight", "replayed"}
    with database.read(acme.tenant_id) as session:
        records = session.scalar(sa.select(sa.func.count()).select_from(IdempotencyRecord))
    assert (records, len(worker.keys.list(acme, limit=200).data)) == (rounds, before + rounds)


def _race(worker: Worker, acme: Principal, key: str) -> list[str]:
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def run() -> None:
        idempotency = Idempotency(worker.database, worker.vault)
        barrier.wait()
        try:
            claim = idempotency.claim(acme.tenant_id, key, PRINT)
        except Conflict:
            outcomes.append("in flight")
            return
        if isinstance(claim, Replay):
            outcomes.append("replayed")
            return
        with idempotency.execution(claim) as finish:
            worker.keys.create(acme, PREDICTOR)
            finish(b"201 made")
        outcomes.append("worked")

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
