import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from service.database import PLATFORM
from service.errors import Forbidden, ModelwardError, Unauthenticated
from service.ids import random_name
from service.tenants import key_format
from service.tenants.keys import KeySpec
from service.tenants.principal import Principal
from service.tenants.scopes import Scope
from service.tenants.tables import ApiKey, RefreshToken, RevokedToken
from service.tenants.tokens import ACCESS_SECONDS, LEEWAY_SECONDS, RETRY_SECONDS, Grant
from tests.tenants.workers import ADDRESS, OPERATOR, Statements, Worker

READ = frozenset({Scope.MODELS_READ})


@pytest.fixture
def acme(worker: Worker) -> Principal:
    return worker.principal()


def refusal(act: Any, *arguments: Any) -> str:
    with pytest.raises(ModelwardError) as refused:
        act(*arguments)
    return refused.value.reason


def later(worker: Worker, seconds: float) -> None:
    """Let every refresh token grow older by so many seconds."""
    age = timedelta(seconds=seconds)
    with worker.database.write(PLATFORM) as session:
        for token in session.scalars(sa.select(RefreshToken)):
            token.expires_at -= age
            token.spent_at = token.spent_at and token.spent_at - age


def test_a_grant_says_everything_that_a_token_must_say(worker: Worker, acme: Principal) -> None:
    grant = worker.tokens.issue(acme)
    claims = grant.access_claims
    assert set(claims) == {"iss", "aud", "sub", "tenant", "scope", "jti", "iat", "exp"}
    assert (claims["iss"], claims["aud"], claims["sub"], claims["tenant"]) == ("here", "there", acme.subject, "acme")
    assert claims["scope"].split() == sorted(acme.scopes)
    assert claims["exp"] - claims["iat"] == grant.expires_in == ACCESS_SECONDS
    assert abs(claims["iat"] - time.time()) < 60


def test_an_access_token_is_who_its_key_is(worker: Worker, acme: Principal) -> None:
    principal = worker.tokens.principal_of(worker.tokens.issue(acme).access_claims, ADDRESS)
    assert (principal.subject, principal.tenant_id, principal.scopes) == (acme.subject, acme.tenant_id, acme.scopes)
    assert principal.plan == acme.plan


def test_a_token_is_narrowed_to_what_was_asked_for(worker: Worker, acme: Principal) -> None:
    grant = worker.tokens.issue(acme, READ)
    assert (grant.scopes, grant.access_claims["scope"]) == (READ, "models:read")
    assert worker.tokens.principal_of(grant.access_claims, ADDRESS).scopes == READ
    assert worker.tokens.refresh(grant.refresh_token).scopes == READ


def test_a_token_never_has_a_scope_that_its_key_lacks(worker: Worker, acme: Principal) -> None:
    with pytest.raises(Forbidden) as refused:
        worker.tokens.issue(acme, frozenset({Scope.PLATFORM_ADMIN}))
    assert refused.value.reason == "scope_escalation"
    claims = worker.tokens.issue(acme).access_claims
    refresh = worker.tokens.issue(acme).refresh_token
    worker.keys.change(OPERATOR, acme.subject, {"scopes": ["models:read"]}, tenant_id=acme.tenant_id)
    assert worker.tokens.principal_of(claims, ADDRESS).scopes == READ
    assert worker.tokens.refresh(refresh).scopes == READ


def test_a_token_ends_with_its_key(worker: Worker, acme: Principal) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=5)
    issued = worker.keys.create(acme, KeySpec("short", ["models:read"], expires_at=soon))
    grant = worker.tokens.issue(worker.keys.authenticate(issued.secret, ADDRESS))
    assert grant.access_claims["exp"] == int(soon.timestamp())
    assert grant.expires_in <= 300


def test_a_warm_token_costs_no_statement(worker: Worker, acme: Principal, statements: Statements) -> None:
    claims = worker.tokens.issue(acme).access_claims
    worker.tokens.principal_of(claims, ADDRESS)
    assert statements.during(lambda: worker.tokens.principal_of(claims, ADDRESS)) == 0


