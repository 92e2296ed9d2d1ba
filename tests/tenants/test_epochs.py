import threading
from pathlib import Path

import pytest

from service.database import PLATFORM, Database
from service.errors import Unavailable
from service.tenants.epochs import Epochs, Snapshots
from service.tenants.principal import PLATFORM_TENANT_ID
from tests.servers.subprocesses import wait_until
from tests.tenants.workers import OPERATOR, Worker

pytestmark = pytest.mark.usefixtures("database")


def epoch_of(worker: Worker, tenant_id: str) -> int:
    with worker.database.read(tenant_id) as session:
        return Epochs.read(session, tenant_id)


def bump(worker: Worker, tenant_id: str) -> None:
    with worker.database.write(tenant_id) as session:
        worker.epochs.bump(session, tenant_id)


def test_an_unwatched_tenant_is_not_known(worker: Worker) -> None:
    assert worker.epochs.known("ten_unwatched") is None


def test_a_bump_is_known_at_once_in_the_process_that_made_it(worker: Worker) -> None:
    tenant_id = worker.principal().tenant_id
    before = epoch_of(worker, tenant_id)
    bump(worker, tenant_id)
    assert epoch_of(worker, tenant_id) == before + 1
    assert worker.epochs.known(tenant_id) == before + 1


def test_a_bump_is_known_elsewhere_after_a_look(worker: Worker, another_worker: Worker) -> None:
    tenant_id = worker.principal().tenant_id
    another_worker.epochs.watch(tenant_id, epoch_of(worker, tenant_id))
    bump(worker, tenant_id)
    assert another_worker.epochs.known(tenant_id) == epoch_of(worker, tenant_id) - 1
    another_worker.epochs.refresh()
    assert another_worker.epochs.known(tenant_id) == epoch_of(worker, tenant_id)


def test_the_thread_looks_without_being_asked(worker: Worker, another_worker: Worker) -> None:
    tenant_id = worker.principal().tenant_id
    another_worker.epochs.watch(tenant_id, epoch_of(worker, tenant_id))
    bump(worker, tenant_id)
    another_worker.epochs.start()
    wait_until(lambda: another_worker.epochs.known(tenant_id) == epoch_of(worker, tenant_id), "the thread looks")
    another_worker.epochs.close()


def test_a_bump_that_is_rolled_back_is_not_known(worker: Worker) -> None:
    tenant_id = worker.principal().tenant_id
    before = epoch_of(worker, tenant_id)
    worker.epochs.watch(tenant_id, before)

    def fail() -> None:
        with worker.database.write(tenant_id) as session:
            worker.epochs.bump(session, tenant_id)
            raise KeyError("rolled back")

    with pytest.raises(KeyError):
        fail()
    assert worker.epochs.known(tenant_id) == before == epoch_of(worker, tenant_id)


def test_an_epoch_never_goes_back(worker: Worker) -> None:
    worker.epochs.watch("ten_a", 5)
    worker.epochs.watch("ten_a", 4)
    assert worker.epochs.known("ten_a") == 5


