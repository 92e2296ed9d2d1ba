from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.errors import Conflict, Forbidden, Invalid, NotFound, PreconditionFailed, Unauthenticated
from service.tenants.keys import LONGEST_OVERLAP, KeySpec
from service.tenants.principal import PLATFORM_TENANT_ID, Principal
from service.tenants.scopes import ROLES, Scope
from service.tenants.tables import ApiKey
from tests.tenants.workers import ADDRESS, OPERATOR, Worker

PREDICTOR = KeySpec("predictor", role="predictor")


@pytest.fixture
def admin(worker: Worker) -> Principal:
    return worker.principal()


def in_an_hour() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


def actions(worker: Worker, tenant_id: str) -> list[tuple[str, str]]:
    return [(event.action, event.outcome) for event in worker.audit.list(tenant_id).data]


def test_a_new_key_authenticates_as_it_was_specified(worker: Worker, admin: Principal) -> None:
    expires_at = in_an_hour()
    spec = KeySpec("narrow", ["models:read", "models:predict"], None, expires_at, ["iris"], ["10.0.0.0/8"])
    issued = worker.keys.create(admin, spec)
    principal = worker.keys.authenticate(issued.secret, "10.1.2.3")
    assert (principal.tenant_id, principal.tenant) == (admin.tenant_id, "acme")
    assert principal.subject == issued.view.id
    assert principal.scopes == {Scope.MODELS_READ, Scope.MODELS_PREDICT}
    assert principal.models == frozenset({"iris"})
    assert principal.expires_at == pytest.approx(expires_at.timestamp())
    assert principal.plan.slug == "standard"


def test_a_role_is_a_name_for_its_scopes(worker: Worker, admin: Principal) -> None:
    issued = worker.keys.create(admin, PREDICTOR)
    assert issued.view.scopes == sorted(ROLES["predictor"])