def test_a_token_is_refused_with_its_key_on_every_worker(
    worker: Worker, another_worker: Worker, acme: Principal
) -> None:
    issued = worker.keys.create(acme, KeySpec("predictor", role="predictor"))
    grant = worker.tokens.issue(worker.keys.authenticate(issued.secret, ADDRESS))
    another_worker.tokens.principal_of(grant.access_claims, ADDRESS)
    worker.keys.revoke(acme, issued.view.id)
    another_worker.epochs.refresh()
    for each in (worker, another_worker):
        assert refusal(each.tokens.principal_of, grant.access_claims, ADDRESS) == "revoked_api_key"
        assert refusal(each.tokens.refresh, grant.refresh_token) == "revoked_api_key"


def test_a_token_is_refused_with_its_tenant(worker: Worker, acme: Principal) -> None:
    grant = worker.tokens.issue(acme)
    worker.tenants.suspend(OPERATOR, "acme")
    assert refusal(worker.tokens.principal_of, grant.access_claims, ADDRESS) == "tenant_suspended"
    assert refusal(worker.tokens.refresh, grant.refresh_token) == "tenant_suspended"
    worker.tenants.delete(OPERATOR, "acme")
    assert refusal(worker.tokens.principal_of, grant.access_claims, ADDRESS) == "invalid_token"
    assert refusal(worker.tokens.refresh, grant.refresh_token) == "invalid_refresh_token"


@pytest.mark.parametrize(
    "changed", [{"sub": "key_unknown"}, {"sub": "key_\0"}, {"jti": "\0"}, {"tenant": "other"}, {"tenant": None}]
)
def test_claims_that_do_not_belong_together_are_refused(
    worker: Worker, acme: Principal, changed: dict[str, Any]
) -> None:
    worker.principal("other")
    claims = worker.tokens.issue(acme).access_claims
    assert refusal(worker.tokens.principal_of, {**claims, **changed}, ADDRESS) == "invalid_token"


def test_a_token_is_refused_after_its_end_even_if_it_is_remembered(worker: Worker, acme: Principal) -> None:
    claims = worker.tokens.issue(acme).access_claims
    claims["exp"] = int(time.time()) - 61
    assert refusal(worker.tokens.principal_of, claims, ADDRESS) == "expired_token"


def test_a_token_is_bound_to_the_networks_of_its_key(worker: Worker, acme: Principal) -> None:
    issued = worker.keys.create(acme, KeySpec("bound", ["models:read"], allowed_cidrs=["10.0.0.0/8"]))
    grant = worker.tokens.issue(worker.keys.authenticate(issued.secret, "10.0.0.1"))
    worker.tokens.principal_of(grant.access_claims, "10.0.0.2")
    assert refusal(worker.tokens.principal_of, grant.access_claims, ADDRESS) == "address_not_allowed"
    assert refusal(worker.tokens.refresh, grant.refresh_token, ADDRESS) == "address_not_allowed"
    assert worker.tokens.refresh(grant.refresh_token, "10.0.0.2").scopes == READ


def test_a_refresh_gives_a_new_pair(worker: Worker, acme: Principal) -> None:
    first = worker.tokens.issue(acme)
    second = worker.tokens.refresh(first.refresh_token)
    assert second.refresh_token != first.refresh_token
    assert second.access_claims["jti"] != first.access_claims["jti"]
    assert second.scopes == first.scopes
    assert worker.tokens.principal_of(first.access_claims, ADDRESS)
    assert worker.tokens.principal_of(second.access_claims, ADDRESS)
    worker.tokens.refresh(second.refresh_token)


def test_a_lost_answer_is_given_again_within_ten_seconds(
    worker: Worker, another_worker: Worker, acme: Principal
) -> None:
    first = worker.tokens.issue(acme)
    answers = [each.tokens.refresh(first.refresh_token) for each in (worker, another_worker, worker)]
    assert {answer.refresh_token for answer in answers} == {answers[0].refresh_token}
    assert {answer.access_claims["jti"] for answer in answers} == {answers[0].access_claims["jti"]}
    assert answers[2].scopes == first.scopes


