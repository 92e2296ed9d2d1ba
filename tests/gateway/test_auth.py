"""Who is calling, and what they may."""

import time
from datetime import timedelta

import pytest

from service.database import now
from service.gateway.tokens import encoded
from service.tenants.audit import AuditView
from service.tenants.scopes import Scope
from tests.gateway.application import Running, again
from tests.gateway.conftest import Start


def test_a_key_is_taken_from_either_header(running: Running) -> None:
    assert running.ask("/any", key=running.key).json["tenant"] == "acme"
    assert running.ask("/any", headers={"Authorization": f"Bearer {running.key}"}).json["tenant"] == "acme"
    assert running.ask("/any", headers={"Authorization": f"bearer {running.key}"}).status_code == 200


def test_a_token_stands_for_the_key_that_it_was_made_from(running: Running) -> None:
    bearer = {"Authorization": f"Bearer {running.token()}"}
    assert running.ask("/any", headers=bearer).json == running.ask("/any", key=running.key).json


@pytest.mark.parametrize("authorization", ["Basic YTpi", "Bearer", "Bearer ", "mw_abc", "Bearer mw_abc_def"])
def test_another_credential_is_refused(running: Running, authorization: str) -> None:
    response = running.ask("/any", headers={"Authorization": authorization})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_no_credential_is_a_401_that_says_how(running: Running) -> None:
    response = running.ask("/any")
    assert (response.status_code, response.json["code"]) == (401, "unauthenticated")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="modelward"'


def test_two_credentials_of_the_same_caller_hold_with_the_lesser_scopes(running: Running) -> None:
    narrow = running.services.tokens.issue(running.principal(), frozenset({Scope.MODELS_PREDICT}))
    with running.app.app_context():
        token = encoded(narrow.access_claims)
    both = {"Authorization": f"Bearer {token}"}
    assert running.ask("/any", key=running.key, headers=both).status_code == 200
    assert running.ask("/models/iris", key=running.key, headers=both).status_code == 403
    assert running.ask("/models/iris", key=running.key).status_code == 200


def test_two_credentials_of_different_callers_are_refused(running: Running) -> None:
    other = running.new_key(role="viewer")
    response = running.ask("/any", key=running.key, headers={"Authorization": f"Bearer {other}"})
    assert (response.status_code, response.json["code"]) == (401, "conflicting_credentials")


def test_a_credential_with_a_broken_one_beside_it_is_refused(running: Running) -> None:
    assert running.ask("/any", key=running.key, headers={"Authorization": "Bearer x"}).status_code == 401
    assert running.ask("/any", key="mw_x", headers={"Authorization": f"Bearer {running.key}"}).status_code == 401


def test_a_missing_scope_is_a_403_and_audited(running: Running) -> None:
    viewer = running.new_key(role="viewer")
    response = running.ask("/admin", key=viewer)
    assert (response.status_code, response.json["code"]) == (403, "missing_scope")
    assert "platform:admin" in response.json["detail"]
    assert [event.action for event in refusals(running)] == ["scope.require"]


def refusals(running: Running) -> list[AuditView]:
    page = running.services.audit.list(running.principal().tenant_id, limit=50, cursor=None)
    return [event for event in page.data if event.outcome == "refused"]


def test_a_public_route_asks_for_nothing_and_reads_nothing(running: Running) -> None:
    assert running.ask("/public").status_code == 200
    assert running.ask("/public", key="mw_x").status_code == 200


def test_an_expired_key_is_refused(running: Running) -> None:
    key = running.new_key(role="viewer", expires_at=now() + timedelta(seconds=1))
    time.sleep(1.05)
    assert running.ask("/any", key=key).json["code"] == "expired_api_key"


def test_a_revoked_key_is_refused_at_once_here_and_soon_elsewhere(start: Start) -> None:
    running = start()
    running.services.epochs.start()
    elsewhere = again(running.services.settings, running.key)
    elsewhere.services.epochs.start()
    try:
        key = running.new_key(role="viewer")
        subject = elsewhere.ask("/any", key=key).json["subject"]
        running.services.keys.revoke(running.principal(), subject)
        assert running.ask("/any", key=key).json["code"] == "revoked_api_key"
        time.sleep(1)
        assert elsewhere.ask("/any", key=key).status_code == 401
    finally:
        elsewhere.close()


def test_a_key_of_another_network_is_refused(running: Running) -> None:
    key = running.new_key(role="viewer", allowed_cidrs=["192.0.2.0/24"])
    response = running.ask("/any", key=key)
    assert (response.status_code, response.json["code"]) == (403, "address_not_allowed")
    forwarded = {"X-Forwarded-For": "192.0.2.1"}
    assert running.ask("/any", key=key, headers=forwarded).status_code == 403


def test_a_trusted_proxy_says_where_a_request_came_from(start: Start) -> None:
    running = start(trusted_hops=1)
    key = running.new_key(role="viewer", allowed_cidrs=["192.0.2.0/24"])
    assert running.ask("/any", key=key, headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 200
    assert running.ask("/any", key=key, headers={"X-Forwarded-For": "192.0.2.1, 198.51.100.1"}).status_code == 403
    assert running.ask("/any", key=key).status_code == 403


def test_a_large_body_is_allowed_by_the_plan_of_its_sender(running: Running) -> None:
    limit = running.principal().plan.max_body_bytes
    assert running.gateway.body_limit({"HTTP_X_API_KEY": running.key, "REMOTE_ADDR": "127.0.0.1"}) == limit
    assert running.gateway.body_limit({"HTTP_AUTHORIZATION": f"Bearer {running.token()}"}) == limit
    assert running.gateway.body_limit({"HTTP_X_API_KEY": "mw_x"}) is None
    assert running.gateway.body_limit({}) is None


def test_a_body_over_the_plan_is_413(start: Start) -> None:
    running = start(plan="free")
    response = running.ask("/things", key=running.key, method="POST", data=b"a" * ((1 << 20) + 1))
    assert (response.status_code, response.json["code"]) == (413, "body_too_large")


def test_metrics_are_read_with_their_token_or_their_scope(start: Start) -> None:
    running = start(metrics_token="a-token-for-the-scraper")
    assert running.ask("/metrics", headers={"Authorization": "Bearer a-token-for-the-scraper"}).status_code == 200
    assert running.ask("/metrics", headers={"Authorization": "Bearer another-token"}).status_code == 401
    assert running.ask("/metrics", key=running.key).status_code == 403
    assert running.ask("/metrics").status_code == 401
    assert start(metrics_public=True).ask("/metrics").status_code == 200


def test_without_a_metrics_token_no_token_reads_metrics(running: Running) -> None:
    assert running.ask("/metrics", headers={"Authorization": "Bearer "}).status_code == 401
