"""The sweep: orphans found and removed, gaps named, expired rows dropped, living things left alone."""

import os
import time
from datetime import timedelta
from functools import partial

import pytest
import sqlalchemy as sa

from service.artifacts.file_store import FileStore
from service.database import PLATFORM, now
from service.errors import Forbidden
from service.registry.sweep import SweepReport
from service.tenants.principal import Principal
from service.tenants.tables import RevokedToken, Tenant
from tests.registry.workers import Worker, at_once, regression

CLEAN = SweepReport(False, (), (), 0, (), 0, 0, 0)


def test_a_clean_place_stays_as_it_is(worker: Worker, acme: Principal) -> None:
    worker.upload(acme)
    assert worker.sweep.run() == CLEAN
    assert worker.versions.artifact(acme, "m", 1)


def test_bytes_without_a_row_are_found_and_then_removed(worker: Worker, acme: Principal) -> None:
    worker.upload(acme)
    digest = worker.store.put(acme.tenant_id, b"left by a crash")
    stray = worker.store.put("ten_gone", b"of a tenant that is gone")
    names = (f"{acme.tenant_id}/{digest}", f"ten_gone/{stray}")
    assert set(worker.sweep.run(dry_run=True, older_than_seconds=0).orphaned) == set(names)
    assert set(worker.sweep.run(older_than_seconds=0).orphaned) == set(names)
    assert worker.sweep.run(older_than_seconds=0) == CLEAN
    assert worker.versions.artifact(acme, "m", 1)


def test_young_bytes_are_left_alone(worker: Worker, acme: Principal) -> None:
    digest = worker.store.put(acme.tenant_id, b"of an upload under way")
    assert worker.sweep.run() == worker.sweep.run(dry_run=False) == CLEAN
    assert worker.store.list(acme.tenant_id) == [digest]
    assert isinstance(worker.store, FileStore)
    written = time.time() - 3601
    os.utime(worker.store.path(acme.tenant_id, digest), (written, written))
    assert worker.sweep.run().orphaned == (f"{acme.tenant_id}/{digest}",)


def test_rows_without_bytes_are_named_and_kept(worker: Worker, acme: Principal) -> None:
    digest = worker.upload(acme).digest
    assert digest is not None
    worker.store.delete(acme.tenant_id, digest)
    assert worker.sweep.run().missing == (f"{acme.tenant_id}/{digest}",)
    assert worker.versions.get(acme, "m", 1).digest == digest


def test_rows_whose_time_is_over_are_dropped(worker: Worker, acme: Principal) -> None:
    with worker.database.write(acme.tenant_id) as session:
        for name, age in (("long ago", 7200), ("just now", 60), ("still to come", -60)):
            moment = now() - timedelta(seconds=age)
            session.add(RevokedToken(tenant_id=acme.tenant_id, jti=name, expires_at=moment))
    assert worker.sweep.run(dry_run=True, older_than_seconds=0).revoked_tokens == 2
    assert worker.sweep.run().revoked_tokens == 1
    assert worker.sweep.run(older_than_seconds=0).revoked_tokens == 1
    with worker.database.read(PLATFORM) as session:
        assert list(session.scalars(sa.select(RevokedToken.jti))) == ["still to come"]


def test_sweeps_beside_uploads_take_nothing_that_is_named(either_worker: Worker, another_worker: Worker) -> None:
    acme = either_worker.principal()
    uploads = [partial(either_worker.upload, acme, "m", regression(float(index))) for index in range(4)]
    sweeps = [partial(another_worker.sweep.run, older_than_seconds=0)] * 4
    answers = at_once([*uploads, *sweeps])
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    assert another_worker.sweep.run(dry_run=True).missing == ()
    for version in either_worker.versions.list(acme, "m").data:
        assert either_worker.versions.artifact(acme, "m", version.version)


def test_counts_that_nobody_kept_are_found_and_then_set_right(either_worker: Worker) -> None:
    acme, other = either_worker.principal(max_models=1), either_worker.principal("other")
    for principal in (acme, other):
        either_worker.upload(principal)
    with either_worker.database.write(PLATFORM) as session:
        wrong = sa.update(Tenant).where(Tenant.id == acme.tenant_id)
        session.execute(wrong.values(model_count=0, artifact_bytes=Tenant.artifact_bytes + 1))
    assert either_worker.sweep.run(dry_run=True).miscounted == (acme.tenant_id,)
    assert either_worker.sweep.run().miscounted == (acme.tenant_id,)
    assert either_worker.sweep.run() == CLEAN
    with pytest.raises(Forbidden):
        either_worker.models.create(acme, "one-more")


def test_counts_stay_what_the_rows_say_whoever_makes_and_deletes_at_once(
    either_worker: Worker, another_worker: Worker
) -> None:
    acme = either_worker.principal(max_models=3)
    workers = (either_worker, another_worker)
    for turn in range(3):
        made = [partial(worker.models.create, acme, f"m{each}") for each in range(3) for worker in workers]
        gone = [partial(worker.models.delete, acme, f"m{each}") for each in range(3) for worker in workers]
        uploads = [partial(worker.upload, acme, f"m{turn}", regression(turn % 2)) for worker in workers]
        purges = [partial(worker.versions.purge, acme, f"m{turn}", turn + 1) for worker in workers]
        at_once([*made, *gone, *uploads, *purges])
        assert another_worker.sweep.run(dry_run=True).miscounted == ()
    names = [model.name for model in either_worker.models.list(acme).data]
    for name in names:
        either_worker.models.delete(acme, name)
    either_worker.models.create(acme, "the-first-again")
    assert counts(either_worker, acme) == (1, 0)


def counts(worker: Worker, principal: Principal) -> tuple[int, int]:
    with worker.database.read(PLATFORM) as session:
        row = session.get_one(Tenant, principal.tenant_id)
        return row.model_count, row.artifact_bytes
