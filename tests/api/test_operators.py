"""What operators do over HTTP, and what tenants see of themselves."""

import pytest

from tests.api.callers import ROW, Caller, World, unused


def test_a_tenant_is_made_with_its_first_key(world: World, operator: Caller) -> None:
    slug = unused("tenant")
    made = operator.post("/v1/admin/tenants", {"slug": slug, "name": "New", "plan": "free"})
    assert (made.status_code, made.headers["Location"]) == (201, f"/v1/admin/tenants/{slug}")
    assert Caller(world.client, made.json["api_key"]).get("/v1/whoami").json["tenant"] == slug
    read = operator.get(f"/v1/admin/tenants/{slug}")
    assert "api_key" not in read.json
    assert read.headers["ETag"]
    again = operator.post("/v1/admin/tenants", {"slug": slug, "name": "New", "plan": "free"})
    assert (again.status_code, again.json["code"]) == (409, "tenant_exists")


def test_a_tenant_is_moved_to_another_plan(world: World, operator: Caller) -> None:
    slug = unused("tenant")
    caller = world.tenant(slug, plan="free")
    assert operator.patch(f"/v1/admin/tenants/{slug}", {"plan": "standard"}).json["plan"] == "standard"
    assert caller.get("/v1/whoami").json["plan"] == "standard"
    assert operator.patch(f"/v1/admin/tenants/{slug}", {"plan": "none"}).status_code == 422


def test_a_suspended_tenant_is_refused_until_it_is_resumed(world: World, operator: Caller) -> None:
    slug = unused("tenant")
    caller = world.tenant(slug)
    assert operator.post(f"/v1/admin/tenants/{slug}/suspend", {"reason": "Unpaid"}).json["status"] == "suspended"
    refused = caller.get("/v1/whoami")
    assert (refused.status_code, refused.json["code"]) == (403, "tenant_suspended")
    assert [each["slug"] for each in operator.get("/v1/admin/tenants?status=suspended").json["data"]] == [slug]
    assert operator.post(f"/v1/admin/tenants/{slug}/resume").json["status"] == "active"
    assert caller.get("/v1/whoami").status_code == 200


def test_a_deleted_tenant_takes_its_rows_and_bytes_along(world: World, operator: Caller) -> None:
    slug = unused("tenant")
    caller = world.tenant(slug)
    caller.upload("iris")
    tenant = operator.get(f"/v1/admin/tenants/{slug}").json["id"]
    assert len(world.services.store.list(tenant)) == 1
    assert operator.delete(f"/v1/admin/tenants/{slug}").status_code == 204
    assert world.services.store.list(tenant) == []
    assert caller.get("/v1/whoami").status_code == 401
    assert operator.get(f"/v1/admin/tenants/{slug}").status_code == 404


def test_a_tenant_that_changed_since_is_not_deleted(world: World, operator: Caller) -> None:
    slug = unused("tenant")
    world.tenant(slug)
    path = f"/v1/admin/tenants/{slug}"
    tag = operator.get(path).headers["ETag"]
    operator.patch(path, {"name": "Another"})
    assert operator.delete(path, headers={"If-Match": tag}).status_code == 412
    assert operator.delete(path, headers={"If-Match": "*"}).status_code == 204


@pytest.mark.parametrize(
    "path", ["/v1/usage", "/v1/admin/usage", "/v1/admin/plans", "/v1/admin/signing-keys", "/v1/audit", "/v1/keys"]
)
def test_every_list_has_a_limit_and_a_cursor(operator: Caller, acme: Caller, path: str) -> None:
    caller = operator if "admin" in path else acme
    assert caller.get(f"{path}?limit=1").json.keys() == {"data", "next_cursor"}
    assert caller.get(f"{path}?limit=0").status_code == 422
    assert caller.get(f"{path}?cursor=%20").status_code == 422
    first = operator.get("/v1/admin/plans?limit=2").json
    rest = operator.get(f"/v1/admin/plans?limit=2&cursor={first['next_cursor']}").json
    assert first["data"][-1]["slug"] < rest["data"][0]["slug"]


def test_a_key_that_is_bound_to_models_reads_of_those_alone(world: World) -> None:
    caller = world.tenant(unused("tenant"))
    bound = world.key(caller, scopes=["usage:read", "audit:read"], models=["iris"])
    for model in ("iris", "wine"):
        caller.upload(model, alias="production")
        caller.post(f"/v1/models/{model}/predict", {"inputs": [ROW]})
    assert [each["model"] for each in bound.get("/v1/usage").json["data"]] == ["iris"]
    assert len(caller.get("/v1/usage").json["data"]) == 2
    trail = bound.get("/v1/audit")
    assert "models/iris" in trail.text
    assert "wine" not in trail.text
    assert "wine" in caller.get("/v1/audit").text


def test_the_operators_own_tenant_is_not_to_be_had(operator: Caller) -> None:
    assert operator.get("/v1/admin/tenants/platform").status_code == 404
    assert operator.delete("/v1/admin/tenants/platform").status_code == 404
    refused = operator.post("/v1/admin/tenants", {"slug": "platform", "name": "Mine", "plan": "free"})
    assert refused.status_code == 422