def test_the_secret_of_a_key_is_shown_once_and_stored_nowhere(worker: Worker, admin: Principal) -> None:
    issued = worker.keys.create(admin, PREDICTOR)
    assert issued.secret not in repr(issued)
    assert issued.secret not in repr(worker.keys.get(admin, issued.view.id))
    assert issued.view.hint == issued.secret[-4:]
    assert issued.secret[:60] not in repr(worker.audit.list(admin.tenant_id).data)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "x" * 101}),
        ("name", {"name": "a\0b"}),
        ("scopes", {"scopes": []}),
        ("scopes", {"scopes": ["models:eat"]}),
        ("scopes", {"scopes": None}),
        ("scopes", {"role": "viewer"}),
        ("role", {"scopes": None, "role": "emperor"}),
        ("expires_at", {"expires_at": datetime.now(UTC) - timedelta(seconds=1)}),
        ("expires_at", {"expires_at": datetime(2999, 1, 1)}),
        ("models", {"models": []}),
        ("models", {"models": ["Not A Name"]}),
        ("allowed_cidrs", {"allowed_cidrs": []}),
        ("allowed_cidrs", {"allowed_cidrs": ["10.0.0.0/33"]}),
        ("allowed_cidrs", {"allowed_cidrs": ["everywhere"]}),
    ],
)
def test_a_wrong_field_is_named(worker: Worker, admin: Principal, field: str, values: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        worker.keys.create(admin, KeySpec(**{"name": "key", "scopes": ["models:read"], **values}))
    assert [finding.at for finding in refused.value.findings] == [field]


def test_a_network_is_kept_without_the_bits_of_a_host(worker: Worker, admin: Principal) -> None:
    spec = KeySpec("bound", ["models:read"], allowed_cidrs=["10.1.2.3/8", "10.1.2.3", "fd00::1/64"])
    issued = worker.keys.create(admin, spec)
    assert issued.view.allowed_cidrs == ["10.0.0.0/8", "10.1.2.3/32", "fd00::/64"]


def test_a_key_is_found_by_its_own_tenant_alone(worker: Worker, admin: Principal) -> None:
    other = worker.principal("other")
    for key_id in (admin.subject, "key_unknown", "key_\0"):
        with pytest.raises(NotFound):
            worker.keys.get(other, key_id)
        with pytest.raises(NotFound):
            worker.keys.revoke(other, key_id)
        with pytest.raises(NotFound):
            worker.keys.rotate(other, key_id)
        with pytest.raises(NotFound):
            worker.keys.change(other, key_id, {"name": "mine"})
    assert [key.id for key in worker.keys.list(other).data] == [other.subject]


def test_an_operator_names_the_tenant_and_nobody_else_may(worker: Worker, admin: Principal) -> None:
    issued = worker.keys.create(OPERATOR, PREDICTOR, tenant_id=admin.tenant_id)
    assert worker.keys.authenticate(issued.secret, ADDRESS).tenant == "acme"
    assert worker.keys.get(OPERATOR, issued.view.id, tenant_id=admin.tenant_id) == issued.view
    with pytest.raises(Forbidden):
        worker.keys.create(worker.principal("other"), PREDICTOR, tenant_id=admin.tenant_id)


def test_keys_are_listed_page_by_page(worker: Worker, admin: Principal) -> None:
    made = [worker.keys.create(admin, PREDICTOR).view.id for _ in range(4)]
    first = worker.keys.list(admin, limit=3)
    second = worker.keys.list(admin, limit=3, cursor=first.next_cursor)
    assert sorted(key.id for key in first.data + second.data) == sorted([admin.subject, *made])
    assert second.next_cursor is None


def test_nobody_grants_a_scope_that_they_lack(worker: Worker, admin: Principal) -> None:
    predictor = worker.keys.authenticate(worker.keys.create(admin, PREDICTOR).secret, ADDRESS)
    for maker, scope in ((admin, "platform:admin"), (admin, "metrics:read"), (predictor, "models:write")):
        with pytest.raises(Forbidden) as refused:
            worker.keys.create(maker, KeySpec("more", [scope]))
        assert refused.value.reason == "scope_escalation"
    assert actions(worker, admin.tenant_id)[:3] == [("key.create", "refused")] * 3


def test_nobody_grants_models_or_networks_beyond_their_own(worker: Worker, admin: Principal) -> None:
    spec = KeySpec("bound", role="tenant-admin", models=["iris", "wine"], allowed_cidrs=["10.0.0.0/8", "fd00::/8"])
    bound = worker.keys.authenticate(worker.keys.create(admin, spec).secret, "10.0.0.1")
    within = KeySpec("in", ["models:read"], models=["iris"], allowed_cidrs=["10.1.0.0/16", "fd00:1::/32"])
    assert worker.keys.create(bound, within).view.models == ["iris"]
    for beyond in (
        replace(within, models=None),
        replace(within, models=["iris", "digits"]),
        replace(within, allowed_cidrs=None),
        replace(within, allowed_cidrs=["10.0.0.0/7"]),
        replace(within, allowed_cidrs=["::/0"]),
    ):
        with pytest.raises(Forbidden):
            worker.keys.create(bound, beyond)


@pytest.mark.parametrize("scope", ["platform:admin", "metrics:read"])
def test_only_the_platforms_own_keys_hold_the_operators_scopes(worker: Worker, admin: Principal, scope: str) -> None:
    spec = KeySpec("operator", [scope])
    with pytest.raises(Forbidden):
        worker.keys.create(OPERATOR, spec, tenant_id=admin.tenant_id)
    issued = worker.keys.create(OPERATOR, spec)
    assert worker.keys.authenticate(issued.secret, ADDRESS).tenant_id == PLATFORM_TENANT_ID


def test_a_key_that_ends_makes_none_that_outlives_it_and_does_not_prolong_itself(
    worker: Worker, admin: Principal
) -> None:
    end = in_an_hour()
    ending = worker.keys.create(admin, KeySpec("ending", role="tenant-admin", expires_at=end))
    principal = worker.keys.authenticate(ending.secret, ADDRESS)
    for spec in (PREDICTOR, replace(PREDICTOR, expires_at=end + timedelta(seconds=1))):
        with pytest.raises(Forbidden) as caught:
            worker.keys.create(principal, spec)
        assert caught.value.reason == "scope_escalation"
    with pytest.raises(Forbidden):
        worker.keys.change(principal, ending.view.id, {"expires_at": None})
    assert worker.keys.create(principal, replace(PREDICTOR, expires_at=end)).view.expires_at == end


def test_a_lesser_key_cannot_become_a_greater_one_by_rotating_or_changing_it(worker: Worker, admin: Principal) -> None:
    lesser = worker.keys.authenticate(worker.keys.create(admin, KeySpec("k", ["keys:manage"])).secret, ADDRESS)
    with pytest.raises(Forbidden):
        worker.keys.rotate(lesser, admin.subject)
    with pytest.raises(Forbidden):
        worker.keys.change(lesser, admin.subject, {"expires_at": None})
    with pytest.raises(Forbidden):
        worker.keys.change(lesser, lesser.subject, {"scopes": ["keys:manage", "models:write"]})
    assert {outcome for _, outcome in actions(worker, admin.tenant_id)[:3]} == {"refused"}


def test_a_change_holds_everywhere_after_a_look(worker: Worker, another_worker: Worker, admin: Principal) -> None:
    issued = worker.keys.create(admin, PREDICTOR)
    assert Scope.MODELS_PREDICT in another_worker.keys.authenticate(issued.secret, ADDRESS).scopes
    changed = worker.keys.change(admin, issued.view.id, {"scopes": ["models:read"], "name": "reader"})
    assert (changed.name, changed.scopes, changed.revision) == ("reader", ["models:read"], 2)
    assert worker.keys.authenticate(issued.secret, ADDRESS).scopes == {Scope.MODELS_READ}
    another_worker.epochs.refresh()
    assert another_worker.keys.authenticate(issued.secret, ADDRESS).scopes == {Scope.MODELS_READ}


def test_a_change_names_unknown_fields(worker: Worker, admin: Principal) -> None:
    with pytest.raises(Invalid) as refused:
        worker.keys.change(admin, admin.subject, {"tenant_id": "ten_other", "digest": b""})
    assert [finding.at for finding in refused.value.findings] == ["tenant_id", "digest"]


def test_a_change_of_what_changed_since_is_refused(worker: Worker, admin: Principal) -> None:
    issued = worker.keys.create(admin, PREDICTOR)
    worker.keys.change(admin, issued.view.id, {"name": "first"}, expected_revision=1)
    for late in (
        lambda: worker.keys.change(admin, issued.view.id, {"name": "second"}, expected_revision=1),
        lambda: worker.keys.revoke(admin, issued.view.id, expected_revision=1),
        lambda: worker.keys.rotate(admin, issued.view.id, expected_revision=1),
    ):
        with pytest.raises(PreconditionFailed):
            late()
    assert worker.keys.get(admin, issued.view.id).name == "first"


def test_a_revoked_key_is_refused_on_every_worker(worker: Worker, another_worker: Worker, admin: Principal) -> None:
    issued = worker.keys.create(admin, PREDICTOR)
    another_worker.keys.authenticate(issued.secret, ADDRESS)
    revoked = worker.keys.revoke(admin, issued.view.id)
    assert revoked.status == "revoked"
    another_worker.epochs.refresh()
    for each in (worker, another_worker):
        with pytest.raises(Unauthenticated) as refused:
            each.keys.authenticate(issued.secret, ADDRESS)
        assert refused.value.reason == "revoked_api_key"


def test_revoking_twice_changes_nothing(worker: Worker, admin: Principal) -> None:
    key_id = worker.keys.create(admin, PREDICTOR).view.id
    assert worker.keys.revoke(admin, key_id) == worker.keys.revoke(admin, key_id)
    assert actions(worker, admin.tenant_id).count(("key.revoke", "ok")) == 1


def test_a_revoked_key_is_neither_changed_nor_rotated(worker: Worker, admin: Principal) -> None:
    key_id = worker.keys.create(admin, PREDICTOR).view.id
    worker.keys.revoke(admin, key_id)
    with pytest.raises(Conflict):
        worker.keys.change(admin, key_id, {"name": "again"})
    with pytest.raises(Conflict):
        worker.keys.rotate(admin, key_id)


def test_both_keys_hold_while_a_rotation_overlaps(worker: Worker, admin: Principal) -> None:
    old = worker.keys.create(admin, replace(PREDICTOR, models=["iris"]))
    new = worker.keys.rotate(admin, old.view.id, overlap_seconds=3600)
    principals = [worker.keys.authenticate(issued.secret, ADDRESS) for issued in (old, new)]
    assert principals[0].subject != principals[1].subject
    assert principals[0].scopes == principals[1].scopes
    assert principals[0].models == principals[1].models == frozenset({"iris"})
    assert principals[0].expires_at is not None
    assert principals[1].expires_at is None


def test_the_old_key_ends_with_the_overlap(worker: Worker, admin: Principal) -> None:
    old = worker.keys.create(admin, PREDICTOR)
    new = worker.keys.rotate(admin, old.view.id)
    assert worker.keys.get(admin, old.view.id).status == "expired"
    assert worker.keys.get(admin, new.view.id).status == "active"
    with pytest.raises(Unauthenticated) as refused:
        worker.keys.authenticate(old.secret, ADDRESS)
    assert refused.value.reason == "expired_api_key"
    with pytest.raises(Conflict):
        worker.keys.rotate(admin, old.view.id)


def test_a_rotation_never_prolongs_the_old_key(worker: Worker, admin: Principal) -> None:
    old = worker.keys.create(admin, replace(PREDICTOR, expires_at=in_an_hour()))
    worker.keys.rotate(admin, old.view.id, overlap_seconds=LONGEST_OVERLAP)
    assert worker.keys.get(admin, old.view.id).expires_at == old.view.expires_at


@pytest.mark.parametrize("seconds", [-1, LONGEST_OVERLAP + 1])
def test_an_overlap_out_of_range_is_refused(worker: Worker, admin: Principal, seconds: int) -> None:
    with pytest.raises(Invalid):
        worker.keys.rotate(admin, admin.subject, seconds)


def test_a_lesser_key_cannot_end_a_greater_one(worker: Worker, admin: Principal) -> None:
    spec = KeySpec("k", ["keys:manage"], models=["iris"])
    lesser, equal = (worker.keys.authenticate(worker.keys.create(admin, spec).secret, ADDRESS) for _ in range(2))
    with pytest.raises(Forbidden) as refused:
        worker.keys.revoke(lesser, admin.subject)
    assert refused.value.reason == "scope_escalation"
    assert actions(worker, admin.tenant_id)[0] == ("key.revoke", "refused")
    assert worker.keys.get(admin, admin.subject).status == "active"
    assert worker.keys.revoke(lesser, equal.subject).status == "revoked"
    assert worker.keys.revoke(admin, lesser.subject).status == "revoked"


def test_every_key_may_end_itself(worker: Worker, admin: Principal) -> None:
    wide = worker.keys.authenticate(worker.keys.create(admin, KeySpec("k", role="tenant-admin")).secret, ADDRESS)
    narrowed = replace(wide, scopes=frozenset({Scope.KEYS_MANAGE}))
    assert worker.keys.revoke(narrowed, wide.subject).status == "revoked"


def test_a_key_that_holds_what_only_operators_hold_now_can_still_be_ended(worker: Worker, admin: Principal) -> None:
    key_id = worker.keys.create(admin, PREDICTOR).view.id
    with worker.database.write(admin.tenant_id) as session:
        session.get_one(ApiKey, (admin.tenant_id, key_id)).scopes = ["metrics:read"]
    with pytest.raises(Forbidden):
        worker.keys.rotate(OPERATOR, key_id, tenant_id=admin.tenant_id)
    assert worker.keys.revoke(OPERATOR, key_id, tenant_id=admin.tenant_id).status == "revoked"


def test_every_act_on_a_key_is_in_the_trail(worker: Worker, admin: Principal) -> None:
    key_id = worker.keys.create(admin, PREDICTOR).view.id
    worker.keys.change(admin, key_id, {"name": "renamed"})
    successor = worker.keys.rotate(admin, key_id, 60).view.id
    worker.keys.revoke(admin, key_id)
    events = [(event.action, event.target, event.actor) for event in worker.audit.list(admin.tenant_id).data]
    assert sorted(events[:5]) == sorted(
        [
            ("key.create", key_id, admin.subject),
            ("key.change", key_id, admin.subject),
            ("key.create", successor, admin.subject),
            ("key.rotate", key_id, admin.subject),
            ("key.revoke", key_id, admin.subject),
        ]
    )
