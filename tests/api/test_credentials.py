"""Keys, tokens, and who one is, over HTTP."""

import time
from typing import Any

import pytest

from tests.api.callers import ROW, Caller, World, unused


def bearer(client: Caller, token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_whoami_tells_the_plan_and_what_is_left(world: World) -> None:
    caller = world.tenant(unused("counted"), plan="free")
    told = caller.get("/v1/whoami").json
    assert (told["plan"], told["limits"]["key_requests_per_minute"]) == ("free", 60)
    assert told["left"]["key_requests"] == 59
    assert caller.get("/v1/whoami").json["left"]["key_requests"] == 58
    assert told["models"] is None
    assert "models:predict" in told["scopes"]
    assert "platform:admin" not in told["scopes"]


def test_what_is_left_of_the_rows_shrinks_with_each_prediction(world: World, operator: Caller) -> None:
    plan = {"slug": unused("rows"), "name": "Rows", "rows_per_day": 10, "max_models": 1, "max_bytes": 1 << 20}
    made = operator.post("/v1/admin/plans", {**plan, "max_body_bytes": 1 << 20, "max_concurrency": 4})
    assert made.status_code == 201
    caller = world.tenant(unused("rows"), plan=plan["slug"])
    caller.upload("iris")
    assert caller.post("/v1/models/iris/predict", {"inputs": [ROW] * 4}).status_code == 200
    assert caller.get("/v1/whoami").json["left"]["rows_today"] == 6
    refused = caller.post("/v1/models/iris/predict", {"inputs": [ROW] * 7})
    assert (refused.status_code, refused.json["code"]) == (429, "rows_quota_exceeded")
    assert int(refused.headers["Retry-After"]) > 0


def test_a_key_is_made_listed_changed_rotated_and_revoked(world: World, acme: Caller) -> None:
    made = acme.post("/v1/keys", {"name": "Night job", "role": "predictor"})
    assert made.status_code == 201
    path = made.headers["Location"]
    holder = Caller(world.client, made.json["api_key"])
    shown = acme.get(path)
    assert "api_key" not in shown.json
    assert made.json["api_key"] not in acme.get("/v1/keys?limit=200").text
    assert holder.get("/v1/models").status_code == 200
    assert holder.get("/v1/keys").status_code == 403
    changed = acme.patch(path, {"name": "Day job"}, headers={"If-Match": shown.headers["ETag"]})
    assert changed.json["name"] == "Day job"
    rotated = acme.post(f"{path}/rotate", {"overlap_seconds": 60})
    assert rotated.status_code == 201
    successor = Caller(world.client, rotated.json["api_key"])
    assert [each.get("/v1/models").status_code for each in (holder, successor)] == [200, 200]
    assert acme.delete(path).status_code == 204
    refused = holder.get("/v1/models")
    assert (refused.status_code, refused.json["code"]) == (401, "revoked_api_key")
    assert successor.get("/v1/models").status_code == 200


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({}, "body"),
        ({"scopes": ["models:read"], "role": "viewer"}, "body"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["models:everything"]}, "scopes[0]"),
        ({"scopes": ["models:read", "models:read"]}, "scopes"),
        ({"role": "root"}, "role"),
        ({"role": "viewer", "name": "a\u0000b"}, "name"),
        ({"role": "viewer", "tenant": "globex"}, "tenant"),
        ({"role": "viewer", "expires_at": "tomorrow"}, "expires_at"),
        ({"role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"role": "viewer", "allowed_cidrs": ["10.0.0.0/99"]}, "allowed_cidrs[0]"),
        ({"role": "viewer", "models": ["No Name"]}, "models[0]"),
    ],
)
def test_a_key_that_does_not_fit_is_refused(acme: Caller, fields: dict[str, Any], at: str) -> None:
    refused = acme.post("/v1/keys", {"name": "Key", **fields})
    assert refused.status_code == 422, refused.text
    assert at in [each["at"] for each in refused.json["errors"]]


def test_nobody_grants_a_scope_that_they_lack(acme: Caller) -> None:
    refused = acme.post("/v1/keys", {"name": "Root", "role": "platform-admin"})
    assert (refused.status_code, refused.json["code"]) == (403, "scope_escalation")


def test_a_key_made_again_with_its_idempotency_key_is_the_same_key(acme: Caller) -> None:
    headers, body = {"Idempotency-Key": unused("key")}, {"name": "Once", "role": "viewer"}
    first, again = (acme.post("/v1/keys", body, headers=headers) for _ in range(2))
    assert (first.status_code, again.json) == (201, first.json)
    other = acme.post("/v1/keys", {**body, "name": "Twice"}, headers=headers)
    assert (other.status_code, other.json["code"]) == (422, "idempotency_key_reused")


