"""A creating request that is sent again."""

import io
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from werkzeug.test import TestResponse

from service.database import PLATFORM, now
from service.errors import Conflict
from service.gateway.tokens import encoded
from service.tenants.scopes import Scope
from service.tenants.tables import IdempotencyRecord
from tests.gateway.application import Running
from tests.gateway.conftest import Start


def create(running: Running, key: str, body: str = "a", **options: object) -> TestResponse:
    fields = {"Idempotency-Key": key, **dict(options.pop("headers", {}))}
    return running.ask(
        "/things", key=options.pop("api_key", running.key), method="POST", data=body, headers=fields, **options
    )


def test_the_same_request_is_done_once_and_answered_alike(running: Running) -> None:
    first, second = create(running, "k"), create(running, "k")
    assert running.calls == ["a"]
    assert (second.status_code, second.data) == (first.status_code, first.data) == (201, b"model-1")
    for name in ("Content-Type", "Location", "ETag"):
        assert second.headers[name] == first.headers[name]
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    assert "RateLimit" in second.headers


def test_without_a_key_every_request_is_done(running: Running) -> None:
    for _ in range(2):
        assert running.ask("/things", key=running.key, method="POST", data="a").status_code == 201
    assert len(running.calls) == 2


def test_another_request_with_the_same_key_is_refused(running: Running) -> None:
    create(running, "k")
    assert create(running, "k", body="b").json["code"] == "idempotency_key_reused"
    assert create(running, "k", query_string={"q": "1"}).status_code == 422
    assert create(running, "k", headers={"Content-Type": "text/csv"}).status_code == 422
    assert create(running, "k", api_key=running.new_key(role="publisher")).status_code == 422
    assert running.calls == ["a"]


def test_a_token_that_reaches_less_is_not_handed_what_its_key_was_answered(running: Running) -> None:
    def token(*scopes: Scope) -> str:
        grant = running.services.tokens.issue(running.principal(), frozenset(scopes))
        with running.app.app_context():
            return encoded(grant.access_claims)

    def send(token: str) -> TestResponse:
        return create(running, "k", api_key=None, headers={"Authorization": f"Bearer {token}"})

    assert create(running, "k").status_code == 201
    assert send(token(Scope.MODELS_WRITE)).json["code"] == "idempotency_key_reused"
    assert running.calls == ["a"]
    assert send(token(*running.principal().scopes)).headers["Idempotent-Replayed"] == "true"


def test_what_failed_may_be_tried_again_and_leaves_nothing(running: Running) -> None:
    running.raises = Conflict("Not now.")
    assert create(running, "k").status_code == 409
    running.raises = None
    assert create(running, "k").status_code == 201
    assert len(running.calls) == 2


@pytest.mark.parametrize("key", ["", " ", "a b", "a" * 256, "ä", "a\tb"])
def test_a_key_of_another_form_is_a_400(running: Running, key: str) -> None:
    response = create(running, key)
    assert (response.status_code, response.json["code"]) == (400, "invalid_idempotency_key")


def test_a_form_that_is_built_again_is_the_same_request(running: Running) -> None:
    def send(content: bytes) -> TestResponse:
        data = {"file": (io.BytesIO(content), "model.skops"), "metadata": "{}"}
        return running.ask("/forms", key=running.key, method="POST", data=data, headers={"Idempotency-Key": "k"})

    first, second = send(b"content"), send(b"content")
    assert first.request.headers["Content-Type"] != second.request.headers["Content-Type"]
    assert (first.data, second.data) == (b"content", b"content")
    assert running.calls == ["form"]
    assert send(b"other").status_code == 422


def test_of_many_at_once_one_is_done(running: Running) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: create(running, "k"), range(16)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len(running.calls) == 1
    assert create(running, "k").data == b"model-1"


def test_a_claim_outlasts_the_longest_admission(start: Start) -> None:
    running = start(admission_seconds=600)
    running.services.idempotency.claim(running.principal().tenant_id, "k", b"f")
    with running.services.database.read(PLATFORM) as session:
        record = session.scalars(sa.select(IdempotencyRecord)).one()
    assert (record.leased_until - now()).total_seconds() > 600


@pytest.mark.parametrize("fields", [[b"x"] * 9, [b"x" * ((1 << 20) + 1)]], ids=["many parts", "a large field"])
def test_the_bounds_of_a_form_hold_before_it_is_digested(running: Running, fields: list[bytes]) -> None:
    parts = [b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\n' + field + b"\r\n" for field in fields]
    answer = running.ask(
        "/forms",
        key=running.key,
        method="POST",
        data=b"".join(parts) + b"--b--\r\n",
        headers={"Idempotency-Key": "k", "Content-Type": "multipart/form-data; boundary=b"},
    )
    assert answer.status_code == 413
    assert "at most 8 parts" in answer.json["detail"]
    assert running.calls == []
