"""Limits as a caller meets them."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from werkzeug.test import TestResponse

from service.gateway.auth import UNKNOWN_UNDER_WAY
from service.gateway.tokens import claims_of
from service.ids import random_name
from service.tenants import key_format
from service.tenants.plans import PlanSpec
from service.tenants.principal import Principal
from tests.gateway.application import Running, again
from tests.gateway.conftest import Start


@pytest.fixture(autouse=True)
def _within_one_minute() -> None:
    """Let no bucket of a minute end during a test."""
    left = 60 - time.time() % 60
    if left < 8:
        time.sleep(left)


def state(response: TestResponse, field: str = "RateLimit") -> dict[str, dict[str, int]]:
    """Return the parameters of each item of a rate-limit field."""
    items = re.findall(r'"(\w+)"((?:;\w+=\d+)+)', response.headers[field])
    return {name: {key: int(value) for key, value in re.findall(r";(\w+)=(\d+)", rest)} for name, rest in items}


def narrowed(running: Running, **changes: object) -> Running:
    """Put the tenant on a plan with other limits."""
    spec = {
        "slug": "narrow",
        "name": "Narrow",
        "key_requests_per_minute": 100,
        "tenant_requests_per_minute": 100,
        "rows_per_day": None,
        "max_models": 10,
        "max_bytes": 1 << 30,
        "max_body_bytes": 1 << 20,
        "max_concurrency": 8,
    }
    operator = Principal.operator()
    running.services.plans.create(operator, PlanSpec(**{**spec, **changes}))
    running.services.tenants.change(operator, "acme", plan="narrow")
    return running


def test_every_authenticated_response_states_the_limits_and_what_is_left(running: Running) -> None:
    response = running.ask("/any", key=running.key)
    assert response.headers["RateLimit-Policy"] == '"key";q=6000;w=60, "tenant";q=30000;w=60'
    first = state(response)
    assert first["key"]["r"] == 5999
    assert 1 <= first["key"]["t"] <= 60
    assert state(running.ask("/any", key=running.key))["key"]["r"] == 5998
    forbidden = running.ask("/admin", key=running.key)
    assert (forbidden.status_code, state(forbidden)["key"]["r"]) == (403, 5997)
    assert "RateLimit" not in running.ask("/public").headers


def test_a_key_over_its_limit_is_429_with_the_time_to_wait(running: Running) -> None:
    narrowed(running, key_requests_per_minute=3)
    answers = [running.ask("/any", key=running.key) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    refused = answers[-1]
    assert refused.json["code"] == "rate_limited"
    assert refused.headers["Retry-After"] == str(state(refused)["key"]["t"])
    assert state(refused)["key"]["r"] == 0
    assert state(refused)["tenant"]["r"] == 97


def test_a_tenant_over_its_limit_is_429_whatever_its_keys_have_left(running: Running) -> None:
    narrowed(running, tenant_requests_per_minute=4)
    other = running.new_key(role="viewer")
    keys = [running.key, other] * 3
    assert [running.ask("/any", key=key).status_code for key in keys] == [200] * 4 + [429] * 2


def test_an_unlimited_plan_states_the_one_limit_that_it_has(start: Start) -> None:
    running = start(plan="unlimited")
    response = running.ask("/any", key=running.key)
    assert re.fullmatch(r'"concurrency";q=\d+;qu="concurrent-requests"', response.headers["RateLimit-Policy"])
    assert response.headers["RateLimit"].startswith('"concurrency";r=')


def test_a_tenant_with_too_much_under_way_is_503_and_the_place_comes_back(running: Running) -> None:
    narrowed(running, max_concurrency=2)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(running.ask, "/wait", key=running.key) for _ in range(2)]
        for _ in waiting:
            assert running.entered.acquire(timeout=20)
        refused = running.ask("/any", key=running.key)
        running.gate.set()
        assert [each.result().status_code for each in waiting] == [200, 200]
    assert (refused.status_code, refused.json["code"]) == (503, "too_many_under_way")
    assert refused.headers["Retry-After"] == "1"
    assert running.ask("/any", key=running.key).status_code == 200


def test_refused_credentials_hold_off_an_address_and_good_ones_from_it_go_on(start: Start) -> None:
    running = start(failed_logins_per_minute=3)
    assert running.ask("/any", key=running.key).status_code == 200
    answers = [running.ask("/any", key="mw_wrong") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
    assert answers[-1].json["code"] == "too_many_refused_credentials"
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 120
    assert running.ask("/any", key=running.key).status_code == 200
    elsewhere = running.ask("/any", key="mw_wrong", environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert elsewhere.status_code == 401


def test_an_address_that_is_held_off_has_nothing_looked_up(start: Start) -> None:
    running = start(failed_logins_per_minute=2)
    assert running.ask("/any", key=running.key).status_code == 200
    unknown = [key_format.mint(random_name()) for _ in range(4)]
    assert [running.ask("/any", key=key).status_code for key in unknown] == [401, 401, 429, 429]
    statements: list[str] = []
    sa.event.listen(running.services.database.engine, "before_cursor_execute", lambda *seen: statements.append(seen[2]))
    never_seen = running.ask("/any", key=key_format.mint(random_name()))
    assert (never_seen.status_code, never_seen.json["code"]) == (429, "too_many_refused_credentials")
    assert int(never_seen.headers["Retry-After"]) >= 1
    bearer = running.ask("/any", headers={"Authorization": "Bearer a.b.c"})
    assert bearer.status_code == 429
    assert statements == []
    assert running.ask("/any", key=running.key).status_code == 200


def test_a_change_of_its_tenant_makes_no_good_key_a_stranger(start: Start) -> None:
    running = start(failed_logins_per_minute=1)
    assert running.ask("/any", key=running.key).status_code == 200
    for _ in range(3):
        running.ask("/any", key="mw_wrong")
    running.new_key(role="viewer")
    running.services.tenants.change(Principal.operator(), "acme", name="Changed")
    assert running.ask("/any", key=running.key).status_code == 200


def test_a_revoked_token_is_a_stranger_s(start: Start) -> None:
    running = start(failed_logins_per_minute=1)
    token = running.token()
    fields = {"Authorization": f"Bearer {token}"}
    assert running.ask("/any", headers=fields).status_code == 200
    with running.app.app_context():
        running.services.tokens.revoke(None, claims_of(token))
    assert [running.ask("/any", headers=fields).status_code for _ in range(3)] == [401, 429, 429]


def test_requests_that_need_no_credential_are_limited_by_address(start: Start) -> None:
    running = start(public_requests_per_minute=3)
    answers = [running.ask("/public") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 120
    assert running.ask("/public", environ_base={"REMOTE_ADDR": "192.0.2.7"}).status_code == 200
    assert running.ask("/any", key=running.key).status_code == 200
    assert {running.ask("/healthz").status_code for _ in range(5)} == {200}


def test_a_request_is_its_tenant_s_once_its_key_is_known(running: Running) -> None:
    environ = {"REMOTE_ADDR": "192.0.2.7", "HTTP_X_API_KEY": running.key}
    assert running.gateway.lane(environ) == ("address 192.0.2.7", UNKNOWN_UNDER_WAY, 1)
    token = {"HTTP_X_API_KEY": "", "HTTP_AUTHORIZATION": f"Bearer {running.token()}"}
    running.ask("/any", key=running.key)
    running.ask("/any", headers={"Authorization": token["HTTP_AUTHORIZATION"]})
    principal = running.principal()
    for sent in ({}, {"HTTP_AUTHORIZATION": f"Bearer {running.key}"}, token):
        most = principal.plan.max_concurrency
        assert running.gateway.lane({**environ, **sent}) == ("tenant acme", most, most)
    running.services.tenants.change(Principal.operator(), "acme", name="Changed")
    for sent in ({}, token):
        assert running.gateway.lane({**environ, **sent})[0] == "tenant acme"


def test_a_request_without_a_credential_is_no_guess(start: Start) -> None:
    running = start(failed_logins_per_minute=1)
    assert {running.ask("/any").status_code for _ in range(5)} == {401}


def test_an_address_cannot_be_chosen_by_a_header(start: Start) -> None:
    running = start(failed_logins_per_minute=3)
    statuses = [
        running.ask("/any", key="mw_wrong", headers={"X-Forwarded-For": f"192.0.2.{number}"}).status_code
        for number in range(5)
    ]
    assert statuses == [401, 401, 401, 429, 429]


def test_the_addresses_of_one_ipv6_network_are_counted_together(start: Start) -> None:
    running = start(failed_logins_per_minute=3)
    statuses = [
        running.ask("/any", key="mw_wrong", environ_base={"REMOTE_ADDR": f"2001:db8::{number}"}).status_code
        for number in range(1, 6)
    ]
    assert statuses == [401, 401, 401, 429, 429]


def test_workers_share_limits_exactly_through_redis(start: Start, redis_server: object, redis_url: str) -> None:
    running = narrowed(start(redis_url=redis_url), key_requests_per_minute=50)
    workers = [running, *(again(running.services.settings, running.key) for _ in range(2))]
    statuses: list[int] = []

    def call(worker: Running) -> None:
        statuses.extend(worker.ask("/any", key=running.key).status_code for _ in range(40))

    threads = [threading.Thread(target=call, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers[1:]:
        worker.close()
    assert statuses.count(200) == 50
    assert statuses.count(429) == 70
