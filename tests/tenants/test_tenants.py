import threading

import pytest
import sqlalchemy as sa

from service.artifacts.tables import Artifact
from service.database import PLATFORM, Base
from service.errors import Conflict, Invalid, NotFound, PreconditionFailed
from service.registry.tables import Alias, AliasMove, Model, Version
from service.tenants.principal import PLATFORM_TENANT_ID, PLATFORM_TENANT_SLUG
from service.tenants.scopes import ROLES
from service.tenants.tables import IdempotencyRecord, UsageCounter
from service.tenants.usage import Usage
from tests.tenants.workers import ADDRESS, OPERATOR, Worker


def test_a_tenant_is_made_with_its_first_key(worker: Worker) -> None:
    tenant, key = worker.tenants.create(OPERATOR, "acme", "Acme & Sons", "free")
    assert tenant == worker.tenants.get("acme")
    assert (tenant.slug, tenant.name, tenant.plan, tenant.status) == ("acme", "Acme & Sons", "free", "active")
    principal = worker.keys.authenticate(key.secret, ADDRESS)
    assert (principal.tenant, principal.scopes) == ("acme", ROLES["tenant-admin"])


def test_a_taken_slug_is_a_conflict_and_leaves_nothing(worker: Worker) -> None:
    first = worker.tenant()
    with pytest.raises(Conflict) as refused:
        worker.tenant()
    assert refused.value.reason == "tenant_exists"
    principal = worker.keys.authenticate(first.secret, ADDRESS)
    assert len(worker.keys.list(principal).data) == 1


def test_of_many_that_want_a_slug_at_once_one_gets_it(worker: Worker) -> None:
    outcomes: list[str] = []

    def run() -> None:
        try:
            worker.tenant()
        except Conflict as error:
            outcomes.append(error.reason)
        else:
            outcomes.append("made")

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["made", *["tenant_exists"] * 5]