def test_a_plan_is_made_and_changed(operator: Caller) -> None:
    slug = unused("plan")
    body = {"slug": slug, "name": "Small", "max_models": 1, "max_bytes": 1000, "max_body_bytes": 1000}
    made = operator.post("/v1/admin/plans", {**body, "max_concurrency": 1})
    assert (made.status_code, made.json["rows_per_day"]) == (201, None)
    changed = operator.patch(f"/v1/admin/plans/{slug}", {"rows_per_day": 5}, headers={"If-Match": made.headers["ETag"]})
    assert (changed.json["rows_per_day"], changed.json["max_models"]) == (5, 1)
    assert {"free", "standard", "unlimited", slug} <= {
        each["slug"] for each in operator.get("/v1/admin/plans").json["data"]
    }


@pytest.mark.parametrize("value", [0, -1, 1.5, "1", True, None, 2**63])
def test_a_limit_is_a_whole_number_of_one_or_more(operator: Caller, value: object) -> None:
    assert operator.patch("/v1/admin/plans/free", {"max_models": value}).status_code in {400, 422}


def test_a_quarantined_version_is_not_served_until_it_is_released(world: World, operator: Caller) -> None:
    slug = unused("tenant")
    caller = world.tenant(slug)
    caller.upload("iris", alias="production")
    path = f"/v1/admin/tenants/{slug}/models/iris/versions/1"
    stopped = operator.post(f"{path}/quarantine", {"reason": "Looks odd"})
    assert (stopped.status_code, stopped.json["status"], stopped.json["tenant"]) == (200, "quarantined", slug)
    refused = caller.post("/v1/models/iris/predict", {"inputs": [ROW]})
    assert (refused.status_code, refused.json["code"]) == (409, "version_quarantined")
    found = operator.get(f"/v1/admin/versions?status=quarantined&tenant={slug}&larger_than=1").json["data"]
    assert [each["model"] for each in found] == ["iris"]
    assert operator.post(f"{path}/release").json["status"] == "ready"
    assert caller.post("/v1/models/iris/predict", {"inputs": [ROW]}).status_code == 200
    assert [each["action"] for each in caller.get("/v1/audit?action=version.quarantine").json["data"]] == [
        "version.quarantine"
    ]


def test_every_version_is_listed_page_by_page(operator: Caller) -> None:
    seen, cursor = [], ""
    while cursor is not None:
        page = operator.get(f"/v1/admin/versions?limit=1{cursor and '&cursor='}{cursor}").json
        seen += [(each["tenant"], each["model"], each["version"]) for each in page["data"]]
        cursor = page["next_cursor"]
    assert len(seen) == len(set(seen))
    assert {("acme", "iris", 1), ("globex", "secret", 1)} <= set(seen)


def test_a_tenant_reads_its_own_trail_and_an_operator_every_one(acme: Caller, globex: Caller, operator: Caller) -> None:
    acme.post("/v1/keys", {"name": "Audited", "role": "viewer"})
    own = acme.get("/v1/audit?action=key.create&limit=1").json["data"][0]
    assert (own["action"], own["outcome"]) == ("key.create", "ok")
    assert own["id"] not in globex.get("/v1/audit?limit=200").text
    everywhere = operator.get("/v1/admin/audit?tenant=acme&action=key.create&limit=1").json["data"][0]
    assert (everywhere["id"], everywhere["tenant"]) == (own["id"], "acme")


def test_a_refused_scope_stands_in_the_trail(world: World, acme: Caller) -> None:
    viewer = world.key(acme, role="viewer")
    assert viewer.get("/v1/admin/tenants").status_code == 403
    refusals = acme.get("/v1/audit?action=scope.require").json["data"]
    assert refusals[0]["outcome"] == "refused"


def test_usage_is_counted_by_day_and_model(world: World, operator: Caller) -> None:
    slug = unused("tenant")
    caller = world.tenant(slug)
    caller.upload("iris")
    for _ in range(2):
        caller.post("/v1/models/iris/predict", {"inputs": [ROW] * 3})
    used = caller.get("/v1/usage").json["data"]
    assert [(each["model"], each["requests"], each["rows"]) for each in used] == [("iris", 2, 6)]
    assert caller.get("/v1/usage?since=2020-01-01&until=2020-01-31").json["data"] == []
    everyone = {each["tenant"]: each["rows"] for each in operator.get("/v1/admin/usage").json["data"]}
    assert everyone[slug] == 6


@pytest.mark.parametrize("query", ["since=2026-02-30", "since=yesterday", "until=2026-1-1", "day=2026-01-01"])
def test_days_that_are_none_are_refused(acme: Caller, query: str) -> None:
    assert acme.get(f"/v1/usage?{query}").status_code == 422


def test_a_path_of_an_operator_that_can_name_nothing_is_answered_like_what_is_not_there(operator: Caller) -> None:
    for kind in ("tenants", "plans"):
        impossible, missing = (operator.get(f"/v1/admin/{kind}/{name}").json for name in ("A%00", "no-such"))
        assert {**impossible, "request_id": ""} == {**missing, "request_id": ""}
    impossible, missing = (operator.get(f"/v1/keys/{name}").json for name in ("A%00", "key_" + "0" * 26))
    assert {**impossible, "request_id": ""} == {**missing, "request_id": ""}