def test_a_reuse_revokes_the_whole_family_with_its_access_tokens(
    worker: Worker, another_worker: Worker, acme: Principal
) -> None:
    first = worker.tokens.issue(acme)
    second = worker.tokens.refresh(first.refresh_token)
    third = worker.tokens.refresh(second.refresh_token)
    bystander = worker.tokens.issue(acme)
    for grant in (first, second, third):
        another_worker.tokens.principal_of(grant.access_claims, ADDRESS)
    later(worker, RETRY_SECONDS + 1)
    assert refusal(worker.tokens.refresh, first.refresh_token) == "refresh_token_reused"
    another_worker.epochs.refresh()
    for grant in (first, second, third):
        assert refusal(worker.tokens.refresh, grant.refresh_token) == "invalid_refresh_token"
        for each in (worker, another_worker):
            assert refusal(each.tokens.principal_of, grant.access_claims, ADDRESS) == "revoked_token"
    assert worker.tokens.refresh(bystander.refresh_token)
    event = worker.audit.list(acme.tenant_id, action="token.reuse").data[0]
    assert (event.outcome, event.actor) == ("refused", acme.subject)


def test_a_refresh_token_ends(worker: Worker, acme: Principal) -> None:
    grant = worker.tokens.issue(acme)
    later(worker, 30 * 24 * 3600 + 1)
    assert refusal(worker.tokens.refresh, grant.refresh_token) == "expired_refresh_token"


def test_what_is_no_refresh_token_is_refused(worker: Worker, acme: Principal, statements: Statements) -> None:
    grant = worker.tokens.issue(acme)
    for text in ("", "mwr_\0", key_format.mint(random_name()), grant.refresh_token[:-1] + "é"):
        assert statements.during(lambda text=text: refusal(worker.tokens.refresh, text)) == 0  # type: ignore[misc]
        assert refusal(worker.tokens.refresh, text) == "invalid_refresh_token"
    parsed = key_format.parse(grant.refresh_token, key_format.REFRESH)
    assert parsed is not None
    for guess in (parsed.id, random_name()):
        assert refusal(worker.tokens.refresh, key_format.mint(guess, key_format.REFRESH)) == "invalid_refresh_token"
    assert worker.tokens.refresh(grant.refresh_token)


