from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from service.database import PLATFORM
from service.errors import Malformed
from service.telemetry import request_id
from service.tenants.audit import Audit
from service.tenants.principal import Principal
from tests.tenants.workers import OPERATOR, Worker


@pytest.fixture
def acme(worker: Worker) -> Principal:
    return worker.principal()


def record(worker: Worker, tenant_id: str, action: str, actor: str = "somebody") -> None:
    with worker.database.write(tenant_id) as session:
        worker.audit.record(session, tenant_id=tenant_id, actor=actor, action=action, target="it", details={"a": [1]})


def test_an_event_says_who_did_what_when_and_in_which_request(worker: Worker, acme: Principal) -> None:
    token = request_id.set("req-1")
    record(worker, acme.tenant_id, "thing.do")
    request_id.reset(token)
    event = worker.audit.list(acme.tenant_id, action="thing.do").data[0]
    assert (event.actor, event.action, event.target, event.outcome) == ("somebody", "thing.do", "it", "ok")
    assert (event.request_id, event.details) == ("req-1", {"a": [1]})
    assert abs(datetime.now(UTC) - event.at) < timedelta(minutes=1)


def test_an_event_is_rolled_back_with_its_act(worker: Worker, acme: Principal) -> None:
    def fail() -> None:
        with worker.database.write(acme.tenant_id) as session:
            worker.audit.record(session, tenant_id=acme.tenant_id, actor="a", action="thing.do", target="it")
            raise KeyError("the act failed")

    with pytest.raises(KeyError):
        fail()
    assert worker.audit.list(acme.tenant_id, action="thing.do").data == []


def test_a_refusal_outlives_the_transaction_that_was_refused(worker: Worker, acme: Principal) -> None:
    def fail() -> None:
        with worker.database.joined(acme.tenant_id):
            worker.audit.record_refusal(acme.tenant_id, "somebody", "thing.do", "it", {"code": "no"})
            record(worker, acme.tenant_id, "thing.done")
            raise KeyError("refused")

    with pytest.raises(KeyError):
        fail()
    assert [(e.action, e.outcome, e.details) for e in worker.audit.list(acme.tenant_id, actor="somebody").data] == [
        ("thing.do", "refused", {"code": "no"})
    ]


def test_a_trail_is_its_tenants_own(worker: Worker, acme: Principal) -> None:
    other = worker.principal("other")
    record(worker, acme.tenant_id, "thing.do")
    assert worker.audit.list(other.tenant_id, action="thing.do").data == []


def test_the_newest_come_first_page_by_page(worker: Worker, acme: Principal) -> None:
    for number in range(5):
        record(worker, acme.tenant_id, "thing.do", actor=f"actor-{number}")
    seen, cursor = [], None
    while True:
        page = worker.audit.list(acme.tenant_id, action="thing.do", limit=2, cursor=cursor)
        seen += page.data
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(seen) == 5
    assert [event.id for event in seen] == sorted((event.id for event in seen), reverse=True)


def test_a_foreign_cursor_is_refused(worker: Worker, acme: Principal) -> None:
    with pytest.raises(Malformed):
        worker.audit.list(acme.tenant_id, cursor="aud_1~iris")


def test_the_filters_narrow_the_list(worker: Worker, acme: Principal) -> None:
    record(worker, acme.tenant_id, "thing.do", actor="a")
    record(worker, acme.tenant_id, "thing.undo", actor="b")
    hour = timedelta(hours=1)
    here = datetime.now(UTC)
    assert [e.actor for e in worker.audit.list(acme.tenant_id, actor="b").data] == ["b"]
    assert [e.actor for e in worker.audit.list(acme.tenant_id, action="thing.do").data] == ["a"]
    assert worker.audit.list(acme.tenant_id, since=here + hour).data == []
    assert worker.audit.list(acme.tenant_id, until=here - hour).data == []
    assert len(worker.audit.list(acme.tenant_id, since=here - hour, until=here + hour).data) == 4


def test_a_list_for_some_models_leaves_out_what_was_done_to_others(worker: Worker, acme: Principal) -> None:
    targets = ["models/iris", "models/iris/aliases/production", "models/iris2", "models/wine/versions/1", "key_1"]
    with worker.database.write(acme.tenant_id) as session:
        for target in targets:
            worker.audit.record(session, tenant_id=acme.tenant_id, actor="a", action="thing.do", target=target)

    def seen(models: list[str] | None) -> set[str]:
        return {event.target for event in worker.audit.list(acme.tenant_id, models=models, action="thing.do").data}

    assert seen(None) == set(targets)
    assert seen(["iris"]) == {"models/iris", "models/iris/aliases/production", "key_1"}
    assert seen(["iris2", "wine"]) == {"models/iris2", "models/wine/versions/1", "key_1"}


def test_operators_see_every_trail_with_its_tenant(worker: Worker, acme: Principal) -> None:
    other = worker.principal("other")
    for tenant_id in (acme.tenant_id, other.tenant_id):
        record(worker, tenant_id, "thing.do")
    assert {e.tenant for e in worker.audit.list_all(action="thing.do").data} == {"acme", "other"}
    assert {e.tenant for e in worker.audit.list_all(tenant="other").data} == {"other"}
    worker.tenants.delete(OPERATOR, "acme")
    assert {e.tenant for e in worker.audit.list_all().data} == {"other", "platform"}


def test_a_tenant_can_neither_change_nor_remove_its_trail(worker: Worker, acme: Principal) -> None:
    if not worker.database.is_postgresql:
        return
    for statement in ("UPDATE audit_events SET actor = 'nobody'", "DELETE FROM audit_events"):
        with pytest.raises(sa.exc.ProgrammingError), worker.database.write(acme.tenant_id) as session:
            session.execute(sa.text(statement))


def test_the_trail_is_written_by_the_platform_for_any_tenant(worker: Worker, acme: Principal) -> None:
    audit = Audit(worker.database)
    with worker.database.write(PLATFORM) as session:
        audit.record(session, tenant_id=acme.tenant_id, actor="op", action="thing.see", target="it")
    assert [e.action for e in audit.list(acme.tenant_id, actor="op").data] == ["thing.see"]
