"""References to versions: what they name, what they cost, and when they are forgotten."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from service.errors import Conflict, NotFound
from service.registry.resolution import AliasRef, DefaultRef, Ref, VersionRef
from service.tenants.principal import Principal
from tests.registry.workers import Worker, regression

OPERATOR = Principal.operator()


@pytest.fixture
def statements(worker: Worker) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    sa.event.listen(worker.database.engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(worker.database.engine, "before_cursor_execute", note)


def named(worker: Worker, principal: Principal, ref: Ref) -> tuple[int, str | None]:
    version = worker.resolution.resolve(principal, "m", ref)
    return version.number, version.alias


def test_the_newest_ready_version_serves_until_production_is_set(worker: Worker, acme: Principal) -> None:
    for slope in (1.0, 2.0, 3.0):
        worker.upload(acme, data=regression(slope))
    assert named(worker, acme, DefaultRef()) == (3, None)
    worker.versions.archive(acme, "m", 3)
    assert named(worker, acme, DefaultRef()) == (2, None)
    worker.aliases.move(acme, "m", "production", 1)
    assert named(worker, acme, DefaultRef()) == (1, "production")
    assert named(worker, acme, AliasRef("production")) == (1, "production")
    assert named(worker, acme, VersionRef(2)) == (2, None)


def test_what_was_resolved_carries_what_the_hot_path_needs(worker: Worker, acme: Principal) -> None:
    view = worker.upload(acme)
    version = worker.resolution.resolve(acme, "m", VersionRef(1))
    assert (version.tenant_id, version.tenant, version.model) == (acme.tenant_id, "acme", "m")
    assert (version.digest, version.estimator) == (view.digest, "LinearRegression")
    assert "predict" in version.methods
    assert version.signature.names == ("x0",)


def test_a_second_resolution_sends_no_statement(worker: Worker, acme: Principal, statements: list[str]) -> None:
    worker.upload(acme, alias="production")
    for ref in (DefaultRef(), VersionRef(1), AliasRef("production")):
        assert worker.resolution.known(acme, "m", ref) is None
        first = worker.resolution.resolve(acme, "m", ref)
        statements.clear()
        assert worker.resolution.resolve(acme, "m", ref) is first
        assert worker.resolution.known(acme, "m", ref) is first
        assert statements == []


def test_a_change_is_seen_at_once_where_it_was_made(worker: Worker, acme: Principal) -> None:
    worker.upload(acme, alias="production")
    worker.upload(acme, data=regression(2.0))
    assert named(worker, acme, DefaultRef()) == (1, "production")
    worker.aliases.move(acme, "m", "production", 2)
    assert named(worker, acme, DefaultRef()) == (2, "production")
    worker.aliases.rollback(acme, "m", "production")
    assert named(worker, acme, DefaultRef()) == (1, "production")
    worker.aliases.delete(acme, "m", "production")
    assert named(worker, acme, DefaultRef()) == (2, None)


def test_a_change_is_seen_elsewhere_after_one_look(either_worker: Worker, another_worker: Worker) -> None:
    acme = either_worker.principal()
    either_worker.upload(acme, alias="production")
    either_worker.upload(acme, data=regression(2.0))
    assert named(another_worker, acme, DefaultRef()) == (1, "production")
    either_worker.aliases.move(acme, "m", "production", 2)
    another_worker.epochs.refresh()
    assert named(another_worker, acme, DefaultRef()) == (2, "production")


def test_a_quarantine_stops_every_reference(worker: Worker, acme: Principal) -> None:
    worker.upload(acme, alias="production")
    slug = worker.versions.list_all().data[0].tenant
    assert slug is not None
    refs: tuple[Ref, ...] = (DefaultRef(), VersionRef(1), AliasRef("production"))
    for ref in refs:
        named(worker, acme, ref)
    worker.versions.quarantine(OPERATOR, slug, "m", 1)
    for ref in refs:
        with pytest.raises(Conflict) as caught:
            named(worker, acme, ref)
        assert caught.value.reason == "version_quarantined"
    worker.versions.release(OPERATOR, slug, "m", 1)
    assert named(worker, acme, DefaultRef()) == (1, "production")


def test_an_archived_version_is_not_served(worker: Worker, acme: Principal) -> None:
    worker.upload(acme)
    worker.versions.archive(acme, "m", 1)
    with pytest.raises(Conflict) as caught:
        named(worker, acme, VersionRef(1))
    assert caught.value.reason == "version_archived"
    with pytest.raises(NotFound):
        named(worker, acme, DefaultRef())


def test_what_does_not_exist_answers_like_what_is_out_of_reach(worker: Worker, acme: Principal) -> None:
    worker.upload(acme, alias="production")
    named(worker, acme, DefaultRef())
    stranger = worker.principal("other")
    restricted = replace(acme, models=frozenset({"other"}))
    details = set()
    for principal, model, ref in (
        (acme, "unknown", DefaultRef()),
        (acme, "m", VersionRef(2)),
        (acme, "m", AliasRef("unknown")),
        (stranger, "m", DefaultRef()),
        (stranger, "m", VersionRef(1)),
        (stranger, "m", AliasRef("production")),
        (restricted, "m", DefaultRef()),
        (restricted, "m", VersionRef(1)),
    ):
        with pytest.raises(NotFound) as caught:
            worker.resolution.resolve(principal, model, ref)
        details.add((caught.value.detail, caught.value.reason, caught.value.findings))
    assert len(details) == 1


def test_a_deleted_model_is_forgotten(worker: Worker, acme: Principal) -> None:
    worker.upload(acme)
    named(worker, acme, DefaultRef())
    worker.models.delete(acme, "m")
    with pytest.raises(NotFound):
        named(worker, acme, DefaultRef())