def test_two_threads_that_refresh_at_once_get_one_successor(worker: Worker, acme: Principal, long: bool) -> None:
    workers = (worker, Worker(worker.database))
    for _ in range(1_000 if long else 25):
        presented = worker.tokens.issue(acme, READ).refresh_token
        found: list[Grant] = []
        barrier = threading.Barrier(2)

        def run(each: Worker, presented: str = presented, found: list[Grant] = found, start: Any = barrier) -> None:
            start.wait()
            found.append(each.tokens.refresh(presented))

        threads = [threading.Thread(target=run, args=(each,)) for each in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 2
        assert len({grant.refresh_token for grant in found}) == 1
    with worker.database.read(PLATFORM) as session:
        spent = sa.func.count(RefreshToken.spent_at)
        assert session.execute(sa.select(sa.func.count(), spent).select_from(RefreshToken)).one() == (
            2 * (1_000 if long else 25),
            1_000 if long else 25,
        )


def test_a_family_revoked_while_it_is_refreshed_is_revoked_altogether(worker: Worker, acme: Principal) -> None:
    codes: list[str] = []
    for _ in range(15):
        first = worker.tokens.issue(acme, READ)
        found: list[Grant] = []
        refreshing = threading.Thread(target=_refresh_if_allowed, args=(worker, first.refresh_token, found, codes))
        refreshing.start()
        worker.tokens.revoke(None, first.refresh_token)
        refreshing.join()
        for grant in (first, *found):
            assert refusal(worker.tokens.refresh, grant.refresh_token) == "invalid_refresh_token"
            assert refusal(worker.tokens.principal_of, grant.access_claims, ADDRESS) == "revoked_token"
    assert set(codes) <= {"invalid_refresh_token"}


def _refresh_if_allowed(worker: Worker, presented: str, found: list[Grant], codes: list[str]) -> None:
    try:
        found.append(worker.tokens.refresh(presented))
    except Unauthenticated as error:
        codes.append(error.reason)


def test_a_refresh_token_whose_key_is_gone_is_refused(worker: Worker, acme: Principal) -> None:
    issued = worker.keys.create(acme, KeySpec("gone", ["models:read"]))
    grant = worker.tokens.issue(worker.keys.authenticate(issued.secret, ADDRESS))
    with worker.database.write(acme.tenant_id) as session:
        session.execute(sa.delete(ApiKey).where(ApiKey.id == issued.view.id))
        worker.epochs.bump(session, acme.tenant_id)
    assert refusal(worker.tokens.principal_of, grant.access_claims, ADDRESS) == "invalid_token"
    assert refusal(worker.tokens.refresh, grant.refresh_token) == "invalid_refresh_token"


def test_a_revoked_access_token_is_refused_on_every_worker(
    worker: Worker, another_worker: Worker, acme: Principal
) -> None:
    grant, other = worker.tokens.issue(acme), worker.tokens.issue(acme)
    another_worker.tokens.principal_of(grant.access_claims, ADDRESS)
    worker.tokens.revoke(acme, grant.access_claims)
    worker.tokens.revoke(acme, grant.access_claims)
    another_worker.epochs.refresh()
    for each in (worker, another_worker):
        assert refusal(each.tokens.principal_of, grant.access_claims, ADDRESS) == "revoked_token"
        assert each.tokens.principal_of(other.access_claims, ADDRESS)
    assert {e.actor for e in worker.audit.list(acme.tenant_id, action="token.revoke").data} == {acme.subject}


def test_a_revoked_refresh_token_takes_its_access_token_along(worker: Worker, acme: Principal) -> None:
    grant = worker.tokens.issue(acme)
    worker.tokens.principal_of(grant.access_claims, ADDRESS)
    worker.tokens.revoke(None, grant.refresh_token)
    assert refusal(worker.tokens.principal_of, grant.access_claims, ADDRESS) == "revoked_token"
    assert refusal(worker.tokens.refresh, grant.refresh_token) == "invalid_refresh_token"


def test_revoking_what_is_unknown_is_no_error(worker: Worker, acme: Principal) -> None:
    claims = worker.tokens.issue(acme).access_claims
    worker.tokens.revoke(None, "mwr_unknown")
    worker.tokens.revoke(None, {**claims, "sub": "key_unknown"})
    worker.tokens.revoke(None, {**claims, "tenant": "other"})
    assert worker.tokens.principal_of(claims, ADDRESS)


def test_a_revocation_is_kept_until_the_tokens_end_and_no_longer_than_needed(worker: Worker, acme: Principal) -> None:
    grant = worker.tokens.issue(acme)
    later(worker, 2 * ACCESS_SECONDS)
    worker.tokens.revoke(None, grant.refresh_token)
    fresh = worker.tokens.issue(acme)
    worker.tokens.revoke(None, fresh.refresh_token)
    with worker.database.read(PLATFORM) as session:
        (kept,) = session.scalars(sa.select(RevokedToken)).all()
    assert kept.jti == fresh.access_claims["jti"]
    assert kept.expires_at.timestamp() >= fresh.access_claims["exp"] + LEEWAY_SECONDS - 1


def test_no_secret_is_stored_or_shown(worker: Worker, acme: Principal) -> None:
    first = worker.tokens.issue(acme)
    second = worker.tokens.refresh(first.refresh_token)
    with worker.database.read(PLATFORM) as session:
        stored = repr([(row.id, row.digest, row.successor) for row in session.scalars(sa.select(RefreshToken))])
    for grant in (first, second):
        parsed = key_format.parse(grant.refresh_token, key_format.REFRESH)
        assert parsed is not None
        assert parsed.secret not in stored
        assert parsed.secret not in repr(grant)


def test_asking_for_a_scope_beyond_the_keys_stands_in_the_trail(worker: Worker, acme: Principal) -> None:
    assert refusal(worker.tokens.issue, acme, frozenset({Scope.PLATFORM_ADMIN})) == "scope_escalation"
    event = worker.audit.list(acme.tenant_id).data[0]
    assert (event.action, event.actor, event.outcome) == ("token.issue", acme.subject, "refused")
    assert event.details == {"code": "scope_escalation"}
