"""A worker that has yet to hear that a tenant was deleted on another one."""

from collections.abc import Callable

import pytest

from service.errors import Conflict, ModelwardError, Unauthenticated
from service.registry.kept_bytes import lock_tenant
from service.tenants.idempotency import Idempotency
from service.tenants.keys import KeySpec
from service.tenants.principal import Principal
from service.tenants.scopes import Scope
from tests.tenants.workers import OPERATOR, Worker


@pytest.fixture
def ghost(worker: Worker, another_worker: Worker) -> Principal:
    """Whom ``worker`` still takes for a caller."""
    principal = worker.principal()
    another_worker.tenants.delete(OPERATOR, "acme")
    return principal


def refusal(act: Callable[[], object]) -> ModelwardError:
    with pytest.raises(ModelwardError) as refused:
        act()
    return refused.value


def test_what_begins_with_the_tenants_lock_is_unauthenticated(worker: Worker, ghost: Principal) -> None:
    for lock in (worker.epochs.bump, lock_tenant):
        with pytest.raises(Unauthenticated) as refused, worker.database.write(ghost.tenant_id) as session:
            lock(session, ghost.tenant_id)
        assert refused.value.reason == "invalid_api_key"


def test_a_row_of_the_tenant_is_a_conflict_that_names_when_to_come_back(worker: Worker, ghost: Principal) -> None:
    idempotency = Idempotency(worker.database, worker.vault)
    for act in (
        lambda: worker.keys.create(ghost, KeySpec("k", role="viewer")),
        lambda: worker.tokens.issue(ghost),
        lambda: idempotency.claim(ghost.tenant_id, "k", b"print"),
    ):
        refused = refusal(act)
        assert isinstance(refused, Conflict)
        assert refused.reason == "state_changed"
        assert refused.retry_after


def test_a_refusal_is_the_callers_though_nobody_keeps_it(worker: Worker, ghost: Principal) -> None:
    refused = refusal(lambda: worker.tokens.issue(ghost, frozenset({Scope.PLATFORM_ADMIN})))
    assert refused.reason == "scope_escalation"


def test_revoking_a_token_of_the_tenant_finds_nothing_left_to_revoke(worker: Worker, another_worker: Worker) -> None:
    claims = worker.tokens.issue(worker.principal()).access_claims
    assert worker.tokens.principal_of(claims, "127.0.0.1").tenant == "acme"
    assert worker.keys.standing.get(claims["sub"]) is not None
    another_worker.tenants.delete(OPERATOR, "acme")
    worker.tokens.revoke(None, claims)