def test_bumps_at_once_are_all_counted(worker: Worker) -> None:
    tenant_id = worker.principal().tenant_id
    before = epoch_of(worker, tenant_id)
    threads = [threading.Thread(target=bump, args=(worker, tenant_id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worker.epochs.known(tenant_id) == epoch_of(worker, tenant_id) == before + 8


def test_a_plan_bumps_the_tenants_that_are_on_it(worker: Worker) -> None:
    on, off = worker.principal("on"), worker.keys.authenticate(worker.tenant("off", "free").secret, "")
    before = epoch_of(worker, on.tenant_id), epoch_of(worker, off.tenant_id)
    with worker.database.write(PLATFORM) as session:
        worker.epochs.bump_plan(session, "standard")
    assert (epoch_of(worker, on.tenant_id), epoch_of(worker, off.tenant_id)) == (before[0] + 1, before[1])
    assert worker.epochs.known(on.tenant_id) == before[0] + 1


def test_a_deleted_tenant_is_forgotten_everywhere(worker: Worker, another_worker: Worker) -> None:
    principal = worker.principal()
    another_worker.epochs.watch(principal.tenant_id, 1)
    worker.tenants.delete(OPERATOR, "acme")
    another_worker.epochs.refresh()
    assert worker.epochs.known(principal.tenant_id) is None
    assert another_worker.epochs.known(principal.tenant_id) is None


def test_the_platform_is_always_watched(worker: Worker) -> None:
    worker.epochs.refresh()
    assert worker.epochs.known(PLATFORM_TENANT_ID) == epoch_of(worker, PLATFORM_TENANT_ID)


def test_more_tenants_than_one_statement_names_are_all_looked_at(worker: Worker) -> None:
    ids = [worker.principal(f"tenant-{number}").tenant_id for number in range(3)]
    reader = Epochs(worker.database, 1, 900)
    for tenant_id in (*ids, *(f"ten_gone_{number}" for number in range(2_500))):
        reader.watch(tenant_id, 0)
    reader.refresh()
    assert reader.known("ten_gone_1") is None
    assert [reader.known(tenant_id) for tenant_id in ids] == [epoch_of(worker, tenant_id) for tenant_id in ids]


def test_unused_tenants_are_no_longer_watched(worker: Worker) -> None:
    epochs = Epochs(worker.database, 1, 900, unused_seconds=-1)
    tenant_id = worker.principal().tenant_id
    epochs.watch(tenant_id, 1)
    assert epochs.known(tenant_id) == 1
    epochs.refresh()
    assert epochs.known(tenant_id) is None


def test_a_failing_look_is_unhealthy_until_one_succeeds(tmp_path: Path) -> None:
    missing = Database(f"sqlite:///{tmp_path / 'missing' / 'modelward.db'}")
    epochs = Epochs(missing, 1, 900)
    epochs.watch("ten_a", 3)
    with pytest.raises(Unavailable):
        epochs.refresh()
    assert not epochs.healthy
    assert epochs.known("ten_a") == 3


def test_a_look_that_succeeds_is_healthy_again(worker: Worker) -> None:
    worker.epochs.healthy = False
    worker.epochs.refresh()
    assert worker.epochs.healthy


def test_what_is_known_for_too_long_is_not_believed(worker: Worker) -> None:
    epochs = Epochs(worker.database, 1, stale_seconds=-1)
    epochs.watch("ten_a", 3)
    assert epochs.known("ten_a") is None


def test_a_snapshot_holds_until_its_tenant_is_bumped(worker: Worker) -> None:
    snapshots: Snapshots[str, str] = Snapshots(worker.epochs, 10)
    tenant_id = worker.principal().tenant_id
    snapshots.put("key", "value", tenant_id, epoch_of(worker, tenant_id))
    assert snapshots.get("key") == "value"
    assert snapshots.get("another") is None
    bump(worker, tenant_id)
    assert snapshots.get("key") is None


def test_a_snapshot_that_was_read_before_a_bump_never_holds(worker: Worker) -> None:
    snapshots: Snapshots[str, str] = Snapshots(worker.epochs, 10)
    tenant_id = worker.principal().tenant_id
    before = epoch_of(worker, tenant_id)
    bump(worker, tenant_id)
    snapshots.put("key", "old value", tenant_id, before)
    assert snapshots.get("key") is None


def test_the_least_recently_used_snapshot_goes_first(worker: Worker) -> None:
    snapshots: Snapshots[str, int] = Snapshots(worker.epochs, 2)
    for number, key in enumerate("ab"):
        snapshots.put(key, number, "ten_a", 1)
    assert snapshots.get("a") == 0
    snapshots.put("c", 2, "ten_a", 1)
    assert [snapshots.get(key) for key in "abc"] == [0, None, 2]