def test_a_token_does_what_its_key_does_and_no_more_than_it_was_narrowed_to(acme: Caller, nobody: Caller) -> None:
    whole = acme.post("/v1/auth/token").json
    assert (whole["token_type"], whole["expires_in"]) == ("Bearer", 900)
    assert nobody.get("/v1/models", headers=bearer(nobody, whole["access_token"])).status_code == 200
    narrow = acme.post("/v1/auth/token", {"scope": "models:predict"}).json
    assert narrow["scope"] == "models:predict"
    headers = bearer(nobody, narrow["access_token"])
    assert nobody.post("/v1/models/iris/predict", {"inputs": [ROW]}, headers=headers).status_code == 200
    assert nobody.get("/v1/models", headers=headers).status_code == 403


def test_a_token_is_not_exchanged_for_another(acme: Caller, nobody: Caller) -> None:
    token = acme.post("/v1/auth/token").json["access_token"]
    refused = nobody.post("/v1/auth/token", headers=bearer(nobody, token))
    assert (refused.status_code, refused.json["code"]) == (401, "api_key_required")


def test_a_scope_that_is_none_is_refused(acme: Caller) -> None:
    for scope in ("", "models:everything", "models:read  models:predict"):
        assert acme.post("/v1/auth/token", {"scope": scope}).status_code == 422


def test_a_refresh_token_is_spent_for_a_new_pair(acme: Caller, nobody: Caller) -> None:
    first = acme.post("/v1/auth/token").json
    second = nobody.post("/v1/auth/refresh", {"refresh_token": first["refresh_token"]})
    assert second.status_code == 200
    assert second.json["refresh_token"] != first["refresh_token"]
    assert nobody.get("/v1/models", headers=bearer(nobody, second.json["access_token"])).status_code == 200
    assert nobody.post("/v1/auth/refresh", {"refresh_token": "mwr_nonsense"}).status_code == 401


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
def test_a_revoked_token_is_refused(acme: Caller, nobody: Caller, which: str) -> None:
    pair = acme.post("/v1/auth/token").json
    assert nobody.post("/v1/auth/revoke", {"token": pair[which]}).status_code == 204
    assert nobody.get("/v1/models", headers=bearer(nobody, pair["access_token"])).status_code == 401


def test_revoking_what_is_no_token_is_no_error_but_a_key_is(acme: Caller, nobody: Caller) -> None:
    assert nobody.post("/v1/auth/revoke", {"token": "nonsense"}).status_code == 204
    refused = nobody.post("/v1/auth/revoke", {"token": acme.api_key})
    assert (refused.status_code, refused.json["code"]) == (422, "not_a_token")
    assert acme.get("/v1/whoami").status_code == 200


def test_the_published_keys_are_public_and_hold_no_private_half(acme: Caller, nobody: Caller) -> None:
    acme.post("/v1/auth/token")
    keys = nobody.get("/.well-known/jwks.json").json["keys"]
    assert keys
    assert all(set(key) == {"kty", "crv", "x", "kid", "alg", "use"} for key in keys)


def test_the_signing_key_is_rotated_and_old_tokens_go_on(acme: Caller, nobody: Caller, operator: Caller) -> None:
    token = acme.post("/v1/auth/token").json["access_token"]
    once = {"Idempotency-Key": unused("rotation")}
    rotated, replayed = (operator.post("/v1/admin/signing-keys/rotate", headers=once) for _ in range(2))
    assert (rotated.status_code, replayed.json) == (201, rotated.json)
    listed = operator.get("/v1/admin/signing-keys").json["data"]
    assert rotated.json["kid"] in [key["kid"] for key in listed]
    assert rotated.json["kid"] in [key["kid"] for key in nobody.get("/.well-known/jwks.json").json["keys"]]
    assert nobody.get("/v1/models", headers=bearer(nobody, token)).status_code == 200


def test_a_tenant_named_anywhere_but_in_the_credential_changes_nothing(acme: Caller) -> None:
    told = acme.get("/v1/whoami", headers={"X-Tenant": "globex", "X-Tenant-Id": "globex", "Host": "globex.example"})
    assert told.json["tenant"] == "acme"
    assert acme.get("/v1/whoami?tenant=globex").status_code == 422


def test_a_key_expires(acme: Caller) -> None:
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    made = acme.post("/v1/keys", {"name": "Short", "role": "viewer", "expires_at": soon})
    assert made.json["expires_at"] == soon