@pytest.mark.parametrize(
    ("slug", "name", "plan", "field"),
    [
        (PLATFORM_TENANT_SLUG, "Mine", "free", "slug"),
        ("Acme", "Acme", "free", "slug"),
        ("-acme", "Acme", "free", "slug"),
        ("acme\n", "Acme", "free", "slug"),
        ("acme", "\n", "free", "name"),
        ("acme", "Acme", "copper", "plan"),
        ("acme", "Acme", "\0", "plan"),
    ],
)
def test_a_wrong_field_is_named(worker: Worker, slug: str, name: str, plan: str, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        worker.tenants.create(OPERATOR, slug, name, plan)
    assert [finding.at for finding in refused.value.findings] == [field]
    assert worker.tenants.list().data == []


def test_the_operators_own_tenant_is_neither_shown_nor_changed(worker: Worker) -> None:
    assert worker.tenants.list().data == []
    for act in (
        lambda: worker.tenants.get(PLATFORM_TENANT_SLUG),
        lambda: worker.tenants.change(OPERATOR, PLATFORM_TENANT_SLUG, plan="free"),
        lambda: worker.tenants.suspend(OPERATOR, PLATFORM_TENANT_SLUG),
        lambda: worker.tenants.delete(OPERATOR, PLATFORM_TENANT_SLUG),
    ):
        with pytest.raises(NotFound):
            act()


def test_tenants_are_listed_page_by_page_and_by_status(worker: Worker) -> None:
    for slug in ("one", "two", "three"):
        worker.tenant(slug)
    worker.tenants.suspend(OPERATOR, "two")
    first = worker.tenants.list(limit=2)
    second = worker.tenants.list(limit=2, cursor=first.next_cursor)
    assert {tenant.slug for tenant in first.data + second.data} == {"one", "two", "three"}
    assert second.next_cursor is None
    assert [tenant.slug for tenant in worker.tenants.list(status="suspended").data] == ["two"]


def test_a_change_leaves_what_it_does_not_name(worker: Worker) -> None:
    worker.tenant()
    changed = worker.tenants.change(OPERATOR, "acme", name="Acme Ltd", expected_revision=1)
    assert (changed.name, changed.plan, changed.revision) == ("Acme Ltd", "standard", 2)
    assert worker.tenants.change(OPERATOR, "acme", plan="free").plan == "free"


def test_a_change_is_refused_for_an_unknown_plan_name_or_revision(worker: Worker) -> None:
    worker.tenant()
    with pytest.raises(Invalid):
        worker.tenants.change(OPERATOR, "acme", plan="copper")
    with pytest.raises(Invalid):
        worker.tenants.change(OPERATOR, "acme", name="")
    with pytest.raises(PreconditionFailed):
        worker.tenants.change(OPERATOR, "acme", name="Late", expected_revision=9)
    assert worker.tenants.get("acme").revision == 1


def test_suspending_twice_changes_nothing(worker: Worker) -> None:
    tenant_id = worker.principal().tenant_id
    assert worker.tenants.suspend(OPERATOR, "acme", "unpaid") == worker.tenants.suspend(OPERATOR, "acme", "again")
    assert worker.tenants.resume(OPERATOR, "acme", "paid").status == "active"
    events = [(e.action, e.details) for e in worker.audit.list(tenant_id).data if e.action.startswith("tenant.")]
    assert sorted(events, key=str) == [
        ("tenant.create", {"plan": "standard"}),
        ("tenant.resume", {"reason": "paid"}),
        ("tenant.suspend", {"reason": "unpaid"}),
    ]


def fill(worker: Worker, slug: str) -> str:
    """Give a tenant a row in every table that has tenants, and return its id."""
    principal = worker.principal(slug)
    owner = principal.tenant_id
    grant = worker.tokens.issue(principal)
    worker.tokens.revoke(principal, grant.access_claims)
    usage = Usage(worker.database)
    usage.charge(principal, "iris", 3)
    usage.flush()
    with worker.database.write(owner) as session:
        moment = worker.tenants.get(slug).created_at
        session.add(
            IdempotencyRecord(
                tenant_id=owner, key="k", fingerprint=b"f", lease="l", leased_until=moment, expires_at=moment
            )
        )
        session.add(Artifact(tenant_id=owner, digest="sha256:00", size_bytes=1))
        session.add(Model(tenant_id=owner, name="iris", created_by=principal.subject))
        session.flush()
        session.add(version(owner))
        session.flush()
        session.add(Alias(tenant_id=owner, model="iris", name="production", version=1, updated_by="me"))
        session.add(AliasMove(tenant_id=owner, model="iris", alias="production", sequence=1, action="set", actor="me"))
    return owner


def version(owner: str) -> Version:
    return Version(
        tenant_id=owner,
        model="iris",
        number=1,
        status="ready",
        format="skops",
        digest="sha256:00",
        size_bytes=1,
        estimator="SVC",
        task="classification",
        methods=["predict"],
        signature={},
        runtime={},
        sklearn_version="1.9.1",
        created_by="me",
    )


def rows_of(worker: Worker, tenant_id: str) -> dict[str, int]:
    with worker.database.read(PLATFORM) as session:
        return {
            table.name: session.scalar(
                sa.select(sa.func.count()).select_from(table).where(table.c["tenant_id"] == tenant_id)
            )
            or 0
            for table in Base.metadata.sorted_tables
            if "tenant_id" in table.columns
        }


def test_a_tenant_is_deleted_with_every_row_that_is_its_own_and_no_other(worker: Worker) -> None:
    gone, stays = fill(worker, "gone"), fill(worker, "stays")
    before = rows_of(worker, stays)
    assert 0 not in before.values()
    assert worker.tenants.delete(OPERATOR, "gone") == (gone, {"sha256:00"})
    assert set(rows_of(worker, gone).values()) == {0}
    assert rows_of(worker, stays) == before
    with pytest.raises(NotFound):
        worker.tenants.get("gone")
    event = worker.audit.list(PLATFORM_TENANT_ID).data[0]
    assert (event.action, event.target, event.details) == ("tenant.delete", "gone", {"id": gone, "artifacts": 1})


def test_a_tenant_that_changed_since_is_not_deleted(worker: Worker) -> None:
    worker.tenant()
    revision = worker.tenants.get("acme").revision
    worker.tenants.change(OPERATOR, "acme", name="Another")
    with pytest.raises(PreconditionFailed):
        worker.tenants.delete(OPERATOR, "acme", revision)
    worker.tenants.delete(OPERATOR, "acme", revision + 1)


def test_the_slug_of_a_deleted_tenant_is_free_again(worker: Worker) -> None:
    old = worker.tenant()
    worker.tenants.delete(OPERATOR, "acme")
    assert worker.tenant().view.id != old.view.id


def test_counts_of_a_deleted_tenant_do_not_stop_those_of_others(worker: Worker) -> None:
    usage = Usage(worker.database)
    gone, stays = worker.principal("gone"), worker.principal("stays")
    usage.charge(gone, "iris", 3)
    usage.charge(stays, "iris", 4)
    worker.tenants.delete(OPERATOR, "gone")
    usage.flush()
    with worker.database.read(PLATFORM) as session:
        assert session.scalars(sa.select(UsageCounter.rows)).all() == [4]
